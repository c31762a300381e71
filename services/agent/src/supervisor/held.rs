//! When nothing can be started: no processes, threads, files or room on the disk are left, or our folder is gone.
//!
//! That is nobody's failure. What waits goes on waiting and is tried again; the agent is told at once, offers nothing meanwhile and says
//! why; what has waited in vain for a while is given back, so that another machine may have it. It ends by itself: with the first
//! start that is made, or, if none waits, with a trial.

use super::{Supervisor, timers::Due};
use crate::host;
use crate::wire::{Event, StartTask};
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Between two tries.
const RETRY_MS: i64 = 1_000;
/// After so long what waits is given back: most shortages pass before.
const GIVE_BACK_MS: i64 = 10_000;

/// Why a task was not started.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It would fail anywhere: its end.
    Final(String),
    /// This machine cannot now.
    ForNow(String),
}

/// Starts are held back.
#[derive(Debug)]
pub(super) struct Held {
    since_boot_ms: i64,
    until_boot_ms: i64,
    reason: String,
}

impl Refusal {
    /// Of a system call whose failure is the machine's, not the task's, if there was too little of something.
    pub(super) fn of_call(what: &str, error: &io::Error) -> Self {
        let text = format!("{what}: {}", host::words(error));
        let shortages = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO];
        let is_short = error.raw_os_error().is_some_and(|raw| shortages.iter().any(|errno| errno.raw_os_error() == raw));
        if is_short { Self::ForNow(text) } else { Self::Final(text) }
    }

    /// Of what a task has no part in.
    pub(super) fn of_ours(what: &str, error: &io::Error) -> Self {
        Self::ForNow(format!("{what}: {}", host::words(error)))
    }
}

impl Supervisor {
    /// Why nothing can be started, if that is so.
    pub(super) fn unable(&self) -> Option<String> {
        self.held.as_ref().map(|held| held.reason.clone())
    }

    /// True while the next try is not due.
    pub(super) fn is_held(&self, now_boot_ms: i64) -> bool {
        self.held.as_ref().is_some_and(|held| held.until_boot_ms > now_boot_ms)
    }

    /// Nothing is started for a while.
    pub(super) fn hold(&mut self, reason: String) {
        let now = host::boot_ms();
        let until_boot_ms = now + RETRY_MS;
        self.timers.add(until_boot_ms, Due::Retry);
        if let Some(held) = &mut self.held {
            held.until_boot_ms = until_boot_ms;
            return;
        }
        self.note(&format!("nothing can be started: {reason}"));
        self.told_at_once.push(Event::Unable { reason: Some(reason.clone()) });
        self.held = Some(Held { since_boot_ms: now, until_boot_ms, reason });
    }

    /// It goes on.
    pub(super) fn release(&mut self) {
        if self.held.take().is_some() {
            self.note("tasks can be started again");
            self.told_at_once.push(Event::Unable { reason: None });
        }
    }

    /// The time for another try has come.
    pub(super) fn retry(&mut self, now_boot_ms: i64) {
        let Some(held) = &self.held else { return };
        if held.until_boot_ms > now_boot_ms {
            return;
        }
        if now_boot_ms - held.since_boot_ms >= GIVE_BACK_MS && !self.queue.is_empty() {
            let attempts = self.queue.drain(..).map(|task| task.attempt).collect();
            self.told_at_once.push(Event::Returned { attempts });
        }
        if self.queue.is_empty() {
            match self.trial() {
                Ok(()) => self.release(),
                Err(reason) => self.hold(reason),
            }
        }
    }

    /// All that a start needs, without one.
    fn trial(&mut self) -> Result<(), String> {
        self.check_folder()?;
        self.state.flush().map_err(|e| format!("cannot write {}: {}", super::state_file::FILE, host::words(&e)))?;
        self.sandboxes.trial().map_err(|e| format!("cannot make a sandbox: {}", host::words(&e)))?;
        let output = [super::starting::pipe(), super::starting::pipe()];
        if let Some(Err(Refusal::Final(why) | Refusal::ForNow(why))) = output.into_iter().find(Result::is_err) {
            return Err(why);
        }
        // A process that ends at once, since it finds nothing to do.
        let program = super::spawn::Program {
            path: c"/proc/self/exe",
            argv: &[c"orrery".to_owned(), super::exec_as::SUBCOMMAND_C.to_owned()],
            env: &[],
            cwd: c"/",
            stdio: [std::os::fd::AsFd::as_fd(&self.null); 3],
            inherited: None,
            entrance: None,
        };
        self.spawner.spawn(&program).map(drop).map_err(|e| format!("cannot start a process: {}", host::words(&e)))
    }

    /// Our folder may have been moved or removed; another one of its name is not ours.
    pub(super) fn check_folder(&self) -> Result<(), String> {
        let dir = self.dir.display();
        match std::fs::metadata(&self.dir) {
            Ok(meta) if (meta.dev(), meta.ino()) == self.folder => Ok(()),
            Ok(_) => Err(format!("the folder {dir} is another one than at the start; put it back, or start the agent anew")),
            Err(error) => Err(format!("the folder {dir} is gone ({}); put it back, or start the agent anew", host::words(&error))),
        }
    }

    /// Puts starts back that could not be made, behind the others, as each may need something else.
    pub(super) fn put_back(&mut self, starts: impl IntoIterator<Item = StartTask>) {
        for start in starts {
            self.state.not_starting(&start.attempt);
            self.queue.push_back(start);
        }
    }
}
