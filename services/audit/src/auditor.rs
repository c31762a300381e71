//! The auditor: follows the journals, verifies them as they grow, and the snapshots as they are written; signs anchors, and says so
//! when a journal diverges.

use crate::AuditError;
use crate::anchors::{Anchor, SigningKey};
use crate::verify::{Begin, Report, Verify, advance_all, verifiers};
use metrics::{counter, gauge};
use orrery_log::{Bell, Log, LogError, clock};
use orrery_model::messages::Alert;
use orrery_model::topics;
use orrery_runtime::membership::alert_record;
use orrery_runtime::messages::Cluster;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Code of the alert that tells of a divergence.
pub const DIVERGED: &str = "diverged";
/// Between two looks at journals that nobody rings for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// At least between two looks: what arrives meanwhile is verified in one go.
const REST: Duration = Duration::from_millis(100);
/// Between two anchors of one journal that grows.
const ANCHOR_EVERY: Duration = Duration::from_secs(60);
/// Offsets of each journal that are verified between two times at which it tells how far it is.
const STEP: i64 = 20_000;

/// What an auditor follows.
pub struct AuditorConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster.
    pub cluster: Cluster,
    /// Where it begins, and the anchors that must be found.
    pub begin: Begin,
    /// Signs anchors.
    pub signing: Option<Signing>,
}

/// Who signs anchors, and where they are kept.
pub struct Signing {
    /// The key.
    pub key: SigningKey,
    /// Lines are appended to this file.
    pub file: PathBuf,
}

impl Signing {
    /// Appends an anchor, durably.
    pub fn keep(&self, anchor: &Anchor) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.file)?;
        finish_lines(&mut file)?;
        file.write_all(format!("{}\n", serde_json::to_string(anchor)?).as_bytes())?;
        file.sync_data()
    }
}

/// What a writer left unfinished is no anchor, and must not begin the next line.
fn finish_lines(file: &mut File) -> std::io::Result<()> {
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        let mut all = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut all)?;
        file.set_len(all.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1))?;
    }
    Ok(())
}

/// A running auditor. Dropping it ends it.
pub struct Auditor {
    shared: Arc<Shared>,
    /// Rings for the journals.
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Rings when it is to stop.
    stopping: Bell,
    caught_up: AtomicBool,
}

impl Auditor {
    /// Starts it. A log that cannot be read for a while is waited for.
    pub fn start(config: AuditorConfig) -> std::io::Result<Self> {
        let topics = [topics::TRIGGER_JOURNAL, topics::ALLOCATOR_JOURNAL].map(|topic| config.cluster.topic(topic));
        let bell = config.log.bell(&topics.each_ref().map(String::as_str));
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("auditor".into()).spawn({
            let (shared, bell) = (shared.clone(), bell.clone());
            move || follow(&config, &shared, &bell)
        })?;
        Ok(Self { shared, bell, thread: Some(thread) })
    }

