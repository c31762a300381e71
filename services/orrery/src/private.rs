//! What is for nobody else on this machine: the data folder and the token in it.

use crate::standalone::draw_lineage;
use anyhow::{Context, Result, bail};
use rustix::process::{getegid, geteuid};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const CLOSED: u32 = 0o700;
/// Others go through it to what is open to them, and see nothing: tasks that root starts as other users must reach their sandboxes.
const THROUGH: u32 = 0o711;
/// What a data folder has at its top; one of them tells that the folder is ours.
const OURS: [&str; 5] = ["log", "store", "agent", "token", "supervisor.journal"];

/// Makes the data folder of a service that starts tasks.
pub(crate) fn make_folder_for_tasks(dir: &Path) -> Result<()> {
    make(dir, if geteuid().is_root() { THROUGH } else { CLOSED })
}

/// Makes a folder for nobody else.
pub(crate) fn make_folder(dir: &Path) -> Result<()> {
    make(dir, CLOSED)
}

/// One that is there and open to others is closed, if it is empty or ours: anything else may have to be as it is.
fn make(dir: &Path, allowed: u32) -> Result<()> {
    let failed = || format!("--data-dir {} cannot be made", dir.display());
    DirBuilder::new().recursive(true).mode(CLOSED).create(dir).with_context(failed)?;
    let meta = fs::metadata(dir).with_context(failed)?;
    let mode = meta.permissions().mode() & 0o7777;
    let us = Us::this_process();
    if us.uid != 0 && us.uid != meta.uid() {
        return foreign(mode, (meta.uid(), meta.gid()), &us).map_err(|why| anyhow::anyhow!("--data-dir {}: {why}", dir.display()));
    }
    if mode & !allowed == 0 && mode | CLOSED == allowed {
        return Ok(());
    }
    let others_see = mode & 0o7777 & !THROUGH != 0;
    if others_see && !is_ours(dir).with_context(failed)? {
        bail!(
            "{} is open to others (mode {mode:o}) and holds files that are not Orrery's; choose a folder of its own, or chmod 700 this one",
            dir.display()
        );
    }
    fs::set_permissions(dir, Permissions::from_mode(allowed)).with_context(|| {
        format!("{} is open to others (mode {mode:o}), and that cannot be changed; let its owner chmod 700 it", dir.display())
    })
}

/// Who this process is.
struct Us {
    uid: u32,
    groups: Vec<u32>,
}

impl Us {
    fn this_process() -> Self {
        let others = rustix::process::getgroups().unwrap_or_default();
        let groups = std::iter::once(getegid()).chain(others).map(|group| group.as_raw()).collect();
        Self { uid: geteuid().as_raw(), groups }
    }
}

/// A folder of another user, whose mode we cannot change: a volume that was given to our group (Kubernetes: `fsGroup`) serves, if
/// nobody beyond the group gets in.
fn foreign(mode: u32, (uid, gid): (u32, u32), us: &Us) -> std::result::Result<(), String> {
    const GROUP: u32 = 0o070;
    const OTHERS: u32 = 0o007;
    let begin = format!("it belongs to user {uid} and group {gid} (mode {mode:o}), and this process is user {}", us.uid);
    if !us.groups.contains(&gid) {
        return Err(format!(
            "{begin}, who is not in that group; as root: chown -R {} it, or let the volume's group be one of this user's (Kubernetes: fsGroup)",
            us.uid
        ));
    }
    if mode & GROUP != GROUP {
        return Err(format!("{begin}, whose group may not write there; as root: chmod g+rwx it, or chown -R {} it", us.uid));
    }
    if mode & OTHERS != 0 {
        return Err(format!("{begin}, and everybody else gets in too; as root: chmod o= it"));
    }
    Ok(())
}

fn is_ours(dir: &Path) -> std::io::Result<bool> {
    // A volume of its own is never quite empty.
    let is_empty = fs::read_dir(dir)?.flatten().all(|entry| entry.file_name() == "lost+found");
    Ok(is_empty || OURS.iter().any(|name| dir.join(name).exists()))
}

/// The token of this data folder, made at the first start; nobody else may read it.
pub(crate) fn token(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => {
            let mode = fs::metadata(path)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                bail!("{} can be read by others (mode {mode:o}); chmod 600 it, or delete it for a new one", path.display());
            }
            return Ok(text.trim().to_owned());
        }
        // An empty one may be open to anybody, or held open by somebody: it is replaced, not written to.
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
    let token = draw_lineage();
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let written = write_new(&new, &token).and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(token)
}

fn write_new(path: &Path, token: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_is_open_to_others_is_closed_if_it_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let (new, ours, foreign) = (dir.path().join("a/b"), dir.path().join("ours"), dir.path().join("foreign"));
        make(&new, CLOSED).unwrap();
        assert_eq!(mode(&new), CLOSED);
        make(&new, THROUGH).unwrap();
        assert_eq!(mode(&new), THROUGH);
        make(&new, CLOSED).unwrap();
        assert_eq!(mode(&new), CLOSED);
        for open in [0o755, 0o777, 0o1777, 0o750] {
            fs::create_dir_all(ours.join("log")).unwrap();
            set(&ours, open);
            make(&ours, CLOSED).unwrap();
            assert_eq!(mode(&ours), CLOSED, "{open:o}");
        }
        fs::create_dir_all(foreign.join("photos")).unwrap();
        set(&foreign, 0o755);
        let refused = make(&foreign, CLOSED).unwrap_err().to_string();
        assert!(refused.contains("is open to others (mode 755)") && refused.contains("choose a folder of its own"), "{refused}");
        assert_eq!(mode(&foreign), 0o755);
    }

    #[test]
    fn a_volume_of_our_group_serves_and_others_are_refused_with_what_helps() {
        let us = Us { uid: 10_001, groups: vec![10_001, 2_000] };
        let refused = |mode, owner| foreign(mode, owner, &us).unwrap_err();
        assert_eq!(foreign(0o2770, (0, 2_000), &us), Ok(()));
        assert!(refused(0o2775, (0, 2_000)).contains("chmod o="));
        assert!(refused(0o2750, (0, 2_000)).contains("chmod g+rwx"));
        assert!(refused(0o770, (0, 3_000)).contains("fsGroup"));
        assert!(refused(0o755, (0, 0)).contains("chown -R 10001"));
        let this = Us::this_process();
        let dir = tempfile::tempdir().unwrap();
        let meta = fs::metadata(dir.path()).unwrap();
        assert!(this.uid == meta.uid() && this.groups.contains(&meta.gid()));
    }

    #[test]
    fn a_token_is_never_where_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "\n").unwrap();
        set(&path, 0o666);
        let made = token(&path).unwrap();
        assert_eq!((mode(&path), token(&path).unwrap()), (0o600, made));
        set(&path, 0o666);
        let refused = token(&path).unwrap_err().to_string();
        assert!(refused.contains("can be read by others (mode 666)") && refused.contains("chmod 600"), "{refused}");
    }
}
