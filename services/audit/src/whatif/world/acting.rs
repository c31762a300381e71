//! What the agents of a world do.

use super::{Asked, Happening, World};
use crate::whatif::agents::{AgentSpec, Running};
use orrery_allocator::Allocator;
use orrery_model::decider::Decider;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::journal::Observation;
use orrery_model::messages::{Command, Order, Session, TaskSpec};

impl World<'_> {
    /// An agent joins, or offers something else than before.
    pub(super) fn offer(&mut self, spec: &AgentSpec) {
        let cell = spec.cell as usize;
        let Some(heartbeat) = self.cells.get_mut(cell).map(|cell| cell.sessions.heartbeat(spec)) else { return };
        self.ask(cell, &Asked::HeartbeatArrived { heartbeat });
    }

    /// An agent and all that runs there is gone for good.
    pub(super) fn lose(&mut self, cell: usize, agent: &AgentId) {
        let Some(session) = self.cells.get_mut(cell).and_then(|cell| cell.sessions.close(agent)) else { return };
        let queue = &mut self.queue;
        self.running.retain(|_, running| {
            let stays = !running.is_on(cell, agent);
            if !stays {
                queue.remove(&running.end);
            }
            stays
        });
        let observation = Observation::LeaseExpired { agent: agent.clone(), session, silent_ms: 0 };
        self.ask(cell, &Allocator::observed(observation));
    }

    /// Does what an agent does on a command. Welcomes and acknowledgements change nothing for one that loses nothing.
    pub(super) fn command(&mut self, cell: usize, Command { agent, session, order }: Command) {
        match order {
            Order::Launch { spec } => self.launch(&spec, (cell, agent, session)),
            Order::Kill { attempt, .. } => self.kill(attempt),
            Order::Welcome { .. } | Order::Register { .. } | Order::Renounce { .. } | Order::Acknowledge { .. } => {}
        }
    }

    /// A known attempt is not run again.
    fn launch(&mut self, spec: &TaskSpec, place: (usize, AgentId, Session)) {
        if self.running.contains_key(&spec.attempt) {
            return;
        }
        let cell = place.0;
        let (mut running, status) = Running::launched(self.lasting, spec, place, self.now);
        if let Some(status) = status {
            self.push(self.now, Happening::Asked(cell, Box::new(Asked::StatusArrived { status })));
        }
        running.end = self.push(running.end.0, Happening::Ended(spec.attempt.clone()));
        self.running.insert(spec.attempt.clone(), running);
    }

    fn kill(&mut self, attempt: AttemptId) {
        let Some(running) = self.running.remove(&attempt) else { return };
        self.queue.remove(&running.end);
        self.running.insert(attempt.clone(), running.killed());
        self.end(&attempt);
    }

    pub(super) fn end(&mut self, attempt: &AttemptId) {
        let Some(running) = self.running.remove(attempt) else { return };
        let status = running.ended(attempt, self.now);
        self.push(self.now, Happening::Asked(running.cell, Box::new(Asked::StatusArrived { status })));
    }
}
