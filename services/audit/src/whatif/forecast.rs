//! What would come: jobs, agents and events that are given, and a span of time.

use super::WhatIfError;
use super::agents::{self, AgentSpec, Durations, Lasting};
use super::figures::Figures;
use super::trace::{RunTrace, Trace};
use super::world::{Given, What, World};
use orrery_allocator::Policy;
use orrery_model::id::{AgentId, JobName, RunId};
use orrery_model::job::{Interval, JobSpec, read_json};
use orrery_model::messages::{EventData, Header, Origin, StartPosition};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_trigger::Input;
use serde::Serialize;
use std::collections::BTreeMap;

/// Identity of every topic.
const TOPIC_ID: &str = "forecast";

/// A job document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDocument {
    /// Names it in errors: the job, or its file.
    pub name: String,
    /// Canonical JSON.
    pub document: String,
}

/// An event to come.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenEvent {
    /// When.
    pub at: Timestamp,
    /// Topic; it has one partition.
    pub topic: String,
    /// The record's key.
    pub key: Option<String>,
    /// The record's value.
    pub data: serde_json::Value,
}

/// What a forecast starts from.
#[derive(Debug, Clone)]
pub struct Question {
    /// The jobs, parents before those that run after them. All are defined just before `from`.
    pub jobs: Vec<JobDocument>,
    /// The agents: they are there from the beginning, and stay. There are as many cells as they name.
    pub agents: Vec<AgentSpec>,
    /// The events, in any order; those of one moment in this one. Outside of the span they are left out.
    pub events: Vec<GivenEvent>,
    /// First time; a slot that is due then is run.
    pub from: Timestamp,
    /// How long, milliseconds.
    pub length_ms: i64,
    /// How long attempts last; each succeeds, unless its job's timeout comes first.
    pub durations: Durations,
    /// By which rules.
    pub policy: Policy,
}

/// What would come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// First time.
    pub from: Timestamp,
    /// Time behind the last.
    pub until: Timestamp,
    /// By which rules.
    pub policy: Policy,
    /// What it comes to.
    pub figures: Figures,
    /// Every run, by creation.
    pub timeline: Vec<TimelineRun>,
}

/// One run of a forecast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineRun {
    /// Its job.
    pub job: JobName,
    /// The run.
    pub run: RunId,
    /// The slot's time, for scheduled runs.
    pub due: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When its first process started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Agent of the last attempt.
    pub agent: Option<AgentId>,
    /// State at the end.
    pub state: &'static str,
}

/// What these jobs, on these agents, with these events would do. Fails if a job is refused or an agent cannot be.
pub fn forecast(asked: &Question) -> Result<Forecast, WhatIfError> {
    let (from, until) = (asked.from, asked.from.plus_ms(asked.length_ms));
    if until <= from {
        return Err(WhatIfError::EmptyTime { from, until });
    }
    let cells = agents::cells_of(&asked.agents);
    agents::check(&asked.agents, cells)?;
    // A slot at the very first moment is one to come.
    let before = Timestamp(from.0.saturating_sub(1));
    let mut given: Vec<Given> = asked.agents.iter().map(|agent| Given { at: before, what: What::Offer(agent.clone()) }).collect();
    for (number, job) in asked.jobs.iter().enumerate() {
        given.push(definition(job, number as i64, (before, from))?);
    }
    given.extend(events(&asked.events, from..until));
    let lasting = Lasting::given(&asked.durations);
    let trace = World::new(before, cells, asked.policy, &lasting).run(&given, until)?;
    if let Some(refusal) = trace.refused.first() {
        let job = refusal.job.clone().unwrap_or_else(|| "without a name".into());
        return Err(WhatIfError::Refused { job, reason: refusal.reason.clone() });
    }
    let figures = Figures::of(&trace, until);
    Ok(Forecast { from, until, policy: asked.policy, figures, timeline: timeline(trace) })
}

