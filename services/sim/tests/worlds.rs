//! Worlds of known seeds: the same seed gives the same bytes, nothing is found in production code, and every planted defect is.

use orrery_model::planted::{Bug, plant};
use orrery_sim::plan::{Fault, MINUTE, Plan, SECOND};
use orrery_sim::run::run;
use orrery_sim::sweep::names;
use orrery_sim::week;
use orrery_sim::world::World;

/// A defect, the seed whose world shows it, and a checker that says so.
const PLANTED: &[(Bug, u64, &str)] = &[
    (Bug::SameEpoch, 1, "epochs"),
    (Bug::NoHeadCheck, 29, "epochs"),
    (Bug::ReuseWriter, 2, "epochs"),
    (Bug::NoRollForward, 2, "epochs"),
    (Bug::NoResend, 2, "ended"),
    (Bug::HeadlessRows, 2, "fired_once"),
    (Bug::FencedForGood, 2, "ended"),
    (Bug::NoPrevCheck, 8, "replay"),
    (Bug::RepeatTaken, 26, "started_once"),
    (Bug::OneMark, 1, "ended"),
    (Bug::PositionUnsaved, 1, "replay"),
    (Bug::DroppedUntold, 1, "replay"),
    (Bug::NoReack, 4, "ended"),
    (Bug::OlderJob, 19, "catalog"),
    (Bug::NotForwarded, 1, "fired_once"),
    (Bug::ReadByTwo, 1, "fired_once"),
    (Bug::MatchBeforeCatalog, 5, "fired_once"),
    (Bug::OldGeneration, 1, "fired_once"),
    (Bug::CancelHandBack, 46, "cancelled"),
    (Bug::ClockUnjudged, 1, "clocks"),
    (Bug::TickBeforeBacklog, 2, "stays_stopped"),
    (Bug::AtByWall, 1, "replay"),
    (Bug::LeaseByAt, 1, "healthy_kept"),
    (Bug::LeaseUnread, 8, "healthy_kept"),
    (Bug::LeaseFromAnswer, 32, "started_once"),
    (Bug::DeadSession, 4, "started_once"),
    (Bug::LaunchUnsynced, 9, "started_once"),
    (Bug::RunAgain, 4, "started_once"),
    (Bug::StoreTooOld, 6, "replay"),
    (Bug::OpenUnseen, 7, "replay"),
    (Bug::LogicForgotten, 1, "logic"),
    (Bug::TornSnapshot, 5, "replay"),
    (Bug::KeyForgotten, 1, "fired_once"),
    (Bug::VisibleBeforeSync, 5, "epochs"),
    (Bug::Unchained, 1, "replay"),
    (Bug::OneIndex, 1, "ended"),
    (Bug::OtherSchema, 1, "readable"),
    (Bug::Overcommit, 1, "capacity"),
    (Bug::LastFirst, 1, "overtaken"),
    (Bug::ShowsDeleted, 9, "shown"),
    (Bug::QuarantineForgotten, 3, "set_aside"),
    (Bug::QuarantineNeighbour, 2, "set_aside"),
    (Bug::HandUnwritten, 3, "set_aside"),
    (Bug::OldLineage, 10, "salvaged"),
    (Bug::HoldIgnored, 10, "clocks"),
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
fn a_written_week_begins_the_same_each_time() {
    let begun = || {
        let plan = week::plan();
        let mut world = World::new(Plan { ends: plan.begins + 180 * MINUTE, ..plan });
        world.run();
        world
    };
    let (first, second) = (begun(), begun());
    assert_eq!(first.fingerprint(), second.fingerprint());
    let history = first.history();
    assert!(history.starts.len() > 4 && history.stopped.is_empty(), "{:?}", history.stopped);
}

#[test]
fn nothing_is_found_in_worlds_of_known_seeds() {
    for seed in [2, 3, 4, 37, 1009] {
        let report = run(Plan::of(seed));
        assert_eq!(report.findings, [], "seed {seed}: look at it with `make sim SEED={seed}`");
        assert!(report.starts > 100 && report.faults.values().sum::<u64>() >= 120, "seed {seed} is no test: {report:?}");
        assert!(report.acquired.1 > report.acquired.0 / 2, "seed {seed}: standbys are of no use: {:?}", report.acquired);
    }
}

/// What the simulator has found in the product, as the fewest faults that showed it, under the load that it had then.
#[test]
fn what_was_found_once_is_not_found_again() {
    let scenarios = [
        // An agent that was cut off read an old welcome and counted its lease from a heartbeat that had never arrived.
        (56, 13 * SECOND, vec![(785_236_122, Fault::CutAnswers(0, 172_634_309)), (889_186_111, Fault::Cut(0, 120_000_000))]),
        // A salvage had cut a transaction off from its head: whoever restored from the changelog later took its rows for the next one's.
        (122, 90 * SECOND, vec![(2_136_758_780, Fault::Salvage(39)), (2_582_814_717, Fault::LoseDisk(0))]),
    ];
    for (seed, event_every, faults) in scenarios {
        let report = run(Plan { faults, event_every, ..Plan::of(seed) });
        assert_eq!(report.findings, [], "the scenario of seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_found() {
    let missing: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| !PLANTED.iter().any(|(planted, ..)| planted == bug)).collect();
    assert_eq!(missing, [], "defects without a seed that shows them");
    let mut hidden = Vec::new();
    for (bug, seed, checker) in PLANTED {
        plant(Some(*bug));
        let found = names(&run(Plan::of(*seed)).findings);
        plant(None);
        if !found.contains(checker) {
            hidden.push(format!("{bug:?} with seed {seed}: {found:?}, not {checker}; `orrery-sim --plant {bug:?}` finds a seed"));
        }
    }
    assert_eq!(hidden, [""; 0]);
}
