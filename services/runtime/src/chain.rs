//! The journal's hash chain (§11.1): made when an entry is written, and checked without writing it again.

use orrery_model::codec::{Codec, HEADER_LEN, encode_item, hex};
use orrery_model::decider::Fact;
use orrery_model::journal::{Entry, EntryBatch};

/// Gives an entry its chain hash, and writes it as it stands within a batch.
pub fn write_chained<I: Fact, D: Fact>(codec: &Codec<EntryBatch<I, D>>, previous: &str, entry: &mut Entry<I, D>) -> Vec<u8> {
    entry.chain.clear();
    let mut written = encode_item(entry);
    written.truncate(written.len() - EMPTY_CHAIN.len());
    entry.chain = chain_hash(&codec.header(), previous, &written);
    written.extend_from_slice(&CHAIN_LENGTH);
    written.extend_from_slice(entry.chain.as_bytes());
    written
}

/// Gives an entry its chain hash.
pub fn chained<I: Fact, D: Fact>(codec: &Codec<EntryBatch<I, D>>, previous: &str, mut entry: Entry<I, D>) -> Entry<I, D> {
    write_chained(codec, previous, &mut entry);
    entry
}

/// BLAKE3(previous ‖ a batch of this one entry, with an empty chain), hex. `unchained` is the entry without its chain.
fn chain_hash(header: &[u8; HEADER_LEN], previous: &str, unchained: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [previous.as_bytes(), header, &COUNT_OF_ONE, unchained, &EMPTY_CHAIN, &END_OF_LIST] {
        hasher.update(part);
    }
    hex(hasher.finalize().as_bytes())
}

/// What stands before the entry in a batch of one, behind the header: how many items the list has.
const COUNT_OF_ONE: [u8; 1] = [2];
/// What stands behind the last item of a list.
const END_OF_LIST: [u8; 1] = [0];
/// How an entry ends that has no chain yet.
const EMPTY_CHAIN: [u8; 1] = [0];
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
    chain[..2] == CHAIN_LENGTH && chain[2..] == *chain_hash(header, previous, unchained).as_bytes()
}
