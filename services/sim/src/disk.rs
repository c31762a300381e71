//! A shard's store on a simulated disk: what was written last is lost with the power, never with the process.

use crate::crash::{CrashPoints, Point};
use orrery_model::payload::Payload;
use orrery_runtime::rows::{self, CHANGELOG_ID, HEAD, Head, full_key};
use orrery_runtime::store::{EachRow, FirstAndLast, Frozen, FullRow, KeyRange, RowBatch, Store, StoreError};
use orrery_runtime::suspects::Note;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writes that the disk may still lose.
const UNSYNCED_MAX: usize = 16;

/// The disk; it outlives the process that uses it.
#[derive(Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// As the process sees it.
    rows: BTreeMap<Payload, Payload>,
    offset: Option<i64>,
    /// What takes back each of the last writes, the newest last.
    undo: VecDeque<Undo>,
    full: bool,
    /// What the shard has in hand, and what this said before.
    note: Option<String>,
    note_before: Option<String>,
}

/// The rows that a write replaced, as they were, and the offset before it.
struct Undo {
    rows: RowBatch,
    offset: Option<i64>,
}

impl State {
    fn write(&mut self, batch: &RowBatch, offset: i64) {
        let replaced = batch.iter().map(|(key, value)| {
            let old = match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
            (key.clone(), old)
        });
        let rows = replaced.collect();
        self.undo.push_back(Undo { rows, offset: self.offset.replace(offset) });
        if self.undo.len() > UNSYNCED_MAX {
            self.undo.pop_front();
        }
    }

    fn take_back(&mut self, undo: Undo) {
        for (key, old) in undo.rows.into_iter().rev() {
            match old {
                Some(old) => drop(self.rows.insert(key, old)),
                None => drop(self.rows.remove(&key)),
            }
        }
        self.offset = undo.offset;
    }
}

impl Disk {
    /// The store on this disk.
    pub fn open(&self, name: String, crash: Arc<CrashPoints>) -> Box<dyn Store> {
        Box::new(SimStore { disk: self.clone(), name, crash })
    }

    /// What a shard has in hand, as a process writes it down while it is `running`.
    pub fn note(&self, running: Arc<AtomicBool>) -> Arc<dyn Note> {
        Arc::new(SimNote { disk: self.clone(), running })
    }

    /// Power is lost, and a note's last change with it: `kept` of the last writes were on the disk, the others never will be.
    pub fn lose_power(&self, kept: usize) {
        let mut state = self.lock();
        state.note = state.note_before.take();
        let lost = state.undo.len().saturating_sub(kept);
        for undo in std::mem::take(&mut state.undo).into_iter().rev().take(lost) {
            state.take_back(undo);
        }
    }

    /// Everything on it is gone.
    pub fn replace(&self) {
        *self.lock() = State::default();
    }

    /// A full disk takes no more writes.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SimStore {
    disk: Disk,
    name: String,
    crash: Arc<CrashPoints>,
}

impl Store for SimStore {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn head(&self) -> Result<Option<(Head, i64)>, StoreError> {
        let state = self.disk.lock();
        let (Some(head), Some(offset)) = (state.rows.get(full_key(HEAD, &[]).as_slice()), state.offset) else { return Ok(None) };
        let head = rows::HEAD_ROW.decode(head.as_bytes()).map_err(|e| self.refused(format!("has an unreadable head: {e}")))?;
        Ok(Some((head, offset)))
    }

    fn write(&mut self, rows: &RowBatch, changelog_offset: i64) -> Result<(), StoreError> {
        self.crash.pass(Point::BeforeStore);
        {
            let mut state = self.disk.lock();
            if state.full {
                return Err(self.refused("is full (simulated)".into()));
            }
            state.write(rows, changelog_offset);
        }
        self.crash.pass(Point::AfterStore);
        Ok(())
    }

    fn each_row(&self, keys: &KeyRange, row: &mut EachRow<'_>) -> Result<(), StoreError> {
        // Not under the lock: `row` may come back.
        let rows: Vec<_> = self.disk.lock().rows.range(bounds(keys)).map(|(key, value)| (key.clone(), value.clone())).collect();
        rows.iter().try_for_each(|(key, value)| row(key.as_bytes()[0], &key.as_bytes()[1..], value.as_bytes()))
    }

    fn ends(&self, keys: &KeyRange) -> Result<Option<FirstAndLast>, StoreError> {
        let state = self.disk.lock();
        let mut found = state.rows.range(bounds(keys)).map(|(key, _)| key.as_bytes().to_vec());
        let Some(first) = found.next() else { return Ok(None) };
        let last = found.next_back().unwrap_or_else(|| first.clone());
        Ok(Some((first, last)))
    }

    fn changelog_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.disk.lock().rows.get(CHANGELOG_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()))
    }

    fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        Ok(Box::new(FrozenRows(self.disk.lock().rows.clone())))
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        let mut state = self.disk.lock();
        let State { full, note, note_before, .. } = std::mem::take(&mut *state);
        *state = State { full, note, note_before, ..State::default() };
        Ok(())
    }
}

/// A note beside the store. A process that is gone writes nothing more, whatever is dropped with it.
struct SimNote {
    disk: Disk,
    running: Arc<AtomicBool>,
}

impl std::fmt::Debug for SimNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimNote")
    }
}

impl Note for SimNote {
    fn read(&self) -> Option<String> {
        self.disk.lock().note.clone()
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        if !self.running.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.disk.lock();
        if state.full {
            return Err(ErrorKind::StorageFull.into());
        }
        state.note_before = state.note.replace(text.to_owned());
        Ok(())
    }
}

fn bounds(keys: &KeyRange) -> (Bound<Payload>, Bound<Payload>) {
    let payload = |key: &Vec<u8>| Payload::from(key.as_slice());
    (Bound::Included(payload(&keys.from)), keys.to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(payload(to))))
}

/// A copy of the rows.
struct FrozenRows(BTreeMap<Payload, Payload>);

impl Frozen for FrozenRows {
    fn rows_from(&self, key: &[u8], max_bytes: usize) -> Result<Vec<FullRow>, StoreError> {
        let mut left = max_bytes;
        let fits = move |(place, (key, value)): &(usize, (&Payload, &Payload))| {
            let bytes = key.as_bytes().len() + value.as_bytes().len();
            let fits = *place == 0 || bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        };
        let from = (Bound::Included(key), Bound::Unbounded);
        let rows = self.0.range::<[u8], _>(from).filter(|(key, _)| key.as_bytes().first() != Some(&HEAD)).enumerate().take_while(fits);
        Ok(rows.map(|(_, (key, value))| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect())
    }
}
