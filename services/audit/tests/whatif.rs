//! What would be: forecasts of small clusters, and what a replay finds in a log without journals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use orrery_allocator::{Order, Placement, Policy};
use orrery_audit::whatif::{AgentSpec, Change, Durations, Forecast, GivenEvent, JobDocument, Question, WhatIfError, forecast, replay};
use orrery_log::Log;
use orrery_log::embedded::EmbeddedLog;
use orrery_model::id::AgentId;
use orrery_model::job::{Format, read_documents};
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const HOUR_MS: i64 = 3_600_000;

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn jobs(yaml: &str) -> Vec<JobDocument> {
    let specs = read_documents(yaml, Format::Yaml).unwrap();
    specs.into_iter().map(|spec| JobDocument { name: spec.name.to_string(), document: spec.to_json() }).collect()
}

/// An agent with so many CPUs and as many GiB.
fn agent(name: &str, cpus: i64) -> AgentSpec {
    let total = Resources { cpus: MilliCpus(cpus * 1000), memory: Bytes(cpus << 30), disk: Bytes(0) };
    AgentSpec { agent: AgentId::parse(name).unwrap(), cell: 0, total, attributes: Vec::new() }
}

/// An hour from midnight on, with attempts of ten seconds.
fn question(yaml: &str, agents: &[AgentSpec]) -> Question {
    Question {
        jobs: jobs(yaml),
        agents: agents.to_vec(),
        events: Vec::new(),
        from: time("2026-11-21T00:00:00Z"),
        length_ms: HOUR_MS,
        durations: Durations { default_ms: 10_000, by_job: BTreeMap::new() },
        policy: Policy::default(),
    }
}

fn starts(forecast: &Forecast) -> Vec<String> {
    let shown = |run: &orrery_audit::whatif::TimelineRun| {
        let started = run.started.map_or("never".into(), |at| at.to_string());
        format!("{} {started} {}", run.job, run.agent.as_ref().map_or("-", |agent| agent.as_str()))
    };
    forecast.timeline.iter().map(shown).collect()
}

const EVERY_MINUTE: &str = "name: a\ncommand: [x]\ntriggers: [{cron: '* * * * *'}]";

#[test]
fn a_job_of_every_minute_runs_sixty_times_an_hour() {
    let asked = question(EVERY_MINUTE, &[agent("one", 1)]);
    let found = forecast(&asked).unwrap();
    assert_eq!(found.figures.runs, 60);
    assert_eq!(found.figures.states, BTreeMap::from([("succeeded", 60)]));
    assert_eq!((found.figures.waiting.max_ms, found.figures.waited_long), (0, 0));
    assert_eq!(found.timeline[0].started, Some(asked.from), "the slot at the very first moment is run");
    assert_eq!(found.figures.makespan_ms, 59 * 60_000 + 10_000);
    assert_eq!(found.figures.cpus.peak, MilliCpus(100));
    assert_eq!(forecast(&asked).unwrap(), found, "the same question has the same answer");
}

#[test]
fn what_does_not_fit_waits_and_says_why() {
    let yaml = "name: a\ncommand: [x]\nresources: {cpus: 2}\ntriggers: [{at: '2026-11-21T00:10:00Z'}]";
    let found = forecast(&question(yaml, &[agent("one", 1), agent("two", 1)])).unwrap();
    assert_eq!(found.figures.states, BTreeMap::from([("waiting", 1)]));
    assert_eq!((found.figures.waited_long, found.figures.waiting.never_started), (1, 1));
    let waited = &found.figures.waited[0];
    assert_eq!(waited.waited_ms, 50 * 60_000);
    assert!(waited.reasons.contains(&"INSUFFICIENT_CPUS".to_owned()), "{:?}", waited.reasons);
}

#[test]
fn what_waits_for_room_starts_when_it_comes() {
    let yaml = "name: a\ncommand: [x]\nresources: {cpus: 1}\ntriggers: [{at: '2026-11-21T00:10:00Z'}]\n---\n\
                name: b\ncommand: [x]\nresources: {cpus: 1}\ntriggers: [{at: '2026-11-21T00:10:00Z'}]";
    let found = forecast(&question(yaml, &[agent("one", 1)])).unwrap();
    assert_eq!(starts(&found), ["default/a 2026-11-21T00:10:00Z one", "default/b 2026-11-21T00:10:10Z one"]);
    assert_eq!((found.figures.waiting.p50_ms, found.figures.waiting.max_ms), (0, 10_000));
    assert_eq!((found.figures.cpus.per_mille, found.figures.cpus.peak), (1000, MilliCpus(1000)));
}

