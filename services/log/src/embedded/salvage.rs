//! A salvage: what can be read of a damaged log goes into a new one, and what cannot is said, by topic and range.
//!
//! The damaged database is opened as at every start, no more: a copy is read (tables are linked), and it is kept beside the new one. The
//! [witness](super::witness) tells the topics and the ends that were acknowledged, so no offset is ever given twice. In topics that
//! are not compacted a gap that no commit leaves is a loss, too. Every partition keeps a row of what it lost, and one of where it
//! ended then: who stands before that may remember what the log does not ([`crate::Log::lost`]).

use super::catalog::Catalog;
use super::encoding;
use super::group::OFFSET_STEP_MOST;
use super::keys::{self, Place, offset_of};
use super::rows::{EndRow, MarksRow, TopicRow};
use super::store::{self, Store};
use super::witness::Witnessed;
use super::{FORMAT, check_format, verified};
use crate::{LogError, TopicPartition};
use orrery_model::record::Offset;
use orrery_model::topics::Cleanup;
use rocksdb::WriteBatch;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes written at a time.
const BATCH_BYTES: usize = 4 << 20;
/// A copy to read, and the database in the making.
const COPY: &str = "salvage.copy";
const MADE: &str = "salvage.made";
/// How far behind a partition's known end a salvage looks for more, in offsets.
const BEYOND_MOST: Offset = 1 << 20;
/// Damaged databases that may stand beside the log.
const KEPT_MOST: usize = 1_000;

/// What a salvage came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// What made it necessary.
    pub why: String,
    /// What could not be read, by topic, partition and offset.
    pub lost: Vec<(TopicPartition, Range<Offset>)>,
    /// Where the damaged database is kept.
    pub kept: PathBuf,
}

/// Makes a new log of what can be read, if this one is damaged. The folder's lock is held.
pub(super) fn salvage(folder: &Path) -> Result<Option<Salvaged>, LogError> {
    let why = match check(folder) {
        Ok(()) => return Ok(None),
        Err(LogError::Damaged { why, .. }) => why,
        Err(other) => return Err(other),
    };
    tracing::warn!(folder = %folder.display(), why, "the log is salvaged");
    let cannot = |error: std::io::Error| LogError::CannotOpen { path: folder.display().to_string(), why: format!("salvage: {error}") };
    let (copy, made) = (folder.join(COPY), folder.join(MADE));
    for left in [&copy, &made] {
        remove(left).map_err(cannot)?;
    }
    link_or_copy(&store::path(folder), &store::path(&copy)).map_err(cannot)?;
    std::fs::create_dir_all(&made).map_err(cannot)?;
    let lost = {
        let ((from, left_out), to) = (Store::open_damaged(&copy)?, Store::open(&made)?);
        Salvage { from: &from, left_out, to: &to, batch: WriteBatch::default(), lost: Vec::new() }.run(Witnessed::read(folder))?
    };
    let kept = kept(folder).ok_or_else(|| cannot(std::io::Error::other("a thousand damaged databases are kept; remove some")))?;
    verified::forget(folder).map_err(cannot)?;
    put_in_place(folder, &store::path(&made), &kept).map_err(cannot)?;
    for left in [&copy, &made] {
        remove(left).map_err(cannot)?;
    }
    Ok(Some(Salvaged { why, lost, kept }))
}

/// Reads everything that there is, and compares it with the witness.
fn check(folder: &Path) -> Result<(), LogError> {
    let store = Store::open(folder)?;
    check_format(&store, true)?;
    store.tables()?.iter().try_for_each(|table| store.read_through(table))?;
    let (catalog, _) = Catalog::load(&store)?;
    store.named(keys::FENCE)?;
    Witnessed::read(folder).check(&store, &catalog)?;
    for (_, entry) in catalog.entries() {
        for partition in 0..entry.topic.partitions {
            let (place, span) = catalog.find(&entry.topic.name, partition)?;
            let mut at = store.records(place, span.start, span.end, false);
            while let Some((key, value)) = at.item() {
                if offset_of(key).zip(encoding::glance(value)).is_none() {
                    return Err(store.damaged(format!("the record at {key:02x?} cannot be read")));
                }
                at.next();
            }
            store.finished(&at)?;
        }
    }
    Ok(())
}

