//! Every "why", as a story told from journal entries: of a run, of a job at a time, of an event, of an agent; and what waits, summed
//! up.
//!
//! Pure: entries and what else is known go in, lines come out. A line has a stable code, and as evidence the place of the entry
//! that it follows from. Only entries up to the time asked for count, so a story is the same whenever it is told.

mod agent;
mod codes;
mod event;
mod job;
mod joins;
mod next;
mod pending;
mod reading;
mod rooms;
mod run;
mod topics;

#[cfg(test)]
mod tests;

pub use agent::{AgentStory, agent_story};
pub use codes::*;
pub use event::{EventFacts, EventPlace, EventStory, Trail, Verdict, Watcher, event_story};
pub use job::{JobFacts, JobStory, job_story};
pub use next::next_of_reason;
pub use pending::{Group, Pending, Waiting, pending};
pub use rooms::{Outlook, Room, Running, first_room, median_ms, room_at};
pub use run::{Counted, Headline, RunFacts, RunStory, run_story};
pub use topics::{NearEvent, TopicFacts, TopicStory};

use crate::{EntryView, Limit, Place};
use orrery_model::time::Timestamp;
use serde::Serialize;

/// What a line says of what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It is as wanted.
    Good,
    /// It keeps something from going on, or went wrong.
    Bad,
    /// It is told for completeness.
    Note,
}

/// One line of a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Good, bad or neither.
    pub mark: Mark,
    /// Stable code; programs go by it.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Evidence: the journal entry that it follows from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Agents that it concerns, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<i32>,
}

impl Line {
    /// A line without evidence of its own.
    pub(crate) fn new(mark: Mark, code: &'static str, text: impl Into<String>) -> Self {
        Self { mark, code, text: text.into(), at: None, place: None, agents: None }
    }

    /// A reading of a journal was cut off: at which limit, and what tells the rest.
    pub fn cut_off((service, shard): (&str, u32), limit: Limit, remedy: &str) -> Self {
        let text = format!("reading {service}/{shard} was cut off at {limit}: what lies beyond is not told; {remedy}");
        Self::new(Mark::Bad, codes::CUT_OFF, text)
    }

    /// With the entry that it follows from.
    pub(crate) fn of(self, entry: &EntryView) -> Self {
        Self { at: Some(entry.at), place: Some(entry.place.clone()), ..self }
    }

    /// With a number of agents.
    pub(crate) fn counted(self, agents: i32) -> Self {
        Self { agents: Some(agents), ..self }
    }
}

/// When something is expected to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// When.
    pub at: Timestamp,
    /// What is to happen then.
    pub because: String,
}
