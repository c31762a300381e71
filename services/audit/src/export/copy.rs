//! What `audit verify` needs, as a log of its own: journals, changelogs and snapshots, with all their partitions.
//!
//! Offsets and append times stay what they are: a place that an answer or a signature names is the same one in the copy.

use super::{ExportError, Written, make_folder, refuse_existing};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, LogError, Topic, TopicPartition, pieces};
use orrery_model::record::Record;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use std::path::Path;

/// Journals come last: whatever a changelog's head or a snapshot speaks of is in the journal by the time that its end is asked for,
/// also while the cluster runs on. A journal that goes on behind the head verifies.
const COPIED: [&str; 6] = [
    topics::TRIGGER_CHANGELOG,
    topics::ALLOCATOR_CHANGELOG,
    topics::TRIGGER_SNAPSHOTS,
    topics::ALLOCATOR_SNAPSHOTS,
    topics::TRIGGER_JOURNAL,
    topics::ALLOCATOR_JOURNAL,
];

/// Copies what proves the decisions into an embedded log at this path, which must not be there. It has its name when it is whole.
pub fn export_log(log: &dyn Log, cluster: &Cluster, path: &Path) -> Result<Vec<Written>, ExportError> {
    let unfinished = path.with_extension("part");
    refuse_existing(path)?;
    refuse_existing(&unfinished)?;
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let copy = EmbeddedLog::open(&unfinished)?;
    let mut written = Vec::new();
    for name in COPIED {
        // A cluster that was made before there were snapshots has no topics for them.
        if let Some(topic) = log.topic(&cluster.topic(name))? {
            written.push(copy_topic(log, &copy, &topic)?);
        }
    }
    drop(copy);
    std::fs::rename(&unfinished, path).map_err(|source| ExportError::File { path: path.to_owned(), source })?;
    Ok(written)
}

/// Copies a topic with all its partitions. Offsets and append times stay what they are: journals and people name places and times
/// by them.
pub fn copy_topic(log: &dyn Log, copy: &EmbeddedLog, topic: &Topic) -> Result<Written, LogError> {
    copy.ensure_topic(&topic.name, topic.partitions, topic.cleanup)?;
    let mut written = Written { name: topic.name.clone(), rows: 0, bytes: 0 };
    for partition in 0..topic.partitions {
        let at = TopicPartition::new(&topic.name, partition);
        let (start, end) = (log.start_offset(&at)?, log.end_offset(&at)?);
        for piece in pieces(log, &at, start, end) {
            let records = piece?;
            written.rows += records.len() as u64;
            written.bytes += records.iter().map(Record::bytes).sum::<usize>() as u64;
            copy.copy_in(&at, records)?;
        }
    }
    Ok(written)
}
