//! A log that was salvaged: the shard goes on with what is left, as another lineage, and is told what it did not read.

use crate::counting::Input;
use crate::fixture::Fixture;
use orrery_model::journal::Observation;
use orrery_model::topics;
use std::path::{Path, PathBuf};

fn newest_wal(log: &Path) -> PathBuf {
    let files = std::fs::read_dir(log.join("rocksdb")).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().expect("a write-ahead log")
}

#[test]
fn a_shard_goes_on_with_what_is_left_as_another_lineage_and_is_told_of_the_gap() {
    let mut fixture = Fixture::new(1);
    fixture.add(0, &["1", "2"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 3);
    shard.stop();
    let (before, entries, jobs) = (fixture.head(0), fixture.entries(0).len(), fixture.read(topics::JOBS, 0));
    // A sign in the log, by which the test finds where it stood.
    fixture.append(topics::REQUESTS, 0, b"here it was whole", Vec::new());
    fixture.add(0, &["3"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 6);
    shard.stop();
    let end = fixture.log.end_offset(&fixture.at(topics::JOBS, 0)).expect("an end");
    fixture.salvage(|log| {
        let wal = newest_wal(log);
        let bytes = std::fs::read(&wal).expect("read");
        let sign = b"here it was whole";
        let at = bytes.windows(sign.len()).position(|window| window == sign).expect("the sign");
        // The rest of the sign's own record is behind it.
        std::fs::write(&wal, &bytes[..at]).expect("written");
    });
    assert_eq!(fixture.entries(0).len(), entries, "the second ownership is cut off");
    let lost = fixture.log.lost(&fixture.at(topics::JOBS, 0)).expect("told");
    assert_eq!((lost[0].start, lost[0].end), (jobs[1].offset + 1, end));

    fixture.draw_lineage = || "cafe".into();
    fixture.add(0, &["4"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 7);
    shard.stop();
    let after = fixture.head(0);
    assert_eq!((before.lineage.as_str(), after.lineage.as_str()), ("beef", "cafe"));
    let seen: Vec<Observation> = fixture
        .entries(0)
        .into_iter()
        .filter_map(|entry| match entry.input {
            Input::ShellObserved { observation } => Some(observation),
            _ => None,
        })
        .collect();
    let gap = Observation::Gap { topic: "orrery.jobs".into(), partition: 0, from: lost[0].start, to: end };
    assert!(seen.contains(&gap), "{seen:?}");
    // It is another lineage once.
    fixture.draw_lineage = || "f00d".into();
    let shard = fixture.start(0);
    fixture.wait("ready", || shard.is_ready());
    shard.stop();
    assert_eq!((fixture.head(0).lineage, fixture.sum(0, "total")), ("cafe".into(), 7));
}
