//! The embedded log: one RocksDB, for `orrery standalone` and edge nodes.
//!
//! Writers queue up and the first one leads ([`combine`]): it gives offsets and checks fences for all who wait ([`group`]), writes
//! one batch, waits for the disk, publishes the new ends, rings the bells and answers. Readers see what is published, nothing else
//! ([`catalog`]). All writes of any kind hold the [`Ledger`], so they happen one after the other.
//!
//! A write that fails ends the log for this process: nobody knows what of it is on disk, and a second fsync would lie (protocol
//! §10.2). Every later call is refused; opening again recovers.

mod bytes;
mod catalog;
mod clean;
mod cleaner;
mod combine;
mod copying;
mod encoding;
mod group;
mod hold;
mod keys;
mod lock;
mod read;
mod rows;
mod salvage;
mod store;
mod topics;
mod verified;
mod witness;

pub use clean::CleanReport;
pub use cleaner::Cleaner;
pub use encoding::{COMMIT_BYTES, RECORD_BYTES};
pub use hold::{Clocks, Hold, Machine, Moment, OFF_MOST};
pub use salvage::Salvaged;
pub use store::{BLOCK_CACHE_BYTES, block_cache};
pub use topics::PARTITIONS;

use crate::bells::Bells;
use crate::pending::Pending;
use crate::{Bell, Commit, Fetch, Log, LogError, Topic, TopicPartition, Writer, clock};
use catalog::Catalog;
use combine::Combiner;
use encoding::Draft;
use group::{Group, Request};
use orrery_model::record::{NewRecord, Offset};
use orrery_model::time::Timestamp;
use orrery_model::topics::{Cleanup, Compaction};
use rocksdb::WriteBatch;
use rows::{EndRow, TopicRow};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use verified::Verified;
use witness::{Witness, Witnessed};

/// The log in one folder. Writers keep it open.
pub struct EmbeddedLog {
    inner: Arc<Inner>,
    /// Rung when the log is dropped, for the cleaner.
    dropped: Arc<Bell>,
    salvaged: Option<Salvaged>,
}

/// What may be set for a log; the defaults are the product's.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Compaction leaves younger records alone: 1 h, so that a reader that follows sees every version.
    pub compaction_lag_ms: i64,
    /// A tombstone stays this long: 7 d, the time a local store may be behind (protocol §9.1).
    pub tombstones_ms: i64,
    /// A partition is compacted when its new part is this share of the rest, in percent: 50, as Kafka's min.cleanable.dirty.ratio.
    pub dirty_percent: i64,
    /// Makes a new log of what can be read, if this one is damaged: a person has to want this.
    pub salvage: bool,
    /// Believes the wall clock, however far it is ahead of the last append: a person has to say so.
    pub accept_clock: bool,
    /// The machine's clocks.
    pub clocks: Arc<dyn Clocks>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        let Compaction { lag_ms, tombstones_ms } = Compaction::default();
        Self { compaction_lag_ms: lag_ms, tombstones_ms, dirty_percent: 50, salvage: false, accept_clock: false, clocks: Arc::new(Machine) }
    }
}

impl EmbeddedLog {
    /// Opens the log in this folder, making it if it is missing. One process at a time: others get [`LogError::InUse`].
    pub fn open(folder: &Path) -> Result<Arc<Self>, LogError> {
        Self::open_with(folder, EmbeddedOptions::default())
    }

    /// As [`Self::open`], with options.
    pub fn open_with(folder: &Path, options: EmbeddedOptions) -> Result<Arc<Self>, LogError> {
        let lock = lock::hold(folder)?;
        let salvaged = if options.salvage { salvage::salvage(folder)? } else { None };
        let inner = Inner::load(store::Store::open(folder)?, Some(lock), options)?;
        Ok(Self::over(inner, salvaged))
    }

    /// Opens what is in the folder now, also while another process writes there. Later records are not seen; writes are refused
    /// with [`LogError::ReadOnly`].
    pub fn open_read_only(folder: &Path) -> Result<Arc<Self>, LogError> {
        Inner::load(store::Store::open_read_only(folder)?, None, EmbeddedOptions::default()).map(|inner| Self::over(inner, None))
    }

    /// What its salvage came to, if this opening was one.
    pub const fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_ref()
    }

    /// Reads what was read whole before once more, and compares; damage is [`Log::trouble`] from then on. The cleaner does so by
    /// itself, slowly.
    pub fn verify(&self) -> Result<(), LogError> {
        self.inner.verify(&mut || true)
    }

    fn over(inner: Inner, salvaged: Option<Salvaged>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::new(inner), dropped: Arc::default(), salvaged })
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.dropped.ring();
    }
}

