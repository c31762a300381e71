//! A world's log as a data folder, for `orrery audit --data-dir`.

use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, LogError, TopicPartition};
use orrery_model::record::NewRecord;
use std::path::Path;

/// Records of one append.
const AT_ONCE: usize = 500;

/// Copies every record into an embedded log below this folder. Offsets become others, as each log gives its own.
pub fn export(log: &dyn Log, folder: &Path) -> Result<(), LogError> {
    let copy = EmbeddedLog::open(&folder.join("log"))?;
    for topic in log.topics()? {
        copy.ensure_topic(&topic.name, topic.partitions, topic.cleanup)?;
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(&topic.name, partition);
            let records = log.read(&at, log.start_offset(&at)?, usize::MAX)?.records;
            let mut fresh = records.into_iter().map(|record| NewRecord {
                topic: topic.name.clone(),
                partition,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
            loop {
                let some: Vec<NewRecord> = fresh.by_ref().take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                copy.append(some)?;
            }
        }
    }
    Ok(())
}
