//! The supervisor's promises for single tasks: ends, environment, output, kills, timeouts.

use crate::rig::{Rig, boot_ms, exists, id, is_alive, numbers, shell, task, variable, wait_for};
use orrery_agent::wire::{EventData, Request};
use orrery_agent::{Stream, read_log};
use orrery_model::messages::EndKind::{self, Failed, Killed, Lost, NotStarted, Succeeded, TimedOut};

#[test]
fn ends_are_told_as_they_were() {
    let mut rig = Rig::new();
    type Row<'a> = (&'a str, &'a [&'a str], EndKind, Option<i32>, Option<i32>);
    let table: [Row<'_>; 5] = [
        ("ok.1", &["true"], Succeeded, Some(0), None),
        ("code.1", &["sh", "-c", "exit 42"], Failed, Some(42), None),
        ("signal.1", &["sh", "-c", "kill -SEGV $$"], Failed, None, Some(11)),
        ("absent.1", &["no-such-program"], NotStarted, None, None),
        ("folder.1", &["/"], NotStarted, None, None),
    ];
    for (attempt, argv, kind, code, signal) in table {
        rig.start(task(attempt, argv));
        let end = rig.ended(attempt).end;
        assert_eq!((end.kind, end.code, end.signal), (kind, code, signal), "{attempt}: {end:?}");
        assert_eq!(end.reason.is_some(), kind == NotStarted, "{attempt}: {end:?}");
    }
}

