//! The only way state changes: one decision at a time, and it cannot fail.

use crate::facts::Decision;
use crate::rows::{AgentRow, CountersRow, Loss, Place, TaskRow, TombstoneRow};
use crate::state::Allocator;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::{Attribute, Session, Status, StatusChange, TaskSpec};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;
use std::collections::BTreeSet;

/// Tombstones kept; beyond them the oldest goes.
pub const TOMBSTONES_KEPT: usize = 10_000;
/// Lost agents kept; beyond them the oldest that has no task goes, and would be taken for a new one.
pub const LOST_AGENTS_KEPT: usize = 10_000;
/// Replaced boots and processes of an agent that are remembered: as many copies of a folder are told from each other.
const DISPLACED_KEPT: usize = 8;
/// Within one second, repeated acknowledgements are counted against a limit.
pub(crate) const SECOND_MS: i64 = 1_000;

pub(crate) fn apply(state: &mut Allocator, at: Timestamp, decision: &Decision) {
    match decision {
        Decision::ShardsLearned { shards } => state.learn(*shards),
        Decision::AgentJoined { agent, session, total, attributes, lease_ms, adopted, ending } => {
            let row = new_agent(at, session, *total, attributes, *lease_ms);
            state.join(agent, row, adopted.iter().chain(ending));
        }
        Decision::AgentWelcomed { agent, missing, .. } => {
            state.agents.modify(agent, |row| row.answered_at = at);
            missing.iter().for_each(|attempt| state.change_place(attempt, |place| place.adrift = true));
        }
        Decision::AgentRefused { agent, session, copy: true, .. } => state.refuse_copy(at, agent, session),
        Decision::AgentRefused { agent, session, reason, copy: false } => state.refuse(at, agent, session, reason),
        Decision::AgentChanged { agent, total, attributes, lease_ms } => state.change_agent(agent, |row| {
            row.total = *total;
            row.attributes.clone_from(attributes);
            row.lease_ms = *lease_ms;
        }),
        Decision::AgentLost { agent, silent_ms, .. } => {
            let reason = format!("agent {agent} was silent for {silent_ms} ms, longer than its lease");
            state.change_agent(agent, |row| row.lost = Some(Loss { at, reason }));
            state.forget_lost_agents();
        }
        Decision::TaskQueued { spec, order, reasons } => {
            state.count(*order);
            let row = TaskRow { reasons: reasons.clone(), ..new_task(at, spec, *order) };
            state.tasks.insert(spec.attempt.clone(), row);
            state.index_task(&spec.attempt);
        }
        // Neither priority nor shape changes, so the index does not either.
        Decision::TaskWaits { attempt, reasons } => {
            state.tasks.modify(attempt, |row| row.reasons.clone_from(reasons));
        }
        Decision::Placed { spec, order, agent, session } => state.place(at, spec, *order, agent, session),
        Decision::TaskReturned { attempt, .. } => state.change_task(attempt, |row| row.place = None),
        Decision::TaskDropped { attempt, hop, .. } => {
            state.remove_tombstone(&(attempt.clone(), *hop as u32));
            state.remove_task(attempt);
        }
        Decision::CancelKept { attempt, hop, order, reason } => {
            state.count(*order);
            let row = TombstoneRow { order: *order, at, reason: reason.clone() };
            state.keep_tombstone((attempt.clone(), *hop as u32), row);
        }
        Decision::KillOrdered { attempt, reason, .. } => {
            state.tasks.modify(attempt, |row| row.unwanted = Some(reason.clone()));
        }
        Decision::StatusTaken { status, .. } => state.take_status(status),
        Decision::TaskLost { attempt, .. } | Decision::TaskDeclined { attempt, .. } => state.remove_task(attempt),
        Decision::Reacked { agent, .. } => {
            state.agents.modify(agent, |row| count_reack(at, row));
        }
        Decision::PlacementPaused {} => state.set_counters(CountersRow { paused: true, ..state.counters() }),
        Decision::PlacementResumed {} => state.set_counters(CountersRow { paused: false, ..state.counters() }),
        Decision::Alerted { .. } => {}
    }
}

fn new_agent(at: Timestamp, session: &Session, total: Resources, attributes: &[Attribute], lease_ms: i64) -> AgentRow {
    AgentRow {
        session: session.clone(),
        total,
        attributes: attributes.to_vec(),
        lease_ms,
        joined_at: at,
        lost: None,
        answered_at: at,
        reacked_at: at,
        reacked: 0,
        displaced: Vec::new(),
        copies: Vec::new(),
    }
}

/// The newest last, the oldest go.
fn remember(list: &mut Vec<String>, one: &str) {
    list.retain(|known| known != one);
    list.push(one.to_owned());
    let surplus = list.len().saturating_sub(DISPLACED_KEPT);
    list.drain(..surplus);
}

fn new_task(at: Timestamp, spec: &TaskSpec, order: i64) -> TaskRow {
    TaskRow { spec: spec.clone(), order, wanted_at: at, reasons: Vec::new(), place: None, unwanted: None }
}

fn count_reack(at: Timestamp, row: &mut AgentRow) {
    if at.since_ms(row.reacked_at) >= SECOND_MS {
        row.reacked_at = at;
        row.reacked = 0;
    }
    row.reacked += 1;
}

