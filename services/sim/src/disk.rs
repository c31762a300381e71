//! A shard's store on a simulated disk: what was written last is lost with the power, never with the process.

use crate::crash::{CrashPoints, Point};
use orrery_runtime::rows::{self, CHANGELOG_ID, HEAD, Head, full_key};
use orrery_runtime::store::{EachRow, Frozen, FullRow, RowBatch, Store, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
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
    seen: Rows,
    /// As the disk has it for certain.
    synced: Rows,
    unsynced: VecDeque<(RowBatch, i64)>,
    full: bool,
}

#[derive(Default, Clone)]
struct Rows {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    offset: Option<i64>,
}

impl Rows {
    fn apply(&mut self, batch: &RowBatch, offset: i64) {
        for (key, value) in batch {
            match value {
                Some(value) => drop(self.rows.insert(key.clone(), value.clone())),
                None => drop(self.rows.remove(key)),
            }
        }
        self.offset = Some(offset);
    }
}

impl Disk {
    /// The store on this disk.
    pub fn open(&self, name: String, crash: Arc<CrashPoints>) -> Box<dyn Store> {
        Box::new(SimStore { disk: self.clone(), name, crash })
    }

    /// Power is lost: `kept` of the last writes were on the disk, the others never will be.
    pub fn lose_power(&self, kept: usize) {
        let mut state = self.lock();
        for (batch, offset) in std::mem::take(&mut state.unsynced).into_iter().take(kept) {
            state.synced.apply(&batch, offset);
        }
        state.seen = state.synced.clone();
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
        let (Some(head), Some(offset)) = (state.seen.rows.get(&full_key(HEAD, &[])), state.seen.offset) else { return Ok(None) };
        let head = rows::HEAD_ROW.decode(head).map_err(|e| self.refused(format!("has an unreadable head: {e}")))?;
        Ok(Some((head, offset)))
    }

    fn write(&mut self, rows: &RowBatch, changelog_offset: i64) -> Result<(), StoreError> {
        self.crash.pass(Point::BeforeStore);
        {
            let mut state = self.disk.lock();
            if state.full {
                return Err(self.refused("is full (simulated)".into()));
            }
            state.seen.apply(rows, changelog_offset);
            state.unsynced.push_back((rows.clone(), changelog_offset));
            if state.unsynced.len() > UNSYNCED_MAX
                && let Some((batch, offset)) = state.unsynced.pop_front()
            {
                state.synced.apply(&batch, offset);
            }
        }
        self.crash.pass(Point::AfterStore);
        Ok(())
    }

    fn each_row(&self, row: &mut EachRow<'_>) -> Result<(), StoreError> {
        // Not under the lock: `row` may come back.
        let rows = self.disk.lock().seen.rows.clone();
        for (key, value) in &rows {
            if let Some((table, rest)) = key.split_first()
                && *table != HEAD
            {
                row(*table, rest, value)?;
            }
        }
        Ok(())
    }

    fn changelog_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.disk.lock().seen.rows.get(CHANGELOG_ID).map(|id| String::from_utf8_lossy(id).into_owned()))
    }

    fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        Ok(Box::new(FrozenRows(self.disk.lock().seen.rows.clone())))
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        let mut state = self.disk.lock();
        let full = state.full;
        *state = State { full, ..State::default() };
        Ok(())
    }
}

/// A copy of the rows.
struct FrozenRows(BTreeMap<Vec<u8>, Vec<u8>>);

impl Frozen for FrozenRows {
    fn rows_from(&self, key: &[u8], max_bytes: usize) -> Result<Vec<FullRow>, StoreError> {
        let mut left = max_bytes;
        let fits = move |(place, (key, value)): &(usize, (&Vec<u8>, &Vec<u8>))| {
            let bytes = key.len() + value.len();
            let fits = *place == 0 || bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        };
        let from = (Bound::Included(key), Bound::Unbounded);
        let rows = self.0.range::<[u8], _>(from).filter(|(key, _)| key.first() != Some(&HEAD)).enumerate().take_while(fits);
        Ok(rows.map(|(_, (key, value))| (key.clone(), value.clone())).collect())
    }
}
