//! `orrery`: one binary for everything. See `cli` for the command line, `standalone` for the services in one process,
//! `serve` for one of them in a process of its own.

mod cli;
mod config;
mod demo;
mod private;
mod serve;
mod standalone;

use orrery_agent::supervisor;
use std::process::ExitCode;

/// Entries are read on one thread and dropped on another, which the system's allocator is slow at: `audit verify` takes a third less
/// time with this one (ADR 0011).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starts the task supervisor of an agent; not for people.
const SUPERVISOR: &str = "supervisor";

fn main() -> ExitCode {
    // Before everything else: the supervisor must stay small, and exec-as must not read what belongs to a task.
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(first) if first == supervisor::EXEC_AS => supervisor::exec_as(),
        Some(first) if first == supervisor::HOLD_LEASE => supervisor::hold_lease(args),
        Some(first) if first == SUPERVISOR && args.next().is_some_and(|option| option == "--dir") => match args.next() {
            Some(dir) => supervisor::main(dir.as_ref()),
            None => ExitCode::from(2),
        },
        _ => cli::main(),
    }
}
