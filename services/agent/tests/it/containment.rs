//! What tries to escape its task, or resists its end: contained where the machine can, else said.

use crate::rig::{Rig, boot_ms, is_alive, numbers, shell, task, wait_for};
use orrery_agent::wire::{Event, Request};
use orrery_model::messages::EndKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Leaves a process behind that has neither its session nor its environment.
const HIDES: &str =
    "setsid env -i setsid sh -c 'echo $$ > tmp; mv tmp hidden; exec sleep 1000' & while [ ! -e hidden ]; do sleep 0.01; done";
/// Begins a supervisor as a user without rights.
const AS_NOBODY: &str = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";

/// False, with a printed reason, where this machine gives no cgroups.
fn is_contained(rig: &mut Rig) -> bool {
    let (cgroup, reason) = rig.isolation();
    if cgroup == "none" {
        println!("skipped: tasks have no cgroups here: {}", reason.unwrap_or_default());
    }
    cgroup != "none"
}

fn is_root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        println!("skipped: only root can start a supervisor as another user");
    }
    is
}

/// The cgroup folder of this process' version 2, if there is one that may be written.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    Some(Path::new(&mount).join(own))
}

/// A task whose two processes have become root, as by sudo.
const BECOMES_ROOT: &str = "root='../../setpriv --reuid=0 --regid=0 --clear-groups'; $root sleep 1000 & exec $root sleep 1000";

/// A folder that a user without rights may have, with a `setpriv` in it by which anybody becomes root.
fn give_to_nobody(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
    std::fs::copy("/usr/bin/setpriv", dir.join("setpriv")).unwrap();
    std::fs::set_permissions(dir.join("setpriv"), std::fs::Permissions::from_mode(0o4755)).unwrap();
}

/// What lives below the supervisor's folder of cgroups, all supervisors of this folder together.
fn cgroups_of(rig: &Rig) -> Vec<PathBuf> {
    let journal = std::fs::read_to_string(rig.dir.path().join("supervisor.journal")).unwrap();
    let named = journal.lines().filter_map(|line| line.strip_prefix("{\"cgroups\":{\"folder\":\"")?.strip_suffix("\"}}"));
    let tasks = named.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    tasks.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect()
}

#[test]
fn one_that_hides_ends_with_its_task_though_an_older_task_lives() {
    let mut rig = Rig::new();
    if !is_contained(&mut rig) {
        return;
    }
    rig.start(task("older.1", &["sleep", "1000"]));
    rig.started("older.1");
    rig.start(shell("hide.1", HIDES));
    let end = rig.ended("hide.1").end;
    assert_eq!((end.kind, end.reason), (EndKind::Succeeded, None));
    let hidden = numbers(&rig.file("hide.1", "hidden"))[0];
    assert!(!is_alive(hidden), "the end was told before all of the task was over");
    wait_for("one cgroup, the older task's", || {
        let names: Vec<_> = cgroups_of(&rig).iter().map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect();
        rig.start(task("other.1", &["true"]));
        (names.len() == 1 && names[0].starts_with("task-older.1.")).then_some(())
    });
    assert!(rig.connect().live.iter().any(|live| live.attempt.as_str() == "older.1"));
}

#[test]
fn one_that_hides_from_a_dead_supervisor_is_found_by_the_next() {
    let mut rig = Rig::new();
    if !is_contained(&mut rig) {
        return;
    }
    rig.start(shell("hide.1", &format!("{HIDES}; sleep 1000")));
    let hidden = numbers(&rig.wait_for_file("hide.1", "hidden"))[0];
    rig.kill_supervisor();
    assert!(is_alive(hidden));
    assert_eq!(cgroups_of(&rig).len(), 1);
    let snapshot = rig.launch(&[]);
    assert!(!is_alive(hidden), "{hidden} lives on");
    assert_eq!(snapshot.ended[0].end.reason.as_deref(), Some("the supervisor died"));
    assert_eq!(cgroups_of(&rig), Vec::<PathBuf>::new());
}

