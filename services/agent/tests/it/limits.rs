//! Attempts that ask for a user or for limits go through the trampoline.

use crate::rig::{Rig, shell, task, variable};
use orrery_model::messages::{EndKind, ProcessLimit};

#[test]
fn limits_are_set_and_clamped() {
    let mut rig = Rig::new();
    let mut start = shell("limits.1", "ulimit -Sn; ulimit -Hn; ulimit -c; echo $ORRERY_ATTEMPT $STAGE; grep NoNewPrivs /proc/$$/status");
    start.limits = vec![limit("nofile", 512), limit("core", 0), limit("nproc", i64::MAX)];
    start.env = vec![variable("STAGE", "prod")];
    rig.start(start);
    assert_eq!(rig.ended("limits.1").end.kind, EndKind::Succeeded);
    assert_eq!(rig.file("limits.1", "stdout"), "512\n512\n0\nlimits.1 prod\nNoNewPrivs:\t1\n");
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
    std::fs::set_permissions(rig.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut start =
        shell("nobody.1", "id -un; id -Gn; echo mine > file; cat $ORRERY_SANDBOX/file; id -u 0<&0 | tr -d '\\n'; env | grep -c LD_");
    start.user = Some("nobody".into());
    start.env = vec![variable("LD_PRELOAD", "/no/such.so")];
    rig.start(start);
    let end = rig.ended("nobody.1").end;
    assert_eq!(end.kind, EndKind::Succeeded, "{end:?} {}", rig.file("nobody.1", "stderr"));
    let out = rig.file("nobody.1", "stdout");
    assert!(out.starts_with("nobody\nnogroup\nmine\n") && out.ends_with("1\n"), "{out}");
}

fn limit(name: &str, value: i64) -> ProcessLimit {
    ProcessLimit { name: name.into(), value }
}
