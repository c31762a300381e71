//! Joins: which ends of several parents make one run of the job that comes after all of them.
//!
//! An end belongs to the cycle at the head of its chain: a slot, or an event. An end joins, of each other parent, the end of the same
//! cycle. Where a parent has none, its newest end that can share no cycle with it stands in: of a request, or of another topic.
//! Ends of other cycles of the same kind are not looked at: they wait for their own, however many are left over.
//!
//! A run by request belongs to the cycle that it makes up for: that of the job's newest run, if this has ended without success. Else
//! it belongs to none but its own.

use crate::rows::{JoinRow, ParentEnd};
use crate::state::Trigger;
use crate::triggers::places_before;
use orrery_model::id::JobName;
use orrery_model::job::JobSpec;
use orrery_model::limits::PENDING_PARENTS;
use orrery_model::messages::{CatalogEntry, RunRecord, RunState};

/// The end that one of the cycle `root` joins, of those of another parent that wait.
pub fn partner<'e>(pending: &'e [ParentEnd], root: &str) -> Option<&'e ParentEnd> {
    let newest = |belongs: fn(&str, &str) -> bool| pending.iter().rev().find(|end| belongs(&end.root, root));
    newest(|end, root| end == root).or_else(|| newest(stands_in))
}

/// True if these two can never be of one cycle.
fn stands_in(end: &str, root: &str) -> bool {
    kind(end) != kind(root)
}

/// What two roots must have in common for their runs to share cycles.
fn kind(root: &str) -> &str {
    match root.split_once(':') {
        Some(("event", place)) => &root[..root.len() - place.len() + place.find('/').unwrap_or(place.len())],
        Some(("request", _)) | None => root,
        Some((kind, _)) => kind,
    }
}

/// Key of a parent's ends within its dependent job's joins.
pub(crate) fn join_key(trigger: i32, parent: &JobName) -> String {
    format!("{trigger}/{parent}")
}

impl Trigger {
    pub(crate) fn add_parent(&mut self, key: (JobName, String), end: ParentEnd) {
        let mut row = self.joins.get(&key).cloned().unwrap_or_else(JoinRow::default);
        row.pending.push(end);
        if row.pending.len() > PENDING_PARENTS {
            row.pending.remove(0);
        }
        self.joins.insert(key, row);
    }

    /// Takes out the ends that made this run. Of those that could stand in, older ones than the one that did are superseded.
    pub(crate) fn use_up_parents(&mut self, record: &RunRecord, trigger: i32) {
        let from = (record.job.clone(), format!("{trigger}/"));
        let of_trigger = |key: &(JobName, String)| key.0 == record.job && key.1.starts_with(&from.1);
        let keys: Vec<_> = self.joins.range(from.clone()..).map(|(key, _)| key.clone()).take_while(of_trigger).collect();
        let used = |end: &ParentEnd| record.cause.trim_start_matches("after:").split('+').any(|run| run == end.run.as_str());
        for key in keys {
            self.joins.modify(&key, |row| {
                let Some(place) = row.pending.iter().position(used) else { return };
                let stood_in = stands_in(&row.pending[place].root, &record.root);
                let mut number = 0..;
                row.pending.retain(|end| {
                    let number = number.next().expect("numbers do not end");
                    number != place && !(stood_in && number < place && stands_in(&end.root, &record.root))
                });
            });
            if self.joins.get(&key).is_some_and(|row| row.pending.is_empty()) {
                self.joins.remove(&key);
            }
        }
    }

    /// Ends that wait for other parents stay with their trigger, wherever it stands now; those of one that is gone go with it.
    pub(crate) fn carry_joins(&mut self, job: &JobName, old: Option<&CatalogEntry>, new: &CatalogEntry) {
        let waiting = self.forget_joins(job);
        let (false, Some(old)) = (waiting.is_empty(), old) else { return };
        let places = places_before(&triggers_of(new), &triggers_of(old));
        for ((_, key), row) in waiting {
            let Some((place, parent)) = key.split_once('/') else { continue };
            let now = places.iter().position(|before| before.is_some_and(|before| before.to_string() == place));
            if let Some(now) = now {
                self.joins.insert((job.clone(), format!("{now}/{parent}")), row);
            }
        }
    }

    /// Takes out all ends of a job that wait for other parents.
    pub(crate) fn forget_joins(&mut self, job: &JobName) -> Vec<((JobName, String), JoinRow)> {
        let of_job = self.joins.range((job.clone(), String::new())..).take_while(|((of, _), _)| of == job);
        let waiting: Vec<_> = of_job.map(|(key, row)| (key.clone(), row.clone())).collect();
        waiting.iter().for_each(|(key, _)| drop(self.joins.remove(key)));
        waiting
    }

    /// The cycle that a run by request makes up for, if there is one. What was asked for and skipped is no run to make up for.
    pub(crate) fn cycle_to_make_up(&self, job: &JobName) -> Option<String> {
        let newest = self.runs_of(job)?.newest_first().filter_map(|run| self.runs.get(run)).map(|row| &row.record);
        let newest = newest.into_iter().find(|record| !(record.state == RunState::Skipped && record.cause.starts_with("request:")))?;
        let failed = newest.state.is_final() && newest.state != RunState::Succeeded;
        (failed && !newest.root.starts_with("request:")).then(|| newest.root.clone())
    }
}

/// Triggers of an accepted document; what this version cannot read has none.
fn triggers_of(entry: &CatalogEntry) -> Vec<orrery_model::job::Trigger> {
    serde_json::from_str::<JobSpec>(&entry.document).map_or_else(|_| Vec::new(), |spec| spec.triggers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_model::id::RunId;

    #[test]
    fn ends_of_one_cycle_belong_together() {
        let end = |run: &str, root: &str| ParentEnd { run: RunId::parse(run).expect("an id"), root: root.into() };
        let pending = [end("a", "time:1"), end("b", "time:2"), end("c", "time:3")];
        let found = |pending: &[ParentEnd], root: &str| partner(pending, root).map(|end| end.run.to_string());
        assert_eq!(found(&pending, "time:2").as_deref(), Some("b"));
        assert_eq!(found(&pending, "time:4"), None, "its own cycle is still to come");
        assert_eq!(found(&pending, "request:x").as_deref(), Some("c"), "a request shares no cycle");
        assert_eq!(found(&pending, "event:t/0/1").as_deref(), Some("c"));
        assert_eq!(found(&[end("a", "event:t/0/1")], "event:t/1/1"), None, "events of one topic can share a cycle");
        assert_eq!(found(&[end("a", "event:t/0/1")], "event:u/0/1").as_deref(), Some("a"));
        assert_eq!(found(&[end("a", "request:jobs/0/1")], "request:jobs/0/2").as_deref(), Some("a"));
        let left_over = [end("a", "time:1"), end("b", "request:x"), end("c", "time:2")];
        assert_eq!(found(&left_over, "time:3").as_deref(), Some("b"), "what is left over changes nothing");
    }
}