impl Allocator {
    /// Opens a session. These attempts follow into it; whatever else is placed on the agent becomes an orphan.
    fn join<'a>(&mut self, agent: &AgentId, mut row: AgentRow, live: impl Iterator<Item = &'a AttemptId>) {
        // One that was silent for its lease may be gone, and come back when the other one is: that is no proof.
        if let Some(before) = self.agents.get(agent).filter(|before| before.lost.is_none()) {
            (row.displaced, row.copies) = (before.displaced.clone(), before.copies.clone());
            // An agent that names its boot only may be restarted in it any number of times.
            if before.session.boot_id != row.session.boot_id && before.session.boot_id.contains('/') {
                remember(&mut row.displaced, &before.session.boot_id);
            }
        }
        let session = row.session.clone();
        for attempt in live {
            self.tasks.modify(attempt, |task| {
                if let Some(place) = &mut task.place {
                    place.session = session.clone();
                    place.adrift = false;
                }
            });
        }
        self.unindex_agent(agent);
        self.agents.insert(agent.clone(), row);
        self.index_agent(agent);
    }

    fn refuse_copy(&mut self, at: Timestamp, agent: &AgentId, session: &Session) {
        self.agents.modify(agent, |row| {
            row.answered_at = at;
            remember(&mut row.copies, &session.boot_id);
        });
    }

    fn refuse(&mut self, at: Timestamp, agent: &AgentId, session: &Session, reason: &str) {
        if self.agents.modify(agent, |row| row.answered_at = at).is_some() {
            return;
        }
        // Remembered as lost, so that only a later session is welcome, and is answered once a second like everybody.
        let lost = Some(Loss { at, reason: reason.to_owned() });
        let row = AgentRow { lost, ..new_agent(at, session, Resources::default(), &[], 0) };
        self.agents.insert(agent.clone(), row);
        self.index_agent(agent);
        self.forget_lost_agents();
    }

    fn forget_lost_agents(&mut self) {
        if self.index.lost.len() > LOST_AGENTS_KEPT {
            let oldest = self.index.lost.iter().find(|(_, agent)| !self.index.loads.contains_key(agent)).cloned();
            if let Some((_, agent)) = oldest {
                self.unindex_agent(&agent);
                self.agents.remove(&agent);
            }
        }
    }

    fn place(&mut self, at: Timestamp, spec: &TaskSpec, order: i64, agent: &AgentId, session: &Session) {
        let place = Place { agent: agent.clone(), session: session.clone(), at, seq: 0, running: false, adrift: false };
        let attempt = &spec.attempt;
        if self.tasks.get(attempt).is_none() {
            self.count(order);
            self.tasks.insert(attempt.clone(), TaskRow { place: Some(place), ..new_task(at, spec, order) });
            return self.index_task(attempt);
        }
        self.change_task(attempt, |row| {
            row.reasons.clear();
            row.place = Some(place);
        });
    }

    fn change_agent(&mut self, agent: &AgentId, change: impl FnOnce(&mut AgentRow)) {
        self.unindex_agent(agent);
        self.agents.modify(agent, change);
        self.index_agent(agent);
    }

    fn change_task(&mut self, attempt: &AttemptId, change: impl FnOnce(&mut TaskRow)) {
        self.unindex_task(attempt);
        self.tasks.modify(attempt, change);
        self.index_task(attempt);
    }

    fn change_place(&mut self, attempt: &AttemptId, change: impl FnOnce(&mut Place)) {
        self.change_task(attempt, |row| {
            if let Some(place) = &mut row.place {
                change(place);
            }
        });
    }

    fn take_status(&mut self, status: &Status) {
        match status.change {
            StatusChange::TaskEnded { .. } => self.remove_task(&status.attempt),
            StatusChange::TaskRunning { .. } => self.change_place(&status.attempt, |place| {
                place.seq = status.seq;
                place.running = true;
                place.adrift = false;
            }),
        }
    }

    fn remove_task(&mut self, attempt: &AttemptId) {
        self.unindex_task(attempt);
        self.tasks.remove(attempt);
    }

    /// An order number has been given.
    fn count(&mut self, order: i64) {
        let counters = self.counters();
        self.set_counters(CountersRow { next_order: counters.next_order.max(order + 1), ..counters });
    }

    fn keep_tombstone(&mut self, key: (AttemptId, u32), row: TombstoneRow) {
        self.remove_tombstone(&key);
        self.index.tombstones.insert(row.order, key.clone());
        self.tombstones.insert(key, row);
        while self.index.tombstones.len() > TOMBSTONES_KEPT {
            let Some((_, oldest)) = self.index.tombstones.pop_first() else { return };
            self.tombstones.remove(&oldest);
        }
    }

    fn remove_tombstone(&mut self, key: &(AttemptId, u32)) {
        if let Some(row) = self.tombstones.remove(key) {
            self.index.tombstones.remove(&row.order);
        }
    }

    /// The attempts placed on an agent.
    pub(crate) fn tasks_of(&self, agent: &AgentId) -> BTreeSet<AttemptId> {
        self.index.loads.get(agent).map(|load| load.tasks.clone()).unwrap_or_default()
    }
}
