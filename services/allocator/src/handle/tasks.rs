//! Tasks: wanted, unwanted, and orphaned by their agents.

use super::{Turn, reasons_bytes, spec_bytes};
use crate::facts::Decision;
use crate::place::{self, Needs};
use crate::rows::{Place, TaskRow};
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::{EndKind, Reason, TaskSpec};

impl Turn<'_> {
    pub(super) fn task_wanted(&mut self, spec: &TaskSpec) {
        if self.state.tasks.get(&spec.attempt).is_some() {
            return;
        }
        if let Some(tombstone) = self.state.tombstones.get(&(spec.attempt.clone(), spec.hop as u32)) {
            let reason = tombstone.reason.clone();
            return self.drop_task(spec, EndKind::Killed, reason);
        }
        if !crate::decode::in_range(&spec.resources) {
            return self.drop_task(spec, EndKind::NotStarted, format!("no agent can have {:?}", spec.resources));
        }
        let order = self.state.counters().next_order;
        // While a round is cut short, others that came first may fit: the round will tell.
        let agent = if self.state.counters().paused { None } else { self.choose(&Needs::of(spec), spec, None) };
        match agent {
            Some(agent) => self.place(spec.clone(), order, agent),
            None => {
                let reasons = self.first_reasons(spec);
                match spec.may_decline && self.is_hopeless(spec, &reasons) {
                    true => self.decline(spec, reasons),
                    false => self.decide(Decision::TaskQueued { spec: spec.clone(), order, reasons }),
                }
            }
        }
    }

    pub(super) fn task_unwanted(&mut self, attempt: &AttemptId, hop: i32, reason: &str) {
        let reason = reason.to_owned();
        let Some(task) = self.state.tasks.get(attempt).filter(|task| task.spec.hop == hop) else {
            if self.state.tombstones.get(&(attempt.clone(), hop as u32)).is_none() {
                let order = self.state.counters().next_order;
                self.decide(Decision::CancelKept { attempt: attempt.clone(), hop, order, reason });
            }
            return;
        };
        match &task.place {
            None => {
                let spec = task.spec.clone();
                self.drop_task(&spec, EndKind::Killed, reason);
            }
            Some(_) if task.unwanted.is_some() => {}
            Some(place) => {
                let agent = place.agent.clone();
                self.order_kill(attempt, agent, reason);
            }
        }
    }

    /// Hands a task back: another cell may have an agent for it.
    pub(super) fn decline(&mut self, spec: &TaskSpec, reasons: Vec<Reason>) {
        let (attempt, job) = (spec.attempt.clone(), spec.job.clone());
        self.bytes += reasons_bytes(&reasons);
        self.decide(Decision::TaskDeclined { attempt, job, hop: spec.hop, reasons, suggested_cell: None });
    }

    /// Hands back what has waited for too long; what has no room follows with the next tick.
    pub(super) fn spill(&mut self) {
        let first = |turn: &Self| turn.state.index.spills.first().filter(|(due, _)| *due <= turn.at).map(|(_, attempt)| attempt.clone());
        while let Some(task) = first(self).and_then(|attempt| self.state.tasks.get(&attempt)).cloned() {
            if !self.has_room(reasons_bytes(&task.reasons)) {
                return;
            }
            let reasons = if task.reasons.is_empty() { self.first_reasons(&task.spec) } else { task.reasons };
            self.decline(&task.spec, reasons);
        }
    }

    /// What is recorded may be of a time with other agents: a task is handed back for what is true now.
    fn is_hopeless(&self, spec: &TaskSpec, recorded: &[Reason]) -> bool {
        place::is_hopeless(recorded) && place::is_hopeless(&place::reasons(&self.state.candidates(), spec))
    }

    fn drop_task(&mut self, spec: &TaskSpec, kind: EndKind, reason: String) {
        let (attempt, job) = (spec.attempt.clone(), spec.job.clone());
        self.decide(Decision::TaskDropped { attempt, job, hop: spec.hop, kind, reason });
    }

    fn order_kill(&mut self, attempt: &AttemptId, agent: AgentId, reason: String) {
        let Some(session) = self.state.agents.get(&agent).map(|row| row.session.clone()) else { return };
        self.decide(Decision::KillOrdered { attempt: attempt.clone(), agent, session, reason });
    }

    pub(super) fn place(&mut self, spec: TaskSpec, order: i64, agent: AgentId) {
        let Some(session) = self.state.agents.get(&agent).map(|row| row.session.clone()) else { return };
        self.bytes += spec_bytes(&spec);
        self.decide(Decision::Placed { spec, order, agent, session });
    }

    /// Deals with tasks whose agent is lost, opened another session or did not list them; what has no room follows with the
    /// next tick.
    pub(super) fn settle_orphans(&mut self) {
        while let Some(attempt) = self.state.index.orphans.first().cloned() {
            let Some(task) = self.state.tasks.get(&attempt).cloned() else { return };
            let Some(place) = task.place.clone() else { return };
            if !self.has_room(spec_bytes(&task.spec)) {
                return;
            }
            self.settle_orphan(task, place);
        }
    }

    fn settle_orphan(&mut self, task: TaskRow, place: Place) {
        let agent = self.state.agents.get(&place.agent);
        let loss = match agent {
            None => Some(format!("agent {} is not known", place.agent)),
            Some(row) => row.lost.as_ref().map(|loss| loss.reason.clone()),
        };
        let same_session = agent.is_some_and(|row| row.session == place.session);
        match (loss, same_session) {
            (Some(reason), _) => self.lose(&task, &place, reason),
            (None, true) => self.launch_again(task, place),
            (None, false) if place.seq > 0 => {
                let reason = format!("agent {} opened a new session without it", place.agent);
                self.lose(&task, &place, reason);
            }
            (None, false) => self.replace(task, place),
        }
    }

    fn lose(&mut self, task: &TaskRow, place: &Place, reason: String) {
        let (attempt, job, agent) = (task.spec.attempt.clone(), task.spec.job.clone(), place.agent.clone());
        self.decide(Decision::TaskLost { attempt, job, hop: task.spec.hop, agent, reason });
        self.gained.insert(place.agent.clone());
    }

    /// Its launch may still be under way, so it can be launched nowhere else; a kill must follow again, too.
    fn launch_again(&mut self, task: TaskRow, place: Place) {
        let (attempt, unwanted) = (task.spec.attempt.clone(), task.unwanted);
        self.place(task.spec, task.order, place.agent.clone());
        if let Some(reason) = unwanted {
            self.order_kill(&attempt, place.agent, reason);
        }
    }

    /// Its agent refuses the launch of the earlier session from now on, and does not have it: it certainly never started.
    fn replace(&mut self, task: TaskRow, place: Place) {
        self.gained.insert(place.agent.clone());
        if let Some(reason) = task.unwanted {
            return self.drop_task(&task.spec, EndKind::Killed, reason);
        }
        let needs = Needs::of(&task.spec);
        // Its own need is among what is used, so that nothing has to be left over.
        let still_fits = self
            .state
            .candidate(&place.agent)
            .is_some_and(|agent| agent.total.holds(&agent.used) && needs.unmet(agent.attributes).is_none());
        if still_fits {
            return self.place(task.spec, task.order, place.agent);
        }
        let reason = format!("agent {} opened a new session in which it does not fit", place.agent);
        self.decide(Decision::TaskReturned { attempt: task.spec.attempt, reason });
        self.everywhere = true;
    }

    /// Why a new task waits. Tasks of one shape wait for the same reasons, so the recorded ones of the first do.
    fn first_reasons(&self, spec: &TaskSpec) -> Vec<Reason> {
        let like_it = self.state.index.shapes.get(&crate::index::Shape::of(spec)).and_then(|keys| keys.first());
        match like_it.and_then(|key| self.state.tasks.get(&key.attempt)) {
            Some(first) => first.reasons.clone(),
            None => place::reasons(&self.state.candidates(), spec),
        }
    }
}
