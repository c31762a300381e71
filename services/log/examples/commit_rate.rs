//! Durable commits per second of the embedded log, with 1 and with 4 threads. Arguments: folder (default: a temporary one), seconds.

use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Commit, Log, clock};
use orrery_model::record::NewRecord;
use orrery_model::topics::Cleanup;
use std::time::Duration;

/// Of one record.
const VALUE_BYTES: usize = 200;

fn main() {
    let temporary = tempfile::tempdir().expect("there is a temporary folder");
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| temporary.path().to_owned(), std::path::PathBuf::from);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2);
    let log = EmbeddedLog::open(&folder).expect("the log opens");
    log.ensure_topic("rate", 4, Cleanup::Forever).expect("the topic is made");
    for records in [1, 100] {
        for threads in [1, 4] {
            let (rate, worst) = measure(&*log, threads, records, Duration::from_secs(seconds));
            println!("{threads} threads, {records} records of {VALUE_BYTES} bytes each: {rate:.0} commits/s, slowest {worst:?}");
        }
    }
}

fn measure(log: &dyn Log, threads: u32, records: usize, time: Duration) -> (f64, Duration) {
    let run = |thread: u32| {
        let mut writer = log.fence(&format!("rate-{thread}")).expect("a writer");
        let record = NewRecord {
            topic: "rate".into(),
            partition: thread,
            value: Some(vec![b'x'; VALUE_BYTES].as_slice().into()),
            ..NewRecord::default()
        };
        let (end, mut commits, mut worst) = (clock::monotonic() + time, 0_u32, Duration::ZERO);
        while clock::monotonic() < end {
            let begin = clock::monotonic();
            let answer = writer.commit(vec![record.clone(); records]).expect("the log takes commits");
            assert!(matches!(answer, Commit::Committed(_)));
            worst = worst.max(clock::monotonic() - begin);
            commits += 1;
        }
        (commits, worst)
    };
    let begin = clock::monotonic();
    let results: Vec<(u32, Duration)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let commits: u32 = results.iter().map(|(commits, _)| commits).sum();
    let worst = results.iter().map(|(_, worst)| *worst).max().unwrap_or_default();
    (f64::from(commits) / (clock::monotonic() - begin).as_secs_f64(), worst)
}
