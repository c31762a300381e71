//! The thin thread around an owner: turns it, waits for the bell, and commits on a second thread.
//!
//! The committer commits, then writes the store, while the next batch is handled (§10.3). On anything unclean the shard's
//! memory is dropped and the shard is acquired again with a jittered back-off; a panic of the decider is treated the same way,
//! so that an input is never skipped silently. One that was fenced keeps away for longer.

mod committer;
mod giving_up;
mod hosting;
mod snapshotting;
mod standing_by;

pub use hosting::{Host, HostConfig};
pub use standing_by::stand_by;

use crate::committing::Committing;
use crate::messages::Cluster;
use crate::owner::{Claim, Lost, Owner, Setting, Turn};
use crate::stamp::Now;
use crate::store::{RocksStore, Store};
use crate::suspects::{self, NoteFile};
use committer::Committer;
use giving_up::GivingUp;
use orrery_log::{Bell, Log, LogError, clock};
use orrery_model::decider::Decider;
use orrery_model::messages::Member;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait without looking around.
const WAIT_MOST: Duration = Duration::from_secs(1);
/// A shard's thread looks around each second, unless a commit hangs or a decision takes its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a shard's thread needs.
pub struct ShardConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: Cluster,
    /// Shard number.
    pub shard: u32,
    /// Assignment that it is owned by.
    pub generation: i64,
    /// Folder of the local store.
    pub folder: PathBuf,
    /// This member, as it announces itself.
    pub member: Arc<Member>,
    /// Draws a lineage for a shard that is new.
    pub draw_lineage: fn() -> String,
}

impl ShardConfig {
    /// Says which record the shard may have died of; beside the store, which may be begun anew.
    fn suspects(&self) -> NoteFile {
        NoteFile(self.folder.with_extension("suspect"))
    }
}

/// A running shard.
pub struct ShardHandle {
    signs: Arc<Signs>,
    thread: Option<JoinHandle<()>>,
}

/// What a shard's thread and the holder of its handle tell each other.
struct Signs {
    /// To the thread: end.
    stop: AtomicBool,
    /// From the thread: see [`ShardHandle::is_ready`].
    ready: AtomicBool,
    /// From the thread: see [`ShardHandle::is_unfit`].
    unfit: AtomicBool,
    /// From the thread: when it last looked around.
    looked: Mutex<Instant>,
    /// From the thread: how often the shard was given up.
    giving_up: Mutex<GivingUp>,
    /// Wakes the thread.
    bell: Arc<Bell>,
}

