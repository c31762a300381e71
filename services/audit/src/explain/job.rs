//! The story of a job around a time: which definition was in force, which slots came, which runs were made or not, and why the
//! events nearest to that time did not fire it.

use super::reading::{Decided, decisions};
use super::topics::{TopicFacts, TopicStory, topic_story};
use super::{Line, Mark, codes, joins, next};
use crate::EntryView;
use orrery_model::id::JobName;
use orrery_model::job::JobSpec;
use orrery_model::messages::{CatalogEntry, RunRecord, RunState};
use orrery_model::time::Timestamp;
use serde::Serialize;

/// What a job's story is made of.
#[derive(Debug, Clone, Copy)]
pub struct JobFacts<'a> {
    /// Which job.
    pub job: &'a JobName,
    /// Entries of its shard's journal around that time, and some of before, that speak of it, by time.
    pub entries: &'a [EntryView],
    /// Its present definition.
    pub entry: &'a CatalogEntry,
    /// Records of its topics around that time.
    pub topics: &'a [TopicFacts],
    /// The time asked about.
    pub at: Timestamp,
    /// Later entries do not count: the end of what "around" means.
    pub until: Timestamp,
}

/// The story of a job around a time.
#[derive(Debug, Clone, Serialize)]
pub struct JobStory {
    /// Which job.
    pub job: JobName,
    /// The time asked about.
    pub at: Timestamp,
    /// In one sentence.
    pub answer: String,
    /// What was in force.
    pub definition: Vec<Line>,
    /// Slots of its schedules: taken, or missed and why.
    pub schedule: Vec<Line>,
    /// Runs made, skipped, refused; what could not be evaluated or had to wait.
    pub runs: Vec<Line>,
    /// For each trigger by events: the nearest of them, and why they did not fire.
    pub topics: Vec<TopicStory>,
    /// One thing to do.
    pub next: Vec<Line>,
}

/// Tells a job's story.
pub fn job_story(facts: &JobFacts<'_>) -> JobStory {
    let entry = in_force(facts);
    let mut schedule = Vec::new();
    let mut runs = Vec::new();
    for decided in decisions(facts.entries, facts.until) {
        if decided.kind == "slot_taken" && decided.text("job") == Some(facts.job.as_str()) {
            schedule.push(slot(&decided));
        } else if let Some(line) = run(facts.job, &decided) {
            runs.push(line);
        }
    }
    let spec: Option<JobSpec> = entry.as_ref().and_then(|(entry, _)| serde_json::from_str(&entry.document).ok());
    let mut topics = Vec::new();
    if let (Some((entry, _)), Some(spec)) = (&entry, &spec) {
        runs.extend(joins::lacking(facts, spec));
        for (number, trigger) in spec.triggers.iter().enumerate() {
            let found = facts.topics.iter().find(|topic| trigger.event.as_ref() == Some(&topic.topic));
            topics.extend(found.map(|found| topic_story(facts, entry, (number, trigger), found)));
        }
    }
    let definition = definition(facts, entry.as_ref());
    let (answer, next) = answer(facts, &definition, &schedule, &runs, &topics);
    JobStory { job: facts.job.clone(), at: facts.at, answer, definition, schedule, runs, topics, next }
}

/// The definition that was in force at the time asked about, and the entry that says so, if it lies among those given.
fn in_force<'a>(facts: &JobFacts<'a>) -> Option<(CatalogEntry, Option<&'a EntryView>)> {
    let of_job = |decided: &Decided<'a>| {
        let defines = matches!(decided.kind, "job_defined" | "job_paused" | "job_resumed");
        (defines && decided.fields["entry"]["job"].as_str() == Some(facts.job.as_str())).then_some(())?;
        Some((decided.read::<CatalogEntry>("entry")?, Some(decided.entry)))
    };
    let said = decisions(facts.entries, facts.at).filter_map(|decided| of_job(&decided)).last();
    said.or_else(|| (facts.entry.defined_at <= facts.at).then(|| (facts.entry.clone(), None)))
}

fn definition(facts: &JobFacts<'_>, in_force: Option<&(CatalogEntry, Option<&EntryView>)>) -> Vec<Line> {
    let Some((entry, said)) = in_force else {
        let text =
            format!("its present definition is version {}, taken at {}, after that time", facts.entry.version, facts.entry.defined_at);
        return vec![Line::new(Mark::Bad, codes::DEFINITION, text)];
    };
    let with = |line: Line| said.map_or_else(|| line.clone(), |said| line.clone().of(said));
    let who = entry.principal.as_ref().map_or_else(String::new, |who| format!(" by {who}"));
    let text = format!("version {} was in force, taken at {}{who}", entry.version, entry.defined_at);
    let mut lines = vec![with(Line::new(Mark::Good, codes::DEFINITION, text))];
    if entry.paused {
        lines.push(with(Line::new(Mark::Bad, codes::PAUSED, "the job is paused: its runs are made and held")));
    }
    lines
}

