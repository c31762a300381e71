//! Heartbeats and leases: which session of an agent is open (protocol §8.1).

use super::Turn;
use crate::apply::SECOND_MS;
use crate::facts::Decision;
use crate::place::unable_of;
use crate::rows::AgentRow;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::{Attribute, Heartbeat, Session};
use std::collections::BTreeSet;

/// One folder has one journal, in which a session's number is used once, and a lock, so that its processes follow each other. So whoever opens
/// a later session than the one that has replaced it has another folder. (One of an earlier session may have been long on its way.)
fn is_copy(row: &AgentRow, heartbeat: &Heartbeat) -> bool {
    let boot = &heartbeat.session.boot_id;
    let came_back = heartbeat.session > row.session && row.displaced.contains(boot) && row.session.boot_id != *boot;
    row.copies.contains(boot) || came_back
}

fn host(attributes: &[Attribute]) -> &str {
    attributes.iter().find(|attribute| attribute.name == "hostname").map_or("a host without a name", |attribute| attribute.value.as_str())
}

impl Turn<'_> {
    pub(super) fn heartbeat_arrived(&mut self, heartbeat: &Heartbeat) {
        let cell = self.state.shards().shard;
        if heartbeat.cell != cell {
            return self.refuse(heartbeat, &format!("it belongs to cell {}, and this is cell {cell}", heartbeat.cell));
        }
        let Some(row) = self.state.agents.get(&heartbeat.agent) else {
            return match heartbeat.registering {
                true => self.join(heartbeat),
                false => self.refuse(heartbeat, "this allocator does not know the agent"),
            };
        };
        let open = row.session == heartbeat.session && row.lost.is_none();
        let over = row.lost.as_ref().map_or_else(|| "another session is known".to_owned(), |loss| loss.reason.clone());
        if row.lost.is_none() && is_copy(row, heartbeat) {
            return self.refuse_copy(heartbeat);
        }
        match heartbeat.registering {
            true if heartbeat.session > row.session => self.join(heartbeat),
            true if open => self.welcome_again(heartbeat),
            false if open => self.renewed(heartbeat),
            _ => self.refuse(heartbeat, &over),
        }
    }

    fn join(&mut self, heartbeat: &Heartbeat) {
        let Heartbeat { agent, session, total, lease_ms, .. } = heartbeat.clone();
        let (ending, adopted) = self.listed(heartbeat).into_iter().partition::<Vec<_>, _>(|attempt| self.is_unwanted(attempt));
        // Both lists stand in the entry beside the heartbeat's own.
        self.bytes += heartbeat.live.iter().map(|attempt| 2 * attempt.as_str().len()).sum::<usize>();
        let attributes = heartbeat.attributes.clone();
        let before = self.was_unable(&agent);
        self.decide(Decision::AgentJoined { agent: agent.clone(), session, total, attributes, lease_ms, adopted, ending });
        self.tell_unable(&agent, before.as_deref(), unable_of(&heartbeat.attributes));
        self.gained.insert(agent);
        self.agents_changed = true;
    }

    /// An agent that can start nothing is somebody's concern, and so is that it can again.
    fn tell_unable(&mut self, agent: &AgentId, before: Option<&str>, now: Option<&str>) {
        let (code, detail) = match (before, now) {
            (None, Some(why)) => ("agent_unable", format!("agent {agent} can start nothing: {why}")),
            (Some(_), None) => ("agent_able", format!("agent {agent} can start tasks again")),
            _ => return,
        };
        self.decide(Decision::Alerted { code: code.into(), detail });
    }

    /// Attempts of the heartbeat that are placed on its agent. Others are not ours: the agent ends what a welcome does not name.
    fn listed(&self, heartbeat: &Heartbeat) -> BTreeSet<AttemptId> {
        let placed = self.state.tasks_of(&heartbeat.agent);
        heartbeat.live.iter().filter(|attempt| placed.contains(*attempt)).cloned().collect()
    }

    fn is_unwanted(&self, attempt: &AttemptId) -> bool {
        self.state.tasks.get(attempt).is_some_and(|task| task.unwanted.is_some())
    }

    /// The welcome did not reach the agent, and it drops launches before one. What it does not list was not launched, or is
    /// about to be: a launch of a known attempt does no harm (protocol §8.3).
    fn welcome_again(&mut self, heartbeat: &Heartbeat) {
        if !self.may_answer(&heartbeat.agent) {
            return;
        }
        let listed = self.listed(heartbeat);
        let never_seen = |attempt: &AttemptId| {
            let place = self.state.tasks.get(attempt).and_then(|task| task.place.as_ref());
            place.is_some_and(|place| place.seq == 0 && place.session == heartbeat.session)
        };
        let placed = self.state.tasks_of(&heartbeat.agent);
        let missing = placed.into_iter().filter(|attempt| !listed.contains(attempt) && never_seen(attempt)).collect();
        let adopted = listed.into_iter().filter(|attempt| !self.is_unwanted(attempt)).collect();
        let (agent, session) = (heartbeat.agent.clone(), heartbeat.session.clone());
        self.decide(Decision::AgentWelcomed { agent, session, adopted, missing });
    }

    /// A renewal decides nothing, unless the agent offers something else than before.
    fn renewed(&mut self, heartbeat: &Heartbeat) {
        let Heartbeat { agent, total, attributes, lease_ms, .. } = heartbeat;
        let same = |row: &AgentRow| row.total == *total && row.attributes == *attributes && row.lease_ms == *lease_ms;
        if self.state.agents.get(agent).is_none_or(same) {
            return;
        }
        let attributes = attributes.clone();
        let before = self.was_unable(agent);
        self.decide(Decision::AgentChanged { agent: agent.clone(), total: *total, attributes, lease_ms: *lease_ms });
        self.tell_unable(agent, before.as_deref(), unable_of(&heartbeat.attributes));
        self.gained.insert(agent.clone());
        self.agents_changed = true;
    }

    fn was_unable(&self, agent: &AgentId) -> Option<String> {
        self.state.agents.get(agent).and_then(|row| unable_of(&row.attributes)).map(str::to_owned)
    }

    fn refuse(&mut self, heartbeat: &Heartbeat, reason: &str) {
        if self.may_answer(&heartbeat.agent) {
            let (agent, session) = (heartbeat.agent.clone(), heartbeat.session.clone());
            self.decide(Decision::AgentRefused { agent, session, reason: reason.to_owned(), copy: false });
        }
    }

    /// Two of one name would be given the same tasks, each in turn. The one that holds the session keeps it; the other one gives the name up.
    fn refuse_copy(&mut self, heartbeat: &Heartbeat) {
        let Some(row) = self.state.agents.get(&heartbeat.agent).filter(|_| self.may_answer(&heartbeat.agent)) else { return };
        let is_known = row.copies.contains(&heartbeat.session.boot_id);
        let (agent, session) = (heartbeat.agent.clone(), heartbeat.session.clone());
        // Copied machines have one name; their boots tell them apart.
        let named = |attributes: &[Attribute], session: &Session| format!("{} (boot {})", host(attributes), session.boot_id);
        let (here, there) = (named(&heartbeat.attributes, &heartbeat.session), named(&row.attributes, &row.session));
        let reason = format!(
            "agent {agent} is run twice, from copies of one data folder: on {there}, which holds its session, and on {here}, which was replaced \
            by it and lives; the latter gives the name up, and joins as a new agent when it is started again"
        );
        self.decide(Decision::AgentRefused { agent, session, reason: reason.clone(), copy: true });
        if !is_known {
            self.decide(Decision::Alerted { code: "agent_copied".into(), detail: reason });
        }
    }

    fn may_answer(&self, agent: &AgentId) -> bool {
        self.state.agents.get(agent).is_none_or(|row| self.at.since_ms(row.answered_at) >= SECOND_MS)
    }

    pub(super) fn lease_expired(&mut self, agent: &AgentId, session: &Session, silent_ms: i64) {
        if self.state.agents.get(agent).is_some_and(|row| row.lost.is_none() && row.session == *session) {
            self.decide(Decision::AgentLost { agent: agent.clone(), session: session.clone(), silent_ms });
            self.agents_changed = true;
        }
    }
}