#[test]
fn dependent_jobs_and_events_follow() {
    let yaml = "name: a\ncommand: [x]\ntriggers: [{event: t, when: data.n > 1}]\n---\n\
                name: b\ncommand: [x]\ntriggers: [{after: [a]}]";
    let event = |at: &str, n: i64| GivenEvent { at: time(at), topic: "t".into(), key: None, data: json!({"n": n}) };
    let events = vec![event("2026-11-21T00:20:00Z", 2), event("2026-11-21T00:10:00Z", 1)];
    let found = forecast(&Question { events, ..question(yaml, &[agent("one", 1)]) }).unwrap();
    assert_eq!(starts(&found), ["default/a 2026-11-21T00:20:00Z one", "default/b 2026-11-21T00:20:10Z one"]);
}

/// Two tasks at once, and agents of different sizes.
#[test]
fn each_placement_prefers_another_agent() {
    let yaml = "name: a\ncommand: [x]\ntriggers: [{at: '2026-11-21T00:10:00Z'}]";
    let agents = [agent("a-middle", 4), agent("b-small", 2), agent("c-large", 8)];
    let on = |placement| {
        let policy = Policy { placement, ..Policy::default() };
        let found = forecast(&Question { policy, ..question(yaml, &agents) }).unwrap();
        found.timeline[0].agent.as_ref().unwrap().to_string()
    };
    assert_eq!([Placement::BestFit, Placement::WorstFit, Placement::FirstFit].map(on), ["b-small", "c-large", "a-middle"]);
}

#[test]
fn the_emptiest_agent_first_spreads_tasks() {
    let job = |name: &str| format!("name: {name}\ncommand: [x]\ntriggers: [{{at: '2026-11-21T00:10:00Z'}}]");
    let yaml = ["a", "b", "c"].map(job).join("\n---\n");
    let agents = [agent("one", 1), agent("two", 1), agent("three", 1)];
    let used = |placement| {
        let policy = Policy { placement, ..Policy::default() };
        let found = forecast(&Question { policy, ..question(&yaml, &agents) }).unwrap();
        found.timeline.iter().filter_map(|run| run.agent.clone()).collect::<BTreeSet<_>>().len()
    };
    assert_eq!((used(Placement::BestFit), used(Placement::WorstFit)), (1, 3));
}

#[test]
fn the_order_says_who_waits() {
    let job = |name: &str, at: &str, priority: i32| {
        format!("name: {name}\ncommand: [x]\nresources: {{cpus: 1}}\npriority: {priority}\ntriggers: [{{at: '2026-11-21T00:10:0{at}Z'}}]")
    };
    let yaml = [job("first", "0", 50), job("low", "1", 10), job("high", "2", 90)].join("\n---\n");
    let last = |order| {
        let policy = Policy { order, ..Policy::default() };
        let found = forecast(&Question { policy, ..question(&yaml, &[agent("one", 1)]) }).unwrap();
        found.figures.waited[0].job.to_string()
    };
    assert_eq!([Order::Priority, Order::Fifo].map(last), ["default/low", "default/high"]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let refused = |yaml: &str, agents: &[AgentSpec]| forecast(&question(yaml, agents)).unwrap_err().to_string();
    let orphan = refused("name: b\ncommand: [x]\ntriggers: [{after: [a]}]", &[]);
    assert!(orphan.starts_with("job default/b is refused") && orphan.contains("there is no job default/a"), "{orphan}");
    let below = AgentSpec { cell: -1, ..agent("one", 1) };
    assert!(refused(EVERY_MINUTE, &[below]).contains("cell -1 of agent one"));
    assert!(refused(EVERY_MINUTE, &[agent("one", 1), agent("one", 1)]).contains("given twice"));
}

#[test]
fn journals_without_entries_have_nothing_to_replay() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = EmbeddedLog::open(&folder.path().join("log")).unwrap();
    let cluster = Cluster::single();
    for topic in topics::TOPICS {
        log.ensure_topic(&cluster.topic(topic.name), cluster.partitions(topic.partitions), topic.cleanup).unwrap();
    }
    let (from, to) = (time("2026-11-21T00:00:00Z"), time("2026-11-21T01:00:00Z"));
    let found = replay(&log, &cluster, &Change::default(), Some(from), Some(to)).unwrap();
    assert_eq!((found.recorded.runs, found.changed.runs, found.first_difference), (0, 0, None));
    let empty = replay(&log, &cluster, &Change::default(), Some(to), Some(from)).unwrap_err();
    assert!(matches!(empty, WhatIfError::EmptyTime { .. }), "{empty}");
    let priorities = BTreeMap::from([(orrery_model::id::JobName::parse("default/a").unwrap(), 90)]);
    let unknown = replay(&log, &cluster, &Change { priorities, ..Change::default() }, Some(from), Some(to)).unwrap_err();
    assert!(unknown.to_string().contains("default/a"), "{unknown}");
}
