//! `orrery-bench main` measures a real standalone from outside; `orrery-bench stamp SOCKET LABEL` is the program that the jobs
//! of the measurements run: it tells when it started.

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
    // Before everything else: this is the start that the measurements are about.
    let started = clock::monotonic_ns();
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next(), args.next()) {
        (Some("stamp"), Some(socket), Some(label)) => stamp::send(&socket, &label, started),
        (Some(name), None, None) => match suite::find(name) {
            Some(suite) => suite::run(suite, &Settings::from_environment(name)),
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