struct Salvage<'s> {
    from: &'s Store,
    /// Whole tables are left out.
    left_out: bool,
    to: &'s Store,
    batch: WriteBatch,
    lost: Vec<(TopicPartition, Range<Offset>)>,
}

impl Salvage<'_> {
    fn run(mut self, witnessed: Witnessed) -> Result<Vec<(TopicPartition, Range<Offset>)>, LogError> {
        let topics = self.topics(witnessed.topics)?;
        let next = topics.keys().next_back().map_or(0, |number| number + 1);
        let stored = self.from.row(&keys::NEXT_TOPIC_KEY, |value| value.try_into().ok().map(u32::from_be_bytes)).unwrap_or_default();
        self.batch.put(keys::FORMAT_KEY, [FORMAT]);
        self.batch.put(keys::NEXT_TOPIC_KEY, next.max(stored).to_be_bytes());
        // Whoever holds a writer now is gone: those that cannot be read begin anew.
        for (id, epoch) in self.from.named(keys::FENCE).unwrap_or_default() {
            self.batch.put(keys::named(keys::FENCE, &id), epoch);
        }
        for row in topics.values() {
            self.batch.put(keys::named(keys::TOPIC, &row.topic.name), row.encode());
            for partition in 0..row.topic.partitions {
                let place = Place { topic: row.number, partition };
                self.partition(row, place, witnessed.ends.get(&place).copied().unwrap_or_default())?;
            }
        }
        self.write()?;
        Ok(self.lost)
    }

    /// The topics by number, as the witness has them, and those that it does not know.
    fn topics(&self, witnessed: Option<Vec<TopicRow>>) -> Result<BTreeMap<u32, TopicRow>, LogError> {
        let stored = self.from.named(keys::TOPIC);
        let mut topics = BTreeMap::new();
        match (&stored, &witnessed) {
            (Err(_), None) => {
                let why = "neither its topics nor the witness of them can be read; restore the folder from a copy";
                return Err(self.to.cannot(why.to_owned()));
            }
            (Err(error), _) => tracing::warn!(%error, "the topics are those of the witness"),
            _ => {}
        }
        let stored = stored.unwrap_or_default().into_iter().filter_map(|(name, value)| TopicRow::decode(&name, &value));
        for row in stored.chain(witnessed.into_iter().flatten()) {
            topics.insert(row.number, row);
        }
        Ok(topics)
    }

    /// Copies a partition, and tells what of it is lost.
    fn partition(&mut self, topic: &TopicRow, place: Place, witnessed: EndRow) -> Result<(), LogError> {
        let stored: EndRow = self.from.row(&place.end(), EndRow::decode).unwrap_or_default();
        let marks = self.from.row(&place.marks(), MarksRow::decode).unwrap_or_else(|_| self.first(place));
        let mut row = if stored.end > witnessed.end { stored } else { witnessed };
        let compacted = matches!(topic.topic.cleanup, Cleanup::Compact | Cleanup::CompactAndDeleteAfterMs(_));
        let (mut position, mut lost) = (marks.start, Vec::new());
        loop {
            let mut at = self.from.records(place, position, Offset::MAX, false);
            while let Some((key, value)) = at.item() {
                let Some((offset, record)) = offset_of(key).zip(encoding::glance(value)) else { break };
                if !compacted && offset - position > OFFSET_STEP_MOST {
                    lost.push(position..offset);
                }
                self.batch.put(key, value);
                position = offset + 1;
                if position > row.end {
                    row = EndRow { end: position, appended: record.appended };
                }
                if self.batch.size_in_bytes() >= BATCH_BYTES {
                    self.write()?;
                }
                at.next();
            }
            let is_whole = at.status().is_ok() && !at.valid();
            if is_whole {
                break;
            }
            // Behind the end that is known there may be more; where nothing of it can be read, nobody knows.
            let limit = if position < row.end { row.end } else { position + BEYOND_MOST };
            let behind = self.behind_damage(place, position, limit);
            if position >= row.end && behind == limit {
                break;
            }
            lost.push(position..behind);
            position = behind;
        }
        if position < row.end {
            lost.push(position..row.end);
        }
        if compacted && self.left_out && marks.start < row.end {
            // Gaps say nothing here, so that any of it may be lacking.
            lost.clear();
            lost.push(marks.start..row.end);
        }
        self.batch.put(place.end(), row.encode());
        self.batch.put(place.marks(), MarksRow { cleaned: marks.cleaned.max(marks.start), ..marks }.encode());
        self.told(topic, place, lost, row.end, marks.start);
        Ok(())
    }

    /// Where a partition begins whose marks cannot be read: at the first record that can.
    fn first(&self, place: Place) -> MarksRow {
        let at = self.from.records(place, 0, Offset::MAX, false);
        MarksRow { start: at.key().and_then(offset_of).unwrap_or_default(), ..MarksRow::default() }
    }

    /// The rows of what a partition has lost, now and before, and of where it ended.
    fn told(&mut self, topic: &TopicRow, place: Place, lost: Vec<Range<Offset>>, end: Offset, start: Offset) {
        let before = lost_of(self.from, place).unwrap_or_default();
        let joined = join(lost);
        let at = TopicPartition::new(&topic.topic.name, place.partition);
        self.lost.extend(joined.iter().map(|range| (at.clone(), range.clone())));
        let rows: BTreeMap<Offset, Offset> = std::iter::once(end..end)
            .chain(before)
            .chain(joined)
            .filter(|range| range.end >= start)
            .map(|range| (range.start, range.end))
            .collect();
        for (from, to) in rows {
            self.batch.put(place.lost(from), to.to_be_bytes());
        }
    }

    /// The first position behind `from` at which reading goes on, at most `end`: found by steps that double, then by halving, as a
    /// damaged block is small and a damaged table is not.
    fn behind_damage(&self, place: Place, from: Offset, end: Offset) -> Offset {
        let readable = |position: Offset| self.from.records(place, position, Offset::MAX, false).status().is_ok();
        let (mut bad, mut step) = (from, 1);
        let mut good = loop {
            let next = bad + step;
            if next >= end {
                break end;
            }
            if readable(next) {
                break next;
            }
            (bad, step) = (next, step * 2);
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if readable(middle) { good = middle } else { bad = middle }
        }
        good
    }

    fn write(&mut self) -> Result<(), LogError> {
        let batch = std::mem::take(&mut self.batch);
        self.to.write(batch).map_err(|error| self.to.cannot(format!("salvage: it cannot be written: {error}")))
    }
}

