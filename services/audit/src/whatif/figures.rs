//! What a world's runs and attempts come to: counts, waiting times, use of what the agents have. Integers only.

use super::trace::{AttemptTrace, Offered, Trace};
use orrery_model::id::{AgentId, AttemptId, JobName};
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use orrery_model::time::Timestamp;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A task that waits for longer is listed.
const LONG_WAIT_MS: i64 = 1_000;
/// Tasks listed.
const WAITED_LISTED: usize = 100;

/// One world, or the recorded one, in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Runs that were made.
    pub runs: usize,
    /// How many of them came to each state; one that is not final goes on at the end of the time that is looked at.
    pub states: BTreeMap<&'static str, usize>,
    /// Attempts of these runs.
    pub attempts: usize,
    /// How long they waited.
    pub waiting: Waiting,
    /// When the first process started.
    pub first_start: Option<Timestamp>,
    /// When the last process ended; the end of the time that is looked at, if one still runs.
    pub last_end: Option<Timestamp>,
    /// From `first_start` to `last_end`, milliseconds.
    pub makespan_ms: i64,
    /// Use of processors.
    pub cpus: Usage<MilliCpus>,
    /// Use of memory.
    pub memory: Usage<Bytes>,
    /// Tasks that were ended for the sake of others: always 0, as no policy does that yet.
    pub preemptions: usize,
    /// Tasks that waited for more than a second.
    pub waited_long: usize,
    /// The first hundred of them, longest first.
    pub waited: Vec<Waited>,
}

/// From an attempt being wanted to its process having started. One that never started waited until its end, or until the end of the
/// time that is looked at. Percentiles are by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Waiting {
    /// Attempts without a process.
    pub never_started: usize,
    /// Half waited no longer, milliseconds.
    pub p50_ms: i64,
    /// Nine of ten, milliseconds.
    pub p90_ms: i64,
    /// All but one of a hundred, milliseconds.
    pub p99_ms: i64,
    /// The longest, milliseconds.
    pub max_ms: i64,
}

/// Use of one kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage<T> {
    /// Thousandths of what the agents offered during the makespan that tasks had.
    pub per_mille: i64,
    /// Most that tasks had at once.
    pub peak: T,
    /// When for the first time.
    pub peak_at: Option<Timestamp>,
}

/// A task that waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waited {
    /// Its job.
    pub job: JobName,
    /// Which attempt.
    pub attempt: AttemptId,
    /// Since when.
    pub wanted: Timestamp,
    /// When its process started, if it did.
    pub started: Option<Timestamp>,
    /// How long, milliseconds.
    pub waited_ms: i64,
    /// Codes of what it waited for, as they came up: `INSUFFICIENT_CPUS`, …
    pub reasons: Vec<String>,
}

impl Figures {
    /// Of everything before `until`.
    pub(super) fn of(trace: &Trace, until: Timestamp) -> Self {
        let mut states = BTreeMap::new();
        for run in trace.runs.values() {
            *states.entry(run.state.word()).or_default() += 1;
        }
        let began = || trace.attempts.values().filter(|attempt| attempt.started.is_some());
        let first_start = began().filter_map(|attempt| attempt.started).min();
        let last_end = began().map(|attempt| attempt.ended.unwrap_or(until)).max();
        let (waited_long, waited) = waited(trace, until);
        let (cpus, memory) = usage(trace, first_start.zip(last_end), until);
        Self {
            runs: trace.runs.len(),
            states,
            attempts: trace.attempts.len(),
            waiting: waiting(trace, until),
            first_start,
            last_end,
            makespan_ms: first_start.zip(last_end).map_or(0, |(first, last)| last.since_ms(first)),
            cpus,
            memory,
            preemptions: 0,
            waited_long,
            waited,
        }
    }
}

/// How long an attempt waited, milliseconds.
pub(super) fn waited_ms(attempt: &AttemptTrace, until: Timestamp) -> i64 {
    attempt.waited_until(until).since_ms(attempt.wanted).max(0)
}

