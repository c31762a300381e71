//! Runs seeds and says what came of them.

use crate::checkers::{Finding, check};
use crate::crash::Point;
use crate::plan::Plan;
use crate::world::World;
use std::collections::BTreeMap;

/// What one world came to.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Simulated time, microseconds.
    pub simulated_us: i64,
    /// Promises that were not kept.
    pub findings: Vec<Finding>,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Crash points that killed.
    pub killed: BTreeMap<Point, u64>,
    /// Processes that were started.
    pub starts: usize,
    /// Records on the log.
    pub records: u64,
    /// What happened in it: turns, sends, ends of processes, faults.
    pub events: u64,
    /// Acquisitions, and of these the ones that found a store to go on with.
    pub acquired: (u64, u64),
    /// What happened, for people.
    pub trace: Vec<String>,
}

/// One seed's world, from begin to end, and what the checkers say.
pub fn run(plan: Plan) -> Report {
    let (seed, simulated_us) = (plan.seed, plan.ends);
    let mut world = World::new(plan);
    world.run();
    let findings = check(&world.outcome());
    Report {
        seed,
        simulated_us,
        findings,
        faults: world.history().faults.clone(),
        killed: world.killed(),
        starts: world.history().starts.len(),
        records: world.records(),
        events: world.happened(),
        acquired: world.history().acquired,
        trace: world.history().trace.clone(),
    }
}