/// The ranges that a partition has lost, in order.
pub(super) fn lost_of(store: &Store, place: Place) -> Result<Vec<Range<Offset>>, LogError> {
    let rows = store.beginning_with(&place.all_lost())?;
    let range = |(key, value): store::Row| Some(offset_of(&key)?..Offset::from_be_bytes(value.try_into().ok()?));
    rows.into_iter().map(|row| range(row).ok_or_else(|| store.damaged("a row of a lost range cannot be read".to_owned()))).collect()
}

/// Ranges in order, those that touch as one.
fn join(ranges: Vec<Range<Offset>>) -> Vec<Range<Offset>> {
    let mut joined: Vec<Range<Offset>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// A name that nothing has yet.
fn kept(folder: &Path) -> Option<PathBuf> {
    (1..=KEPT_MOST).map(|n| folder.join(format!("rocksdb.damaged-{n}"))).find(|path| !path.exists())
}

/// The new database takes the place of the damaged one: in one step where the file system can, so that there is always one of them.
fn put_in_place(folder: &Path, made: &Path, kept: &Path) -> std::io::Result<()> {
    let place = store::path(folder);
    let (here, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    if rustix::fs::renameat_with(here, made, here, &place, exchange).is_ok() {
        std::fs::rename(made, kept)?;
    } else {
        std::fs::rename(&place, kept)?;
        std::fs::rename(made, place)?;
    }
    std::fs::File::open(folder)?.sync_all()
}

/// Tables never change and are linked where the file system can; everything else is copied.
fn link_or_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let is_table = entry.path().extension().is_some_and(|extension| extension == store::TABLE_EXTENSION);
        if entry.file_type()?.is_file() && !(is_table && std::fs::hard_link(entry.path(), &target).is_ok()) {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
