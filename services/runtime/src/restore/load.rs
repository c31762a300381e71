//! Loads a store's rows into a decider: several threads share the pieces of a large store's tables, as whoever waits for a failover
//! waits for this. The rows' hashes are summed up, so that their order does not matter (§9.4).

use super::AcquireError;
use crate::rows::{self, Mark, Position};
use crate::shard::Restored;
use crate::statehash::StateHash;
use crate::store::{KeyRange, RowBatch, Store, StoreError};
use orrery_model::decider::Decider;
use orrery_model::table::{FIRST_DECIDER_TABLE, Part, Rows};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Fewer rows are loaded before another thread has begun.
const SHARED_FROM_ROWS: i64 = 20_000;
/// More of them wait for memory.
const THREADS_MOST: usize = 4;
/// Into how many pieces a table is divided at most, for each of a few threads to have the last one at about the same time.
const PIECES_MOST: usize = 16;

/// Loads every row of the store into a decider and sums them up.
pub(super) fn load<D: Decider>(store: &dyn Store) -> Result<Restored<D>, AcquireError> {
    let head = store.head()?.map(|(head, _)| head).unwrap_or_default();
    let (positions, marks) = (positions(store)?, marks(store)?);
    let threads = if head.rows < SHARED_FROM_ROWS { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let mut decider = D::default();
    let hash = load_tables(store, decider.tables(), threads.min(THREADS_MOST))?;
    Ok(Restored { decider, head, hash, positions, marks, moved: BTreeSet::new(), taken_back: RowBatch::new() })
}

fn positions(store: &dyn Store) -> Result<BTreeMap<(Arc<str>, u32), Position>, StoreError> {
    let mut found = BTreeMap::new();
    store.each_row(&KeyRange::of_tables(rows::POSITIONS..=rows::POSITIONS), &mut |table, key, value| {
        let (topic, partition) = rows::read_position_key(key).ok_or_else(|| unreadable(store, table, "its key"))?;
        found.insert((topic.into(), partition), rows::POSITION_ROW.decode(value).map_err(|e| unreadable(store, table, e))?);
        Ok(())
    })?;
    Ok(found)
}

fn marks(store: &dyn Store) -> Result<BTreeMap<Vec<u8>, Mark>, StoreError> {
    let mut found = BTreeMap::new();
    store.each_row(&KeyRange::of_tables(rows::MARKS..=rows::MARKS), &mut |table, key, value| {
        found.insert(key.to_vec(), rows::MARK_ROW.decode(value).map_err(|e| unreadable(store, table, e))?);
        Ok(())
    })?;
    Ok(found)
}

/// Each thread takes the next piece until there is none.
fn load_tables(store: &dyn Store, mut tables: Vec<&mut dyn Rows>, threads: usize) -> Result<StateHash, StoreError> {
    tables.sort_by_key(|table| table.tag());
    let keys = keys_of(&tables);
    let mut pieces = Vec::new();
    for (table, keys) in tables.iter_mut().zip(keys) {
        let keys = if threads > 1 { divided(store, keys)? } else { vec![keys] };
        let parts = table.parts(keys.len());
        pieces.extend(keys.into_iter().zip(parts));
    }
    let pieces = Mutex::new(pieces.into_iter());
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let load = || {
        let mut hash = StateHash::default();
        while let Some((keys, mut part)) = next() {
            load_piece(store, &keys, &mut *part, &mut hash)?;
        }
        Ok(hash)
    };
    let hash = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(load)).collect();
        let own: Result<StateHash, StoreError> = load();
        others.into_iter().try_fold(own?, |sum, other| {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(sum.plus(&other))
        })
    });
    drop(pieces);
    tables.into_iter().for_each(Rows::join_parts);
    hash
}

/// Every tag of deciders is some table's, which refuses those that are not its own: they are of a version that this one does not know.
fn keys_of(tables: &[&mut dyn Rows]) -> Vec<KeyRange> {
    let next: Vec<u8> = tables.iter().skip(1).map(|table| table.tag()).collect();
    let from = std::iter::once(FIRST_DECIDER_TABLE).chain(next.iter().copied());
    let to = next.iter().map(|next| next - 1).chain([u8::MAX]);
    from.zip(to).map(|(from, to)| KeyRange::of_tables(from..=to)).collect()
}

/// Divides a table by the first byte in which its keys differ: ids are of random letters, offsets count up.
fn divided(store: &dyn Store, keys: KeyRange) -> Result<Vec<KeyRange>, StoreError> {
    let Some((first, last)) = store.ends(&keys)? else { return Ok(vec![keys]) };
    let same = first.iter().zip(&last).take_while(|(one, other)| one == other).count();
    let (Some(low), Some(high)) = (first.get(same), last.get(same)) else { return Ok(vec![keys]) };
    let step = usize::from(high - low).div_ceil(PIECES_MOST).max(1);
    let before = (*low..=*high).step_by(step).skip(1).map(|byte| [&first[..same], &[byte]].concat());
    Ok(keys.divided(before.collect()))
}

fn load_piece(store: &dyn Store, keys: &KeyRange, part: &mut dyn Part, hash: &mut StateHash) -> Result<(), StoreError> {
    store.each_row(keys, &mut |tag, key, value| {
        hash.add(tag, key, value);
        part.load(tag, key, value).map_err(|e| unreadable(store, tag, e))
    })
}

fn unreadable(store: &dyn Store, table: u8, why: impl std::fmt::Display) -> StoreError {
    store.refused(format!("has an unreadable row in table {table}: {why}"))
}
