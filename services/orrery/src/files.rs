//! Open files: a server may open as many as the system lets it, and what it starts as many as the server was started with.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

/// More are of no use, whatever the system allows.
const FILES_MAX: u64 = 65_536;

/// How many files this process may open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    /// As it was started.
    pub before: u64,
    /// Now.
    pub now: u64,
}

/// Raises the limit, the first time that it is asked for.
pub(crate) fn raised() -> Files {
    static RAISED: OnceLock<Files> = OnceLock::new();
    *RAISED.get_or_init(|| {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let before = current.unwrap_or(u64::MAX);
        let now = before.max(maximum.unwrap_or(u64::MAX).min(FILES_MAX));
        match set(now) {
            Ok(()) => Files { before, now },
            Err(error) => {
                tracing::warn!(%error, before, wanted = now, "the limit of open files cannot be raised");
                Files { before, now: before }
            }
        }
    })
}

/// Sets it, for a process that others are started by.
pub(crate) fn set(files: u64) -> rustix::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(files).filter(|files| *files < u64::MAX), maximum })
}
