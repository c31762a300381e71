//! Worlds of known seeds: the same seed gives the same bytes, nothing is found in production code, and every planted defect is.

use orrery_model::planted::{Bug, plant};
use orrery_sim::plan::Plan;
use orrery_sim::run::run;
use orrery_sim::sweep::names;
use orrery_sim::world::World;

/// A defect, the seed whose world shows it, and a checker that says so.
const PLANTED: &[(Bug, u64, &str)] = &[
    (Bug::NoHeadCheck, 3, "epochs"),
    (Bug::ReuseWriter, 2, "epochs"),
    (Bug::NoRollForward, 2, "epochs"),
    (Bug::NoResend, 2, "ended"),
    (Bug::NoPrevCheck, 3, "replay"),
    (Bug::NoReack, 5, "ended"),
    (Bug::OlderJob, 8, "catalog"),
    (Bug::MatchBeforeCatalog, 2, "fired_once"),
    (Bug::OldGeneration, 1, "fired_once"),
    (Bug::LeaseUnread, 21, "started_once"),
    (Bug::LeaseFromAnswer, 21, "started_once"),
    (Bug::LaunchUnsynced, 11, "started_once"),
    (Bug::RunAgain, 1, "started_once"),
    (Bug::VisibleBeforeSync, 2, "epochs"),
];

fn world(seed: u64) -> World {
    let mut world = World::new(Plan::of(seed));
    world.run();
    world
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [7, 12] {
        assert_eq!(world(seed).fingerprint(), world(seed).fingerprint(), "seed {seed}");
    }
    assert_ne!(world(7).fingerprint(), world(12).fingerprint(), "two seeds are two worlds");
}

#[test]
fn nothing_is_found_in_worlds_of_known_seeds() {
    for seed in 1..4 {
        let report = run(Plan::of(seed));
        assert_eq!(report.findings, [], "seed {seed}: look at it with `make sim SEED={seed}`");
        assert!(report.starts > 100 && report.faults.values().sum::<u64>() >= 120, "seed {seed} is no test: {report:?}");
    }
}

#[test]
fn every_planted_defect_is_found() {
    let missing: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| !PLANTED.iter().any(|(planted, ..)| planted == bug)).collect();
    assert_eq!(missing, [], "defects without a seed that shows them");
    for (bug, seed, checker) in PLANTED {
        plant(Some(*bug));
        let found = names(&run(Plan::of(*seed)).findings);
        plant(None);
        assert!(found.contains(checker), "{bug:?} with seed {seed}: {found:?}, not {checker}; `orrery-sim --plant {bug:?}` finds a seed");
    }
}
