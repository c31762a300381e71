//! Runs by id, by time, by job; counted by state.

use orrery_model::id::{JobName, RunId};
use orrery_model::messages::{RunRecord, RunState};
use orrery_model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Runs that are shown; beyond it the oldest that have ended go. All are in the topic `runs` for its 30 days.
pub const RUNS_SHOWN: usize = 200_000;

/// Bytes of the reasons of one page's runs: all else of a run is small.
const PAGE_BYTES: usize = 4 << 20;

type Place = (Timestamp, RunId);

/// The runs.
#[derive(Default)]
pub struct RunsView {
    by_id: BTreeMap<RunId, RunRecord>,
    by_time: BTreeSet<Place>,
    by_job: BTreeMap<JobName, BTreeSet<Place>>,
    by_state: BTreeMap<&'static str, BTreeSet<Place>>,
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this job.
    pub job: Option<JobName>,
    /// In one of these states; empty for any.
    pub states: Vec<RunState>,
    /// Made at or after this time.
    pub since: Option<Timestamp>,
}

/// A page of runs, newest first.
#[derive(Debug)]
pub struct RunPage {
    /// The runs.
    pub items: Vec<RunRecord>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl RunsView {
    /// Takes a run's newest record.
    pub fn take(&mut self, record: RunRecord) {
        let (place, state) = ((record.created_at, record.run.clone()), record.state);
        let job = record.job.clone();
        match self.by_id.insert(record.run.clone(), record) {
            Some(old) if old.state == state => return,
            Some(old) => self.leave_state(old.state, &place),
            None => {
                self.by_job.entry(job).or_default().insert(place.clone());
                self.by_time.insert(place.clone());
            }
        }
        self.by_state.entry(state.word()).or_default().insert(place);
        if self.by_id.len() > RUNS_SHOWN {
            self.forget_oldest();
        }
    }

    /// Forgets a run (a tombstone, or too many).
    pub fn forget(&mut self, run: &RunId) {
        let Some(old) = self.by_id.remove(run) else { return };
        let place = (old.created_at, old.run);
        self.leave_state(old.state, &place);
        self.by_time.remove(&place);
        if self.by_job.get_mut(&old.job).is_some_and(|places| places.remove(&place) && places.is_empty()) {
            self.by_job.remove(&old.job);
        }
    }

    fn leave_state(&mut self, state: RunState, place: &Place) {
        if let Some(places) = self.by_state.get_mut(state.word()) {
            places.remove(place);
        }
    }

    fn forget_oldest(&mut self) {
        let ended = |place: &&Place| self.by_id.get(&place.1).is_some_and(|record| record.state.is_final());
        if let Some((_, run)) = self.by_time.iter().find(ended).cloned() {
            self.forget(&run);
        }
    }

    /// The run.
    pub fn get(&self, run: &RunId) -> Option<&RunRecord> {
        self.by_id.get(run)
    }

    /// Number of runs in each state.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.by_state.iter().map(|(state, places)| (*state, places.len())).collect()
    }

    /// Number of wanted runs.
    pub fn count(&self, filter: &RunFilter) -> usize {
        if filter.job.is_none() && filter.since.is_none() {
            let states: Vec<&str> = filter.states.iter().map(|state| state.word()).collect();
            let wanted = self.by_state.iter().filter(|(state, _)| states.is_empty() || states.contains(state));
            return wanted.map(|(_, places)| places.len()).sum();
        }
        self.wanted(filter, None).count()
    }

    /// A page of the wanted runs, newest first; `cursor` as given by the page before.
    pub fn page(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<RunPage, String> {
        let before = cursor.map(read_cursor).transpose()?;
        let mut found = self.wanted(filter, before.as_ref());
        let (mut items, mut bytes, mut more) = (Vec::<RunRecord>::new(), 0, false);
        for record in found.by_ref() {
            more = items.len() >= limit || bytes >= PAGE_BYTES;
            if more {
                break;
            }
            bytes += record.reason.as_ref().map_or(0, String::len);
            items.push(record.clone());
        }
        let next = items.last().filter(|_| more).map(|record| format!("{}.{}", record.created_at.0, record.run));
        Ok(RunPage { items, next })
    }

    fn wanted<'v>(&'v self, filter: &'v RunFilter, before: Option<&Place>) -> impl Iterator<Item = &'v RunRecord> {
        static NONE: BTreeSet<Place> = BTreeSet::new();
        let places = match (&filter.job, filter.states.as_slice()) {
            (Some(job), _) => self.by_job.get(job).unwrap_or(&NONE),
            (None, [state]) => self.by_state.get(state.word()).unwrap_or(&NONE),
            (None, _) => &self.by_time,
        };
        let from = filter.since.map_or(Bound::Unbounded, |since| Bound::Included((since, lowest())));
        let to = before.map_or(Bound::Unbounded, |place| Bound::Excluded(place.clone()));
        let empty = matches!((&from, &to), (Bound::Included(a), Bound::Excluded(b)) if a >= b);
        let range = if empty { NONE.range::<Place, _>(..) } else { places.range::<Place, _>((from, to)) };
        let records = range.rev().filter_map(|(_, run)| self.by_id.get(run));
        records.filter(|record| filter.states.is_empty() || filter.states.contains(&record.state))
    }
}

fn lowest() -> RunId {
    RunId::parse("0").expect("a run id")
}

fn read_cursor(text: &str) -> Result<Place, String> {
    let read = || {
        let (at, run) = text.split_once('.')?;
        Some((Timestamp(at.parse().ok()?), RunId::parse(run).ok()?))
    };
    read().ok_or_else(|| format!("cursor {text:?} is not one that a page named as `next`"))
}
