//! From log records to inputs.

use crate::facts::Input;
use orrery_model::decider::{Decoded, InputTopic, Poison};
use orrery_model::messages::{HEARTBEAT, Heartbeat, STATUS, TASKS, TaskMessage};
use orrery_model::record::Record;
use orrery_model::resources::Resources;
use orrery_model::topics;

/// Largest amount of one resource: beyond any machine, and far from overflow when it is added up or multiplied in 128 bits.
pub(crate) const AMOUNT_MAX: i64 = 1 << 56;
/// Longest lease: a week.
const LEASE_MAX_MS: i64 = 7 * 86_400_000;

pub(crate) fn decode(topic: InputTopic<'_>, record: &Record) -> Result<Vec<Decoded<Input>>, Poison> {
    let value = record.value.as_ref().ok_or_else(|| Poison::new("decode", format!("a record of {} has a value", topic.name)))?.as_bytes();
    let unreadable = |e: orrery_model::codec::CodecError| Poison::new("decode", e.to_string());
    match (topic.ours, topic.name) {
        (true, topics::TASKS) => {
            let packed = TASKS.decode(value).map_err(unreadable)?;
            Ok(Decoded::items(packed, task))
        }
        (true, topics::HEARTBEATS) => {
            let heartbeat = HEARTBEAT.decode(value).map_err(unreadable)?;
            check(&heartbeat)?;
            Ok(vec![Decoded::plain(Input::HeartbeatArrived { heartbeat })])
        }
        (true, topics::STATUS) => {
            let batch = STATUS.decode(value).map_err(unreadable)?;
            Ok(batch.updates.into_iter().map(|status| Decoded::plain(Input::StatusArrived { status })).collect())
        }
        (_, other) => Err(Poison::new("decode", format!("the allocator does not read {other}"))),
    }
}

fn task(message: TaskMessage) -> Input {
    match message {
        TaskMessage::TaskWanted { spec, .. } => Input::TaskWanted { spec },
        TaskMessage::TaskUnwanted { attempt, hop, reason, .. } => Input::TaskUnwanted { attempt, hop, reason },
    }
}

/// True if every amount can be calculated with.
pub(crate) fn in_range(amounts: &Resources) -> bool {
    [amounts.cpus.0, amounts.memory.0, amounts.disk.0].iter().all(|amount| (0..=AMOUNT_MAX).contains(amount))
}

fn check(heartbeat: &Heartbeat) -> Result<(), Poison> {
    let Heartbeat { agent, total, lease_ms, .. } = heartbeat;
    if !in_range(total) {
        return Err(Poison::new("validate", format!("agent {agent} offers {total:?}; each amount is 0 to {AMOUNT_MAX}")));
    }
    if !(1..=LEASE_MAX_MS).contains(lease_ms) {
        return Err(Poison::new("validate", format!("agent {agent} has a lease of {lease_ms} ms; allowed are 1 to {LEASE_MAX_MS}")));
    }
    Ok(())
}