fn slot(decided: &Decided<'_>) -> Line {
    let slot = decided.text("slot").unwrap_or("?");
    let next = decided.text("next").map_or_else(|| "there is no other".to_owned(), |next| format!("the next is due at {next}"));
    let line = match (decided.number("missed").unwrap_or(0), decided.text("reason")) {
        (0, None) => Line::new(Mark::Good, codes::SCHEDULE, format!("the slot {slot} was taken; {next}")),
        (missed, reason) => {
            let reason = reason.unwrap_or("no reason is recorded");
            Line::new(Mark::Bad, codes::CATCHUP_EXPIRED, format!("{missed} slots up to {slot} were missed: {reason}; {next}"))
        }
    };
    line.of(decided.entry)
}

/// What a decision says of the job's runs, if it does.
pub(super) fn run(job: &JobName, decided: &Decided<'_>) -> Option<Line> {
    let is = |name: &str| decided.text(name) == Some(job.as_str());
    let reason = || decided.text("reason").unwrap_or("no reason is recorded");
    let event = || decided.text("event").unwrap_or("?");
    let line = match decided.kind {
        "run_created" | "run_ended" if decided.fields["record"]["job"].as_str() == Some(job.as_str()) => {
            of_record(decided.kind, &decided.record()?)?
        }
        "skipped" if is("job") => Line::new(Mark::Bad, codes::BEHIND_FIRED, format!("event {} starts nothing: {}", event(), reason())),
        "refused" if is("subject") => Line::new(Mark::Bad, codes::REFUSED, decided.text("detail").unwrap_or("refused")),
        "predicate_failed" if is("job") => {
            Line::new(Mark::Bad, codes::PREDICATE_FAILED, format!("its predicate fails on event {}: {}", event(), reason()))
        }
        "event_parked" if is("next") => Line::new(Mark::Note, codes::PARKED, format!("event {} goes on with this job next", event())),
        "fire_parked" if decided.fields["fire"]["job"].as_str() == Some(job.as_str()) => {
            Line::new(Mark::Note, codes::PARKED, "an event waits for the definition that it matched elsewhere")
        }
        _ => return None,
    };
    Some(line.of(decided.entry))
}

/// A run that was made; or that ended without having started.
fn of_record(kind: &str, record: &RunRecord) -> Option<Line> {
    let reason = record.reason.as_deref().unwrap_or("no reason is recorded");
    let skipped = record.state == RunState::Skipped;
    match (kind, skipped, &record.reason) {
        (_, true, _) => {
            Some(Line::new(Mark::Bad, codes::of_words(reason), format!("run {} ({}) was skipped: {reason}", record.run, record.cause)))
        }
        ("run_created", false, Some(_)) => {
            Some(Line::new(Mark::Bad, codes::of_words(reason), format!("run {} ({}) was held: {reason}", record.run, record.cause)))
        }
        ("run_created", false, None) => Some(Line::new(Mark::Good, codes::RUN, format!("run {} was made ({})", record.run, record.cause))),
        _ => None,
    }
}

/// The sentence, and the one thing to do.
fn answer(facts: &JobFacts<'_>, definition: &[Line], schedule: &[Line], runs: &[Line], topics: &[TopicStory]) -> (String, Vec<Line>) {
    let made = runs.iter().filter(|line| line.code == codes::RUN).count();
    if made > 0 {
        return (format!("{made} runs were made around {}.", facts.at), Vec::new());
    }
    let action = |code, text: String| vec![Line::new(Mark::Note, code, text)];
    let bad = definition.iter().chain(runs).chain(schedule).find(|line| line.mark == Mark::Bad);
    if let Some(bad) = bad {
        let next = match bad.code {
            codes::PAUSED => action(codes::PAUSED, format!("orrery job resume {}", facts.job)),
            codes::CATCHUP_EXPIRED => action(codes::CATCHUP_EXPIRED, "set catch_up to what late slots should do".into()),
            codes::DEPENDENCY => {
                let parent = joins::first_lacking(&bad.text).unwrap_or_else(|| facts.job.as_str());
                action(codes::DEPENDENCY, format!("orrery explain job {parent} --at {}", facts.at))
            }
            codes::CONCURRENCY => action(codes::CONCURRENCY, "end the other run, or set concurrency to allow or queue".into()),
            code => next::of_miss(code).into_iter().collect(),
        };
        return (format!("No run was started around {}: {}.", facts.at, bad.text), next);
    }
    let nearest = topics.iter().flat_map(|topic| &topic.events).min_by_key(|event| event.distance_ms.unsigned_abs());
    match nearest {
        Some(event) => {
            let next = next::of_miss(event.code).into_iter().collect();
            (format!("Nothing fired around {}: the nearest event {} did not count: {}.", facts.at, event.event, event.text), next)
        }
        None => {
            let text = format!("orrery job run {}", facts.job);
            (format!("Nothing was due around {}: no slot, no event, no request.", facts.at), action(codes::REQUEST, text))
        }
    }
}
