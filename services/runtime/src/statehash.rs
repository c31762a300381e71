//! The state hash: Σ BLAKE3(row) mod 2²⁵⁶ (§9.4). Adding and taking away rows in any order gives the same sum.

use orrery_model::codec::hex;
use orrery_model::table::{Change, row_hash};

/// The sum and how many rows it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateHash {
    sum: [u64; 4],
    /// Number of rows.
    pub rows: i64,
}

impl StateHash {
    /// Adds a row.
    pub fn add(&mut self, table: u8, key: &[u8], value: &[u8]) {
        self.shift(&row_hash(table, key, value), false);
        self.rows += 1;
    }

    /// Follows one change of a decider's row.
    pub fn follow(&mut self, change: &Change) {
        if let Some(old) = &change.old_hash {
            self.shift(old, true);
            self.rows -= 1;
        }
        if let Some(new) = &change.new_hash {
            self.shift(new, false);
            self.rows += 1;
        }
    }

    /// The sum, hex, least significant limb first.
    pub fn to_hex(&self) -> String {
        self.sum.iter().map(|limb| hex(&limb.to_le_bytes())).collect()
    }

    fn shift(&mut self, hash: &[u8; 32], down: bool) {
        let mut carry = false;
        for (limb, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let word = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
            let (a, over_a) = if down { limb.overflowing_sub(word) } else { limb.overflowing_add(word) };
            let (b, over_b) = if down { a.overflowing_sub(u64::from(carry)) } else { a.overflowing_add(u64::from(carry)) };
            (*limb, carry) = (b, over_a || over_b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_does_not_depend_on_the_way() {
        let mut straight = StateHash::default();
        straight.add(16, b"a", b"2");
        straight.add(16, b"b", b"1");
        let mut round = StateHash::default();
        round.add(16, b"b", b"1");
        round.add(16, b"a", b"1");
        round.follow(&Change {
            table: 16,
            key: b"a".to_vec(),
            value: Some(b"2".to_vec()),
            old_hash: Some(row_hash(16, b"a", b"1")),
            new_hash: Some(row_hash(16, b"a", b"2")),
        });
        assert_eq!(straight, round);
        assert_ne!(straight.to_hex(), StateHash::default().to_hex());
    }
}
