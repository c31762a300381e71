//! Statuses: numbered updates that an agent sends until they are acknowledged (protocol §3.3).

use super::Turn;
use crate::apply::SECOND_MS;
use crate::facts::Decision;
use crate::rows::AgentRow;
use orrery_model::messages::{Status, StatusChange};
use orrery_model::planted::{Bug, planted};

/// Repeated acknowledgements to one agent within one second. An agent sends what is not acknowledged every two seconds, 400 in
/// one record; with one a second, it would take hours to settle what a failed commit left open.
const REACKS_PER_SECOND: i32 = 100;

impl Turn<'_> {
    /// The number decides, not the session: an adopted attempt's updates of the session before are as good.
    pub(super) fn status_arrived(&mut self, status: &Status) {
        let task = self.state.tasks.get(&status.attempt);
        let place = task.and_then(|task| task.place.as_ref()).filter(|place| place.agent == status.agent);
        match (task, place) {
            (Some(task), Some(place)) if status.seq > place.seq => {
                let (job, hop) = (task.spec.job.clone(), task.spec.hop);
                let Some(row) = self.state.agents.get(&status.agent) else { return };
                let session = row.session.clone();
                self.decide(Decision::StatusTaken { status: Status { session, ..status.clone() }, job, hop });
                if matches!(status.change, StatusChange::TaskEnded { .. }) {
                    self.gained.insert(status.agent.clone());
                }
            }
            (_, Some(place)) => {
                let seq = place.seq;
                self.acknowledge_again(status, seq, None);
            }
            _ => self.acknowledge_unknown(status),
        }
    }

    /// It is over for everybody but this agent; if it runs, it should not.
    fn acknowledge_unknown(&mut self, status: &Status) {
        let of_now = self.state.agents.get(&status.agent).is_some_and(|row| row.session == status.session);
        if of_now {
            let runs = matches!(status.change, StatusChange::TaskRunning { .. });
            let kill = runs.then(|| "the allocator does not know it here".to_owned());
            self.acknowledge_again(status, status.seq, kill);
        }
    }

    fn acknowledge_again(&mut self, status: &Status, seq: i64, kill: Option<String>) {
        if planted(Bug::NoReack) {
            return;
        }
        let has_room = |row: &AgentRow| self.at.since_ms(row.reacked_at) >= SECOND_MS || row.reacked < REACKS_PER_SECOND;
        let Some(row) = self.state.agents.get(&status.agent).filter(|row| row.lost.is_none() && has_room(row)) else { return };
        let session = row.session.clone();
        self.decide(Decision::Reacked { attempt: status.attempt.clone(), agent: status.agent.clone(), session, seq, kill });
    }
}
