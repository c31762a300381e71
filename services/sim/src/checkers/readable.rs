//! What we write, others can read: journal records through their schema alone, with the Avro library.

use super::Outcome;
use orrery_allocator::Allocator;
use orrery_audit::entries::journal_of;
use orrery_model::decider::Decider;
use orrery_trigger::Trigger;

/// Records looked at in each journal: the encoding does not depend on where a record stands.
const LOOKED_AT: usize = 200;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.each_shard(of::<Trigger>, of::<Allocator>)
}

fn of<D: Decider>(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    let records = outcome.log.read(&journal_of(outcome.cluster, D::SERVICE, shard), 0, usize::MAX).unwrap_or_default().records;
    let step = (records.len() / LOOKED_AT).max(1);
    let read = |record: &orrery_model::record::Record| {
        let value = record.value.as_ref()?;
        let error = D::journal().as_others_read(value.as_bytes()).err()?;
        Some(format!("{}/{shard}@{}: {error}", D::SERVICE, record.offset))
    };
    records.iter().step_by(step).filter_map(read).collect()
}
