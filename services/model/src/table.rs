//! A decider's tables: ordered rows in memory that remember what changed since the last commit.
//!
//! Row key bytes are order-preserving; a changed row carries the hash of what it was, so that the shard's state hash
//! (protocol §9.4) is kept without reading anything twice.

use crate::codec::Codec;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeBounds;

/// First table tag of deciders; 0 to 15 are the shell's.
pub const FIRST_DECIDER_TABLE: u8 = 16;

/// One row to write or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Table tag, never reused.
    pub table: u8,
    /// Order-preserving row key.
    pub key: Vec<u8>,
    /// The encoded row, or nothing for a deletion.
    pub value: Option<Vec<u8>>,
    /// Hash of the row as it was at the last commit.
    pub old_hash: Option<[u8; 32]>,
    /// Hash of the row as it is now.
    pub new_hash: Option<[u8; 32]>,
}

/// Hash of one row: BLAKE3 over length-prefixed table, key, value (protocol §9.4).
pub fn row_hash(table: u8, key: &[u8], value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [&[table][..], key, value] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A key with an order-preserving encoding.
pub trait RowKey: Ord + Clone + Send {
    /// Bytes that sort as the keys do.
    fn to_bytes(&self) -> Vec<u8>;
    /// Reads the bytes back; `None` if they are not such a key.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl RowKey for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// Keys that are ids.
macro_rules! id_keys {
    ($($id:ty),*) => {$(
        impl RowKey for $id {
            fn to_bytes(&self) -> Vec<u8> {
                self.as_str().as_bytes().to_vec()
            }
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Self::parse(std::str::from_utf8(bytes).ok()?).ok()
            }
        }
    )*};
}
id_keys!(crate::id::JobName, crate::id::RunId, crate::id::AttemptId, crate::id::AgentId);

/// Two keys, the first ended by a zero byte, which no id or topic name contains.
impl<A: RowKey, B: RowKey> RowKey for (A, B) {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.0.to_bytes();
        out.push(0);
        out.extend(self.1.to_bytes());
        out
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let split = bytes.iter().position(|b| *b == 0)?;
        Some((A::from_bytes(&bytes[..split])?, B::from_bytes(&bytes[split + 1..])?))
    }
}

impl RowKey for u32 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// One table.
pub struct Table<K, V: 'static> {
    tag: u8,
    codec: &'static Codec<V>,
    /// Apart from the map's nodes, which are half empty where keys only grow, and whose rows move when one comes between.
    rows: BTreeMap<K, Box<Slot<V>>>,
    /// Rows that changed since the last commit, as they did, with the hashes of what they were before; none where nobody commits. Of
    /// a row that went and came again it is the first that counts.
    changed: Option<Vec<Changed<K>>>,
    /// Rows that are being loaded, until they are joined.
    parts: Vec<KeyedRows<K, V>>,
}

type KeyedRows<K, V> = Vec<(K, Box<Slot<V>>)>;

/// A row's key, and its hash before it changed if it was there.
type Changed<K> = (K, Option<[u8; 32]>);

struct Slot<V> {
    row: V,
    since: Since,
}

/// What became of a row since the last commit.
enum Since {
    /// It was loaded, and nothing more.
    Loaded,
    /// Nothing: what was encoded for that commit, with this hash, need not be encoded again when it changes.
    Committed([u8; 32]),
    /// It stands among the changed ones.
    Changed,
}

/// What is the same for all tables of a decider, whatever their rows are.
pub trait Rows: Send {
    /// Table tag.
    fn tag(&self) -> u8;
    /// Moves the changes since the last call into `out`, in key order; rows that came and went are left out.
    fn take_changes(&mut self, out: &mut Vec<Change>);
    /// Takes a stored row of this table; it marks nothing as changed.
    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError>;
    /// This many parts of a table that is empty, to be loaded side by side. No row goes into two of them.
    fn parts(&mut self, count: usize) -> Vec<Box<dyn Part + '_>>;
    /// The rows of all parts become the table's.
    fn join_parts(&mut self);
    /// From now on remembers no changes: nobody commits them.
    fn forget_changes(&mut self);
}

/// A part of a table while it is loaded.
pub trait Part: Send {
    /// Takes a stored row; it marks nothing as changed.
    fn load(&mut self, table: u8, key: &[u8], value: &[u8]) -> Result<(), RowError>;
}

