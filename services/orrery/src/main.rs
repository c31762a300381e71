//! `orrery`: one binary for everything. See `cli` for the command line, `standalone` for the services in one process,
//! `serve` for one of them in a process of its own.

#[macro_use]
mod terminal;

mod cli;
mod config;
mod demo;
mod files;
mod health;
mod private;
mod serve;
mod standalone;

use orrery_agent::supervisor;
use std::ffi::OsString;
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
        Some(first) if first == SUPERVISOR => supervise(args),
        _ => cli::main(),
    }
}

/// `supervisor --files N --dir DIR`: tasks may open as many files as the server could when it was started.
fn supervise(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let [files, number, dir, folder] = args.as_slice() else { return ExitCode::from(2) };
    let number = number.to_str().and_then(|number| number.parse().ok());
    let (Some(number), true, true) = (number, files == "--files", dir == "--dir") else { return ExitCode::from(2) };
    // Refused only where the limit is lower already.
    let _left_as_it_is = files::set(number);
    supervisor::main(folder.as_ref())
}

/// The command that starts the supervisor; the agent adds the folder.
pub(crate) fn supervisor_command() -> std::io::Result<Vec<String>> {
    let program = std::env::current_exe()?;
    Ok(vec![program.display().to_string(), SUPERVISOR.into(), "--files".into(), files::raised().before.to_string()])
}
