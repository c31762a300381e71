//! How long planted defects live: each must be found, and soon.

use crate::plan::Plan;
use crate::run::{Report, run};
use crate::sweep::names;
use orrery_model::planted::{Bug, plant};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Tries for each defect; each begins at a seed of its own …
const TRIES: u64 = 5;
/// … so far from the next one's.
const APART: u64 = 1_000;
/// Seeds of one try.
pub const SEEDS_MOST: u64 = 200;

/// What the tries for one defect came to.
#[derive(Debug)]
pub struct Lived {
    /// The defect.
    pub bug: Bug,
    /// Checkers that found something where it was planted.
    pub found_by: BTreeSet<&'static str>,
    /// Seeds that each try needed, in order of size; one more than [`SEEDS_MOST`] is "not found".
    pub seeds: Vec<u64>,
}

impl Lived {
    /// The median of the tries.
    pub fn median(&self) -> u64 {
        self.seeds[self.seeds.len() / 2]
    }
}

/// The world from this seed on that shows the defect, and how many were tried.
pub fn until_found(bug: Bug, first: u64) -> Option<(u64, Report)> {
    plant(Some(bug));
    let found =
        (1..=SEEDS_MOST).zip(first..).map(|(tried, seed)| (tried, run(Plan::of(seed)))).find(|(_, report)| !report.findings.is_empty());
    plant(None);
    found
}

/// All defects, on so many threads.
pub fn lives(threads: usize) -> Vec<Lived> {
    let (next, (results, lives)) = (AtomicUsize::new(0), mpsc::channel());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (next, results) = (&next, results.clone());
            scope.spawn(move || {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _receiver_is_there = results.send(life(*bug));
                }
            });
        }
    });
    drop(results);
    let mut all: Vec<Lived> = lives.into_iter().collect();
    all.sort_by_key(|lived| lived.bug);
    all
}

fn life(bug: Bug) -> Lived {
    let mut lived = Lived { bug, found_by: BTreeSet::new(), seeds: Vec::new() };
    for attempt in 0..TRIES {
        match until_found(bug, 1 + attempt * APART) {
            Some((tried, report)) => {
                lived.seeds.push(tried);
                lived.found_by.extend(names(&report.findings));
            }
            None => lived.seeds.push(SEEDS_MOST + 1),
        }
    }
    lived.seeds.sort_unstable();
    lived
}