impl Log for EmbeddedLog {
    fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        self.inner.ensure_topic(name, partitions, cleanup)
    }
    fn topic(&self, name: &str) -> Result<Option<Topic>, LogError> {
        self.inner.healthy()?;
        Ok(self.inner.catalog().named(name).map(|(_, topic)| topic.clone()))
    }
    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        self.inner.healthy()?;
        let mut topics: Vec<Topic> = self.inner.catalog().entries().map(|(_, entry)| entry.topic.clone()).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }
    fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.inner.delete_topic(name)
    }
    fn fence(&self, transactional_id: &str) -> Result<Box<dyn Writer>, LogError> {
        let epoch = self.inner.fence(transactional_id)?;
        Ok(Box::new(EmbeddedWriter { inner: Arc::clone(&self.inner), id: transactional_id.to_owned(), epoch }))
    }
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        match self.inner.commit(records, None)? {
            Commit::Committed(offsets) => Ok(offsets),
            other => unreachable!("only writers are fenced, but an append was answered {other:?}"),
        }
    }
    fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        self.inner.read(at, from, max_bytes).map_err(|error| self.inner.damaged(error))
    }
    fn start_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.inner.healthy()?;
        self.inner.catalog().at(at).map(|(_, span)| span.start)
    }
    fn end_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.inner.healthy()?;
        self.inner.catalog().at(at).map(|(_, span)| span.end)
    }
    fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.inner.healthy()?;
        let (place, span) = self.inner.catalog().at(at)?;
        self.inner.offset_at(place, span, time)
    }
    fn shares_clock(&self) -> bool {
        true
    }
    fn wall(&self) -> Timestamp {
        self.inner.wall()
    }
    fn holds_ticks(&self) -> bool {
        self.inner.clock_trouble().is_some()
    }
    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }
    fn lost(&self, at: &TopicPartition) -> Result<Vec<Range<Offset>>, LogError> {
        self.inner.healthy()?;
        let (place, _) = self.inner.catalog().at(at)?;
        salvage::lost_of(&self.inner.store, place)
    }
    fn unacknowledged(&self) -> Duration {
        self.inner.pending.oldest()
    }
    fn probe(&self) -> Result<(), LogError> {
        self.inner.probe()
    }
    fn ring_for(&self, topics: &[&str], bell: &Arc<Bell>) {
        topics.iter().for_each(|topic| self.inner.bells.add(topic, bell));
    }
}

/// Carries its epoch; the newest one is in the ledger.
struct EmbeddedWriter {
    inner: Arc<Inner>,
    id: String,
    epoch: u64,
}

impl Writer for EmbeddedWriter {
    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Commit, LogError> {
        self.inner.commit(records, Some((self.id.clone(), self.epoch)))
    }
}

/// What the log and its writers share. Fields drop in order: the database closes before the lock is given up.
struct Inner {
    store: store::Store,
    /// None if the log is read-only.
    lock: Option<File>,
    options: EmbeddedOptions,
    catalog: RwLock<Catalog>,
    ledger: Mutex<Ledger>,
    combiner: Combiner<Request, Result<Commit, LogError>>,
    bells: Bells,
    pending: Pending,
    poison: OnceLock<String>,
    /// The first damage that was found.
    damage: OnceLock<String>,
    verified: Mutex<Verified>,
    /// None if the log is read-only.
    hold: Option<Mutex<Hold>>,
    /// Held while cleaning, so that only one thread cleans.
    cleaning: Mutex<()>,
}

/// What writes go by. Whoever writes holds it until the write is published.
struct Ledger {
    /// Epoch of the newest writer of each transactional id.
    fences: BTreeMap<String, u64>,
    /// Append time of the newest record; time does not go back for readers, whatever the clock does.
    appended: Timestamp,
    /// Number for the next topic.
    next_topic: u32,
    /// None if the log is read-only.
    witness: Option<Arc<Witness>>,
}

/// Groups close at this size: an fsync of 4 MiB takes longer than all that can be saved by waiting for more.
const GROUP_BYTES: usize = 4 << 20;
/// How RocksDB says that what it read is not what was written.
const DAMAGE: &str = "Corruption";
/// Layout of the rows; another one is not read.
const FORMAT: u8 = 1;

