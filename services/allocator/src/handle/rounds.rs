//! Placement rounds: who of the queue is next, and what follows from an input at its end.
//!
//! Between inputs, unless a round is paused, nothing that waits fits anywhere. So a round needs to look only at agents that
//! gained room, and only at the first task of each shape.

use super::{Turn, spec_bytes};
use crate::facts::Decision;
use crate::index::{QueueKey, Shape};
use crate::place::{self, Candidate, Needs, Room, Wish};
use crate::policy::Placement;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::{Reason, TaskSpec};
use orrery_model::planted::{Bug, planted};
use orrery_model::resources::Resources;
use std::collections::{BTreeMap, BTreeSet};

/// Tasks at the head of the queue whose reasons are kept up to date.
pub(super) const EXPLAINED: usize = 100;

impl Turn<'_> {
    /// Ends an input: orphans, then a round if anything may fit that did not before.
    pub(super) fn settle(&mut self, is_tick: bool) {
        self.settle_orphans();
        let paused = self.state.counters().paused;
        let nothing_new = self.gained.is_empty() && !self.everywhere && !self.agents_changed;
        if if paused { !is_tick } else { nothing_new } {
            return;
        }
        let among = (!paused && !self.everywhere).then(|| std::mem::take(&mut self.gained));
        let finished = self.round(among.as_ref());
        match (paused, finished) {
            (false, false) => self.decide(Decision::PlacementPaused {}),
            (true, true) => self.decide(Decision::PlacementResumed {}),
            _ => {}
        }
        if finished {
            self.explain(paused || self.agents_changed);
        }
    }

    /// Places what fits on these agents (none: on any), by priority and arrival. False if there was no room for all.
    fn round(&mut self, among: Option<&BTreeSet<AgentId>>) -> bool {
        let mut heads = self.heads(among);
        let mut read: BTreeMap<Shape, Needs> = BTreeMap::new();
        while let Some((key, shape)) = heads.pop_first() {
            let Some(task) = self.state.tasks.get(&key.attempt) else { continue };
            let needs = read.entry(shape.clone()).or_insert_with(|| Needs::of(&task.spec));
            // Its whole shape is out for this round.
            let Some(agent) = self.choose(needs, &task.spec, among) else { continue };
            if !self.has_room(spec_bytes(&task.spec)) {
                return false;
            }
            let (spec, order) = (task.spec.clone(), task.order);
            self.place(spec, order, agent);
            if let Some(next) = self.state.index.shapes.get(&shape).and_then(first_of) {
                heads.insert((next.clone(), shape));
            }
        }
        true
    }

    /// The first waiting task of each shape that some of these agents have room for.
    fn heads(&self, among: Option<&BTreeSet<AgentId>>) -> BTreeSet<(QueueKey, Shape)> {
        let free: Option<Vec<Resources>> =
            among.map(|agents| agents.iter().filter_map(|agent| Some(self.state.candidate(agent)?.free())).collect());
        let may_fit = |shape: &Shape| free.as_ref().is_none_or(|free| free.iter().any(|free| free.holds(&shape.resources)));
        let shapes = self.state.index.shapes.iter().filter(|(shape, _)| may_fit(shape));
        shapes.filter_map(|(shape, keys)| Some((first_of(keys)?.clone(), shape.clone()))).collect()
    }

    /// The agent for a task, among these or (none) all.
    pub(super) fn choose(&self, needs: &Needs, spec: &TaskSpec, among: Option<&BTreeSet<AgentId>>) -> Option<AgentId> {
        let placement = self.state.policy.placement;
        let cuts = among.is_none() && placement == Placement::BestFit;
        let widest = cuts.then(|| self.state.index.widths.last_key_value().map(|(cpus, _)| *cpus)).flatten();
        let wish = Wish { need: spec.resources, avoid: spec.avoid.as_ref(), placement, widest };
        let suits = |agent: &AgentId| self.state.agents.get(agent).is_some_and(|row| needs.unmet(&row.attributes).is_none());
        let chosen = match among {
            Some(agents) => {
                let candidates = agents.iter().filter_map(|agent| self.state.candidate(agent));
                let rooms = candidates.map(|found| Room { agent: found.agent, total: found.total, free: found.free() });
                place::preferred(rooms, &wish, suits)
            }
            None => {
                let with_cpus = self.state.index.by_cpus.range(spec.resources.cpus.0..).flat_map(|(_, agents)| agents);
                place::preferred(with_cpus.map(|(agent, (total, free))| Room { agent, total: *total, free: *free }), &wish, suits)
            }
        };
        chosen.cloned()
    }

    /// Records anew why the first of the queue wait, where that has changed: for all of them if `fully` or if the very first
    /// waits for something else than before. This is done with every task that ends, so the usual answer is found at once.
    fn explain(&mut self, fully: bool) {
        let Some(first) = self.state.index.queue.first().and_then(|key| self.state.tasks.get(&key.attempt)) else { return };
        let agents = self.state.candidates();
        if !fully && leading(&place::reasons(&agents, &first.spec)) == leading(&first.reasons) {
            return;
        }
        let changed = self.changed_reasons(&agents);
        for (attempt, reasons) in changed {
            let task = self.state.tasks.get(&attempt).filter(|task| task.spec.may_decline && place::is_hopeless(&reasons));
            match task.map(|task| task.spec.clone()) {
                Some(spec) => self.decline(&spec, reasons),
                None => self.decide(Decision::TaskWaits { attempt, reasons }),
            }
        }
    }

    fn changed_reasons(&self, agents: &[Candidate<'_>]) -> Vec<(AttemptId, Vec<Reason>)> {
        let mut known: BTreeMap<Shape, Vec<Reason>> = BTreeMap::new();
        let mut changed = Vec::new();
        let first = self.state.index.queue.iter().take(EXPLAINED);
        for task in first.filter_map(|key| self.state.tasks.get(&key.attempt)) {
            let reasons = known.entry(Shape::of(&task.spec)).or_insert_with(|| place::reasons(agents, &task.spec));
            if codes(reasons) != codes(&task.reasons) {
                changed.push((task.spec.attempt.clone(), reasons.clone()));
            }
        }
        changed
    }
}

/// Who comes next of those that fit on the same agents.
fn first_of(keys: &BTreeSet<QueueKey>) -> Option<&QueueKey> {
    if planted(Bug::LastFirst) { keys.last() } else { keys.first() }
}

/// What keeps a task waiting most of all.
fn leading(reasons: &[Reason]) -> Option<&str> {
    reasons.first().map(|reason| reason.code.as_str())
}

/// The codes tell whether a task waits for something else than before; the numbers change all the time.
fn codes(reasons: &[Reason]) -> BTreeSet<&str> {
    reasons.iter().map(|reason| reason.code.as_str()).collect()
}
