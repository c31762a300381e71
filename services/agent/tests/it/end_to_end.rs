//! The whole agent on a log in memory, the test in the allocator's place.

use crate::cluster::Cluster;
use crate::rig::{command, id, is_alive, wait_for};
use orrery_model::messages::{Attribute, End, EndKind, Order, Session, Status, StatusChange};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(command(&[]));
    cluster.start();
    cluster
}

fn end(status: &Status) -> &End {
    match &status.change {
        StatusChange::TaskEnded { end } => end,
        StatusChange::TaskRunning { .. } => panic!("{status:?} is no end"),
    }
}

fn pid(status: &Status) -> i32 {
    match status.change {
        StatusChange::TaskRunning { pid, .. } => i32::try_from(pid).unwrap(),
        StatusChange::TaskEnded { .. } => panic!("{status:?} is an end"),
    }
}

fn acknowledge(cluster: &Cluster, session: &Session, attempt: &str, seq: i64) {
    cluster.order(session, Order::Acknowledge { attempt: id(attempt), seq });
}

#[test]
fn a_launch_runs_once_is_reported_and_forgotten() {
    let mut cluster = cluster();
    let registration = cluster.welcome(<[_]>::to_vec);
    assert_eq!((registration.session.counter, registration.lease_ms, registration.live.len()), (1, 66_000, 0));
    let names: Vec<_> = registration.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    assert_eq!(names, ["arch", "cpus", "hostname", "os", "isolation.cgroup"]);
    assert!(registration.total.cpus.0 >= 1000 && registration.total.memory.0 > 0 && registration.total.disk.0 > 0);
    let session = registration.session;
    cluster.launch(&session, "a.1", &["sh", "-c", "echo ran $ORRERY_FENCE >> ../ran; exit 4"]);
    cluster.launch(&session, "a.1", &["sh", "-c", "echo ran $ORRERY_FENCE >> ../ran; exit 4"]);
    let (running, ended) = (cluster.running("a.1"), cluster.ended("a.1"));
    assert_eq!((running.seq, ended.seq, end(&ended).code), (1, 2, Some(4)));
    assert!(cluster.heartbeat(|heartbeat| !heartbeat.live.is_empty()).live == [id("a.1")]);
    acknowledge(&cluster, &session, "a.1", 2);
    cluster.heartbeat(|heartbeat| heartbeat.live.is_empty());
    cluster.launch(&session, "a.1", &["sh", "-c", "echo late >> ../ran"]);
    cluster.launch(&session, "b.1", &["true"]);
    assert_eq!(end(&cluster.ended("b.1")).kind, EndKind::Succeeded);
    assert_eq!(std::fs::read_to_string(cluster.config.dir.join("sandboxes/ran")).unwrap(), "ran 1\n");
    wait_for("one end to tell", || Some(cluster.snapshot()).filter(|snapshot| snapshot.ended.len() == 1 && snapshot.live.is_empty()));
}

#[test]
fn updates_are_sent_until_they_are_acknowledged() {
    let mut cluster = cluster();
    let session = cluster.welcome(<[_]>::to_vec).session;
    cluster.launch(&session, "a.1", &["true"]);
    cluster.ended("a.1");
    let mut ends = 0;
    wait_for("a second copy", || {
        ends += cluster.news().iter().filter(|status| status.seq == 2).count();
        (ends >= 2).then_some(())
    });
    acknowledge(&cluster, &session, "a.1", 2);
    cluster.heartbeat(|heartbeat| heartbeat.live.is_empty());
}

#[test]
fn commands_of_another_session_or_an_older_epoch_are_void() {
    let mut cluster = cluster();
    cluster.epoch = 5;
    let session = cluster.welcome(<[_]>::to_vec).session;
    let other = Session { counter: 99, boot_id: session.boot_id.clone() };
    cluster.launch(&other, "session.1", &["true"]);
    cluster.epoch = 4;
    cluster.launch(&session, "epoch.1", &["true"]);
    cluster.epoch = 5;
    cluster.launch(&session, "good.1", &["true"]);
    cluster.ended("good.1");
    assert!(cluster.seen().iter().all(|status| status.attempt.as_str() == "good.1"), "{:?}", cluster.seen());
}