impl Inner {
    fn load(store: store::Store, lock: Option<File>, options: EmbeddedOptions) -> Result<Self, LogError> {
        check_format(&store, lock.is_some())?;
        let mut verified = Verified::read(store.folder());
        if lock.is_some() {
            verified.take_new(&store)?;
        }
        let (catalog, appended) = Catalog::load(&store)?;
        let (hold, witness) = match &lock {
            Some(_) => {
                let witnessed = Witnessed::read(store.folder());
                witnessed.check(&store, &catalog)?;
                let hold = Hold::begin(&*options.clocks, appended, witnessed.moment, options.accept_clock);
                let witness = write_witness(&store, &catalog, appended, hold.last());
                (Some(hold), Some(witness.map_err(|error| store.cannot(format!("its witness cannot be written: {error}")))?))
            }
            None => (None, None),
        };
        let mut fences = BTreeMap::new();
        for (id, value) in store.named(keys::FENCE)? {
            let epoch = value.try_into().map_err(|value| store.damaged(format!("the epoch of writer {id} is {value:02x?}")))?;
            fences.insert(id, u64::from_be_bytes(epoch));
        }
        let next_topic = store.row(&keys::NEXT_TOPIC_KEY, |value| value.try_into().ok().map(u32::from_be_bytes))?;
        Ok(Self {
            store,
            lock,
            options,
            catalog: RwLock::new(catalog),
            ledger: Mutex::new(Ledger { fences, appended, next_topic, witness }),
            combiner: Combiner::new(GROUP_BYTES),
            bells: Bells::default(),
            pending: Pending::default(),
            poison: OnceLock::new(),
            damage: OnceLock::new(),
            verified: Mutex::new(verified),
            hold: hold.map(Mutex::new),
            cleaning: Mutex::new(()),
        })
    }

    /// Commits through the combiner; see [`Writer::commit`].
    fn commit(&self, records: Vec<NewRecord>, claim: Option<(String, u64)>) -> Result<Commit, LogError> {
        self.writable()?;
        let draft = Draft::new(records)?;
        let _waiting = self.pending.begin();
        let weight = draft.bytes.len();
        let answer = self.combiner.submit(Request { draft, claim }, weight, |group| self.serve(group));
        answer.unwrap_or_else(|| Err(self.poisoned("a thread panicked while it wrote for a group")))
    }

    /// Serves one group as its leader. If its write fails, all are told so.
    fn serve(&self, requests: Vec<Request>) -> Vec<Result<Commit, LogError>> {
        let count = requests.len();
        self.write_group(requests).unwrap_or_else(|_| (0..count).map(|_| Err(self.poisoned("a write failed"))).collect())
    }

    /// One batch, one fsync for the whole group; only then are the ends published. Fails only if the log is poisoned.
    fn write_group(&self, requests: Vec<Request>) -> Result<Vec<Result<Commit, LogError>>, LogError> {
        let mut ledger = self.ledger()?;
        let appended = ledger.appended.max(self.wall());
        let catalog = self.catalog();
        let mut group = Group::new(&catalog, &ledger.fences, appended);
        let answers = requests.into_iter().map(|request| group.take(request)).collect();
        let (batch, ends) = group.close();
        drop(catalog);
        if !ends.is_empty() {
            self.write(&mut ledger, batch)?;
            ledger.appended = appended;
            self.tell_witness(&ledger, &ends);
            self.publish(&ends);
        }
        Ok(answers)
    }

    /// What is on disk is witnessed. A witness that cannot be written tells of less than there is, which costs nothing.
    fn tell_witness(&self, ledger: &Ledger, ends: &[(keys::Place, Offset)]) {
        let Some(witness) = &ledger.witness else { return };
        let rows = ends.iter().map(|(place, end)| witness.tell(*place, EndRow { end: *end, appended: ledger.appended }));
        if let Err(error) = rows.chain([witness.tell_when(&self.moment())]).collect::<std::io::Result<()>>() {
            tracing::warn!(%error, "the witness of the log's ends was not written");
        }
    }

    /// What time it is for the log; see [`hold`].
    fn wall(&self) -> Timestamp {
        self.held().map_or_else(clock::wall, |mut hold| hold.now(&*self.options.clocks))
    }

    /// The log's time as it was last asked for.
    fn moment(&self) -> Moment {
        self.held().map(|hold| hold.last().clone()).unwrap_or_default()
    }

    /// Why the clock is not believed, if it is not.
    fn clock_trouble(&self) -> Option<String> {
        self.held()?.why()
    }

