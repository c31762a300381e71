//! Suites: lists of measurements, run one after another; one that fails does not keep the others from running.

use crate::Result;
use crate::home::Home;
use crate::measure;
use crate::metric::{Metric, head, write};
use crate::settings::{Settings, Sizes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What measurements leave for later ones.
pub(crate) struct Context {
    pub(crate) sizes: Sizes,
    bare_ms: Option<f64>,
    spawn2_per_s: Option<f64>,
    /// The data folder of the first round of runs; no standalone serves it.
    pub(crate) finished: Option<Home>,
}

impl Context {
    /// p50 of a bare start.
    pub(crate) fn bare_ms(&self) -> Result<f64> {
        self.bare_ms.ok_or_else(|| "there is no bare start to compare with".to_owned())
    }

    pub(crate) fn set_bare_ms(&mut self, ms: f64) {
        self.bare_ms = Some(ms);
    }

    /// Bare processes per second of two threads.
    pub(crate) fn spawn2_per_s(&self) -> Result<f64> {
        self.spawn2_per_s.ok_or_else(|| "there are no bare processes to compare with".to_owned())
    }

    pub(crate) fn set_spawn2_per_s(&mut self, rate: f64) {
        self.spawn2_per_s = Some(rate);
    }
}

/// One measurement; its metrics begin with what it is called, or say more.
pub(crate) struct Measurement {
    name: &'static str,
    run: fn(&mut Context) -> Result<Vec<Metric>>,
}

/// References come before what is compared with them.
const MAIN: &[Measurement] = &[
    Measurement { name: "bare_start", run: measure::bare::start },
    Measurement { name: "spawn", run: measure::spawn::rates },
    Measurement { name: "event_to_start", run: measure::event::one_at_a_time },
    Measurement { name: "event_to_start_100hz", run: measure::paced::at_100_hz },
    Measurement { name: "cron_to_start", run: measure::cron::slots },
    Measurement { name: "burst200", run: measure::burst::one_instant },
    Measurement { name: "true_per_s", run: measure::round::first },
    Measurement { name: "verify", run: measure::verify::journals },
    Measurement { name: "restart", run: measure::restart::after_many_runs },
    Measurement { name: "idle_rss", run: measure::idle::memory },
    Measurement { name: "jobs10k", run: measure::jobs::many },
    Measurement { name: "expressions", run: measure::expressions::budgets },
];

const SIM: &[Measurement] = &[Measurement { name: "sim", run: measure::sim::worlds }];

const KAFKA: &[Measurement] = &[
    Measurement { name: "bare_start", run: measure::bare::start },
    Measurement { name: "event_to_start", run: measure::kafka::event::one_shard },
    Measurement { name: "event_to_start_16x4", run: measure::kafka::event::many_shards },
    Measurement { name: "decisions_per_s", run: measure::kafka::decisions::placements },
    Measurement { name: "events_matched_per_s", run: measure::kafka::matching::events },
    Measurement { name: "failover", run: measure::kafka::failover::killed },
    Measurement { name: "handover", run: measure::kafka::failover::in_order },
    Measurement { name: "restore", run: measure::kafka::restore::rows },
    Measurement { name: "idle", run: measure::kafka::idle::records },
];

const AUDIT: &[Measurement] = &[
    Measurement { name: "history", run: measure::audit::history },
    Measurement { name: "verify", run: measure::audit::verify },
    Measurement { name: "replay", run: measure::audit::replay },
    Measurement { name: "explain", run: measure::audit::explain },
    Measurement { name: "forecast", run: measure::audit::forecast },
];

/// A suite's name and its measurements.
type Suite = (&'static str, &'static [Measurement]);

const SUITES: &[Suite] = &[("main", MAIN), ("sim", SIM), ("kafka", KAFKA), ("audit", AUDIT)];

/// The measurements of a suite.
pub(crate) fn find(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|(known, _)| *known == name)
}

/// All suites.
pub(crate) fn names() -> String {
    SUITES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Runs them all; the results are written as they come, so that an interrupted suite leaves what it has found.
pub(crate) fn run((suite, measurements): &Suite, settings: &Settings) -> ExitCode {
    let mut context = Context { sizes: settings.sizes, bare_ms: None, spawn2_per_s: None, finished: None };
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    if settings.quick {
        println!("QUICK: the numbers are small, the results are no results");
    }
    println!("{}", head());
    for measurement in measurements.iter().filter(|measurement| settings.wants(measurement.name)) {
        match guarded(measurement, &mut context) {
            Ok(metrics) => {
                let metrics: Vec<Metric> = metrics.into_iter().map(|metric| metric.of_suite(suite)).collect();
                metrics.iter().for_each(|metric| println!("{}", metric.row()));
                found.extend(metrics);
            }
            Err(why) => {
                eprintln!("{}: FAILED: {why}", measurement.name);
                failed.push(measurement.name);
            }
        }
        if let Err(why) = write(&settings.out, &found) {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    println!("{} results in {}", found.len(), settings.out.display());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// A panic of a measurement (a server that does not start) is a failure like others.
fn guarded(measurement: &Measurement, context: &mut Context) -> Result<Vec<Metric>> {
    catch_unwind(AssertUnwindSafe(|| (measurement.run)(context))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("it panicked").to_owned())
    })
}