impl<K: RowKey, V: Serialize + DeserializeOwned + 'static> Table<K, V> {
    /// An empty table; `tag` is 16 or more and never reused.
    pub fn new(tag: u8, codec: &'static Codec<V>) -> Self {
        assert!(tag >= FIRST_DECIDER_TABLE, "tables 0 to 15 are the shell's");
        Self { tag, codec, rows: BTreeMap::new(), changed: Some(Vec::new()), parts: Vec::new() }
    }

    /// The row.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|slot| &slot.row)
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// All rows, in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, slot)| (key, &slot.row))
    }
    /// The rows of a range of keys, in order.
    pub fn range(&self, keys: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(keys).map(|(key, slot)| (key, &slot.row))
    }

    /// Writes a row.
    pub fn insert(&mut self, key: K, row: V) {
        let place = self.rows.entry(key);
        if let Some(changed) = &mut self.changed {
            match &place {
                Entry::Occupied(old) => remember(changed, (self.tag, self.codec), old.key(), old.get()),
                Entry::Vacant(new) => changed.push((new.key().clone(), None)),
            }
        }
        place.insert_entry(Box::new(Slot { row, since: Since::Changed }));
    }

    /// Changes a row in place; nothing happens if it is not there.
    pub fn modify<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let slot = self.rows.get_mut(key)?;
        if let Some(changed) = &mut self.changed {
            remember(changed, (self.tag, self.codec), key, slot);
        }
        slot.since = Since::Changed;
        Some(change(&mut slot.row))
    }

    /// Deletes a row and returns it.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.rows.remove(key)?;
        if let Some(changed) = &mut self.changed {
            remember(changed, (self.tag, self.codec), key, &slot);
        }
        Some(slot.row)
    }
}

/// Remembers what a row was at the last commit, when it changes first.
fn remember<K: RowKey, V: Serialize + DeserializeOwned>(
    changed: &mut Vec<Changed<K>>,
    (tag, codec): (u8, &Codec<V>),
    key: &K,
    old: &Slot<V>,
) {
    let hash = match old.since {
        Since::Loaded => row_hash(tag, &key.to_bytes(), &codec.encode(&old.row)),
        Since::Committed(hash) => hash,
        Since::Changed => return,
    };
    changed.push((key.clone(), Some(hash)));
}

impl<K: RowKey, V: Serialize + DeserializeOwned + Send + 'static> Rows for Table<K, V> {
    fn tag(&self) -> u8 {
        self.tag
    }

    fn take_changes(&mut self, out: &mut Vec<Change>) {
        let mut changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        // Stable: of several, the first is what was committed.
        changed.sort_by(|(one, _), (other, _)| one.cmp(other));
        changed.dedup_by(|(later, _), (first, _)| later == first);
        for (key, old_hash) in changed {
            let bytes = key.to_bytes();
            let slot = self.rows.get_mut(&key);
            if slot.is_none() && old_hash.is_none() {
                continue;
            }
            let (value, new_hash) = slot.map_or((None, None), |slot| {
                let value = self.codec.encode(&slot.row);
                let hash = row_hash(self.tag, &bytes, &value);
                slot.since = Since::Committed(hash);
                (Some(value), Some(hash))
            });
            out.push(Change { table: self.tag, key: bytes, value, old_hash, new_hash });
        }
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let (key, slot) = read_row((self.tag, self.codec), key, value)?;
        self.rows.insert(key, slot);
        Ok(())
    }

    fn parts(&mut self, count: usize) -> Vec<Box<dyn Part + '_>> {
        let of = (self.tag, self.codec);
        self.parts.resize_with(count, Vec::new);
        self.parts.iter_mut().map(|rows| Box::new(TablePart { of, rows }) as Box<dyn Part>).collect()
    }

    fn join_parts(&mut self) {
        // From all rows at once the map is built without looking for the place of each.
        self.rows.append(&mut std::mem::take(&mut self.parts).into_iter().flatten().collect());
    }

    fn forget_changes(&mut self) {
        self.changed = None;
    }
}

struct TablePart<'t, K, V: 'static> {
    of: (u8, &'static Codec<V>),
    rows: &'t mut KeyedRows<K, V>,
}

impl<K: RowKey, V: Serialize + DeserializeOwned + Send + 'static> Part for TablePart<'_, K, V> {
    fn load(&mut self, table: u8, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        if table != self.of.0 {
            return Err(unknown_table(table, key));
        }
        self.rows.push(read_row(self.of, key, value)?);
        Ok(())
    }
}

fn read_row<K: RowKey, V: Serialize + DeserializeOwned>(
    (table, codec): (u8, &Codec<V>),
    key: &[u8],
    value: &[u8],
) -> Result<(K, Box<Slot<V>>), RowError> {
    let refused = |why: String| RowError { table, key: crate::codec::hex(key), why };
    let key = K::from_bytes(key).ok_or_else(|| refused("the key does not follow the table's layout".into()))?;
    let row = codec.decode(value).map_err(|e| refused(e.to_string()))?;
    Ok((key, Box::new(Slot { row, since: Since::Loaded })))
}

fn unknown_table(table: u8, key: &[u8]) -> RowError {
    RowError { table, key: crate::codec::hex(key), why: "no such table in this version".into() }
}

/// A stored row that cannot be read: the store is not this version's.
#[derive(Debug, thiserror::Error)]
#[error("row {key} of table {table} cannot be read: {why}")]
pub struct RowError {
    /// Table tag.
    pub table: u8,
    /// Row key, hex.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

/// Gives a stored row to that of these tables which it is of.
pub fn load_row<'t, 'r: 't>(
    tables: impl IntoIterator<Item = &'t mut (dyn Rows + 'r)>,
    table: u8,
    key: &[u8],
    value: &[u8],
) -> Result<(), RowError> {
    match tables.into_iter().find(|rows| rows.tag() == table) {
        Some(rows) => rows.load(key, value),
        None => Err(unknown_table(table, key)),
    }
}
