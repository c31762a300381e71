//! A local store that follows its shard's changelog (§9.3): of a member that may come to own the shard, and of an owner that restores.
//!
//! Rows are written only up to a head (§1.4): what lies behind the last head is a transaction that may never end. The store is a
//! cache, and is begun anew when it cannot be trusted any more: outside the changelog, of another one, of another lineage, or too
//! old to have seen every tombstone (§9.1). Its state hash is compared when its rows are loaded. After an error a standby is
//! dropped; another one opens the store where it stands, and so does the owner that it is handed to.

use crate::messages::Cluster;
use crate::restore::{AcquireError, read_head};
use crate::rows::{self, CHANGELOG_ID, Head};
use crate::store::{KeyRange, RowBatch, Store, StoreError};
use orrery_log::{Log, LogError, TopicPartition};
use orrery_model::payload::Payload;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::Offset;
use orrery_model::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of one read, and so about as much of rows in memory.
const READ_BYTES: usize = 4 << 20;
/// How far to look for a head of another lineage.
const LINEAGE_BYTES: usize = 64 << 10;
/// Members that keep a shard's store, besides its owner.
pub const STANDBYS: usize = 3;

/// A store that follows its changelog.
pub struct Standby {
    store: Box<dyn Store>,
    changelog: TopicPartition,
    /// Identity of the changelog's topic.
    topic_id: String,
    /// A tombstone stays in the changelog for so long.
    tombstones_ms: i64,
    /// Next offset to read.
    position: Offset,
    /// Rows that were read and are not in the store yet.
    rows: RowBatch,
    /// How many of them the last head covers, and where that stands.
    whole: Option<(usize, Offset)>,
    /// No tombstone that was there at this time or later was missed.
    as_of: Timestamp,
    found: bool,
}

impl Standby {
    /// Goes on with a store, or begins it anew if it cannot be trusted.
    pub fn open(
        log: &Arc<dyn Log>,
        cluster: &Cluster,
        (service, shard): (&str, u32),
        store: Box<dyn Store>,
        now: Timestamp,
    ) -> Result<Self, AcquireError> {
        let changelog = TopicPartition::new(&cluster.topic(&format!("{service}.changelog")), shard);
        let topic_id = topic_id(log, &changelog)?;
        let tombstones_ms = cluster.compaction.tombstones_ms;
        let stored = store.head();
        let position = stored.as_ref().ok().and_then(Option::as_ref).map_or(0, |(_, offset)| offset + 1);
        let (rows, whole) = (RowBatch::new(), None);
        let mut standby = Self { store, changelog, topic_id, tombstones_ms, position, rows, whole, as_of: now, found: true };
        let why_not = match stored {
            Ok(None) => Some("it is empty".into()),
            Err(error) => Some(error.to_string()),
            Ok(Some((head, _))) => {
                standby.as_of = head.at;
                standby.unlike_changelog(log, &head)?.map_or_else(|| standby.out_of_reach(log, now), |why| Ok(Some(why)))?
            }
        };
        if let Some(why) = why_not {
            standby.begin_anew(log, now, &why)?;
        }
        Ok(standby)
    }

    /// Empties the store: the changelog is read from its start.
    pub fn begin_anew(&mut self, log: &Arc<dyn Log>, now: Timestamp, why: &str) -> Result<(), AcquireError> {
        tracing::info!(store = self.store.name(), why, "the local store is begun anew");
        self.store.wipe()?;
        self.topic_id = topic_id(log, &self.changelog)?;
        self.position = log.start_offset(&self.changelog).map_err(|source| AcquireError::Log { doing: ASKING, source })?;
        self.rows.clear();
        (self.whole, self.as_of, self.found) = (None, now, false);
        let id = Payload::from(self.topic_id.as_bytes());
        Ok(self.store.write(&vec![(CHANGELOG_ID.into(), Some(id))], self.position - 1)?)
    }

    /// One look at the changelog: follows it for one read and returns how far it is behind. Not for a shard that is owned here: the
    /// owner writes its store itself.
    pub fn step(&mut self, log: &Arc<dyn Log>, now: Timestamp) -> Result<i64, AcquireError> {
        if let Some(why) = self.out_of_reach(log, now)? {
            self.begin_anew(log, now, &why)?;
        }
        let end = self.end(log)?;
        if !self.follow(log, end)? {
            self.as_of = now;
        }
        let (topic, partition) = (self.changelog.topic.to_string(), self.changelog.partition.to_string());
        metrics::gauge!("orrery_standby_lag", "topic" => topic, "partition" => partition).set(self.behind(end) as f64);
        Ok(self.behind(end))
    }

    /// Reads once towards `end` and writes the store up to the last head; true if there is more.
    pub(crate) fn follow(&mut self, log: &Arc<dyn Log>, end: Offset) -> Result<bool, AcquireError> {
        if self.position >= end {
            return Ok(false);
        }
        let fetch =
            log.read(&self.changelog, self.position, READ_BYTES).map_err(|source| AcquireError::Log { doing: "reading", source })?;
        for record in fetch.records.iter().take_while(|record| record.offset < end) {
            let Some(key) = &record.key else { continue };
            self.rows.push((key.clone(), record.value.clone()));
            if key.as_bytes() == [rows::HEAD] || planted(Bug::HeadlessRows) {
                self.whole = Some((self.rows.len(), record.offset));
            }
        }
        // Compaction can leave nothing before the end, and the end is a position, not a record (§9.2).
        self.position = if fetch.next > self.position { fetch.next.min(end) } else { end };
        if let Some((whole, offset)) = self.whole.take() {
            let behind = self.rows.split_off(whole);
            self.store.write(&std::mem::replace(&mut self.rows, behind), offset)?;
        }
        Ok(self.position < end)
    }

