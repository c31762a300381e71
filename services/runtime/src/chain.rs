//! The journal's hash chain (§11.1): made when an entry is written, and checked without writing it again.

use orrery_model::codec::{Codec, HEADER_LEN, hex};
use orrery_model::decider::Fact;
use orrery_model::journal::{Entry, EntryBatch};

/// An entry as it stands within a batch, with its chain hash.
pub struct Written {
    /// Of a batch of one, up to the end of the entry.
    batch: Vec<u8>,
    /// Its chain hash.
    pub chain: String,
}

impl Written {
    /// Gives an entry its chain hash: BLAKE3(previous ‖ the entry encoded with an empty chain), hex.
    pub fn new<I: Fact, D: Fact>(codec: &Codec<EntryBatch<I, D>>, previous: &str, mut entry: Entry<I, D>) -> (Self, Entry<I, D>) {
        entry.chain.clear();
        let mut one = EntryBatch { entries: vec![entry] };
        let mut batch = codec.encode(&one);
        let mut hasher = blake3::Hasher::new();
        hasher.update(previous.as_bytes());
        hasher.update(&batch);
        let mut entry = one.entries.pop().expect("the batch holds the one entry put in");
        entry.chain = hex(hasher.finalize().as_bytes());
        batch.truncate(batch.len() - EMPTY_CHAIN_AND_END.len());
        batch.extend_from_slice(&CHAIN_LENGTH);
        batch.extend_from_slice(entry.chain.as_bytes());
        (Self { batch, chain: entry.chain.clone() }, entry)
    }

    /// Its bytes within any batch.
    pub fn bytes(&self) -> &[u8] {
        &self.batch[HEADER_LEN + COUNT_OF_ONE.len()..]
    }
}

/// Gives an entry its chain hash.
pub fn chained<I: Fact, D: Fact>(codec: &Codec<EntryBatch<I, D>>, previous: &str, entry: Entry<I, D>) -> Entry<I, D> {
    Written::new(codec, previous, entry).1
}

/// What stands before the entry in a batch of one, behind the header: how many items the list has.
const COUNT_OF_ONE: [u8; 1] = [2];
/// How an entry ends that has no chain yet, and the end of the list.
const EMPTY_CHAIN_AND_END: [u8; 2] = [0, 0];
/// An entry's last field as Avro writes it: the length 64, zigzag, and as many digits.
const CHAIN_LENGTH: [u8; 2] = [0x80, 0x01];
/// See [`CHAIN_LENGTH`].
const CHAIN_LEN: usize = CHAIN_LENGTH.len() + 64;

/// True if an entry's own bytes show that it has the right chain hash. False proves nothing: [`chained`] does.
///
/// `header` is the single-object header of the batch, `written` the entry within it.
pub fn is_chained(header: &[u8; HEADER_LEN], previous: &str, written: &[u8]) -> bool {
    let Some(split) = written.len().checked_sub(CHAIN_LEN) else { return false };
    let (unchained, chain) = written.split_at(split);
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous.as_bytes());
    for part in [header, &COUNT_OF_ONE[..], unchained, &EMPTY_CHAIN_AND_END] {
        hasher.update(part);
    }
    chain[..2] == CHAIN_LENGTH && chain[2..] == *hex(hasher.finalize().as_bytes()).as_bytes()
}
