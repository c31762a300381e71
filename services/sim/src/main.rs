//! `orrery-sim`: runs worlds, one seed after the other, and says which promises were not kept; or makes a demonstration cluster's
//! week.

use clap::Parser;
use orrery_log::clock;
use orrery_model::planted::{Bug, plant};
use orrery_sim::checkers::check;
use orrery_sim::defects::{SEEDS_MOST, lives, until_found};
use orrery_sim::export::export;
use orrery_sim::plan::Plan;
use orrery_sim::run::{Report, run};
use orrery_sim::sweep::{Sweep, names, shrink, sweep};
use orrery_sim::week;
use orrery_sim::world::World;
use std::path::Path;
use std::process::ExitCode;

/// As in `orrery`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Worlds tried to make a failing plan smaller.
const SHRINK_RUNS: usize = 60;

/// Simulates clusters under faults; each seed is another world.
#[derive(Parser)]
struct Arguments {
    /// One world in full: what happened in it, and the fewest faults that break it
    #[arg(long)]
    seed: Option<u64>,
    /// Simulated hours
    #[arg(long, default_value_t = 1_500.0)]
    hours: f64,
    /// First seed of many
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Plant a defect, by its name
    #[arg(long)]
    plant: Option<String>,
    /// How many seeds each planted defect lives: five tries each, for some minutes
    #[arg(long)]
    defects: bool,
    /// Worlds at once; all processors, if not said
    #[arg(long)]
    threads: Option<usize>,
    /// A summary in JSON instead of words
    #[arg(long)]
    json: bool,
    /// Where a failing world's log goes, for `orrery audit --data-dir`
    #[arg(long, default_value = "target/sim")]
    out: std::path::PathBuf,
    /// Makes a demonstration cluster's week, from 2026-10-26 on, as a data folder: for `orrery audit` and `orrery serve gateway`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "plant", "defects"])]
    week: Option<std::path::PathBuf>,
}

impl Arguments {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.week {
        return make_week(folder);
    }
    let bug = match arguments.plant.as_deref().map(find_bug).transpose() {
        Ok(bug) => bug,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    match (arguments.seed, bug) {
        (Some(seed), _) => {
            plant(bug);
            one(seed, &arguments.out)
        }
        (None, Some(bug)) => find(bug, arguments.first),
        (None, None) if arguments.defects => all_defects(arguments.threads()),
        (None, None) => many(&arguments),
    }
}

fn make_week(folder: &Path) -> ExitCode {
    match week::make(folder) {
        Ok(week) => {
            println!("{} to {}: {} records, {} processes", week.from, week.until, week.records, week.starts);
            println!("show it: orrery --data-dir {} serve gateway", folder.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn find_bug(name: &str) -> Result<Bug, String> {
    let found = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.ok_or_else(|| format!("--plant {name}: no such defect; there are {:?}", Bug::ALL))
}

fn tell(report: &Report) {
    println!(
        "seed {}: {} faults, {} starts, {} records, {} findings",
        report.seed,
        report.faults.values().sum::<u64>(),
        report.starts,
        report.records,
        report.findings.len()
    );
}

fn one(seed: u64, out: &Path) -> ExitCode {
    let report = run(Plan::of(seed));
    report.trace.iter().for_each(|line| println!("{line}"));
    tell(&report);
    if report.findings.is_empty() {
        return ExitCode::SUCCESS;
    }
    write_log(Plan::of(seed), &out.join(format!("seed-{seed}")));
    let checker = report.findings[0].checker;
    let least = shrink(&Plan::of(seed), checker, SHRINK_RUNS);
    println!("{checker} still finds something with {} of the faults:", least.faults.len());
    least.faults.iter().for_each(|(at, fault)| println!("  {at:>12} {fault:?}"));
    write_log(least, &out.join(format!("seed-{seed}-least")));
    ExitCode::FAILURE
}

/// Runs a world and leaves its log in a folder of its own.
fn write_log(plan: Plan, folder: &Path) {
    let mut world = World::new(plan);
    world.run();
    let outcome = world.outcome();
    check(&outcome).iter().for_each(|finding| println!("  {}: {}", finding.checker, finding.what));
    let removed = std::fs::remove_dir_all(folder).or_else(|error| if folder.exists() { Err(error) } else { Ok(()) });
    let written = removed.and_then(|()| std::fs::create_dir_all(folder)).map_err(|error| error.to_string());
    match written.and_then(|()| export(&*outcome.log, folder).map_err(|error| error.to_string())) {
        Ok(()) => println!("its log is in {0}: orrery audit log --data-dir {0}", folder.display()),
        Err(why) => println!("its log could not be written to {}: {why}", folder.display()),
    }
}

/// How many seeds a planted defect lives.
fn find(bug: Bug, first: u64) -> ExitCode {
    match until_found(bug, first) {
        Some((tried, report)) => {
            println!("{bug:?}: found by {:?} with seed {}, the {tried}. tried", names(&report.findings), report.seed);
            ExitCode::SUCCESS
        }
        None => {
            println!("{bug:?}: not found in {SEEDS_MOST} seeds from {first} on");
            ExitCode::FAILURE
        }
    }
}

/// The same for all of them, as a table.
fn all_defects(threads: usize) -> ExitCode {
    let all = lives(threads);
    println!("| defect | seeds needed: median | of | found by |\n|---|---|---|---|");
    for lived in &all {
        let seeds = lived.seeds.iter().map(|seeds| if *seeds > SEEDS_MOST { "none".to_owned() } else { seeds.to_string() });
        let (seeds, found_by) = (seeds.collect::<Vec<_>>().join(", "), lived.found_by.iter().copied().collect::<Vec<_>>().join(", "));
        println!("| {:?} | {} | {seeds} | {found_by} |", lived.bug, lived.median());
    }
    if all.iter().all(|lived| lived.median() <= SEEDS_MOST) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(arguments: &Arguments) -> ExitCode {
    let began = clock::monotonic();
    let found = sweep(arguments.first, arguments.hours, arguments.threads(), &|report| {
        if !report.findings.is_empty() {
            tell(report);
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    if arguments.json {
        println!("{}", summary(&found, seconds));
    } else {
        report(&found, seconds / 60.0);
    }
    if found.failed.is_empty() && (arguments.json || found.never_struck().is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// For programs.
fn summary(found: &Sweep, seconds: f64) -> serde_json::Value {
    serde_json::json!({
        "worlds": found.worlds,
        "cluster_hours": found.hours,
        "seconds": seconds,
        "events": found.events,
        "records": found.records,
        "processes": found.starts,
        "faults": found.faults.values().sum::<u64>(),
        "findings": found.failed.iter().map(|(_, findings)| findings.len()).sum::<usize>(),
    })
}

/// For people.
fn report(found: &Sweep, minutes: f64) {
    println!(
        "{} worlds, {:.0} cluster-hours in {minutes:.1} min ({:.0} a minute), {} records, {} processes, {} faults",
        found.worlds,
        found.hours,
        found.hours / minutes,
        found.records,
        found.starts,
        found.faults.values().sum::<u64>()
    );
    let (all, warm) = found.acquired;
    println!("{all} acquisitions, {warm} of them with a store to go on with");
    let never = found.never_struck();
    if !never.is_empty() {
        println!("never struck: {}", never.join(", "));
    }
    for (seed, findings) in &found.failed {
        println!("seed {seed} failed; look at it with `make sim SEED={seed}`");
        findings.iter().take(10).for_each(|finding| println!("  {}: {}", finding.checker, finding.what));
    }
}
