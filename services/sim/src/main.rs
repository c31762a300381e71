//! `orrery-sim`: runs worlds, one seed after the other, and says which promises were not kept.

use clap::Parser;
use orrery_model::planted::{Bug, plant};
use orrery_sim::plan::Plan;
use orrery_sim::run::run;
use std::process::ExitCode;

/// Simulates clusters under faults; each seed is another world.
#[derive(Parser)]
struct Arguments {
    /// First seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Plant a defect, by its name
    #[arg(long)]
    plant: Option<String>,
    /// Print what happened in each world
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = 0;
    if let Some(name) = &arguments.plant {
        let Some(bug) = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == *name) else {
            eprintln!("--plant {name}: no such defect; there are {:?}", Bug::ALL);
            return ExitCode::from(2);
        };
        plant(Some(bug));
    }
    for seed in arguments.seed..arguments.seed + arguments.count {
        let report = run(Plan::of(seed));
        println!(
            "seed {seed}: {:.1} h, {} starts, {} records, {} faults, {} findings, {}",
            report.simulated_us as f64 / 3.6e9,
            report.starts,
            report.records,
            report.faults.values().sum::<u64>(),
            report.findings.len(),
            &report.fingerprint[..12],
        );
        if arguments.trace {
            report.trace.iter().for_each(|line| println!("{line}"));
        }
        for finding in report.findings.iter().take(10) {
            println!("  {}: {}", finding.checker, finding.what);
        }
        failed += u64::from(!report.findings.is_empty());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
