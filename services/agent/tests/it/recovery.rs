//! Deaths: of the agent (its connection), of the supervisor, and what the next one finds.

use crate::rig::{Rig, command, exists, id, is_alive, numbers, shell, task, wait_for};
use orrery_agent::link::start_supervisor;
use orrery_agent::wire::Request;
use orrery_model::messages::EndKind;

#[test]
fn ends_wait_for_the_next_agent_until_they_are_forgotten() {
    let mut rig = Rig::new();
    rig.start(shell("a.1", "while [ ! -e ../go ]; do sleep 0.01; done; exit 7"));
    rig.start(task("b.1", &["sleep", "1000"]));
    let process = rig.started("a.1");
    rig.drop_connection();
    std::fs::write(rig.sandbox("a.1").with_file_name("go"), "").unwrap();
    let snapshot = wait_for("the end of a.1", || Some(rig.connect()).filter(|snapshot| !snapshot.ended.is_empty()));
    let [ended] = snapshot.ended.as_slice() else { panic!("{snapshot:?}") };
    assert_eq!((ended.attempt.as_str(), ended.end.code, ended.process), ("a.1", Some(7), Some(process)));
    assert_eq!(snapshot.live.iter().map(|live| live.attempt.as_str()).collect::<Vec<_>>(), ["b.1"]);
    rig.send(Request::Forget { attempts: vec![id("a.1")] });
    wait_for("nothing to tell", || rig.connect().ended.is_empty().then_some(()));
}

#[test]
fn survivors_of_a_dead_supervisor_are_ended_and_reported_lost() {
    let mut rig = Rig::new();
    rig.start(shell("done.1", "exit 9"));
    rig.ended("done.1");
    let script = "trap '' TERM; setsid sh -c 'sleep 1000 & echo $! > tmp; mv tmp inner; wait' & \
        while [ ! -e inner ]; do sleep 0.01; done; echo $$ $(cat inner) > tmp2; mv tmp2 pids; while :; do wait; done";
    rig.start(shell("alive.1", script));
    let pids = numbers(&rig.wait_for_file("alive.1", "pids"));
    rig.kill_supervisor();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "tasks outlive their supervisor");
    let snapshot = rig.launch(&[]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "someone of {pids:?} lives on");
    assert!(snapshot.live.is_empty());
    let ends: Vec<_> = snapshot.ended.iter().map(|ended| (ended.attempt.as_str(), ended.end.kind, ended.end.code)).collect();
    assert_eq!(ends, [("alive.1", EndKind::Lost, None), ("done.1", EndKind::Failed, Some(9))]);
    assert_eq!(snapshot.ended[0].end.reason.as_deref(), Some("the supervisor died"));
    assert_eq!(snapshot.ended[0].process.map(|process| process.pid), Some(pids[0]));
}

#[test]
fn a_stranger_with_a_remembered_number_is_left_alone() {
    let mut rig = Rig::new();
    let mut stranger = std::process::Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap();
    let pid = stranger.id();
    rig.kill_supervisor();
    let journal = rig.dir.path().join("supervisor.journal");
    let line = format!(
        r#"{{"started":{{"attempt":"old.1","process":{{"pid":{pid},"started_at":"2026-01-01T00:00:00Z"}},"from_boot_ms":10,"to_boot_ms":20}}}}"#
    );
    let content = format!("{}{line}\n{{\"torn", std::fs::read_to_string(&journal).unwrap());
    std::fs::write(&journal, content).unwrap();
    let snapshot = rig.launch(&[]);
    assert_eq!(snapshot.ended[0].attempt.as_str(), "old.1");
    assert!(is_alive(i32::try_from(pid).unwrap()), "a process of somebody else was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_supervisor_without_agent_and_tasks_ends_itself() {
    let mut rig = Rig::with(&["--idle-ms", "50"]);
    rig.start(shell("x.1", "exit 1"));
    rig.ended("x.1");
    rig.drop_connection();
    rig.supervisor.take().unwrap().wait().unwrap();
    // What nobody acknowledged is in the file.
    assert_eq!(rig.launch(&[]).ended.len(), 1);
}

#[test]
fn one_supervisor_serves_a_folder() {
    let rig = Rig::new();
    let refused = start_supervisor(rig.dir.path(), &command(&[])).unwrap_err();
    assert!(refused.to_string().contains("did not become ready"), "{refused}");
    let log = std::fs::read_to_string(rig.dir.path().join("supervisor.log")).unwrap();
    assert!(log.contains("another supervisor serves this folder"), "{log}");
    assert!(exists(&rig.dir.path().join("supervisor.sock")));
}