    fn held(&self) -> Option<MutexGuard<'_, Hold>> {
        self.hold.as_ref().map(|hold| hold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a written group readable, at once for all partitions, and wakes those who wait for it.
    fn publish(&self, ends: &[(keys::Place, Offset)]) {
        let mut catalog = self.catalog_mut();
        for (place, end) in ends {
            catalog.span_mut(*place).expect("topics are deleted only by who holds the ledger, which this group holds").end = *end;
        }
        drop(catalog);
        let catalog = self.catalog();
        let mut rung = None;
        for (place, _) in ends.iter().filter(|(place, _)| rung.replace(place.topic) != Some(place.topic)) {
            let entry = catalog.entry(place.topic).expect("the ledger is still held");
            self.bells.ring(&entry.topic.name);
        }
    }

    /// Raises the epoch of a transactional id, durably.
    fn fence(&self, id: &str) -> Result<u64, LogError> {
        let _waiting = self.pending.begin();
        let mut ledger = self.ledger()?;
        let epoch = ledger.fences.get(id).copied().unwrap_or(0).checked_add(1).expect("nobody fences 2^64 times");
        let mut batch = WriteBatch::default();
        batch.put(keys::named(keys::FENCE, id), epoch.to_be_bytes());
        self.write(&mut ledger, batch)?;
        ledger.fences.insert(id.to_owned(), epoch);
        Ok(epoch)
    }

    /// Writes the format again, which changes nothing, and waits for the disk as every write does.
    fn probe(&self) -> Result<(), LogError> {
        let _waiting = self.pending.begin();
        let mut ledger = self.ledger()?;
        let mut batch = WriteBatch::default();
        batch.put(keys::FORMAT_KEY, [FORMAT]);
        self.write(&mut ledger, batch)
    }

    /// Writes and syncs. A failure poisons the log: what is on disk now is unknown, so nothing may follow it.
    fn write(&self, _held: &mut Ledger, batch: WriteBatch) -> Result<(), LogError> {
        self.store.write(batch).map_err(|error| self.poisoned(error.as_ref()))
    }

    /// The ledger, if the log can be written.
    fn ledger(&self) -> Result<MutexGuard<'_, Ledger>, LogError> {
        self.writable()?;
        let ledger = self.ledger.lock().map_err(|_| self.poisoned("a thread panicked while it wrote"))?;
        self.healthy().map(|()| ledger)
    }

    /// Refuses if the log was opened to be read only.
    fn writable(&self) -> Result<(), LogError> {
        self.lock.as_ref().map(|_| ()).ok_or(LogError::ReadOnly)
    }

    /// Refuses if a write has failed.
    fn healthy(&self) -> Result<(), LogError> {
        self.poison.get().map_or(Ok(()), |why| Err(LogError::Poisoned { why: why.clone() }))
    }

    /// Ends the log for this reason, or for the first one there was.
    fn poisoned(&self, why: &str) -> LogError {
        let mut first = false;
        let why = self.poison.get_or_init(|| {
            first = true;
            why.to_owned()
        });
        if first {
            if why.contains(DAMAGE) {
                self.forget_verified();
            }
            tracing::error!(why, "the log takes nothing more");
            self.bells.ring_all();
        }
        LogError::Poisoned { why: why.clone() }
    }

    /// The catalog is changed in single steps, so it is whole even if a holder of the lock panicked.
    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a witness of the topics and where they end.
fn write_witness(store: &store::Store, catalog: &Catalog, appended: Timestamp, moment: &Moment) -> std::io::Result<Arc<Witness>> {
    let topics: Vec<TopicRow> = catalog.entries().map(|(number, entry)| TopicRow { number, topic: entry.topic.clone() }).collect();
    let ends = catalog.entries().flat_map(|(topic, entry)| {
        let rows = entry.spans.iter().map(move |span| EndRow { end: span.end, appended });
        (0..).zip(rows).map(move |(partition, row)| (keys::Place { topic, partition }, row))
    });
    Witness::write(store.folder(), &topics, &ends.collect(), moment).map(Arc::new)
}

/// Marks a new store with the format, and refuses one of another format.
fn check_format(store: &store::Store, writable: bool) -> Result<(), LogError> {
    match store.get(&keys::FORMAT_KEY)? {
        Some(format) if format == [FORMAT] => Ok(()),
        Some(format) => Err(store.damaged(format!("its format is {format:?}, not {FORMAT}; open it with the orrery that made it"))),
        None if !writable => Ok(()),
        None => {
            let mut batch = WriteBatch::default();
            batch.put(keys::FORMAT_KEY, [FORMAT]);
            store.write(batch).map_err(|e| store.damaged(format!("it cannot be written: {e}")))
        }
    }
}
