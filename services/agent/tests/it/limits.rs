//! Attempts that ask for a user or for limits go through the trampoline.

use crate::rig::{Rig, shell, task, variable};
use orrery_agent::Stream;
use orrery_agent::wire::EventData;
use orrery_model::messages::{EndKind, ProcessLimit};

#[test]
fn limits_are_set_and_clamped() {
    let mut rig = Rig::new();
    let mut start = shell("limits.1", "ulimit -Sn; ulimit -Hn; ulimit -c; echo $ORRERY_ATTEMPT $STAGE; grep NoNewPrivs /proc/$$/status");
    start.limits = vec![limit("nofile", 512), limit("core", 0), limit("nproc", i64::MAX)];
    start.env = vec![variable("STAGE", "prod")];
    rig.start(start);
    assert_eq!(rig.ended("limits.1").end.kind, EndKind::Succeeded);
    assert_eq!(rig.output("limits.1", Stream::Stdout), "512\n512\n0\nlimits.1 prod\nNoNewPrivs:\t1\n");
}

#[test]
fn a_start_that_the_trampoline_cannot_make_is_told() {
    let mut rig = Rig::new();
    let (mut program, mut user, mut name) = (task("program.1", &["no-such-program"]), task("user.1", &["true"]), task("name.1", &["true"]));
    program.limits = vec![limit("nofile", 100)];
    user.user = Some("no-such-user".into());
    name.limits = vec![limit("beauty", 1)];
    for (start, expected) in [(program, "not found in PATH"), (user, "no user \"no-such-user\""), (name, "limit \"beauty\" is not known")] {
        let attempt = start.attempt.to_string();
        rig.start(start);
        let end = rig.ended(&attempt).end;
        assert_eq!(end.kind, EndKind::NotStarted);
        assert!(end.reason.as_ref().is_some_and(|reason| reason.contains(expected)), "{end:?}");
    }
}

#[test]
fn another_user_has_its_groups_and_its_sandbox_and_no_way_back() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: changing the user needs root");
        return;
    }
    let mut rig = Rig::new();
    let mut start = shell(
        "nobody.1",
        "id -un; id -Gn; echo mine > file; cat $ORRERY_SANDBOX/file; cat $ORRERY_EVENT_FILE; id -u 0<&0 | tr -d '\\n'; env | grep -c LD_",
    );
    start.user = Some("nobody".into());
    start.event = Some(EventData::Text("{}\n".into()));
    start.env = vec![variable("LD_PRELOAD", "/no/such.so")];
    rig.start(start);
    let end = rig.ended("nobody.1").end;
    assert_eq!(end.kind, EndKind::Succeeded, "{end:?} {}", rig.output("nobody.1", Stream::Stderr));
    let out = rig.output("nobody.1", Stream::Stdout);
    let closed = |mode| std::fs::set_permissions(rig.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    closed(0o700);
    let mut start = task("closed.1", &["true"]);
    start.user = Some("nobody".into());
    rig.start(start);
    let end = rig.ended("closed.1").end;
    let reason = end.reason.unwrap();
    assert!(end.kind == EndKind::NotStarted && reason.contains("is closed to it; chmod o+x that folder"), "{reason}");
    assert!(out.starts_with("nobody\nnogroup\nmine\n{}\n") && out.ends_with("1\n"), "{out}");
}

#[test]
fn no_process_shows_a_variable_of_a_task_among_its_arguments() {
    const TASKS: usize = 40;
    let mut rig = Rig::new();
    for n in 0..TASKS {
        let mut start = task(&format!("secret{n}.1"), &["true"]);
        start.limits = vec![limit("core", 0)];
        start.env = vec![variable("PASSWORD", "correct-horse-battery")];
        rig.start(start);
    }
    let watcher = std::thread::spawn({
        let sandboxes = rig.sandbox("any.1").parent().unwrap().to_owned();
        move || seen_while_running(&sandboxes)
    });
    for n in 0..TASKS {
        assert_eq!(rig.ended(&format!("secret{n}.1")).end.kind, EndKind::Succeeded);
    }
    std::fs::write(rig.sandbox("any.1").with_file_name("over"), "").unwrap();
    assert_eq!(watcher.join().unwrap(), Vec::<String>::new());
}

/// Command lines of any process that hold the secret, looked at again and again until the file `over` is there.
fn seen_while_running(sandboxes: &std::path::Path) -> Vec<String> {
    let mut seen = Vec::new();
    while !sandboxes.join("over").exists() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            seen.extend(line.contains("correct-horse").then_some(line));
        }
    }
    seen
}

#[test]
fn a_supervisor_has_nothing_of_its_starter_s_environment_that_a_task_could_read() {
    let mut rig = Rig::new();
    rig.start(shell("parent.1", "tr '\\0' '\\n' < /proc/$PPID/environ | cut -d= -f1"));
    rig.ended("parent.1");
    let found = rig.output("parent.1", Stream::Stdout);
    assert!(std::env::vars_os().count() > 5, "there is something to hide");
    let kept = ["PATH", "LD_LIBRARY_PATH", "RUST_BACKTRACE"];
    assert!(found.lines().all(|name| kept.contains(&name)), "{found}");
}

fn limit(name: &str, value: i64) -> ProcessLimit {
    ProcessLimit { name: name.into(), value }
}