impl Signs {
    fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
    fn looks_around(&self) {
        *lock(&self.looked) = clock::monotonic();
    }
    fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

impl ShardHandle {
    /// True once the shard has been acquired (and while it is held); of a standby, while its store is at the changelog's end.
    pub fn is_ready(&self) -> bool {
        self.signs.ready.load(Ordering::Acquire)
    }
    /// True if this member could not hold the shard for a reason of its own; it tries on, but another one had better hold it.
    pub fn is_unfit(&self) -> bool {
        self.signs.unfit.load(Ordering::Acquire)
    }
    /// Why it does not do what it is for, in words: it is not held, it has been at one step for too long (a commit that hangs, a restore
    /// or a decision that takes its time), or it is given up again and again.
    pub fn trouble(&self) -> Option<String> {
        let silent = lock(&self.signs.looked).elapsed();
        if let Some(given_up) = lock(&self.signs.giving_up).trouble(clock::monotonic()) {
            return Some(given_up);
        }
        if !self.is_ready() {
            return Some("is not held yet".into());
        }
        (silent > PATIENCE).then(|| format!("has been at one step for {} s", silent.as_secs()))
    }
    /// Lets the thread end after the transaction under way, without waiting for that.
    pub fn tell_to_stop(&self) {
        self.signs.stop.store(true, Ordering::Release);
        self.signs.bell.ring();
    }
    /// Ends the thread after the transaction under way.
    pub fn stop(mut self) {
        self.end();
    }
    fn end(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a decider's shard on its own thread.
pub fn start<D: Decider>(config: ShardConfig) -> Result<ShardHandle, LogError> {
    spawn(format!("{}-{}", D::SERVICE, config.shard), &config.log.clone(), move |signs| supervise::<D>(&config, signs))
}

/// A thread that ends when it is told to stop, or by itself; the bell wakes it.
fn spawn(name: String, log: &Arc<dyn Log>, run: impl FnOnce(&Signs) + Send + 'static) -> Result<ShardHandle, LogError> {
    let off = || AtomicBool::new(false);
    let (looked, giving_up) = (Mutex::new(clock::monotonic()), Mutex::default());
    let signs = Arc::new(Signs { stop: off(), ready: off(), unfit: off(), looked, giving_up, bell: log.bell(&[]) });
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn({
            let signs = signs.clone();
            move || run(&signs)
        })
        .map_err(|e| LogError::Poisoned { why: format!("no thread for a shard: {e}") })?;
    Ok(ShardHandle { signs, thread: Some(thread) })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Owns the shard again and again, until stopped.
fn supervise<D: Decider>(config: &ShardConfig, signs: &Signs) {
    let began = clock::monotonic();
    let now_us = || i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
    let (mut claim, mut store_failed) = (Claim::default(), false);
    while !signs.is_to_stop() {
        claim.acquiring(now_us());
        let owned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| own::<D>(config, signs, store_failed)));
        signs.set_ready(false);
        let lost = match owned {
            Ok(Ok(())) => return,
            Ok(Err(lost)) => Some(lost),
            Err(_panic) => None,
        };
        store_failed = lost.as_ref().is_some_and(Lost::is_of_store);
        let why = lost.as_ref().map_or_else(|| "the decider panicked".to_owned(), ToString::to_string);
        tracing::error!(service = D::SERVICE, shard = config.shard, why, "the shard is given up");
        if let (None, Some(record)) = (&lost, suspects::in_hand(&config.suspects())) {
            let remedy = format!("orrery dlq quarantine {}/{} {record}", D::SERVICE, config.shard);
            tracing::error!(service = D::SERVICE, shard = config.shard, %record, remedy, "it died while it took this record");
        }
        metrics::counter!("orrery_shard_restarts_total", "service" => D::SERVICE).increment(1);
        let (is_told, trouble) = {
            let (mut giving_up, now) = (lock(&signs.giving_up), clock::monotonic());
            (giving_up.again(&why, now), giving_up.trouble(now))
        };
        if let (true, Some(trouble)) = (is_told, trouble) {
            giving_up::tell(config, D::SERVICE, lost.as_ref(), &trouble);
        }
        signs.unfit.store(lost.as_ref().is_some_and(Lost::is_members_own), Ordering::Release);
        claim.lost(lost.as_ref(), config.generation, now_us(), clock::wall().0.to_le_bytes()[0]);
        let not_before_us = claim.not_before_us(config.generation);
        while !signs.is_to_stop() && now_us() < not_before_us {
            signs.looks_around();
            signs.bell.wait(Duration::from_micros((not_before_us - now_us()).max(0).unsigned_abs()).min(WAIT_MOST));
        }
    }
}

/// One ownership, from acquisition to stop or loss. A store that failed in the one before is begun anew: it is a cache.
fn own<D: Decider>(config: &ShardConfig, signs: &Signs, store_failed: bool) -> Result<(), Lost> {
    let bell = &signs.bell;
    let began = clock::monotonic();
    let now = || Now { wall: config.log.wall(), monotonic_us: began.elapsed().as_micros() as i64 };
    let setting = Setting {
        log: config.log.clone(),
        cluster: config.cluster.clone(),
        shard: config.shard,
        member: config.member.clone(),
        generation: config.generation,
        suspects: Some(Arc::new(config.suspects())),
    };
    let open = || RocksStore::open_after(&config.folder, store_failed).map(|store| Box::new(store) as Box<dyn Store>);
    let mut owner = Owner::<D, Committer>::acquire(&setting, &(config.draw_lineage)(), &now, &open, bell, |writer, store| {
        let committing = Committing::new::<D>(config.log.clone(), &config.cluster, config.shard, writer, store);
        Committer::start(format!("{}-{}-commit", D::SERVICE, config.shard), committing, config.log.clone(), bell.clone())
    })?;
    owner.commits().settle()?;
    signs.set_ready(true);
    lock(&signs.giving_up).holds(clock::monotonic());
    signs.unfit.store(false, Ordering::Release);
    tracing::info!(
        service = D::SERVICE,
        shard = config.shard,
        found_store = owner.found_store(),
        ms = began.elapsed().as_millis() as u64,
        "acquired"
    );
    while !signs.is_to_stop() {
        signs.looks_around();
        match owner.turn(&now)? {
            Turn::Idle(wait) => drop(bell.wait(wait.min(WAIT_MOST))),
            // What arrives meanwhile could not be committed earlier: it makes one transaction, not one for each arrival.
            Turn::Went => owner.commits().settle()?,
            // There is enough for the next transaction while this one is under way.
            Turn::Full => {}
        }
    }
    owner.commits().settle()
}
