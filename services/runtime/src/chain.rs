//! The journal's hash chain (§11.1): made when an entry is written, and checked without writing it again.

use orrery_model::codec::{Codec, HEADER_LEN, hex};
use orrery_model::decider::Fact;
use orrery_model::journal::{Entry, EntryBatch};

/// Gives an entry its chain hash: BLAKE3(previous ‖ the entry encoded with an empty chain), hex.
pub fn chained<I: Fact, D: Fact>(codec: &Codec<EntryBatch<I, D>>, previous: &str, mut entry: Entry<I, D>) -> Entry<I, D> {
    entry.chain.clear();
    let mut batch = EntryBatch { entries: vec![entry] };
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous.as_bytes());
    hasher.update(&codec.encode(&batch));
    let mut entry = batch.entries.pop().expect("the batch holds the one entry put in");
    entry.chain = hex(hasher.finalize().as_bytes());
    entry
}

/// An entry's last field as Avro writes it: the length 64, zigzag, and as many digits.
const CHAIN_LEN: usize = 2 + 64;

/// True if an entry's own bytes show that it has the right chain hash. False proves nothing: [`chained`] does.
///
/// `header` is the single-object header of the batch, `written` the entry within it.
pub fn is_chained(header: &[u8; HEADER_LEN], previous: &str, written: &[u8]) -> bool {
    let Some(split) = written.len().checked_sub(CHAIN_LEN) else { return false };
    let (unchained, chain) = written.split_at(split);
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous.as_bytes());
    // A batch of one: its count, the entry with an empty chain, the end of the list.
    for part in [header, &[2][..], unchained, &[0, 0]] {
        hasher.update(part);
    }
    chain[..2] == [0x80, 0x01] && chain[2..] == *hex(hasher.finalize().as_bytes()).as_bytes()
}