#[test]
fn tasks_live_on_while_the_agent_is_away() {
    let mut cluster = cluster();
    let first = cluster.welcome(<[_]>::to_vec).session;
    cluster.launch(&first, "keep.1", &["sh", "-c", "while [ ! -e ../go ]; do sleep 0.01; done; exit 6"]);
    cluster.launch(&first, "drop.1", &["sleep", "1000"]);
    cluster.launch(&first, "fast.1", &["sh", "-c", "while [ ! -e ../fast ]; do sleep 0.01; done; exit 8"]);
    let pids = ["keep.1", "drop.1", "fast.1"].map(|attempt| pid(&cluster.running(attempt)));
    cluster.stop();
    std::fs::write(cluster.config.dir.join("sandboxes/fast"), "").unwrap();
    wait_for("the end of fast.1", || (!is_alive(pids[2])).then_some(()));
    assert!(is_alive(pids[0]) && is_alive(pids[1]));
    cluster.start();
    let second = cluster.welcome(|live| live.iter().filter(|attempt| attempt.as_str() != "drop.1").cloned().collect());
    assert_eq!(second.session.counter, 2);
    assert_eq!(second.live, [id("drop.1"), id("fast.1"), id("keep.1")]);
    let dropped = cluster.ended("drop.1");
    assert_eq!((end(&dropped).kind, end(&dropped).reason.as_deref()), (EndKind::Killed, Some("the allocator did not adopt it")));
    assert_eq!(end(&cluster.ended("fast.1")).code, Some(8), "an exit while the agent was away");
    assert!(is_alive(pids[0]));
    std::fs::write(cluster.config.dir.join("sandboxes/go"), "").unwrap();
    let kept = cluster.ended("keep.1");
    assert_eq!((end(&kept).code, kept.seq, &kept.session), (Some(6), 2, &second.session));
}

#[test]
fn a_dead_supervisor_is_replaced_and_its_tasks_are_lost() {
    let mut cluster = cluster();
    let session = cluster.welcome(<[_]>::to_vec).session;
    cluster.launch(&session, "a.1", &["sleep", "1000"]);
    let task = pid(&cluster.running("a.1"));
    let supervisor = cluster.snapshot().supervisor_pid;
    rustix::process::kill_process(rustix::process::Pid::from_raw(supervisor).unwrap(), rustix::process::Signal::KILL).unwrap();
    let lost = cluster.ended("a.1");
    assert_eq!((end(&lost).kind, end(&lost).reason.as_deref(), lost.seq), (EndKind::Lost, Some("the supervisor died"), 2));
    assert!(!is_alive(task));
    cluster.launch(&session, "b.1", &["true"]);
    assert_eq!(end(&cluster.ended("b.1")).kind, EndKind::Succeeded);
}

#[test]
fn a_log_outage_longer_than_the_lease_ends_tasks_and_session() {
    let mut cluster = Cluster::new(command(&[]));
    cluster.config.lease_ms = 1_000;
    cluster.start();
    let first = cluster.welcome(<[_]>::to_vec).session;
    cluster.launch(&first, "a.1", &["sleep", "1000"]);
    let task = pid(&cluster.running("a.1"));
    cluster.log.set_outage(true);
    wait_for("the end of the task", || (!is_alive(task)).then_some(()));
    cluster.log.set_outage(false);
    let second = cluster.heartbeat(|heartbeat| heartbeat.registering && heartbeat.session.counter > first.counter);
    assert_eq!(second.live, [id("a.1")]);
    cluster.order(&second.session, Order::Welcome { adopted: Vec::new() });
    let lost = cluster.ended("a.1");
    assert_eq!((end(&lost).kind, end(&lost).reason.as_deref()), (EndKind::Lost, Some("lease ran out")));
}

#[test]
fn told_to_register_an_agent_opens_a_new_session() {
    let mut cluster = cluster();
    let first = cluster.welcome(<[_]>::to_vec).session;
    cluster.launch(&first, "a.1", &["sleep", "1000"]);
    let task = pid(&cluster.running("a.1"));
    cluster.order(&first, Order::Register { reason: "silent".into() });
    let second = cluster.heartbeat(|heartbeat| heartbeat.registering && heartbeat.session.counter == 2);
    assert_eq!(second.live, [id("a.1")]);
    cluster.order(&second.session, Order::Welcome { adopted: second.live.clone() });
    cluster.order(&second.session, Order::Kill { attempt: id("a.1"), reason: "cancelled".into() });
    assert_eq!(end(&cluster.ended("a.1")).kind, EndKind::Killed);
    assert!(!is_alive(task));
}

#[test]
fn another_description_is_announced() {
    let mut cluster = cluster();
    cluster.welcome(<[_]>::to_vec);
    let zone = Attribute { name: "zone".into(), value: "eu-1".into() };
    cluster.agent.as_mut().unwrap().describe(None, vec![zone.clone()]);
    cluster.heartbeat(|heartbeat| heartbeat.attributes.contains(&zone));
}