    /// True if it goes on no more, which is a fault.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Says whether every journal was verified to the end that it had, or to its divergence.
    pub fn caught_up(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let shared = self.shared.clone();
        Arc::new(move || shared.caught_up.load(Ordering::Acquire))
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.stopping.ring();
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn follow(config: &AuditorConfig, shared: &Shared, bell: &Bell) {
    let (mut journals, mut begin_is_told): (Vec<Journal>, bool) = (Vec::new(), false);
    while !shared.stop.load(Ordering::Acquire) {
        if journals.is_empty() {
            match verifiers(&config.log, &config.cluster, None, &config.begin) {
                Ok(all) => journals.extend(all.into_iter().map(Journal::new)),
                // Where it cannot begin it says so once, and looks again: somebody may repair it.
                Err(error @ AuditError::Unreadable { .. }) => begin_is_told = begin_is_told || tell(config, "the log", &error.to_string()),
                Err(error) => tracing::warn!(%error, "the journals cannot be read now; trying again"),
            }
        }
        let results = advance_all(journals.iter_mut().map(|journal| &mut journal.verifier), STEP);
        let failed = results.iter().any(Result::is_err);
        let settled: Vec<bool> = journals.iter_mut().zip(results).map(|(journal, result)| journal.settle(config, result)).collect();
        if !settled.is_empty() && settled.iter().all(|settled| *settled) {
            shared.caught_up.store(true, Ordering::Release);
        }
        if failed || journals.iter().all(|journal| journal.verifier.is_at_end()) {
            bell.wait(LOOK_EVERY);
            shared.stopping.wait(REST);
        }
    }
}

/// One journal, and what was said of it.
struct Journal {
    verifier: Box<dyn Verify>,
    /// Its divergence was told.
    is_told: bool,
    /// The last anchor: its entry, and when it was signed.
    anchored: Option<(i64, Instant)>,
}

impl Journal {
    fn new(verifier: Box<dyn Verify>) -> Self {
        Self { verifier, is_told: false, anchored: None }
    }

    /// After a turn; true if it was verified as far as it goes.
    fn settle(&mut self, config: &AuditorConfig, result: Result<(), AuditError>) -> bool {
        if result.is_ok() && self.verifier.is_at_end() {
            self.verifier.check_begun();
        }
        let report = self.verifier.report();
        let wrong = match (&report.divergence, &result) {
            (Some(divergence), _) => Some(format!("at {} (entry {}): {}", divergence.place, divergence.seq, divergence.what)),
            (None, Err(error @ AuditError::Unreadable { .. })) => Some(error.to_string()),
            (None, Err(error)) => {
                tracing::warn!(%error, "a journal cannot be read now; trying again");
                return false;
            }
            (None, Ok(())) => None,
        };
        self.measure(wrong.is_some());
        match wrong {
            Some(what) => self.tell(config, &what),
            None => {
                self.anchor(config).map_err(|error| tracing::error!(%error, "an anchor cannot be kept; trying again")).is_ok()
                    && self.verifier.is_at_end()
            }
        }
    }

    /// Tells it, once.
    fn tell(&mut self, config: &AuditorConfig, what: &str) -> bool {
        let Report { service, shard, .. } = self.verifier.report();
        self.is_told = self.is_told || tell(config, &format!("{service}/{shard}"), what);
        self.is_told
    }

    /// Signs the last entry, if there is a new one and it is time.
    fn anchor(&mut self, config: &AuditorConfig) -> std::io::Result<()> {
        let Some(signing) = &config.signing else { return Ok(()) };
        let now = clock::monotonic();
        let is_due = self.anchored.is_none_or(|(seq, at)| seq < self.verifier.last_seq() && now.duration_since(at) >= ANCHOR_EVERY);
        if let Some(anchor) = is_due.then(|| self.verifier.sign(&signing.key)).flatten() {
            signing.keep(&anchor)?;
            counter!("orrery_audit_anchors_total").increment(1);
            self.anchored = Some((anchor.seq, now));
        }
        Ok(())
    }

    fn measure(&self, is_wrong: bool) {
        let Report { service, shard, entries, applied_only, snapshots, .. } = self.verifier.report();
        let labels = [("service", (*service).to_owned()), ("shard", shard.to_string())];
        counter!("orrery_audit_entries_total", &labels).absolute(u64::try_from(entries - applied_only).unwrap_or_default());
        counter!("orrery_audit_unverified_total", &labels).absolute(u64::try_from(*applied_only).unwrap_or_default());
        counter!("orrery_audit_snapshots_total", &labels).absolute(u64::try_from(*snapshots).unwrap_or_default());
        gauge!("orrery_audit_verified_seq", &labels).set(self.verifier.last_seq() as f64);
        gauge!("orrery_audit_lag", &labels).set((self.verifier.committed_seq() - self.verifier.last_seq()).max(0) as f64);
        gauge!("orrery_audit_diverged", &labels).set(f64::from(u8::from(is_wrong)));
    }
}

/// One alert, and one line in the process's own log; true if the alert is written.
fn tell(config: &AuditorConfig, which: &str, what: &str) -> bool {
    tracing::error!(which, what, "a journal has diverged");
    let detail = format!("{which} has diverged {what}; `orrery audit verify` tells both sides");
    let alert = Alert { job: None, run: None, code: DIVERGED.into(), detail, at: clock::wall() };
    let told: Result<_, LogError> = config.log.append(vec![alert_record(&config.cluster, which, &alert)]);
    told.map_err(|error| tracing::warn!(%error, "the alert cannot be written now; trying again")).is_ok()
}