#[test]
fn the_lease_s_second_holder_ends_one_that_hides() {
    let mut rig = Rig::without_lease(&[]);
    if !is_contained(&mut rig) {
        return;
    }
    rig.send(Request::Lease { until_boot_ms: boot_ms() + 3_000 });
    rig.start(shell("hide.1", &format!("{HIDES}; sleep 1000")));
    let hidden = numbers(&rig.wait_for_file("hide.1", "hidden"))[0];
    rig.kill_supervisor();
    wait_for("the end of the hidden process", || (!is_alive(hidden)).then_some(()));
}

#[test]
fn a_task_that_became_root_is_ended_through_its_cgroup() {
    let Some(own) = own_cgroup().filter(|_| is_root()) else { return println!("skipped: there are no cgroups of version 2") };
    let cgroup = own.join(format!("orrery-test-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&cgroup) {
        return println!("skipped: no cgroup can be made: {error}");
    }
    for name in ["", "cgroup.procs"] {
        std::os::unix::fs::chown(cgroup.join(name), Some(65534), Some(65534)).unwrap();
    }
    let script = format!("echo $$ > {}/cgroup.procs; {AS_NOBODY}", cgroup.display());
    let mut rig = Rig::through(&script, give_to_nobody);
    assert_eq!(rig.isolation(), ("v2".to_owned(), None));
    let mut start = shell("root.1", BECOMES_ROOT);
    (start.grace_ms, start.timeout_ms) = (0, Some(1_000));
    rig.start(start);
    let leader = rig.started("root.1").pid;
    let end = rig.ended("root.1").end;
    assert_eq!((end.kind, end.signal, end.reason), (EndKind::TimedOut, Some(9), None));
    assert!(!is_alive(leader));
    drop(rig);
    wait_for("the cgroup's end", || remove_all(&cgroup));
}

fn remove_all(folder: &Path) -> Option<()> {
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    below.filter(|entry| entry.file_type().unwrap().is_dir()).for_each(|entry| {
        remove_all(&entry.path());
    });
    std::fs::remove_dir(folder).ok()
}

#[test]
fn without_cgroups_a_task_that_became_root_is_told_of_with_what_helps() {
    if !is_root() {
        return;
    }
    let mut rig = Rig::through(AS_NOBODY, give_to_nobody);
    let (cgroup, reason) = rig.isolation();
    if cgroup != "none" {
        return println!("skipped: a user without rights has cgroups here");
    }
    assert!(reason.unwrap().contains("Permission denied"));
    let mut start = shell("root.1", BECOMES_ROOT);
    start.grace_ms = 0;
    rig.start(start);
    let leader = rig.started("root.1").pid;
    wait_for("another user", || {
        let status = std::fs::read_to_string(format!("/proc/{leader}/status")).unwrap();
        status.contains("Uid:\t0\t0\t0").then_some(())
    });
    rig.kill("root.1", "cancelled by alice");
    let reason = rig.find(|event| match event {
        Event::Resisting { attempt, reason } if attempt.as_str() == "root.1" => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("(sleep) runs as user root, whom user nobody may not end") && reason.contains("Delegate=yes"), "{reason}");
    // The agent after this one is told too.
    rig.connect();
    rig.find(|event| matches!(event, Event::Resisting { .. }).then_some(()));
    kill(leader);
    let end = rig.ended("root.1").end;
    let told = end.reason.unwrap();
    assert!(told.starts_with("cancelled by alice; process ") && told.contains("may not end") && told.contains("kill -9"), "{told}");
    assert_eq!(end.kind, EndKind::Killed);
    let log = std::fs::read_to_string(rig.dir.path().join("supervisor.log")).unwrap();
    assert!(log.contains("attempt root.1 cannot be ended: process"), "{log}");
}

fn kill(pid: i32) {
    rustix::process::kill_process_group(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}
