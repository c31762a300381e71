//! Loads a store's rows into a decider, each table by itself: several threads share the tables of a large store, as whoever waits for
//! a failover waits for this. The rows' hashes are summed up, so that their order does not matter (§9.4).

use super::AcquireError;
use crate::rows::{self, Mark, Position};
use crate::shard::Restored;
use crate::statehash::StateHash;
use crate::store::{Store, StoreError};
use orrery_model::decider::Decider;
use orrery_model::table::{FIRST_DECIDER_TABLE, Rows, load_row};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

/// Fewer rows are loaded before another thread has begun.
const SHARED_FROM_ROWS: i64 = 20_000;
/// A decider has two or three large tables.
const THREADS_MOST: usize = 3;

/// Loads every row of the store into a decider and sums them up.
pub(super) fn load<D: Decider>(store: &dyn Store) -> Result<Restored<D>, AcquireError> {
    let head = store.head()?.map(|(head, _)| head).unwrap_or_default();
    let (positions, marks) = (positions(store)?, marks(store)?);
    let threads = if head.rows < SHARED_FROM_ROWS { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let mut decider = D::default();
    let hash = load_tables(store, decider.tables(), threads.min(THREADS_MOST))?;
    Ok(Restored { decider, head, hash, positions, marks, moved: BTreeSet::new() })
}

fn positions(store: &dyn Store) -> Result<BTreeMap<(Arc<str>, u32), Position>, StoreError> {
    let mut found = BTreeMap::new();
    store.each_row(rows::POSITIONS..=rows::POSITIONS, &mut |table, key, value| {
        let (topic, partition) = rows::read_position_key(key).ok_or_else(|| unreadable(store, table, "its key"))?;
        found.insert((topic.into(), partition), rows::POSITION_ROW.decode(value).map_err(|e| unreadable(store, table, e))?);
        Ok(())
    })?;
    Ok(found)
}

fn marks(store: &dyn Store) -> Result<BTreeMap<Vec<u8>, Mark>, StoreError> {
    let mut found = BTreeMap::new();
    store.each_row(rows::MARKS..=rows::MARKS, &mut |table, key, value| {
        found.insert(key.to_vec(), rows::MARK_ROW.decode(value).map_err(|e| unreadable(store, table, e))?);
        Ok(())
    })?;
    Ok(found)
}

/// Each thread takes the next table until there is none.
fn load_tables(store: &dyn Store, tables: Vec<&mut dyn Rows>, threads: usize) -> Result<StateHash, StoreError> {
    let tables = Mutex::new(with_tags(tables).into_iter());
    let next = || tables.lock().unwrap_or_else(PoisonError::into_inner).next();
    let load = || {
        let mut hash = StateHash::default();
        while let Some((tags, table)) = next() {
            load_table(store, tags, table, &mut hash)?;
        }
        Ok(hash)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(load)).collect();
        let own: Result<StateHash, StoreError> = load();
        others.into_iter().try_fold(own?, |sum, other| {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(sum.plus(&other))
        })
    })
}

/// Every tag of deciders is some table's, which refuses those that are not its own: they are of a version that this one does not know.
fn with_tags(mut tables: Vec<&mut dyn Rows>) -> Vec<(RangeInclusive<u8>, &mut dyn Rows)> {
    tables.sort_by_key(|table| table.tag());
    let from: Vec<u8> = std::iter::once(FIRST_DECIDER_TABLE).chain(tables.iter().skip(1).map(|table| table.tag())).collect();
    let to = from.iter().skip(1).map(|next| next - 1).chain([u8::MAX]);
    from.iter().zip(to).map(|(from, to)| *from..=to).zip(tables).collect()
}

fn load_table(store: &dyn Store, tags: RangeInclusive<u8>, table: &mut dyn Rows, hash: &mut StateHash) -> Result<(), StoreError> {
    store.each_row(tags, &mut |tag, key, value| {
        hash.add(tag, key, value);
        load_row([&mut *table], tag, key, value).map_err(|e| unreadable(store, tag, e))
    })
}

fn unreadable(store: &dyn Store, table: u8, why: impl std::fmt::Display) -> StoreError {
    store.refused(format!("has an unreadable row in table {table}: {why}"))
}
