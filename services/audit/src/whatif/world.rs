//! The engine: one trigger, its cells and ideal agents, turned in simulated time.
//!
//! Everything that is due at one moment is taken in the order in which it came; messages arrive at the moment they are sent.

mod acting;

use super::WhatIfError;
use super::agents::{AgentSpec, Lasting, QueueKey, Running, Sessions};
use super::trace::Trace;
use orrery_allocator::{Allocator, Decision as Allocated, Input as Asked, Policy};
use orrery_model::decider::{Decider, Message};
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::journal::{Observation, Shards};
use orrery_model::messages::TaskMessage;
use orrery_model::time::Timestamp;
use orrery_trigger::{Decision as Triggered, Input as Told, Trigger};
use std::collections::BTreeMap;

/// Inputs and ticks at one moment: a day of 100,000 runs has fewer in all.
const STEPS_AT_ONCE: u64 = 10_000_000;

/// What comes from outside.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) at: Timestamp,
    pub(super) what: What,
}

/// See [`Given`].
#[derive(Debug, Clone)]
pub(super) enum What {
    /// An input of the trigger.
    Told(Box<Told>),
    /// An agent offers this from now on.
    Offer(AgentSpec),
    /// An agent is lost, and with it all that runs there.
    Gone { cell: i32, agent: AgentId },
}

/// What happens inside.
enum Happening {
    Told(Box<Told>),
    Asked(usize, Box<Asked>),
    Ended(AttemptId),
}

/// See the module.
pub(super) struct World<'w> {
    now: Timestamp,
    /// Taken at this moment.
    steps: u64,
    /// Decisions on the last input.
    decided: usize,
    /// Counts what was put into the queue.
    order: u64,
    queue: BTreeMap<QueueKey, Happening>,
    trigger: Trigger,
    cells: Vec<Cell>,
    running: BTreeMap<AttemptId, Running>,
    lasting: &'w Lasting,
    trace: Trace,
    buffers: Buffers,
}

struct Cell {
    allocator: Allocator,
    sessions: Sessions,
}

/// Emptied after every use, and kept for the next.
#[derive(Default)]
struct Buffers {
    triggered: Vec<Triggered>,
    allocated: Vec<Allocated>,
    messages: Vec<Message>,
}

impl<'w> World<'w> {
    /// An empty world of so many cells.
    pub(super) fn new(now: Timestamp, cells: i32, policy: Policy, lasting: &'w Lasting) -> Self {
        let cell = |_| Cell { allocator: Allocator::with_policy(policy), sessions: Sessions::default() };
        let mut world = Self {
            now,
            steps: 0,
            decided: 0,
            order: 0,
            queue: BTreeMap::new(),
            trigger: Trigger::default(),
            cells: (0..cells).map(cell).collect(),
            running: BTreeMap::new(),
            lasting,
            trace: Trace::default(),
            buffers: Buffers::default(),
        };
        world.trigger.forget_changes();
        world.cells.iter_mut().for_each(|cell| cell.allocator.forget_changes());
        world.tell(&Trigger::observed(acquired(Shards { shard: 0, trigger_shards: 1, cells })));
        for shard in 0..cells {
            world.ask(shard as usize, &Allocator::observed(acquired(Shards { shard, trigger_shards: 1, cells })));
        }
        world
    }

    /// Takes what is given, in order of time, and all that follows from it before `until`.
    pub(super) fn run<'g>(mut self, given: impl IntoIterator<Item = &'g Given>, until: Timestamp) -> Result<Trace, WhatIfError> {
        let mut given = given.into_iter().peekable();
        loop {
            self.tick()?;
            let outside = given.peek().map(|given| given.at);
            let inside = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = [outside, inside, self.next_deadline()].into_iter().flatten().min();
            let Some(next) = next.map(|next| next.max(self.now)).filter(|next| *next < until) else { return Ok(self.trace) };
            self.advance(next)?;
            if let Some(given) = given.next_if(|given| given.at <= self.now) {
                self.take(&given.what);
            } else if let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= self.now) {
                let happening = first.remove();
                self.happen(happening);
            }
        }
    }

    fn advance(&mut self, to: Timestamp) -> Result<(), WhatIfError> {
        self.steps = if to > self.now { 0 } else { self.steps + 1 };
        self.now = to;
        if self.steps > STEPS_AT_ONCE {
            return Err(WhatIfError::NoEnd { at: self.now, steps: STEPS_AT_ONCE });
        }
        Ok(())
    }

    fn take(&mut self, what: &What) {
        match what {
            What::Told(input) => self.tell(input),
            What::Offer(spec) => self.offer(spec),
            What::Gone { cell, agent } => self.lose(*cell as usize, agent),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Told(input) => self.tell(&input),
            Happening::Asked(cell, input) => self.ask(cell, &input),
            Happening::Ended(attempt) => self.end(&attempt),
        }
    }
}

