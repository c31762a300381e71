//! Acquiring a shard: fence, ask the ends, restore rows up to the last head, find what must be sent again (§1.1–1.4, §9.1).
//!
//! The store is a cache. If it is missing, unreadable, of another lineage, outside the log, too old or does not sum up to the
//! head's state hash, it is wiped and the changelog is read from its start.

mod load;

use crate::committing::transactional_id;
use crate::messages::{Cluster, Outbox, Sender};
use crate::rows::{self, Head, Position};
use crate::shard::Restored;
use crate::standby::Standby;
use crate::store::{OpenStore, RowBatch, Store, StoreError};
use load::load;
use orrery_log::{Log, LogError, TopicPartition, Writer, pieces};
use orrery_model::decider::Decider;
use orrery_model::journal::{Entry, Observation, Shards, Source};
use orrery_model::planted::{Bug, planted};
use orrery_model::record::NewRecord;
use orrery_model::time::Timestamp;
use std::sync::Arc;

/// Why a shard could not be acquired.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// The log refused.
    #[error("the log refused while {doing}: {source}")]
    Log {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The store cannot be used even when empty.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal lacks entries that the changelog says were committed.
    #[error(
        "the journal of {shard} ends at entry {journal}, but its changelog at {head}: records were lost; restore the topic before starting"
    )]
    JournalBehind {
        /// Service and shard.
        shard: String,
        /// Last entry of the journal.
        journal: i64,
        /// Last entry of the head.
        head: i64,
    },
    /// A record of our own cannot be read.
    #[error("{topic} holds a record at {offset} that cannot be read: {why}")]
    Unreadable {
        /// Full topic name.
        topic: String,
        /// Its offset.
        offset: i64,
        /// What is wrong.
        why: String,
    },
    /// Even the changelog does not sum up to its head.
    #[error("rows of {shard} sum up to {found}, its head says {expected}: run `orrery audit verify` to find where they part")]
    Diverged {
        /// Service and shard.
        shard: String,
        /// Recomputed.
        found: String,
        /// In the head.
        expected: String,
    },
}

/// What acquiring a shard came to.
pub struct Acquired<D> {
    /// The fenced writer.
    pub writer: Box<dyn Writer>,
    /// The store, at the head.
    pub store: Box<dyn Store>,
    /// The store was there and could be trusted: it was not read again from the changelog's start.
    pub found_store: bool,
    /// The shard's parts.
    pub restored: Restored<D>,
    /// Messages to send again with the first transaction.
    pub again: Vec<NewRecord>,
    /// Seq from which on they come; 0 for none.
    pub resend_from: i64,
}

/// Which shard, and where its things are.
pub struct Target<'a> {
    /// The log.
    pub log: &'a Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: &'a Cluster,
    /// Shard number.
    pub shard: u32,
    /// Opens the local store.
    pub open_store: OpenStore<'a>,
    /// Lineage if the shard turns out to be empty.
    pub fresh_lineage: &'a str,
    /// The wall clock now, to judge the store's age.
    pub now: Timestamp,
}

/// Fences, restores and returns the shard's parts.
pub fn acquire<D: Decider>(target: &Target<'_>) -> Result<Acquired<D>, AcquireError> {
    let name = format!("{}-{}", D::SERVICE, target.shard);
    let journal = TopicPartition::new(&target.cluster.topic(&format!("{}.journal", D::SERVICE)), target.shard);
    let changelog = TopicPartition::new(&target.cluster.topic(&format!("{}.changelog", D::SERVICE)), target.shard);
    let store = (target.open_store)()?;
    if let Ok(Some((head, _))) = store.head() {
        // A first read takes its time, and so does a fence. What counts is asked for behind the fence.
        target.log.expect_reads(&[(journal.clone(), head.journal_offset)]);
    }
    let writer = target
        .log
        .fence(&transactional_id(target.cluster, D::SERVICE, target.shard))
        .map_err(|source| AcquireError::Log { doing: "fencing", source })?;
    // Behind an open transaction there may be more of ours that cannot be read now (§9.2): refused, and tried again.
    let ends = |at| target.log.settled_end(at).map_err(|source| AcquireError::Log { doing: "asking for ends", source });
    let (journal_end, changelog_end) = (ends(&journal)?, ends(&changelog)?);

    let mut standby = Standby::open(target.log, target.cluster, (D::SERVICE, target.shard), store, target.now)?;
    catch_up(target.log, &mut standby, &changelog, changelog_end)?;
    let salvaged = was_salvaged(target.log, &standby, &changelog)?;
    if salvaged {
        tracing::warn!(shard = name, "the log was salvaged since the shard was last owned: it goes on with what its changelog has left");
        standby.begin_anew(target.log, target.now, "the log was salvaged")?;
        catch_up(target.log, &mut standby, &changelog, changelog_end)?;
    }
    // Whoever restores later finds the rows of a transaction whose head is lost before the next head, as if they were of that one's:
    // they are taken back with it.
    let taken_back = if salvaged { standby.headless()? } else { RowBatch::new() };
    let mut restored = match load::<D>(standby.store()).and_then(|found| if salvaged { Ok(found) } else { summed_up(found, &name) }) {
        Ok(restored) => restored,
        Err(why) => {
            tracing::warn!(shard = name, %why, "the local store cannot be trusted; restoring from the changelog");
            standby.begin_anew(target.log, target.now, "its rows do not sum up")?;
            catch_up(target.log, &mut standby, &changelog, changelog_end)?;
            summed_up(load::<D>(standby.store())?, &name)?
        }
    };
    if restored.head.lineage.is_empty() {
        restored.head.lineage = target.fresh_lineage.into();
    }
    let (again, resend_from) = follow_journal(target, &mut restored, (&journal, journal_end), salvaged, &name)?;
    if salvaged && !planted(Bug::OldLineage) {
        restored.head.lineage = target.fresh_lineage.into();
    }
    restored.taken_back = taken_back;
    restored.decider.loaded();
    Ok(Acquired { writer, found_store: standby.found_store(), store: standby.into_store(), restored, again, resend_from })
}