fn waiting(trace: &Trace, until: Timestamp) -> Waiting {
    let mut waits: Vec<i64> = trace.attempts.values().map(|attempt| waited_ms(attempt, until)).collect();
    waits.sort_unstable();
    let at = |percent: usize| waits.get((waits.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    let never_started = trace.attempts.values().filter(|attempt| attempt.started.is_none()).count();
    Waiting { never_started, p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: at(100) }
}

/// How many waited long, and the longest waits.
fn waited(trace: &Trace, until: Timestamp) -> (usize, Vec<Waited>) {
    let waits = trace.attempts.iter().map(|(id, attempt)| (waited_ms(attempt, until), id, attempt));
    let mut long: Vec<_> = waits.filter(|(ms, ..)| *ms > LONG_WAIT_MS).collect();
    long.sort_unstable_by_key(|(ms, id, _)| (Reverse(*ms), *id));
    let told = |(waited_ms, id, attempt): &(i64, &AttemptId, &AttemptTrace)| Waited {
        job: attempt.job.clone(),
        attempt: (*id).clone(),
        wanted: attempt.wanted,
        started: attempt.started,
        waited_ms: *waited_ms,
        reasons: attempt.reasons.clone(),
    };
    (long.len(), long.iter().take(WAITED_LISTED).map(told).collect())
}

/// An amount over time: thousandths of a CPU, or bytes, by microseconds.
#[derive(Clone, Copy, Default)]
struct Area {
    cpus: i128,
    memory: i128,
}

impl Area {
    fn add(&mut self, amount: &Resources, us: i64) {
        self.cpus += i128::from(amount.cpus.0) * i128::from(us);
        self.memory += i128::from(amount.memory.0) * i128::from(us);
    }
}

fn usage(trace: &Trace, span: Option<(Timestamp, Timestamp)>, until: Timestamp) -> (Usage<MilliCpus>, Usage<Bytes>) {
    let (mut used, mut changes) = (Area::default(), Vec::new());
    for attempt in trace.attempts.values() {
        let Some(started) = attempt.started else { continue };
        let ended = attempt.ended.unwrap_or(until).max(started);
        used.add(&attempt.needs, ended.0 - started.0);
        // What ends makes room for what starts at the same moment.
        changes.push((started, true, attempt.needs));
        changes.push((ended, false, attempt.needs));
    }
    changes.sort_unstable();
    let offered = span.map_or_else(Area::default, |span| offered(&trace.offers, span));
    let per_mille = |part: i128, whole: i128| if whole > 0 { i64::try_from(part * 1000 / whole).unwrap_or(i64::MAX) } else { 0 };
    let (cpus, cpus_at) = peak(&changes, |needs| needs.cpus.0);
    let (memory, memory_at) = peak(&changes, |needs| needs.memory.0);
    (
        Usage { per_mille: per_mille(used.cpus, offered.cpus), peak: MilliCpus(cpus), peak_at: cpus_at },
        Usage { per_mille: per_mille(used.memory, offered.memory), peak: Bytes(memory), peak_at: memory_at },
    )
}

/// The most of one resource that is used at once, and when for the first time.
fn peak(changes: &[(Timestamp, bool, Resources)], of: fn(&Resources) -> i64) -> (i64, Option<Timestamp>) {
    let (mut now, mut most, mut when) = (0i64, 0, None);
    for (at, starts, needs) in changes {
        now = if *starts { now.saturating_add(of(needs)) } else { now.saturating_sub(of(needs)) };
        if now > most {
            (most, when) = (now, Some(*at));
        }
    }
    (most, when)
}

/// What the agents offered within a span of time.
fn offered(offers: &[Offered], (first, last): (Timestamp, Timestamp)) -> Area {
    let mut by_time: Vec<&Offered> = offers.iter().collect();
    by_time.sort_by_key(|offer| offer.at);
    let mut current: BTreeMap<(i32, &AgentId), Resources> = BTreeMap::new();
    let mut area = Area::default();
    for offer in by_time {
        // From then on to the end, instead of what was offered before.
        let left = last.0 - offer.at.clamp(first, last).0;
        area.add(&offer.total, left);
        if let Some(before) = current.insert((offer.cell, &offer.agent), offer.total) {
            area.add(&before, -left);
        }
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(thousandths: i64) -> Resources {
        Resources { cpus: MilliCpus(thousandths), ..Resources::default() }
    }

    fn attempt(wanted: i64, started: Option<i64>, ended: Option<i64>) -> AttemptTrace {
        let (started, ended) = (started.map(Timestamp::from_ms), ended.map(Timestamp::from_ms));
        let job = JobName::parse("default/a").expect("a name");
        AttemptTrace { job, needs: cpus(1000), wanted: Timestamp::from_ms(wanted), started, ended, reasons: Vec::new() }
    }

    #[test]
    fn waits_and_use_add_up() {
        let mut trace = Trace::default();
        let attempts = [attempt(0, Some(0), Some(4_000)), attempt(0, Some(4_000), None), attempt(0, None, Some(2_000))];
        for (n, attempt) in attempts.into_iter().enumerate() {
            trace.attempts.insert(AttemptId::parse(&format!("r{n}.1")).expect("an id"), attempt);
        }
        let agent = |name: &str| AgentId::parse(name).expect("an id");
        let offer = |at, name, total| Offered { at: Timestamp::from_ms(at), cell: 0, agent: agent(name), total };
        trace.offers = vec![offer(-1, "one", cpus(1000)), offer(2_000, "two", cpus(1000)), offer(6_000, "two", cpus(0))];
        let figures = Figures::of(&trace, Timestamp::from_ms(8_000));
        assert_eq!((figures.waiting.p50_ms, figures.waiting.p90_ms, figures.waiting.never_started), (2_000, 4_000, 1));
        assert_eq!((figures.makespan_ms, figures.waited_long, figures.waited[0].waited_ms), (8_000, 2, 4_000));
        assert_eq!(figures.cpus, Usage { per_mille: 666, peak: MilliCpus(1000), peak_at: Some(Timestamp::from_ms(0)) });
    }
}
