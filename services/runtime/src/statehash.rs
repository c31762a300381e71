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
        self.shift(words(&row_hash(table, key, value)), false);
        self.rows += 1;
    }

    /// Follows one change of a decider's row.
    pub fn follow(&mut self, change: &Change) {
        if let Some(old) = &change.old_hash {
            self.shift(words(old), true);
            self.rows -= 1;
        }
        if let Some(new) = &change.new_hash {
            self.shift(words(new), false);
            self.rows += 1;
        }
    }

    /// The sum over the rows of both.
    pub fn plus(mut self, other: &Self) -> Self {
        self.shift(other.sum, false);
        self.rows += other.rows;
        self
    }

    /// The sum, hex, least significant limb first.
    pub fn to_hex(&self) -> String {
        self.sum.iter().map(|limb| hex(&limb.to_le_bytes())).collect()
    }

    fn shift(&mut self, by: [u64; 4], down: bool) {
        let mut carry = false;
        for (limb, word) in self.sum.iter_mut().zip(by) {
            let (a, over_a) = if down { limb.overflowing_sub(word) } else { limb.overflowing_add(word) };
            let (b, over_b) = if down { a.overflowing_sub(u64::from(carry)) } else { a.overflowing_add(u64::from(carry)) };
            (*limb, carry) = (b, over_a || over_b);
        }
    }
}

/// A hash as limbs, the least significant first.
fn words(hash: &[u8; 32]) -> [u64; 4] {
    std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|byte| hash[word * 8 + byte])))
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
        let alone = |key| {
            let mut hash = StateHash::default();
            hash.add(16, key, if key == b"a" { b"2" } else { b"1" });
            hash
        };
        assert_eq!(straight, alone(b"b").plus(&alone(b"a")), "in parts");
        assert_ne!(straight.to_hex(), StateHash::default().to_hex());
    }
}