/// Brings the store up to the changelog's last head. Rows behind it are ignored: their transaction never ended.
fn catch_up(log: &Arc<dyn Log>, standby: &mut Standby, changelog: &TopicPartition, end: i64) -> Result<(), AcquireError> {
    while standby.follow(log, end)? {
        let behind = standby.behind(end);
        metrics::gauge!("orrery_restore_remaining_records", "topic" => changelog.topic.to_string()).set(behind as f64);
    }
    metrics::gauge!("orrery_restore_remaining_records", "topic" => changelog.topic.to_string()).set(0.0);
    Ok(())
}

/// True if the log lost anything behind the shard's last head. Then rows may be lacking, so may entries, and what the shard said in
/// them may come again as something else: it goes on as another lineage, which whoever hears of it is told.
fn was_salvaged(log: &Arc<dyn Log>, standby: &Standby, changelog: &TopicPartition) -> Result<bool, AcquireError> {
    let lost = log.lost(changelog).map_err(|source| AcquireError::Log { doing: "asking for what was lost", source })?;
    let head = standby.store().head()?.map_or(-1, |(_, offset)| offset);
    Ok(lost.last().is_some_and(|last| last.end > head))
}

/// What was loaded, if its rows sum up to its head.
fn summed_up<D>(restored: Restored<D>, name: &str) -> Result<Restored<D>, AcquireError> {
    let (found, expected) = (restored.hash.to_hex(), restored.head.state_hash.clone());
    if found != expected && restored.head.last_seq > 0 && !planted(Bug::StoreTooOld) {
        return Err(AcquireError::Diverged { shard: name.into(), found, expected });
    }
    Ok(restored)
}

/// Applies entries behind the head, and collects the messages that may not have left (§1.4).
fn follow_journal<D: Decider>(
    target: &Target<'_>,
    restored: &mut Restored<D>,
    (journal, end): (&TopicPartition, i64),
    salvaged: bool,
    name: &str,
) -> Result<(Vec<NewRecord>, i64), AcquireError> {
    let start = target.log.start_offset(journal).map_err(|source| AcquireError::Log { doing: "asking for the journal's start", source })?;
    let mut entries: Vec<Entry<D::Input, D::Decision>> = Vec::new();
    each_record(target.log, journal, restored.head.journal_offset.max(start), end, |record| {
        let Some(value) = &record.value else { return Ok(()) };
        let batch = D::journal().decode(value.as_bytes()).map_err(|e| unreadable(journal, record.offset, &e))?;
        entries.extend(batch.entries);
        Ok(())
    })?;
    // Before a salvage the journal went on in another lineage: what it says there was lost with its rows, and is not so any more.
    if restored.head.last_seq > 0 {
        entries.retain(|entry| entry.lineage == restored.head.lineage);
    }
    let last = entries.last().map_or(0, |entry| entry.seq);
    if last < restored.head.last_seq && !salvaged {
        return Err(AcquireError::JournalBehind { shard: name.into(), journal: last, head: restored.head.last_seq });
    }
    // Entries that stand behind a hole do not follow from the rows.
    if planted(Bug::NoRollForward) || salvaged {
        entries.retain(|entry| entry.seq <= restored.head.last_seq);
    }
    let resend_from = resend_from::<D>(&entries, &restored.head);
    let mut outbox = Outbox::new(target.cluster);
    let mut sender = Sender { service: D::SERVICE, shard: target.shard, lineage: restored.head.lineage.clone(), epoch: 0 };
    let ahead = last > restored.head.last_seq;
    if ahead {
        restored.decider.loaded();
    }
    for entry in entries {
        if entry.seq > restored.head.last_seq {
            entry.decisions.iter().for_each(|decision| restored.decider.apply(entry.at, decision));
            follow_input(target, restored, &entry)?;
        }
        if entry.seq >= resend_from && !planted(Bug::NoResend) {
            sender.epoch = entry.epoch;
            let mut messages = Vec::new();
            entry.decisions.iter().for_each(|decision| D::messages(entry.at, decision, &mut messages));
            for (index, message) in messages.into_iter().enumerate() {
                outbox.add(&sender, entry.seq, index as i32, message);
            }
        }
    }
    Ok((outbox.into_records(&sender), resend_from))
}