/// A document as it would be read from the inbox, with the starts of its topics.
fn definition(job: &JobDocument, offset: i64, (at, from): (Timestamp, Timestamp)) -> Result<Given, WhatIfError> {
    let refused = |reason: String| WhatIfError::Refused { job: job.name.clone(), reason };
    let mut spec = read_json(&job.document).map_err(|error| refused(error.to_string()))?;
    anchor(&mut spec, from);
    let start = |topic: &String| StartPosition { topic: topic.clone(), generation: 0, partition: 0, offset: 0, topic_id: TOPIC_ID.into() };
    let starts = spec.triggers.iter().filter_map(|trigger| trigger.event.as_ref()).map(start).collect();
    let origin = Origin { topic: topics::JOBS.into(), partition: 0, generation: 0, offset };
    let (document, read) = (spec.to_json(), Vec::new());
    let input = Input::JobSubmitted { document, principal: None, starts, origin, appended: at, read };
    Ok(Given { at, what: What::Told(Box::new(input)) })
}

/// An interval without a start begins when its job is taken: here at this time.
pub(super) fn anchor(spec: &mut JobSpec, at: Timestamp) {
    for text in spec.triggers.iter_mut().filter_map(|trigger| trigger.interval.as_mut()) {
        let starts_nowhere = Interval::parse(text).is_ok_and(|interval| interval.start.is_none());
        if let Some((repeats, rest)) = text.split_once('/').filter(|_| starts_nowhere) {
            *text = format!("{repeats}/{at}/{}", rest.trim_start_matches('/'));
        }
    }
}

/// Events as records, each topic's offsets counted from 0.
fn events(events: &[GivenEvent], span: std::ops::Range<Timestamp>) -> Vec<Given> {
    let mut ordered: Vec<&GivenEvent> = events.iter().filter(|event| span.contains(&event.at)).collect();
    ordered.sort_by_key(|event| event.at);
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    let mut given = Vec::with_capacity(ordered.len());
    for event in ordered {
        let end = ends.entry(&event.topic).or_default();
        let input = Input::EventArrived { event: record(event, *end) };
        *end += 1;
        given.push(Given { at: event.at, what: What::Told(Box::new(input)) });
    }
    given
}

fn record(event: &GivenEvent, offset: i64) -> EventData {
    let json = Header { name: "content-type".into(), value: "application/json".as_bytes().into() };
    EventData {
        topic: event.topic.clone(),
        generation: 0,
        partition: 0,
        offset,
        appended: event.at,
        key: event.key.as_ref().map(|key| key.as_bytes().into()),
        headers: vec![json],
        value: Some(event.data.to_string().as_bytes().into()),
        topic_id: TOPIC_ID.into(),
    }
}

fn timeline(trace: Trace) -> Vec<TimelineRun> {
    let shown = |(run, trace): (RunId, RunTrace)| {
        let RunTrace { job, nominal: due, created, started, ended, agent, state } = trace;
        TimelineRun { job, run, due, created, started, ended, agent, state: state.word() }
    };
    let mut runs: Vec<TimelineRun> = trace.runs.into_iter().map(shown).collect();
    runs.sort_by(|a, b| (a.created, &a.job, &a.run).cmp(&(b.created, &b.job, &b.run)));
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_without_a_start_begin_with_the_forecast() {
        let document = r#"{"name": "a", "command": ["x"], "triggers": [{"interval": "R3//PT30M"}, {"interval": "R/PT1H"}, {"interval": "R/2026-01-01T00:00:00Z/P1D"}]}"#;
        let mut spec = read_json(document).expect("a document");
        anchor(&mut spec, Timestamp::parse("2026-11-21T00:00:00Z").expect("a time"));
        let intervals: Vec<&str> = spec.triggers.iter().filter_map(|trigger| trigger.interval.as_deref()).collect();
        assert_eq!(intervals, ["R3/2026-11-21T00:00:00Z/PT30M", "R/2026-11-21T00:00:00Z/PT1H", "R/2026-01-01T00:00:00Z/P1D"]);
    }
}
