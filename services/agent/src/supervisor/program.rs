//! From a task's words to what exec takes: the program's path by the task's own PATH, and NUL-terminated strings.

use rustix::fs::{Access, AtFlags, CWD};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The program's path: a name with a slash as it is, any other looked up in `path`. Relative folders count from the sandbox.
pub(super) fn find(name: &str, path: &str, sandbox: &Path) -> Result<CString, String> {
    if name.is_empty() {
        return Err("the command is empty".into());
    }
    if name.contains('/') {
        return c_string(name);
    }
    let candidates = path.split(':').map(|folder| sandbox.join(folder).join(name));
    let mut executable = candidates.filter(|candidate| {
        let allowed = rustix::fs::accessat(CWD, candidate, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        allowed && std::fs::metadata(candidate).is_ok_and(|meta| meta.is_file())
    });
    match executable.next() {
        Some(found) => CString::new(found.as_os_str().as_bytes()).map_err(|_| format!("{name:?} contains a NUL character")),
        None => Err(format!("{name:?} was not found in PATH ({path})")),
    }
}

/// All of these for exec.
pub(super) fn c_strings(texts: &[String]) -> Result<Vec<CString>, String> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} contains a NUL character"))
}