/// The first entry whose messages are sent again: of the last transaction, or from where that one itself had to begin.
fn resend_from<D: Decider>(entries: &[Entry<D::Input, D::Decision>], head: &Head) -> i64 {
    let first = entries.iter().find(|entry| entry.seq >= head.first_seq);
    let acquired = first.and_then(|entry| D::resend_from(&entry.input));
    acquired.filter(|seq| *seq > 0).unwrap_or(head.first_seq)
}

/// Moves head and positions past an entry whose rows were not committed with it.
fn follow_input<D: Decider>(
    target: &Target<'_>,
    restored: &mut Restored<D>,
    entry: &Entry<D::Input, D::Decision>,
) -> Result<(), AcquireError> {
    for range in &entry.dropped {
        follow_position(target, restored, (&range.topic, range.partition), None, range.to)?;
    }
    if let Source::FromRecord { topic, partition, generation, offset, .. } = &entry.source {
        follow_position(target, restored, (topic, *partition), Some(*generation), offset + 1)?;
    }
    if let Some(Observation::TopicRecreated { topic, generation, partition, topic_id }) = D::observation(&entry.input) {
        let key: (Arc<str>, u32) = (topic.as_str().into(), *partition as u32);
        restored.moved.insert(key.clone());
        restored.positions.insert(key, Position { offset: 0, topic_id: topic_id.clone(), generation: *generation });
    }
    if let Some(Observation::TailLost { topic, generation, partition, to, .. }) = D::observation(&entry.input) {
        let key: (Arc<str>, u32) = (topic.as_str().into(), *partition as u32);
        if let Some(old) = restored.positions.get(&key).cloned() {
            restored.moved.insert(key.clone());
            restored.positions.insert(key, Position { offset: *to, generation: *generation, ..old });
        }
    }
    restored.head.epoch = entry.epoch;
    restored.head.last_seq = entry.seq;
    restored.head.chain.clone_from(&entry.chain);
    restored.head.at = entry.at;
    restored.head.logic_version = entry.logic_version;
    restored.head.lineage.clone_from(&entry.lineage);
    Ok(())
}

/// Moves one position; the generation of a dropped range is that of the input as it stands.
fn follow_position<D>(
    target: &Target<'_>,
    restored: &mut Restored<D>,
    (topic, partition): (&str, i32),
    generation: Option<i64>,
    to: i64,
) -> Result<(), AcquireError> {
    let key: (Arc<str>, u32) = (topic.into(), partition as u32);
    let old = restored.positions.get(&key);
    let generation = generation.or(old.map(|position| position.generation)).unwrap_or(0);
    let position = match old {
        Some(old) if old.generation == generation => Position { offset: old.offset.max(to), ..old.clone() },
        _ => {
            let found = target.log.topic(topic).map_err(|source| AcquireError::Log { doing: "asking for a topic", source })?;
            Position { offset: to, topic_id: found.map_or_else(String::new, |topic| topic.id), generation }
        }
    };
    restored.moved.insert(key.clone());
    restored.positions.insert(key, position);
    Ok(())
}

/// The observation that begins an ownership (§1.1).
pub fn acquired_observation(shards: Shards, epoch: i64, member: &str, generation: i64, resend_from: i64) -> Observation {
    Observation::Acquired { epoch, member: member.into(), generation, binary: env!("CARGO_PKG_VERSION").into(), resend_from, shards }
}

/// The head, if the record is one.
pub(crate) fn read_head(changelog: &TopicPartition, record: &orrery_model::record::Record) -> Result<Option<Head>, AcquireError> {
    match (&record.key, &record.value) {
        (Some(key), Some(value)) if key.as_bytes() == [rows::HEAD] => {
            rows::HEAD_ROW.decode(value.as_bytes()).map(Some).map_err(|e| unreadable(changelog, record.offset, &e))
        }
        _ => Ok(None),
    }
}

fn unreadable(at: &TopicPartition, offset: i64, error: &dyn std::error::Error) -> AcquireError {
    AcquireError::Unreadable { topic: at.topic.to_string(), offset, why: error.to_string() }
}

/// Reads a range of a topic to its end.
pub fn each_record(
    log: &Arc<dyn Log>,
    at: &TopicPartition,
    from: i64,
    end: i64,
    mut record: impl FnMut(&orrery_model::record::Record) -> Result<(), AcquireError>,
) -> Result<(), AcquireError> {
    for piece in pieces(&**log, at, from, end) {
        piece.map_err(|source| AcquireError::Log { doing: "reading", source })?.iter().try_for_each(&mut record)?;
    }
    Ok(())
}
