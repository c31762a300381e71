//! Whether this process does what it is for, as those are told who watch it. A part that hangs says nothing itself: it is known by what
//! has not been answered for too long.

use anyhow::Result;
use orrery_log::{Bell, Log};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A write that takes longer than this hangs, as far as one can tell: of a disk or a broker that is only busy it is a hundred times what
/// is usual.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How often the log is asked for a sign of life, whatever else is written: it may be that nobody writes.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Watches a log. The thread ends by itself once this is dropped: a probe of a log that hangs cannot be waited for.
pub(crate) struct Health {
    log: Arc<dyn Log>,
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
}

impl Health {
    /// Begins to watch.
    pub(crate) fn of(log: Arc<dyn Log>) -> Result<Self> {
        let (stop, bell) = (Arc::new(AtomicBool::new(false)), Arc::new(Bell::default()));
        std::thread::Builder::new().name("health".into()).spawn({
            let (log, stop, bell) = (log.clone(), stop.clone(), bell.clone());
            move || {
                while !stop.load(Ordering::Acquire) {
                    if let Err(error) = log.probe() {
                        tracing::warn!(%error, "the log gives no sign of life");
                    }
                    bell.wait(PROBE_EVERY);
                }
            }
        })?;
        Ok(Self { log, stop, bell })
    }

    /// What hangs or is damaged, if anything does.
    pub(crate) fn of_log(&self) -> Result<(), String> {
        let waits = self.log.unacknowledged();
        if waits > WRITE_PATIENCE {
            return Err(format!("a write to the log has not been acknowledged for {} s: its disk or its brokers hang", waits.as_secs()));
        }
        if let Some(trouble) = self.log.trouble() {
            return Err(trouble);
        }
        self.log.topics().map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_log::{Fetch, LogError, Topic, TopicPartition, Writer};
    use orrery_model::record::{NewRecord, Offset};
    use orrery_model::time::Timestamp;
    use orrery_model::topics::Cleanup;
    use std::sync::Mutex;

    /// A log that answers no probe as long as somebody holds its lock, and then says that it has waited for so long.
    #[derive(Default)]
    struct Hung {
        disk: Mutex<()>,
        asked: Bell,
        waits: Mutex<Duration>,
    }

    impl Log for Hung {
        fn probe(&self) -> Result<(), LogError> {
            self.asked.ring();
            drop(self.disk.lock());
            Ok(())
        }
        fn unacknowledged(&self) -> Duration {
            *self.waits.lock().expect("nobody panics")
        }
        fn topics(&self) -> Result<Vec<Topic>, LogError> {
            Ok(Vec::new())
        }
        fn ensure_topic(&self, _: &str, _: u32, _: Cleanup) -> Result<Topic, LogError> {
            unreachable!()
        }
        fn topic(&self, _: &str) -> Result<Option<Topic>, LogError> {
            unreachable!()
        }
        fn delete_topic(&self, _: &str) -> Result<(), LogError> {
            unreachable!()
        }
        fn fence(&self, _: &str) -> Result<Box<dyn Writer>, LogError> {
            unreachable!()
        }
        fn append(&self, _: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
            unreachable!()
        }
        fn read(&self, _: &TopicPartition, _: Offset, _: usize) -> Result<Fetch, LogError> {
            unreachable!()
        }
        fn start_offset(&self, _: &TopicPartition) -> Result<Offset, LogError> {
            unreachable!()
        }
        fn end_offset(&self, _: &TopicPartition) -> Result<Offset, LogError> {
            unreachable!()
        }
        fn offset_at(&self, _: &TopicPartition, _: Timestamp) -> Result<Offset, LogError> {
            unreachable!()
        }
        fn ring_for(&self, _: &[&str], _: &Arc<Bell>) {}
    }

    #[test]
    fn a_log_that_hangs_is_told_though_nobody_writes_and_is_not_waited_for() {
        let log = Arc::new(Hung::default());
        let disk = log.disk.lock().expect("nobody panics");
        let health = Health::of(log.clone()).expect("a thread");
        assert!(log.asked.wait(Duration::from_secs(60)), "it was not asked");
        assert_eq!(health.of_log(), Ok(()), "it has not waited for long");
        *log.waits.lock().expect("nobody panics") = Duration::from_secs(6);
        let told = health.of_log().expect_err("it hangs");
        assert!(told.contains("has not been acknowledged for 6 s"), "{told}");
        drop(health);
        drop(disk);
    }
}
