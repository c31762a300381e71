//! `orrery-sim`: runs worlds, one seed after the other, and says which promises were not kept.

use clap::Parser;
use orrery_log::clock;
use orrery_model::planted::{Bug, plant};
use orrery_sim::checkers::check;
use orrery_sim::export::export;
use orrery_sim::plan::Plan;
use orrery_sim::run::{Report, run};
use orrery_sim::sweep::{Sweep, names, shrink, sweep};
use orrery_sim::world::World;
use std::path::Path;
use std::process::ExitCode;

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
    /// Worlds at once; all processors, if not said
    #[arg(long)]
    threads: Option<usize>,
    /// A summary in JSON instead of words
    #[arg(long)]
    json: bool,
    /// Where a failing world's log goes, for `orrery audit --data-dir`
    #[arg(long, default_value = "target/sim")]
    out: std::path::PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bug = match arguments.plant.as_deref().map(find_bug).transpose() {
        Ok(bug) => bug,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    plant(bug);
    match (arguments.seed, bug) {
        (Some(seed), _) => one(seed, &arguments.out),
        (None, Some(bug)) => until_found(bug, arguments.first),
        (None, None) => many(&arguments),
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
    report.findings.iter().for_each(|finding| println!("  {}: {}", finding.checker, finding.what));
    let checker = report.findings[0].checker;
    let least = shrink(&Plan::of(seed), checker, SHRINK_RUNS);
    println!("{checker} still finds something with {} of the faults:", least.faults.len());
    least.faults.iter().for_each(|(at, fault)| println!("  {at:>12} {fault:?}"));
    let mut world = World::new(least);
    world.run();
    let folder = out.join(format!("seed-{seed}"));
    let outcome = world.outcome();
    match std::fs::create_dir_all(&folder)
        .map_err(|e| e.to_string())
        .and_then(|()| export(&*outcome.log, &folder).map_err(|e| e.to_string()))
    {
        Ok(()) => println!("its log is in {0}: orrery audit log --data-dir {0}", folder.display()),
        Err(why) => println!("its log could not be written to {}: {why}", folder.display()),
    }
    println!("{} findings in the smaller world", check(&outcome).len());
    ExitCode::FAILURE
}

/// How many seeds a planted defect lives.
fn until_found(bug: Bug, first: u64) -> ExitCode {
    for tried in 0..200 {
        let report = run(Plan::of(first + tried));
        if !report.findings.is_empty() {
            println!("{bug:?}: found by {:?} with seed {}, the {}. tried", names(&report.findings), report.seed, tried + 1);
            return ExitCode::SUCCESS;
        }
    }
    println!("{bug:?}: not found in 200 seeds from {first} on");
    ExitCode::FAILURE
}

fn many(arguments: &Arguments) -> ExitCode {
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let began = clock::monotonic();
    let found = sweep(arguments.first, arguments.hours, threads, &|report| {
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
