//! A world's log as a data folder, for `orrery audit --data-dir` and `orrery serve gateway`.

use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, LogError, TopicPartition};
use std::path::Path;

/// Records of one write.
const AT_ONCE: usize = 2_000;

/// Copies every record into an embedded log below this folder. Offsets and append times stay what they are: journals and people
/// name places and times by them.
pub fn export(log: &dyn Log, folder: &Path) -> Result<(), LogError> {
    let copy = EmbeddedLog::open(&folder.join("log"))?;
    for topic in log.topics()? {
        copy.ensure_topic(&topic.name, topic.partitions, topic.cleanup)?;
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(&topic.name, partition);
            let records = log.read(&at, log.start_offset(&at)?, usize::MAX)?.records;
            for some in records.chunks(AT_ONCE) {
                copy.copy_in(&at, some.to_vec())?;
            }
        }
    }
    Ok(())
}
