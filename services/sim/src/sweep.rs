//! Many seeds on all processors, until enough time was simulated or a promise was not kept.

use crate::checkers::Finding;
use crate::crash::Point;
use crate::plan::{FAULT_KINDS, Plan};
use crate::run::{Report, run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// Microseconds of an hour.
const HOUR: f64 = 3.6e9;

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Worlds that ran to their ends.
    pub worlds: u64,
    /// Simulated hours.
    pub hours: f64,
    /// Records on all logs.
    pub records: u64,
    /// What happened in all of them.
    pub events: u64,
    /// Processes started.
    pub starts: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Crash points that killed.
    pub killed: BTreeMap<Point, u64>,
    /// Acquisitions, and of these the ones that found a store to go on with.
    pub acquired: (u64, u64),
    /// The first seeds whose worlds broke a promise.
    pub failed: Vec<(u64, Vec<Finding>)>,
}

impl Sweep {
    fn add(&mut self, report: Report) {
        self.worlds += 1;
        self.hours += report.simulated_us as f64 / HOUR;
        self.records += report.records;
        self.events += report.events;
        self.starts += report.starts as u64;
        self.acquired = (self.acquired.0 + report.acquired.0, self.acquired.1 + report.acquired.1);
        report.faults.into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
        report.killed.into_iter().for_each(|(point, count)| *self.killed.entry(point).or_default() += count);
        if !report.findings.is_empty() {
            self.failed.push((report.seed, report.findings));
        }
    }

    /// Crash points and kinds of faults that never struck: a sweep that is long enough has none.
    pub fn never_struck(&self) -> Vec<String> {
        let points = Point::ALL.iter().filter(|point| !self.killed.contains_key(point)).map(|point| format!("crash point {point:?}"));
        let kinds = FAULT_KINDS.iter().filter(|kind| !self.faults.contains_key(*kind)).map(|kind| format!("fault {kind}"));
        points.chain(kinds).collect()
    }
}

/// Seeds from `first` on, until `hours` are simulated or one fails. The same seeds give the same worlds on any number of threads.
pub fn sweep(first: u64, hours: f64, threads: usize, tell: &dyn Fn(&Report)) -> Sweep {
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let (results, reports) = mpsc::channel();
    let mut found = Sweep::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (results, next, stop) = (results.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if results.send(run(Plan::of(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        for report in reports {
            tell(&report);
            found.add(report);
            if found.hours >= hours || !found.failed.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    found
}

/// The fewest faults of a plan that still make this checker find something: parts are left out as long as it does (ddmin, Zeller and
/// Hildebrandt 2002), within so many runs.
pub fn shrink(plan: &Plan, checker: &str, mut runs: usize) -> Plan {
    let fails = |plan: &Plan| run(plan.clone()).findings.iter().any(|finding| finding.checker == checker);
    let mut least = plan.clone();
    let mut parts = 2;
    while runs > 0 && least.faults.len() > 1 {
        let size = least.faults.len().div_ceil(parts);
        let without = |place: usize| {
            let faults = least.faults.iter().enumerate().filter(|(n, _)| n / size != place).map(|(_, fault)| *fault).collect();
            Plan { faults, ..least.clone() }
        };
        let smaller = (0..parts).map(without).take(runs).find(|plan| {
            runs = runs.saturating_sub(1);
            fails(plan)
        });
        match smaller {
            Some(plan) => (least, parts) = (plan, parts.saturating_sub(1).max(2)),
            None if size == 1 => break,
            None => parts = (parts * 2).min(least.faults.len()),
        }
    }
    least
}

/// All checkers that found something.
pub fn names(findings: &[Finding]) -> BTreeSet<&'static str> {
    findings.iter().map(|finding| finding.checker).collect()
}
