//! One group of commits: fences checked, offsets given, one write batch.

use super::catalog::Catalog;
use super::encoding::Draft;
use super::keys::Place;
use super::rows::EndRow;
use crate::{Commit, LogError};
use orrery_model::record::Offset;
use orrery_model::time::Timestamp;
use rocksdb::WriteBatch;
use std::collections::BTreeMap;

/// No commit leaves more offsets empty before a record: one as Kafka's control record does, and up to four by chance.
pub(super) const OFFSET_STEP_MOST: i64 = 5;

/// A commit or append that waits for its group.
#[derive(Debug)]
pub(super) struct Request {
    /// Its records.
    pub draft: Draft,
    /// Transactional id and epoch; none for an append.
    pub claim: Option<(String, u64)>,
}

/// A group in the making. Nothing of it is readable before it is written and published.
pub(super) struct Group<'a> {
    catalog: &'a Catalog,
    fences: &'a BTreeMap<String, u64>,
    appended: Timestamp,
    commits: usize,
    /// New ends, each with the commit that reached it.
    ends: BTreeMap<Place, (Offset, usize)>,
    batch: WriteBatch,
}

impl<'a> Group<'a> {
    /// An empty group whose records get this append time.
    pub(super) fn new(catalog: &'a Catalog, fences: &'a BTreeMap<String, u64>, appended: Timestamp) -> Self {
        Self { catalog, fences, appended, commits: 0, ends: BTreeMap::new(), batch: WriteBatch::default() }
    }

    /// Takes one commit in: all of it or, if it is refused, nothing.
    pub(super) fn take(&mut self, request: Request) -> Result<Commit, LogError> {
        if let Some((id, epoch)) = &request.claim
            && self.fences.get(id) != Some(epoch)
        {
            return Ok(Commit::Fenced);
        }
        let mut draft = request.draft;
        let places = draft.records.iter().map(|r| self.catalog.find(&r.topic, r.partition)).collect::<Result<Vec<_>, _>>()?;
        draft.stamp(self.appended);
        self.commits += 1;
        let mut offsets = Vec::with_capacity(places.len());
        for ((place, span), record) in places.into_iter().zip(&draft.records) {
            let (end, commit) = self.ends.entry(place).or_insert((span.end, 0));
            let offset = next_offset(place, *end, *commit != self.commits);
            (*end, *commit) = (offset + 1, self.commits);
            self.batch.put(place.record(offset), &draft.bytes[record.value.clone()]);
            offsets.push(offset);
        }
        Ok(Commit::Committed(offsets))
    }

    /// The batch to write, and the ends to publish once it is written.
    pub(super) fn close(mut self) -> (WriteBatch, Vec<(Place, Offset)>) {
        for (place, (end, _)) in &self.ends {
            self.batch.put(place.end(), EndRow { end: *end, appended: self.appended }.encode());
        }
        (self.batch, self.ends.into_iter().map(|(place, (end, _))| (place, end)).collect())
    }
}

/// The offset of the next record in a partition that ends at `end`. Between two commits one offset always stays empty, as Kafka's
/// control record leaves it; and some others by chance (SplitMix64 of place and end, so that a replayed test gives the same), also
/// within commits, so that nobody counts on contiguity.
fn next_offset(place: Place, end: Offset, new_commit: bool) -> Offset {
    let control = i64::from(new_commit && end > 0);
    let mut x = (u64::from(place.topic) << 48 ^ u64::from(place.partition) << 32)
        .wrapping_add(end.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    let chance = if x.is_multiple_of(8) { 1 + (x >> 8 & 3) } else { 0 };
    end + control + chance.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_ascend_with_gaps_between_and_within_commits() {
        let place = Place { topic: 1, partition: 2 };
        for new_commit in [false, true] {
            let (mut end, mut jumps) = (0, 0);
            for _ in 0..1000 {
                let offset = next_offset(place, end, new_commit);
                assert!(offset >= end && offset <= end + OFFSET_STEP_MOST, "{end} is followed by {offset}");
                jumps += usize::from(offset > end + i64::from(new_commit));
                end = offset + 1;
            }
            assert!((50..250).contains(&jumps), "{jumps} of 1000 records jumped");
        }
    }
}