#[test]
fn usage_is_measured() {
    let mut rig = Rig::new();
    rig.start(shell("busy.1", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"));
    let end = rig.ended("busy.1").end;
    assert!(end.cpu_ms > 0 && end.wall_ms >= end.cpu_ms / 2, "{end:?}");
    rig.start(shell("large.1", "head -c 100000000 /dev/zero | tail -c 100000000 | wc -c"));
    assert!(rig.ended("large.1").end.peak_memory > 90_000_000);
    rig.start(task("small.1", &["true"]));
    assert_eq!(rig.ended("small.1").end.peak_memory, 0, "what it had before its exec was the supervisor's");
}

#[test]
fn the_environment_is_exact() {
    let mut rig = Rig::new();
    let env = vec![variable("STAGE", "prod"), variable("LANG", "fr"), variable("ORRERY_FENCE", "forged")];
    let mut start = task("env.1", &["env"]);
    (start.env, start.event) = (env, Some(EventData::Text("{\"a\":1}".into())));
    rig.start(start);
    assert_eq!(rig.ended("env.1").end.kind, Succeeded);
    let sandbox = rig.sandbox("env.1").display().to_string();
    let mut expected = vec![
        "LANG=fr".to_owned(),
        "ORRERY_ATTEMPT=env.1".into(),
        format!("ORRERY_EVENT_FILE={sandbox}/event.json"),
        "ORRERY_FENCE=7".into(),
        format!("ORRERY_SANDBOX={sandbox}"),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        "STAGE=prod".into(),
        format!("HOME={sandbox}"),
    ];
    let text = rig.output("env.1", Stream::Stdout);
    let mut found: Vec<&str> = text.lines().collect();
    found.sort_unstable();
    expected.sort();
    assert_eq!(found, expected);
    let mut start = shell("event.1", "cat $ORRERY_EVENT_FILE");
    start.event = Some(EventData::Text("{\"a\":1}".into()));
    rig.start(start);
    rig.ended("event.1");
    assert_eq!(rig.output("event.1", Stream::Stdout), "{\"a\":1}");
}

#[test]
fn a_task_begins_in_its_sandbox_as_leader_of_a_session_with_nothing_inherited() {
    let mut rig = Rig::new();
    rig.start(shell(
        "place.1",
        "pwd; readlink /proc/self/fd/0; ls /proc/$$/fd; grep -E 'SigBlk|SigIgn' /proc/self/status; ulimit -n; umask",
    ));
    let process = {
        assert_eq!(rig.ended("place.1").end.kind, Succeeded);
        rig.output("place.1", Stream::Stdout)
    };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    let sandbox = rig.sandbox("place.1").display().to_string();
    let none = "0000000000000000";
    // The two that glibc keeps for itself are ignored by its posix_spawn.
    let process = process.replace("SigIgn:\t0000000180000000", &format!("SigIgn:\t{none}"));
    let expected = format!("{sandbox}\n/dev/null\n0\n1\n2\nSigBlk:\t{none}\nSigIgn:\t{none}\n{limit}\n0022\n");
    assert_eq!(process, expected);
}

#[test]
fn silent_tasks_leave_no_file() {
    let mut rig = Rig::new();
    rig.start(task("silent.1", &["true"]));
    let ended = rig.ended("silent.1");
    assert!(!ended.sandbox_kept && !exists(&rig.sandbox("silent.1")));
    let refused = read_log(rig.dir.path(), &id("silent.1"), Stream::Stdout, 0, 10).unwrap_err();
    assert!(refused.to_string().contains("no output of attempt silent.1"), "{refused}");
}

#[test]
fn output_is_kept_rotated_and_read_by_position() {
    let mut rig = Rig::with(&["--file-bytes", "1000"]);
    rig.start(shell("out.1", "echo problem >&2; i=0; while [ $i -lt 450 ]; do printf '%09d\\n' $i; i=$((i+1)); done"));
    assert!(rig.ended("out.1").sandbox_kept);
    let dir = rig.dir.path();
    let err = read_log(dir, &id("out.1"), Stream::Stderr, 0, 100).unwrap();
    assert_eq!((err.bytes.as_slice(), err.start, err.end), (&b"problem\n"[..], 0, 8));
    // 4,500 bytes in files of 1,000, of which 3 are kept: from 2,000 on.
    let all = read_log(dir, &id("out.1"), Stream::Stdout, 0, 10_000).unwrap();
    assert_eq!((all.from, all.start, all.end, all.bytes.len()), (2000, 2000, 4500, 2500));
    for (from, max) in [(2000, 10), (2995, 10), (3000, 1000), (2500, 2000), (4490, 100)] {
        let chunk = read_log(dir, &id("out.1"), Stream::Stdout, from, max).unwrap();
        let at = usize::try_from(from).unwrap() - 2000;
        assert_eq!((chunk.from, chunk.bytes.as_slice()), (from, &all.bytes[at..(at + max).min(2500)]));
    }
    let beyond = read_log(dir, &id("out.1"), Stream::Stdout, 9999, 10).unwrap();
    assert_eq!((beyond.from, beyond.bytes.len()), (4500, 0));
}

#[test]
fn files_of_a_task_are_never_taken_for_its_output() {
    let mut rig = Rig::with(&["--file-bytes", "4"]);
    rig.start(shell("names.1", "echo mine > stdout; echo 5 > stdout.18446744073709551615; ln -s /etc/passwd stderr; echo hello"));
    assert_eq!(rig.ended("names.1").end.kind, Succeeded);
    assert_eq!((rig.file("names.1", "stdout").as_str(), rig.file("names.1", "stdout.18446744073709551615").as_str()), ("mine\n", "5\n"));
    let read = |stream, from| read_log(rig.dir.path(), &id("names.1"), stream, from, 100).unwrap();
    assert_eq!((read(Stream::Stdout, 0).bytes.as_slice(), read(Stream::Stderr, 0).bytes.as_slice()), (&b"hello\n"[..], &b""[..]));
    // What a person puts beside the output, with numbers at their ends or not quite ours, is no output either.
    let folder = orrery_agent::output_folder(rig.dir.path(), &id("names.1"));
    for name in ["stdout.18446744073709551615", "stdout.9223372036854775807", "stdout.+9", "stdout.09", "stdout.-1", "stdout.x"] {
        std::fs::write(folder.join(name), "strange").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.join("stdout.6")).unwrap();
    let all = read(Stream::Stdout, 0);
    assert_eq!((all.bytes.as_slice(), all.start, all.end), (&b"hello\n"[..], 0, 6));
    assert_eq!((read(Stream::Stdout, u64::MAX).from, read(Stream::Stdout, 5).bytes.as_slice()), (6, &b"\n"[..]));
}

/// Writes the pids of itself, a plain child, and a grandchild in a session of its own; all ignore TERM.
const TREE: &str = "trap '' TERM; sleep 1000 & child=$!; setsid sh -c 'sleep 1000 & echo $$ $! > inner; mv inner pids2; wait' & \
    while [ ! -e pids2 ]; do sleep 0.01; done; echo $$ $child $(cat pids2) > tmp; mv tmp pids; ";

#[test]
fn a_kill_ends_the_whole_tree_after_its_grace() {
    let mut rig = Rig::new();
    let mut start = shell("tree.1", &format!("{TREE} while :; do wait; done"));
    start.grace_ms = 200;
    rig.start(start);
    let pids = numbers(&rig.wait_for_file("tree.1", "pids"));
    assert!(pids.len() == 4 && pids.iter().all(|pid| is_alive(*pid)));
    rig.kill("tree.1", "cancelled by alice");
    let end = rig.ended("tree.1").end;
    assert_eq!((end.kind, end.signal, end.reason.as_deref()), (Killed, Some(9), Some("cancelled by alice")));
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "someone of {pids:?} lives on");
}

#[test]
fn what_a_leader_leaves_behind_ends_with_it() {
    let mut rig = Rig::new();
    rig.start(shell("left.1", &format!("{TREE} exit 3")));
    let end = rig.ended("left.1").end;
    assert_eq!((end.kind, end.code), (Failed, Some(3)));
    let pids = numbers(&rig.file("left.1", "pids"));
    assert!(pids.len() == 4 && pids.iter().all(|pid| !is_alive(*pid)), "someone of {pids:?} lives on");
}

#[test]
fn one_task_s_end_leaves_another_s_daemon_alone() {
    let mut rig = Rig::new();
    let daemon = "setsid sh -c 'sleep 1000 & echo $! > tmp; mv tmp daemon' & wait; while :; do sleep 1; done";
    rig.start(shell("long.1", daemon));
    let daemon = numbers(&rig.wait_for_file("long.1", "daemon"))[0];
    rig.start(task("short.1", &["true"]));
    rig.ended("short.1");
    assert!(is_alive(daemon));
    rig.kill("long.1", "over");
    rig.ended("long.1");
    assert!(!is_alive(daemon));
}

#[test]
fn one_that_hides_its_environment_and_session_ends_too() {
    let mut rig = Rig::new();
    rig.start(shell(
        "hide.1",
        "setsid env -i setsid sh -c 'echo $$ > tmp; mv tmp hidden; exec sleep 1000' & while [ ! -e hidden ]; do sleep 0.01; done",
    ));
    rig.ended("hide.1");
    let hidden = numbers(&rig.file("hide.1", "hidden"))[0];
    wait_for("the end of the hidden process", || (!is_alive(hidden)).then_some(()));
}

#[test]
fn a_polite_task_may_clean_up() {
    let mut rig = Rig::new();
    rig.start(shell("polite.1", "trap 'echo bye; exit 5' TERM; echo > ready; while :; do sleep 0.01; done"));
    rig.wait_for_file("polite.1", "ready");
    rig.kill("polite.1", "replaced");
    let end = rig.ended("polite.1").end;
    assert_eq!((end.kind, end.code), (Killed, Some(5)));
    assert_eq!(rig.output("polite.1", Stream::Stdout), "bye\n");
}

#[test]
fn a_timeout_ends_a_task() {
    let mut rig = Rig::new();
    let mut start = task("slow.1", &["sleep", "1000"]);
    start.timeout_ms = Some(50);
    rig.start(start);
    let end = rig.ended("slow.1").end;
    assert_eq!((end.kind, end.signal), (TimedOut, Some(15)));
    assert!(end.wall_ms >= 50, "{end:?}");
}

#[test]
fn nothing_starts_without_a_lease() {
    let mut rig = Rig::without_lease(&[]);
    rig.start(task("early.1", &["true"]));
    let end = rig.ended("early.1").end;
    assert_eq!((end.kind, end.reason.as_deref()), (Lost, Some("no lease was armed")));
}

#[test]
fn the_end_of_the_lease_ends_every_task() {
    let mut rig = Rig::without_lease(&[]);
    rig.send(Request::Lease { until_boot_ms: boot_ms() + 1500 });
    rig.start(shell("a.1", &format!("{TREE} while :; do wait; done")));
    rig.start(task("b.1", &["sleep", "1000"]));
    let pids = numbers(&rig.wait_for_file("a.1", "pids"));
    // Nobody is there to be asked: the supervisor acts alone.
    rig.drop_connection();
    wait_for("the end of all", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    let both = wait_for("both ends", || Some(rig.connect().ended).filter(|ended| ended.len() == 2));
    for ended in both {
        assert_eq!((ended.end.kind, ended.end.reason.as_deref()), (Lost, Some("lease ran out")));
    }
}

#[test]
fn a_start_of_a_known_attempt_changes_nothing() {
    let mut rig = Rig::new();
    rig.start(shell("once.1", "echo ran >> ../once"));
    rig.start(shell("once.1", "echo ran >> ../once"));
    rig.ended("once.1");
    rig.start(shell("once.1", "echo ran >> ../once"));
    rig.start(task("other.1", &["true"]));
    rig.ended("other.1");
    assert_eq!(std::fs::read_to_string(rig.sandbox("once.1").with_file_name("once")).unwrap(), "ran\n");
}