fn acquired(shards: Shards) -> Observation {
    let by = || "what-if".to_owned();
    Observation::Acquired { epoch: 1, member: by(), generation: 1, binary: by(), resend_from: 0, shards }
}

/// The deciders.
impl World<'_> {
    /// Gives the trigger an input.
    fn tell(&mut self, input: &Told) {
        let mut decisions = std::mem::take(&mut self.buffers.triggered);
        self.trigger.handle(self.now, input, &mut decisions);
        for decision in &decisions {
            self.trace.trigger(self.now, decision, matches!(input, Told::JobSubmitted { .. }));
            // Of all that leaves a trigger, only attempts reach a cell.
            if matches!(decision, Triggered::AttemptWanted { .. } | Triggered::AttemptUnwanted { .. }) {
                Trigger::messages(self.now, decision, &mut self.buffers.messages);
            }
        }
        self.decided = decisions.len();
        decisions.clear();
        self.buffers.triggered = decisions;
        self.send(0);
    }

    /// Gives a cell's allocator an input.
    fn ask(&mut self, cell: usize, input: &Asked) {
        let Some(Cell { allocator, .. }) = self.cells.get_mut(cell) else { return };
        let mut decisions = std::mem::take(&mut self.buffers.allocated);
        allocator.handle(self.now, input, &mut decisions);
        for decision in &decisions {
            self.trace.allocator(self.now, cell as i32, decision);
            Allocator::messages(self.now, decision, &mut self.buffers.messages);
        }
        self.decided = decisions.len();
        decisions.clear();
        self.buffers.allocated = decisions;
        self.send(cell);
    }

    /// Sends what a decider has left in the buffer; commands come from this cell.
    fn send(&mut self, cell: usize) {
        let mut messages = std::mem::take(&mut self.buffers.messages);
        for message in messages.drain(..) {
            match message {
                Message::Task(task) => self.send_task(*task),
                Message::Outcome(outcome) => {
                    self.push(self.now, Happening::Told(Box::new(Told::OutcomeArrived { outcome })));
                }
                Message::Command(command) => self.command(cell, *command),
                // Runs are noted from the decisions. Nothing is forwarded: there is one shard.
                Message::Forward(_) | Message::Catalog(..) | Message::Run(_) | Message::Alert(_) => {}
            }
        }
        self.buffers.messages = messages;
    }

    fn send_task(&mut self, task: TaskMessage) {
        let cell = task.cell() as usize;
        let input = match task {
            TaskMessage::TaskWanted { spec, .. } => Asked::TaskWanted { spec },
            TaskMessage::TaskUnwanted { attempt, hop, reason, .. } => Asked::TaskUnwanted { attempt, hop, reason },
        };
        self.push(self.now, Happening::Asked(cell, Box::new(input)));
    }

    fn push(&mut self, at: Timestamp, happening: Happening) -> QueueKey {
        self.order += 1;
        let key = (at, self.order);
        self.queue.insert(key, happening);
        key
    }

    /// Ticks every decider until nothing is due.
    fn tick(&mut self) -> Result<(), WhatIfError> {
        while is_due(self.trigger.next_deadline(), self.now) {
            self.tell(&Trigger::tick());
            self.check_moved(Trigger::SERVICE, self.trigger.next_deadline())?;
        }
        for cell in 0..self.cells.len() {
            while is_due(self.cells[cell].allocator.next_deadline(), self.now) {
                self.ask(cell, &Allocator::tick());
                self.check_moved(Allocator::SERVICE, self.cells[cell].allocator.next_deadline())?;
            }
        }
        Ok(())
    }

    /// A tick without a decision must have moved the deadline.
    fn check_moved(&mut self, service: &'static str, deadline: Option<Timestamp>) -> Result<(), WhatIfError> {
        if self.decided == 0 && is_due(deadline, self.now) {
            return Err(WhatIfError::StuckDeadline { service, at: self.now });
        }
        self.advance(self.now)
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let cells = self.cells.iter().filter_map(|cell| cell.allocator.next_deadline());
        cells.chain(self.trigger.next_deadline()).min()
    }
}

fn is_due(deadline: Option<Timestamp>, now: Timestamp) -> bool {
    deadline.is_some_and(|due| due <= now)
}
