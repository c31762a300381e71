//! What a machine can be short of, and signals that stop a supervisor.

use crate::rig::{Rig, boot_ms, exists, id, is_alive, numbers, shell, task, wait_for};
use orrery_agent::wire::{Event, Request};
use orrery_model::messages::EndKind;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

fn supervisor(rig: &Rig) -> Pid {
    Pid::from_raw(i32::try_from(rig.supervisor.as_ref().unwrap().id()).unwrap()).unwrap()
}

#[test]
fn removed_sandboxes_are_made_anew() {
    let mut rig = Rig::new();
    rig.start(task("a.1", &["true"]));
    rig.ended("a.1");
    for folder in ["sandboxes", "outputs", "spares"] {
        std::fs::remove_dir_all(rig.dir.path().join(folder)).unwrap();
    }
    rig.start(shell("b.1", "echo here"));
    assert_eq!(rig.ended("b.1").end.kind, EndKind::Succeeded);
    assert_eq!(rig.output("b.1", orrery_agent::Stream::Stdout), "here\n");
}

#[test]
fn a_folder_that_was_moved_away_holds_starts_back_until_it_is_there_again() {
    let mut rig = Rig::new();
    let (dir, away) = (rig.dir.path().to_owned(), rig.dir.path().with_extension("away"));
    std::fs::rename(&dir, &away).unwrap();
    rig.start(task("a.1", &["true"]));
    let why = rig.unable().expect("it cannot start anything");
    assert!(why.contains("is gone") && why.contains("put it back"), "{why}");
    assert!(!exists(&dir), "nothing is made in its place");
    std::fs::rename(&away, &dir).unwrap();
    assert_eq!(rig.unable(), None);
    assert_eq!(rig.ended("a.1").end.kind, EndKind::Succeeded);
}

#[test]
fn without_files_to_open_starts_wait_are_given_back_and_go_on_by_themselves() {
    let mut rig = Rig::new();
    rig.start(task("warm.1", &["true"]));
    rig.ended("warm.1");
    let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(supervisor(&rig)), Resource::Nofile, none).unwrap();
    rig.start(task("a.1", &["true"]));
    let why = rig.unable().expect("it cannot start anything");
    assert!(why.contains("Too many open files"), "{why}");
    let returned = rig.find(|event| match event {
        Event::Returned { attempts } => Some(attempts.clone()),
        _ => None,
    });
    assert_eq!(returned, [id("a.1")]);
    prlimit(Some(supervisor(&rig)), Resource::Nofile, before).unwrap();
    assert_eq!(rig.unable(), None, "a trial finds out, as nothing waits");
    rig.start(task("a.1", &["true"]));
    assert_eq!(rig.ended("a.1").end.kind, EndKind::Succeeded, "it was given back, and is not known as over");
}

#[test]
fn a_connection_that_could_not_be_taken_is_taken_when_there_are_files_again() {
    let mut rig = Rig::new();
    rig.drop_connection();
    let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(supervisor(&rig)), Resource::Nofile, none).unwrap();
    // In the socket's queue, from where it cannot be taken.
    let _waits = std::os::unix::net::UnixStream::connect(rig.dir.path().join("supervisor.sock")).unwrap();
    prlimit(Some(supervisor(&rig)), Resource::Nofile, before).unwrap();
    rig.connect();
}

#[test]
fn a_stopped_supervisor_keeps_no_task_alive_beyond_its_lease() {
    let mut rig = Rig::without_lease(&[]);
    rig.send(Request::Lease { until_boot_ms: boot_ms() + 10_000 });
    let pids = long_task(&mut rig);
    kill_process(supervisor(&rig), Signal::STOP).unwrap();
    wait_for("the end of the tasks", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    // It is in the way of another one, and is ended too.
    rig.supervisor.take().unwrap().wait().unwrap();
    let snapshot = rig.launch(&[]);
    assert_eq!((snapshot.ended[0].attempt.as_str(), snapshot.ended[0].end.kind), ("long.1", EndKind::Lost));
}

#[test]
fn a_dead_supervisor_keeps_no_task_alive_beyond_its_lease() {
    let mut rig = Rig::without_lease(&[]);
    let until = boot_ms() + 10_000;
    rig.send(Request::Lease { until_boot_ms: until });
    let pids = long_task(&mut rig);
    rig.kill_supervisor();
    wait_for("the end of the tasks", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    assert!(boot_ms() >= until, "not before the lease has run out");
}

#[test]
fn a_supervisor_that_was_stopped_goes_on_when_an_agent_comes() {
    let mut rig = Rig::new();
    let pids = long_task(&mut rig);
    kill_process(supervisor(&rig), Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", supervisor(&rig).as_raw_nonzero());
    wait_for("the stop", || std::fs::read_to_string(&stat).unwrap().contains(") T ").then_some(()));
    let snapshot = rig.connect();
    assert_eq!(snapshot.live.len(), 1);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "its tasks are none the worse");
    rig.send(Request::Ping);
    rig.find(|event| matches!(event, Event::Pong { unable: None }).then_some(()));
}

/// A task that outlives its supervisor: its own process id, and a child's in a session of its own.
fn long_task(rig: &mut Rig) -> Vec<i32> {
    let script = "setsid sh -c 'sleep 1000 & echo $! > tmp; mv tmp inner; wait' & \
        while [ ! -e inner ]; do sleep 0.01; done; echo $$ $(cat inner) > tmp2; mv tmp2 pids; while :; do wait; done";
    rig.start(shell("long.1", script));
    numbers(&rig.wait_for_file("long.1", "pids"))
}
