//! The trampoline: the same binary, started in place of a task that asks for another user or for resource limits, which
//! posix_spawn cannot set. It prepares itself and becomes the task.
//!
//! It runs with the supervisor's rights, so the task's environment is not its own (an `LD_PRELOAD` of a job would run as root). Nor is
//! it among its arguments, which every user of the machine can read: what is wanted comes in file 4, which nobody else can open. What
//! goes wrong is written to file 3. Both close at the exec.

use super::spawn;
use crate::host;
use crate::supervisor::program;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

/// The hidden subcommand's name.
pub const SUBCOMMAND: &str = "exec-as";
/// The same for exec.
pub(super) const SUBCOMMAND_C: &CStr = c"exec-as";

/// Exit code where the task could not be started, as shells have it.
const NOT_STARTED: u8 = 127;

/// What the trampoline is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExecAs {
    /// `NAME=value`, the task's whole environment.
    pub(super) env: Vec<String>,
    /// User to become.
    pub(super) user: Option<String>,
    /// Name and value of resource limits.
    pub(super) limits: Vec<(String, u64)>,
    /// The command.
    pub(super) argv: Vec<String>,
    /// The task's folder, by the name that the task is told.
    pub(super) sandbox: String,
}

/// Runs the subcommand; does not return if all goes well.
pub fn exec_as() -> ExitCode {
    // Opened first: after a change of user the kernel refuses it.
    let mut report = report();
    let refused = match ExecAs::read() {
        Ok(wanted) => wanted.execute(),
        Err(refused) => refused,
    };
    // A failed write leaves nobody to tell.
    let _ = report.write_all(refused.as_bytes());
    ExitCode::from(NOT_STARTED)
}

impl ExecAs {
    /// What the supervisor left in memory for us.
    fn read() -> Result<Self, String> {
        let content = std::fs::read("/proc/self/fd/4").map_err(|e| format!("file 4 is not the supervisor's: {}", host::words(&e)))?;
        serde_json::from_slice(&content).map_err(|e| format!("file 4 is not the supervisor's: {e}"))
    }

    /// The same in memory, as a file that ends with the last process that has it open.
    pub(super) fn to_file(&self, sandbox: &Path) -> io::Result<OwnedFd> {
        let mut file = host::unnamed_file("orrery-exec-as", sandbox)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.into())
    }

    /// Becomes the task, or says why not.
    fn execute(&self) -> String {
        match self.prepare() {
            Ok((path, argv, env)) => format!("cannot start {:?}: {}", self.argv[0], host::words(&spawn::execute(&path, &argv, &env))),
            Err(refused) => refused,
        }
    }

    fn prepare(&self) -> Result<(CString, Vec<CString>, Vec<CString>), String> {
        spawn::close_ours_at_exec().map_err(|e| format!("files 3 and 4 are not the supervisor's: {}", host::words(&e)))?;
        for (name, value) in &self.limits {
            set_limit(name, *value)?;
        }
        if let Some(name) = &self.user {
            self.change_user(name)?;
        }
        rustix::thread::set_no_new_privs(true).map_err(|e| format!("cannot set no_new_privs: {e}"))?;
        let path = self.env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
        let program = program::find(self.argv.first().map_or("", String::as_str), path, Path::new("."))?;
        Ok((program, program::c_strings(&self.argv)?, program::c_strings(&self.env)?))
    }

    /// The sandbox becomes the user's before the user becomes ours.
    fn change_user(&self, name: &str) -> Result<(), String> {
        let user = spawn::user(name).map_err(|e| format!("cannot look up user {name:?}: {}", host::words(&e)))?;
        let user = user.ok_or_else(|| format!("there is no user {name:?} on this machine"))?;
        let failed = |e| format!("cannot become user {name:?}: {}", host::words(&e));
        if user.uid != rustix::process::geteuid().as_raw() {
            std::os::unix::fs::chown(".", Some(user.uid), Some(user.gid)).map_err(failed)?;
            spawn::become_user(&user).map_err(failed)?;
            self.check_reach(name)?;
        }
        Ok(())
    }

    /// A folder above the sandbox that is closed to the user would hide its event from it, and its own files.
    fn check_reach(&self, name: &str) -> Result<(), String> {
        let sandbox = Path::new(&self.sandbox);
        let mut above: Vec<&Path> = sandbox.ancestors().skip(1).collect();
        above.reverse();
        let closed = |folder: &&Path| rustix::fs::accessat(CWD, *folder, Access::EXEC_OK, AtFlags::EACCESS).is_err();
        match above.into_iter().find(closed) {
            Some(folder) => Err(format!(
                "user {name:?} cannot reach its sandbox {}: {} is closed to it; chmod o+x that folder, or choose another data folder",
                self.sandbox,
                folder.display()
            )),
            None => Ok(()),
        }
    }
}

/// Sets the soft and hard limit, not above the hard limit that we have: raising that needs a right that we may lack.
fn set_limit(name: &str, value: u64) -> Result<(), String> {
    let resource = match name {
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "core" => Resource::Core,
        "fsize" => Resource::Fsize,
        "as" => Resource::As,
        "stack" => Resource::Stack,
        "cpu" => Resource::Cpu,
        _ => return Err(format!("limit {name:?} is not known; use nofile, nproc, core, fsize, as, stack or cpu")),
    };
    let value = rustix::process::getrlimit(resource).maximum.map_or(value, |hard| value.min(hard));
    rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
        .map_err(|e| format!("cannot set limit {name} to {value}: {e}"))
}

/// File 3 once more, by its name: the inherited one is nobody's here.
fn report() -> std::fs::File {
    let own = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/3");
    own.or_else(|_| std::fs::OpenOptions::new().write(true).open("/dev/null")).expect("/dev/null can be opened")
}
