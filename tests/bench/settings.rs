//! What the environment says, and how much is measured.

use std::path::PathBuf;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Bare starts of the stamping program.
    pub(crate) bare_starts: usize,
    /// Bare `/bin/true` of one thread.
    pub(crate) spawns: usize,
    /// Events one at a time.
    pub(crate) events: usize,
    /// Seconds of events at 100 Hz.
    pub(crate) paced_seconds: usize,
    /// Slots of a schedule.
    pub(crate) slots: usize,
    /// Jobs of one instant.
    pub(crate) burst: usize,
    /// Runs of one round.
    pub(crate) round: usize,
    /// Rounds before the restart, with the first one.
    pub(crate) rounds: usize,
    /// Runs that wait over the restart.
    pub(crate) waiting: usize,
    /// Jobs with schedules.
    pub(crate) jobs: usize,
    /// Simulated hours.
    pub(crate) hours: usize,
    /// Attempts that wait for an allocator.
    pub(crate) placements: usize,
    /// Jobs with event triggers, and events that they are matched against.
    pub(crate) event_jobs: usize,
    pub(crate) matched_events: usize,
    /// Runs that wait in a shard that is restored.
    pub(crate) restored_runs: usize,
    /// Events whose history is audited; three of four run something, which makes about seven entries each.
    pub(crate) audited_events: usize,
    /// Seconds of nothing to do.
    pub(crate) idle_seconds: usize,
}

/// As the results are meant.
const FULL: Sizes = Sizes {
    bare_starts: 200,
    spawns: 3_000,
    events: 1_000,
    paced_seconds: 60,
    slots: 60,
    burst: 200,
    round: 10_000,
    rounds: 10,
    waiting: 1_000,
    jobs: 10_000,
    hours: 300,
    placements: 50_000,
    event_jobs: 10_000,
    matched_events: 500_000,
    restored_runs: 500_000,
    audited_events: 180_000,
    idle_seconds: 60,
};

/// To try whether all works.
const QUICK: Sizes = Sizes {
    bare_starts: 50,
    spawns: 300,
    events: 100,
    paced_seconds: 5,
    slots: 5,
    burst: 20,
    round: 500,
    rounds: 4,
    waiting: 100,
    jobs: 200,
    hours: 10,
    placements: 2_000,
    event_jobs: 200,
    matched_events: 20_000,
    restored_runs: 5_000,
    audited_events: 4_000,
    idle_seconds: 10,
};

/// Settings of one call.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The results are small and say little.
    pub(crate) quick: bool,
    pub(crate) sizes: Sizes,
    /// File of results.
    pub(crate) out: PathBuf,
    /// Measurements by name, if not all are wanted.
    only: Vec<String>,
}

impl Settings {
    pub(crate) fn from_environment(suite: &str) -> Self {
        let quick = variable("QUICK").is_some_and(|text| text != "0");
        let out = variable("BENCH_OUT").map_or_else(|| format!("target/bench/{suite}.jsonl").into(), PathBuf::from);
        let only = variable("ONLY").map_or_else(Vec::new, |names| names.split(',').map(str::to_owned).collect());
        Self { quick, sizes: if quick { QUICK } else { FULL }, out, only }
    }

    /// True if this measurement is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// A variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "the benchmarks' one window to the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
