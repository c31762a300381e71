//! Nobody starves: of tasks that fit on the same agents, the one of higher priority goes first, then the one that came first. So a
//! task waits for those before it and never for those that came later.

use super::Outcome;
use orrery_allocator::{Allocator, Decision};
use orrery_model::id::AttemptId;
use orrery_model::messages::TaskSpec;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Place in a queue.
type Turn = (Reverse<i32>, i64);

#[derive(Default)]
struct Queues {
    /// Waiting tasks by what they need.
    waiting: BTreeMap<String, BTreeSet<(Turn, AttemptId)>>,
    tasks: BTreeMap<AttemptId, (String, Turn)>,
    placed: BTreeMap<AttemptId, (String, Turn)>,
}

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.cells().flat_map(|cell| of(outcome, cell)).collect()
}

fn of(outcome: &Outcome<'_>, cell: u32) -> Vec<String> {
    let mut queues = Queues::default();
    let mut found = Vec::new();
    for entry in outcome.journal::<Allocator>(cell) {
        for decision in &entry.decisions {
            if let Some(first) = queues.follow(decision) {
                found.push(format!("cell {cell}, entry {}: {first} waits and was first", entry.seq));
            }
        }
    }
    found
}

impl Queues {
    /// Who was overtaken by this decision.
    fn follow(&mut self, decision: &Decision) -> Option<AttemptId> {
        match decision {
            Decision::TaskQueued { spec, order, .. } => self.wait(spec.attempt.clone(), place(spec, *order)),
            Decision::Placed { spec, order, .. } if !self.placed.contains_key(&spec.attempt) => {
                self.leave(&spec.attempt);
                let (needs, turn) = place(spec, *order);
                let first = self.waiting.get(&needs).and_then(BTreeSet::first).filter(|(first, _)| *first < turn);
                let overtaken = first.map(|(_, attempt)| attempt.clone());
                self.placed.insert(spec.attempt.clone(), (needs, turn));
                return overtaken;
            }
            Decision::TaskReturned { attempt, .. } => {
                if let Some(place) = self.placed.remove(attempt) {
                    self.wait(attempt.clone(), place);
                }
            }
            Decision::TaskDropped { attempt, .. } | Decision::TaskDeclined { attempt, .. } | Decision::TaskLost { attempt, .. } => {
                self.leave(attempt);
                self.placed.remove(attempt);
            }
            _ => {}
        }
        None
    }

    fn wait(&mut self, attempt: AttemptId, (needs, turn): (String, Turn)) {
        self.waiting.entry(needs.clone()).or_default().insert((turn, attempt.clone()));
        self.tasks.insert(attempt, (needs, turn));
    }

    fn leave(&mut self, attempt: &AttemptId) {
        if let Some((needs, turn)) = self.tasks.remove(attempt)
            && let Some(queue) = self.waiting.get_mut(&needs)
        {
            queue.remove(&(turn, attempt.clone()));
        }
    }
}

/// What a task needs, and its place among those that need the same.
fn place(spec: &TaskSpec, order: i64) -> (String, Turn) {
    (format!("{:?} {:?} {}", spec.resources, spec.constraints, spec.role), (Reverse(spec.priority), order))
}
