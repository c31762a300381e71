//! What would be: the deciders themselves in a world of ideal agents, in simulated time.
//!
//! [`forecast()`] asks it about the future: jobs, agents and events are given. [`replay()`] asks it about the past: inputs, agents and how
//! long each attempt took are read from the journals, and decided on again, once by the present policy and once with a change. Both
//! worlds are equally ideal, so that they can be compared: messages take no time, agents start a task at once and never fail by
//! themselves. The recorded figures stand beside them; they contain what the machines and the network took.
//!
//! Nothing here asks a clock or draws a number: the same question has the same answer. `world.rs` is the engine, `agents.rs` what
//! ideal agents do, `trace.rs` what is noted of decisions, `figures.rs` what they come to, `recorded.rs` reads the journals.

mod agents;
mod compare;
mod figures;
mod forecast;
mod recorded;
mod replay;
mod trace;
mod world;

pub use agents::{AgentSpec, Durations};
pub use compare::{Comparison, Difference, JobWait};
pub use figures::{Figures, Usage, Waited, Waiting};
pub use forecast::{Forecast, GivenEvent, JobDocument, Question, TimelineRun, forecast};
pub use replay::{Change, replay};
pub use trace::{Move, Refusal};

use crate::AuditError;
use orrery_model::id::{AgentId, JobName};
use orrery_model::time::Timestamp;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// A journal cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A definition is not taken.
    #[error("job {job} is refused: {reason}")]
    Refused {
        /// Which.
        job: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A change names a job that the journals do not define.
    #[error("there is no definition of job {job} in the journals; name a job as `orrery job list` does")]
    NoSuchJob {
        /// Which.
        job: JobName,
    },
    /// An agent's cell is not there.
    #[error("cell {cell} of agent {agent} is not there: the cluster has {cells}, counted from 0")]
    NoSuchCell {
        /// Which agent.
        agent: AgentId,
        /// Its cell.
        cell: i32,
        /// How many there are.
        cells: i32,
    },
    /// An agent offers what none can have.
    #[error("agent {agent} offers {amount} of {resource}; an amount is 0 to {max}")]
    BadAgent {
        /// Which agent.
        agent: AgentId,
        /// Which resource.
        resource: &'static str,
        /// How much.
        amount: i64,
        /// Most that is taken.
        max: i64,
    },
    /// Two agents of one name.
    #[error("agent {agent} is given twice; give each agent a name of its own")]
    AgentTwice {
        /// Which.
        agent: AgentId,
    },
    /// Nothing lies between the two times.
    #[error("the time from {from} to {until} is empty; the second must be the later one")]
    EmptyTime {
        /// First time.
        from: Timestamp,
        /// Time behind the last.
        until: Timestamp,
    },
    /// A tick moved no deadline: a fault of the decider.
    #[error("the {service} wants a tick at {at} and decides nothing on it; this is a fault of Orrery")]
    StuckDeadline {
        /// Whose.
        service: &'static str,
        /// When.
        at: Timestamp,
    },
    /// Time does not go on.
    #[error("more than {steps} steps are due at {at} alone; jobs that start each other without taking any time never come to an end")]
    NoEnd {
        /// When.
        at: Timestamp,
        /// So many.
        steps: u64,
    },
}
