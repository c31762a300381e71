//! Dependent jobs: what an ended run starts.

use super::Turn;
use super::runs::NewRun;
use crate::facts::Decision;
use crate::joins::{join_key, partner};
use orrery_model::id::JobName;
use orrery_model::job::On;
use orrery_model::messages::{EndedRun, RunRecord, RunState};
use orrery_model::time::Timestamp;
use std::collections::BTreeSet;

impl Turn<'_> {
    /// Starts, or brings closer, the jobs that run after this one; other shards are told if theirs do.
    pub(super) fn run_ended(&mut self, record: &RunRecord) {
        let ended = EndedRun::from(record);
        for shard in self.start_children(&ended) {
            self.tell_end(shard, &ended);
        }
    }

    /// Does so for this shard's jobs; the shards that own others.
    pub(super) fn start_children(&mut self, record: &EndedRun) -> BTreeSet<i32> {
        let here = self.state.shards().shard;
        let children: Vec<JobName> = self.state.index.by_parent.get(&record.job).into_iter().flatten().cloned().collect();
        let mut others = BTreeSet::new();
        for child in children {
            let Some(compiled) = self.state.compiled(&child) else { continue };
            let owner = self.state.owner(&child);
            for (i, trigger) in compiled.spec.triggers.iter().enumerate() {
                let counts = trigger.after.contains(&record.job) && counts(trigger.on.unwrap_or_default(), record.state);
                if !counts || compiled.repeats[i] {
                    continue;
                }
                if owner == here {
                    self.parent_ended(&child, i as i32, &trigger.after, record);
                } else {
                    others.insert(owner);
                }
            }
        }
        others
    }

    fn parent_ended(&mut self, child: &JobName, trigger: i32, parents: &[JobName], record: &EndedRun) {
        if parents.len() == 1 {
            return self.create_after(child, vec![record.run.to_string()], record, None);
        }
        self.decide(Decision::ParentDone {
            job: child.clone(),
            trigger,
            parent: record.job.clone(),
            run: record.run.clone(),
            root: record.root.clone(),
        });
        let join = |parent: &JobName| {
            if *parent == record.job {
                return Some(record.run.to_string());
            }
            let row = self.state.joins.get(&(child.clone(), join_key(trigger, parent)))?;
            partner(&row.pending, &record.root).map(|end| end.run.to_string())
        };
        if let Some(runs) = parents.iter().map(join).collect::<Option<Vec<_>>>() {
            self.create_after(child, runs, record, Some(trigger));
        }
    }

    fn create_after(&mut self, child: &JobName, runs: Vec<String>, record: &EndedRun, joined: Option<i32>) {
        let cause = format!("after:{}", runs.join("+"));
        // Which end came last does not matter: that of a run by hand has no slot of its own.
        let nominal = record.nominal.or_else(|| Timestamp::parse(record.root.strip_prefix("time:")?).ok());
        let new =
            NewRun { cause, root: record.root.clone(), nominal, event: None, matched: None, args: Vec::new(), joined, caught_up: false };
        self.create_run(child, new);
    }
}

fn counts(on: On, state: RunState) -> bool {
    match on {
        On::Success => state == RunState::Succeeded,
        On::Failure => matches!(state, RunState::Failed | RunState::Lost),
        On::Any => state != RunState::Skipped,
    }
}
