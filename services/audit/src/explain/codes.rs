//! The stable codes of lines. Those of placement are the allocator's own.

pub use orrery_allocator::place::{
    AGENT_UNABLE, FILTERED_CONSTRAINT, INSUFFICIENT_CPUS, INSUFFICIENT_DISK, INSUFFICIENT_MEMORY, NEVER_FITS, NO_AGENTS,
};

/// A slot of a schedule.
pub const SCHEDULE: &str = "SCHEDULE";
/// An event that matched.
pub const TRIGGER_MATCH: &str = "TRIGGER_MATCH";
/// An event whose predicate is false.
pub const NO_TRIGGER_MATCH: &str = "NO_TRIGGER_MATCH";
/// An event on which a predicate fails.
pub const PREDICATE_FAILED: &str = "PREDICATE_FAILED";
/// An event that is no JSON, on which a predicate fails.
pub const NOT_JSON: &str = "NOT_JSON";
/// An event before the place where its topic begins to count for the job.
pub const BEFORE_START: &str = "BEFORE_START";
/// An event that lies before one that has fired the job.
pub const BEHIND_FIRED: &str = "BEHIND_FIRED";
/// An event with the idempotency key of an earlier one.
pub const DUPLICATE_EVENT: &str = "DUPLICATE_EVENT";
/// An event, as its topic or a journal has it.
pub const EVENT: &str = "EVENT";
/// An event that its topic no longer has.
pub const GONE: &str = "GONE";
/// An event that the shard which reads its partition has read.
pub const READ: &str = "READ";
/// An event that nobody has read yet.
pub const NOT_READ: &str = "NOT_READ";
/// An event that could not be taken.
pub const DEAD_LETTER: &str = "DEAD_LETTER";
/// An event that was sent to the shard that owns the job.
pub const FORWARDED: &str = "FORWARDED";
/// An event about which no decision was found.
pub const NOT_DECIDED: &str = "NOT_DECIDED";
/// Runs of other jobs that it comes after.
pub const DEPENDENCY: &str = "DEPENDENCY";
/// Somebody asked.
pub const REQUEST: &str = "REQUEST";
/// The job's concurrency.
pub const CONCURRENCY: &str = "CONCURRENCY";
/// The job is paused.
pub const PAUSED: &str = "PAUSED";
/// `start_within`.
pub const START_WITHIN: &str = "START_WITHIN";
/// A slot that came too late, by the job's catch-up.
pub const CATCHUP_EXPIRED: &str = "CATCHUP_EXPIRED";
/// The pause between two attempts.
pub const BACKOFF: &str = "BACKOFF";
/// The job's definition.
pub const DEFINITION: &str = "DEFINITION";
/// A request or definition that was refused.
pub const REFUSED: &str = "REFUSED";
/// What goes on with the next entry.
pub const PARKED: &str = "PARKED";
/// A run was made.
pub const RUN: &str = "RUN";
/// Sent to a cell.
pub const SENT: &str = "SENT";
/// A cell gave it back.
pub const DECLINED: &str = "DECLINED";
/// It waits for an agent.
pub const QUEUED: &str = "QUEUED";
/// It has an agent.
pub const PLACED: &str = "PLACED";
/// It lost its place before it started.
pub const RETURNED: &str = "RETURNED";
/// It was ended before it started.
pub const DROPPED: &str = "DROPPED";
/// Its process runs.
pub const STARTED: &str = "STARTED";
/// It is to be ended.
pub const UNWANTED: &str = "UNWANTED";
/// Ended with success.
pub const SUCCEEDED: &str = "SUCCEEDED";
/// Ended otherwise.
pub const FAILED: &str = "FAILED";
/// Nobody can say how it ended.
pub const LOST: &str = "LOST";
/// An agent's session is open.
pub const JOINED: &str = "JOINED";
/// An agent offers something else.
pub const CHANGED: &str = "CHANGED";
/// A journal of which not all was read.
pub const CUT_OFF: &str = "CUT_OFF";
/// Another reason than those above.
pub const OTHER: &str = "OTHER";

/// The constant of a reason's code; [`OTHER`] for one that this version does not know.
pub(crate) fn known(code: &str) -> &'static str {
    let all = [NO_AGENTS, NEVER_FITS, AGENT_UNABLE, FILTERED_CONSTRAINT, INSUFFICIENT_CPUS, INSUFFICIENT_MEMORY, INSUFFICIENT_DISK];
    all.into_iter().find(|known| *known == code).unwrap_or(OTHER)
}

/// The words in which the trigger says why a run waits or is skipped, and their codes.
const REASONS: [(&str, &str); 9] = [
    ("the job is paused", PAUSED),
    ("concurrency is ", CONCURRENCY),
    ("it waits for the run that it replaces", CONCURRENCY),
    ("replaced by ", CONCURRENCY),
    ("runs of the job wait already", CONCURRENCY),
    ("of the job's earlier life", CONCURRENCY),
    ("what is caught up ", CONCURRENCY),
    ("within start_within", START_WITHIN),
    ("catch_up", CATCHUP_EXPIRED),
];

/// The code of a reason that the trigger gave in words.
pub fn of_words(reason: &str) -> &'static str {
    REASONS.iter().find(|(words, _)| reason.contains(words)).map_or(OTHER, |(_, code)| code)
}