    /// Offsets from where it stands to `end`.
    pub(crate) const fn behind(&self, end: Offset) -> i64 {
        end - self.position
    }

    /// False if the store was begun anew.
    pub const fn found_store(&self) -> bool {
        self.found
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The keys of what was read behind the last head, each with the row that the store has of it.
    pub(crate) fn headless(&self) -> Result<RowBatch, StoreError> {
        let keys: BTreeSet<&Payload> = self.rows.iter().map(|(key, _)| key).collect();
        let row = |key: &Payload| {
            let (from, mut value) = (key.as_bytes().to_vec(), None);
            let to = Some([key.as_bytes(), &[0]].concat());
            self.store.each_row(&KeyRange { from, to }, &mut |_, _, row| {
                value = Some(Payload::from(row));
                Ok(())
            })?;
            Ok((key.clone(), value))
        };
        keys.into_iter().map(row).collect()
    }

    /// For the owner that goes on with it.
    pub(crate) fn into_store(self) -> Box<dyn Store> {
        self.store
    }

    fn end(&self, log: &Arc<dyn Log>) -> Result<Offset, AcquireError> {
        log.end_offset(&self.changelog).map_err(|source| AcquireError::Log { doing: ASKING, source })
    }

    /// Why the changelog cannot be followed from here: it is another one, it does not reach to here, or tombstones may be gone.
    fn out_of_reach(&self, log: &Arc<dyn Log>, now: Timestamp) -> Result<Option<String>, AcquireError> {
        let topic_id = topic_id(log, &self.changelog)?;
        let start = log.start_offset(&self.changelog).map_err(|source| AcquireError::Log { doing: ASKING, source })?;
        let (end, position) = (self.end(log)?, self.position);
        // Half, as no clock is exact, and as following takes its time.
        let too_old = now.since_ms(self.as_of) > self.tombstones_ms / 2 && !planted(Bug::StoreTooOld);
        Ok(if topic_id != self.topic_id {
            Some(format!("the changelog was made again: it is {topic_id}, not {}", self.topic_id))
        } else if position < start || position > end {
            Some(format!("it stands at {position}, the changelog holds {start} to {end}"))
        } else {
            too_old.then(|| format!("it is as of {}, and tombstones may be gone", self.as_of))
        })
    }

    /// Why a store that was there is not one of this changelog: it says so, or the log has heads of another lineage where its own
    /// stands. (What a look this short misses, the state hash finds.)
    fn unlike_changelog(&self, log: &Arc<dyn Log>, head: &Head) -> Result<Option<String>, AcquireError> {
        let filled_from = self.store.changelog_id()?.unwrap_or_default();
        if filled_from != self.topic_id {
            return Ok(Some(format!("it was filled from the changelog {filled_from:?}, not from {}", self.topic_id)));
        }
        let fetch = match log.read(&self.changelog, self.position - 1, LINEAGE_BYTES) {
            Ok(fetch) => fetch,
            Err(LogError::OutOfRange { .. }) => return Ok(None),
            Err(source) => return Err(AcquireError::Log { doing: "reading", source }),
        };
        for record in &fetch.records {
            if let Some(found) = read_head(&self.changelog, record)?
                && found.lineage != head.lineage
            {
                return Ok(Some(format!("its lineage is {}, the log's {}", head.lineage, found.lineage)));
            }
        }
        Ok(None)
    }
}

/// What is being done when the log is asked for where the changelog begins and ends.
const ASKING: &str = "asking about the changelog";

fn topic_id(log: &Arc<dyn Log>, changelog: &TopicPartition) -> Result<String, AcquireError> {
    let missing = || LogError::NoSuchPartition { topic: changelog.topic.to_string(), partition: changelog.partition };
    let topic = log.topic(&changelog.topic).and_then(|topic| topic.ok_or_else(missing));
    topic.map(|topic| topic.id).map_err(|source| AcquireError::Log { doing: ASKING, source })
}

/// True if this member keeps a store of the shard: all do up to three, beyond that those three that rendezvous hashing chooses
/// (Thaler and Ravishankar 1998), so that a member that comes or goes moves no store but its own.
pub fn stands_by(service: &str, shard: u32, member: &str, members: &[&str]) -> bool {
    let weight = |member: &str| *blake3::hash([service, &shard.to_string(), member].join("/").as_bytes()).as_bytes();
    let own = (weight(member), member);
    members.iter().filter(|other| (weight(other), **other) > own).count() < STANDBYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'m>(shard: u32, members: &[&'m str]) -> Vec<&'m str> {
        members.iter().copied().filter(|member| stands_by("trigger", shard, member, members)).collect()
    }

    #[test]
    fn three_members_stand_by_for_a_shard() {
        assert_eq!(chosen(0, &["a", "b", "c"]), ["a", "b", "c"]);
        let members = ["a", "b", "c", "d", "e", "f"];
        assert!((0..16).all(|shard| chosen(shard, &members).len() == STANDBYS));
        assert!(members.iter().all(|member| (0..16).any(|shard| chosen(shard, &members).contains(member))), "all take part");
    }

    #[test]
    fn a_member_that_goes_moves_no_store_but_its_own() {
        let (all, fewer) = (["a", "b", "c", "d", "e"], ["a", "b", "d", "e"]);
        for shard in 0..16 {
            let kept: Vec<&str> = chosen(shard, &all).into_iter().filter(|member| *member != "c").collect();
            let after = chosen(shard, &fewer);
            assert!(kept.iter().all(|member| after.contains(member)), "shard {shard}: {kept:?} became {after:?}");
        }
    }
}
