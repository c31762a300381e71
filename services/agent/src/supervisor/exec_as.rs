//! The trampoline: the same binary, started in place of a task that asks for another user or for resource limits, which
//! posix_spawn cannot set. It prepares itself and becomes the task.
//!
//! It runs with the supervisor's rights, so the task's environment is not its own (an `LD_PRELOAD` of a job would run as root):
//! variables come as arguments and are handed to the exec. What goes wrong is written to file 3, which closes at the exec.

use super::spawn;
use crate::host;
use crate::supervisor::program;
use rustix::process::{Resource, Rlimit};
use std::ffi::{CString, OsString};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// The hidden subcommand's name: `orrery exec-as --env K=V… --user U --limit nofile=1024… -- argv…`.
pub const SUBCOMMAND: &str = "exec-as";

/// Exit code where the task could not be started, as shells have it.
const NOT_STARTED: u8 = 127;

/// What the trampoline is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecAs {
    /// `NAME=value`, the task's whole environment.
    pub env: Vec<String>,
    /// User to become.
    pub user: Option<String>,
    /// Name and value of resource limits.
    pub limits: Vec<(String, u64)>,
    /// The command.
    pub argv: Vec<String>,
}

/// Runs the subcommand with the arguments that follow its name; does not return if all goes well.
pub fn exec_as(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Opened first: after a change of user the kernel refuses it.
    let mut report = report();
    let refused = match ExecAs::parse(args) {
        Ok(wanted) => wanted.execute(),
        Err(refused) => refused,
    };
    // A failed write leaves nobody to tell.
    let _ = report.write_all(refused.as_bytes());
    ExitCode::from(NOT_STARTED)
}

impl ExecAs {
    /// Reads the arguments.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter().map(|arg| arg.into_string().map_err(|arg| format!("argument {} is not UTF-8", arg.display())));
        let mut wanted = Self::default();
        while let Some(option) = args.next().transpose()? {
            if option == "--" {
                wanted.argv = args.collect::<Result<_, _>>()?;
                return Ok(wanted);
            }
            let value = args.next().transpose()?.ok_or_else(|| format!("option {option} has no value"))?;
            match option.as_str() {
                "--env" => wanted.env.push(value),
                "--user" => wanted.user = Some(value),
                "--limit" => wanted.limits.push(parse_limit(&value)?),
                _ => return Err(format!("option {option} is not known")),
            }
        }
        Err("the command is missing behind --".into())
    }

    /// The same as arguments, the subcommand's name first.
    pub fn to_args(&self) -> Vec<String> {
        let options = self.env.iter().map(|pair| ("--env", pair.clone()));
        let options = options.chain(self.user.iter().map(|user| ("--user", user.clone())));
        let options = options.chain(self.limits.iter().map(|(name, value)| ("--limit", format!("{name}={value}"))));
        let options = options.flat_map(|(option, value)| [option.to_owned(), value]);
        [SUBCOMMAND.to_owned()].into_iter().chain(options).chain(["--".to_owned()]).chain(self.argv.iter().cloned()).collect()
    }

    /// Becomes the task, or says why not.
    fn execute(&self) -> String {
        match self.prepare() {
            Ok((path, argv, env)) => format!("cannot start {:?}: {}", self.argv[0], host::words(&spawn::execute(&path, &argv, &env))),
            Err(refused) => refused,
        }
    }

    fn prepare(&self) -> Result<(CString, Vec<CString>, Vec<CString>), String> {
        spawn::close_report_at_exec().map_err(|e| format!("file 3 is not the supervisor's: {}", host::words(&e)))?;
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
        }
        Ok(())
    }
}

fn parse_limit(text: &str) -> Result<(String, u64), String> {
    let refused = || format!("limit {text:?} is not name=number");
    let (name, value) = text.split_once('=').ok_or_else(refused)?;
    Ok((name.to_owned(), value.parse().map_err(|_| refused())?))
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
