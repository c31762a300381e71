//! `orrery-bench main` measures a real standalone from outside, `orrery-bench kafka` services on a real broker, `orrery-bench sim`
//! the simulator, `orrery-bench audit` what auditors ask.

mod clock;
mod home;
mod measure;
mod metric;
mod process;
mod settings;
mod stamp;
mod suite;

use settings::Settings;
use std::process::ExitCode;

/// What goes wrong is told to people: text is enough.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(name), None) => match suite::find(&name) {
            Some(suite) => suite::run(suite, &Settings::from_environment(&name)),
            None => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: orrery-bench SUITE, where SUITE is {}", suite::names());
    eprintln!("ONLY=name,name runs these measurements of it (those that they are compared with come first)");
    eprintln!("QUICK=1 makes every number small; BENCH_OUT names the file of results (target/bench/SUITE.jsonl)");
    ExitCode::from(2)
}
