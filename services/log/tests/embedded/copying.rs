//! Copies: what another log has, at the same places.

use super::{keyed, read_all};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, LogError, TopicPartition};
use orrery_model::topics::Cleanup;

#[test]
fn a_copy_has_the_offsets_and_append_times_of_its_original() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, copy) = (EmbeddedLog::open(here.path()).unwrap(), EmbeddedLog::open(there.path()).unwrap());
    for log in [&log, &copy] {
        log.ensure_topic("t", 1, Cleanup::Forever).unwrap();
    }
    for n in 0..20 {
        log.append(vec![keyed("t", 0, "k", Some(&n.to_string()))]).unwrap();
    }
    let (at, records) = (TopicPartition::new("t", 0), read_all(&*log, "t", 0));
    for part in [&records[..7], &records[7..], &[]] {
        copy.copy_in(&at, part.to_vec()).unwrap();
    }
    assert_eq!(read_all(&*copy, "t", 0), records);
    let again = copy.copy_in(&at, records[3..4].to_vec());
    assert!(matches!(again, Err(LogError::OutOfRange { .. })), "{again:?}");
    drop(copy);
    let copy = EmbeddedLog::open_read_only(there.path()).unwrap();
    assert_eq!(read_all(&*copy, "t", 0), records);
    let middle = &records[10];
    assert_eq!(copy.offset_at(&at, middle.appended).unwrap(), log.offset_at(&at, middle.appended).unwrap());
}
