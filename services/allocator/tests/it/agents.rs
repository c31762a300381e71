//! Sessions: opened, renewed, refused, lost.

use crate::rig::{Rig, acquired, agent, heartbeat, id, lines, run, session, size, task};
use expect_test::expect;
use orrery_allocator::{Allocator, Input};
use orrery_model::decider::{Decider, Lease};
use orrery_model::journal::{Observation, Shards};
use orrery_model::messages::{Attribute, Heartbeat, Session, UNABLE};

#[test]
fn only_the_latest_session_is_open() {
    let mut rig = Rig::new();
    let mut told = vec![rig.beat("a1", 1, size(4, 4)), rig.beat("a1", 1, size(4, 4))];
    told.push(rig.join("a1", 1, size(4, 4), &[]));
    rig.wait(1_000);
    told.push(rig.join("a1", 1, size(4, 4), &[]));
    told.push(rig.join("a1", 2, size(4, 4), &[]));
    told.push(rig.beat("a1", 2, size(4, 4)));
    told.push(rig.beat("a1", 2, size(8, 4)));
    told.push(rig.beat("a1", 1, size(8, 4)));
    rig.wait(1_000);
    told.extend([rig.beat("a1", 1, size(8, 4)), rig.beat("a1", 1, size(8, 4)), rig.beat("a1", 3, size(8, 4))]);
    expect![[r#"
        refused a1 #1: this allocator does not know the agent → register #1
        -
        -
        refused a1 #1: this allocator does not know the agent → register #1
        joined a1 #2 adopted [] ending [] → welcome [] #2
        -
        changed a1
        -
        refused a1 #1: another session is known → register #1
        -
        -"#]]
    .assert_eq(&told.iter().map(|told| if told.is_empty() { "-" } else { told }).collect::<Vec<_>>().join("\n"));
    let lease = Lease { agent: agent("a1"), session: session(2), lease_ms: 66_000 };
    assert_eq!(rig.allocator.leases(), std::slice::from_ref(&lease));
    let heartbeat = heartbeat("a1", 2, size(4, 4), &[]);
    assert_eq!(Allocator::renews(&Input::HeartbeatArrived { heartbeat }), Some(lease));
}

#[test]
fn a_lost_agent_loses_its_tasks_and_its_session() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(2, 2), &[]);
    rig.want(task("t1.1", size(1, 1)));
    rig.want(task("t2.1", size(1, 1)));
    rig.runs("a1", 1, "t1.1");
    rig.wait(2_000);
    let told = [
        rig.expire("a1", 0),
        rig.expire("a1", 1),
        rig.expire("a1", 1),
        rig.beat("a1", 1, size(2, 2)),
        rig.runs("a1", 1, "t2.1"),
        rig.want(task("t3.1", size(1, 1))),
        rig.join("a1", 2, size(2, 2), &["t1.1"]),
    ];
    expect![[r#"

        lost agent a1
        lost t1.1: agent a1 was silent for 66000 ms, longer than its lease → is lost
        lost t2.1: agent a1 was silent for 66000 ms, longer than its lease → is lost

        refused a1 #1: agent a1 was silent for 66000 ms, longer than its lease → register #1

        queued t3.1
            NO_AGENTS ×0: no agent has joined this cell, or all are lost
        joined a1 #2 adopted [] ending [] → welcome [] #2
        placed t3.1 on a1 → launch #2, is placed"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn live_attempts_are_adopted_and_others_launched_again_or_lost() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(9, 9), &[]);
    for name in ["runs.1", "gone.1", "lists.1", "never.1", "kill1.1", "kill2.1"] {
        rig.want(task(name, size(1, 1)));
    }
    for name in ["runs.1", "gone.1", "kill1.1"] {
        rig.runs("a1", 1, name);
    }
    rig.unwant("kill1.1");
    rig.unwant("kill2.1");
    expect![[r#"
        joined a1 #2 adopted [lists.1, runs.1] ending [kill1.1] → welcome [lists.1, runs.1] #2
        lost gone.1: agent a1 opened a new session without it → is lost
        dropped kill2.1 killed: cancelled → is killed
        placed never.1 on a1 → launch #2, is placed"#]]
    .assert_eq(&rig.join("a1", 2, size(9, 9), &["runs.1", "lists.1", "kill1.1", "unknown.1"]));
    expect!["taken runs.1 2 → acknowledge 2 #2, is succeeded"].assert_eq(&rig.ends("a1", 1, "runs.1"));
    expect!["taken kill1.1 2 → acknowledge 2 #2, is succeeded"].assert_eq(&rig.ends("a1", 2, "kill1.1"));
}

#[test]
fn what_no_longer_fits_after_a_restart_goes_elsewhere() {
    let mut rig = Rig::new();
    rig.shrunk = true;
    rig.join("a1", 1, size(2, 2), &[]);
    rig.join("b1", 1, size(8, 8), &[]);
    rig.want(task("t1.1", size(1, 1)));
    rig.want(task("t2.1", size(1, 1)));
    expect![[r#"
        joined a1 #2 adopted [] ending [] → welcome [] #2
        returned t1.1: agent a1 opened a new session in which it does not fit
        placed t2.1 on a1 → launch #2, is placed
        placed t1.1 on b1 → launch #1, is placed"#]]
    .assert_eq(&rig.join("a1", 2, size(1, 1), &[]));
}

#[test]
fn an_agent_that_can_start_nothing_is_told_of_and_passed_over() {
    let mut rig = Rig::new();
    rig.shrunk = true;
    rig.join("a1", 1, size(2, 2), &[]);
    rig.join("b1", 1, size(1, 1), &[]);
    rig.want(task("t1.1", size(2, 2)));
    let mut unable = heartbeat("a1", 1, size(0, 0), &["t1.1"]);
    unable.attributes.push(Attribute { name: UNABLE.into(), value: "no processes".into() });
    let mut told = vec![lines(&rig.input(&Input::HeartbeatArrived { heartbeat: unable.clone() }))];
    // What was launched meanwhile comes back, and waits until somebody has room.
    let back = Heartbeat { registering: true, session: session(2), live: Vec::new(), ..unable };
    told.push(lines(&rig.input(&Input::HeartbeatArrived { heartbeat: back })));
    told.push(rig.want(task("t2.1", size(1, 1))));
    told.push(rig.beat("a1", 2, size(2, 2)));
    expect![[r#"
        changed a1
        alert: agent a1 can start nothing: no processes → agent_unable
        joined a1 #2 adopted [] ending [] → welcome [] #2
        returned t1.1: agent a1 opened a new session in which it does not fit
        waits t1.1
            AGENT_UNABLE ×1: agent a1 can start nothing at present: no processes
            INSUFFICIENT_CPUS ×1: it needs 2 cpus; agent b1 is closest: 1 of 1 free, 1 short
            INSUFFICIENT_MEMORY ×1: it needs 2GiB memory; agent b1 is closest: 1GiB of 1GiB free, 1GiB short
        placed t2.1 on b1 → launch #1, is placed
        changed a1
        alert: agent a1 can start tasks again → agent_able
        placed t1.1 on a1 → launch #2, is placed"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn a_lost_welcome_is_repeated_with_the_launches_that_followed_it() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(4, 4), &[]);
    for name in ["t1.1", "t2.1", "t3.1"] {
        rig.want(task(name, size(1, 1)));
    }
    rig.unwant("t2.1");
    rig.runs("a1", 1, "t3.1");
    expect![[""]].assert_eq(&rig.join("a1", 1, size(4, 4), &[]));
    rig.wait(1_000);
    expect![[r#"
        welcomed a1 missing [t1.1, t2.1] → welcome [] #1
        placed t1.1 on a1 → launch #1, is placed
        placed t2.1 on a1 → launch #1, is placed
        kill t2.1 on a1 → kill #1"#]]
    .assert_eq(&rig.join("a1", 1, size(4, 4), &[]));
}

#[test]
fn a_large_agent_is_lost_over_several_entries_and_may_come_back_between() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(4_000, 1), &[]);
    rig.want_many(2_500, &task("x.1", size(1, 0)));
    let expired = Observation::LeaseExpired { agent: agent("a1"), session: session(1), silent_ms: 66_000 };
    let first = rig.one(&Input::ShellObserved { observation: expired });
    assert!(first.len() > 800 && rig.allocator.tasks().count() > 1_000);
    rig.quick = true;
    let back = rig.join("a1", 2, size(4_000, 1), &[&run(2_499)]);
    assert!(back.starts_with("joined a1 #2 adopted [r02499.1] ending []"), "{}", &back[..200]);
    assert_eq!(back.matches("launch #2").count(), 2_500 - (first.len() - 1) - 1);
    assert!(rig.allocator.tasks().any(|(attempt, _)| *attempt == id(&run(2_499))));
}

#[test]
fn a_gap_is_told() {
    let mut rig = Rig::new();
    let mut gap = |topic: &str| {
        let observation = Observation::Gap { topic: topic.into(), partition: 0, from: 3, to: 9 };
        lines(&rig.input(&Input::ShellObserved { observation }))
    };
    expect!["alert: orrery.status/0 was cut off from 3 to 9 before it was read: its records are lost → input_gap"]
        .assert_eq(&gap("orrery.status"));
    assert_eq!(gap("orrery.heartbeats"), "");
    let input = Allocator::observed(acquired(Shards::default()));
    assert_eq!(lines(&rig.input(&input)), "is shard 0 of 1 cells");
    assert_eq!(Allocator::resend_from(&input), Some(7));
}

/// A registration by this process of an agent: what is behind the slash is the process.
fn joins(rig: &mut Rig, counter: i64, boot: &str, live: &[&str]) -> String {
    rig.wait(1_000);
    let session = Session { counter, boot_id: boot.into() };
    let heartbeat = Heartbeat { registering: true, session, ..heartbeat("a1", counter, size(4, 4), live) };
    lines(&rig.input(&Input::HeartbeatArrived { heartbeat }))
}

#[test]
fn a_copy_of_an_agent_is_refused_once_the_one_that_it_replaced_comes_back() {
    let mut rig = Rig::new();
    let told = [
        joins(&mut rig, 8, "one/p", &[]),
        joins(&mut rig, 9, "two/q", &[]),
        joins(&mut rig, 10, "one/p", &[]),
        joins(&mut rig, 11, "one/p", &[]),
        joins(&mut rig, 10, "two/q", &[]),
    ];
    expect![[r#"
        joined a1 #8 adopted [] ending [] → welcome [] #8
        joined a1 #9 adopted [] ending [] → welcome [] #9
        refused a1 #10: agent a1 is run twice, from copies of one data folder: on a1 (boot two/q), which holds its session, and on a1 (boot one/p), which was replaced by it and lives; the latter gives the name up, and joins as a new agent when it is started again → renounce #10
        alert: agent a1 is run twice, from copies of one data folder: on a1 (boot two/q), which holds its session, and on a1 (boot one/p), which was replaced by it and lives; the latter gives the name up, and joins as a new agent when it is started again → agent_copied
        refused a1 #11: agent a1 is run twice, from copies of one data folder: on a1 (boot two/q), which holds its session, and on a1 (boot one/p), which was replaced by it and lives; the latter gives the name up, and joins as a new agent when it is started again → renounce #11
        joined a1 #10 adopted [] ending [] → welcome [] #10"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn three_copies_are_told_from_each_other() {
    let mut rig = Rig::new();
    for (counter, boot) in [(1, "b/one"), (2, "b/two"), (3, "b/three")] {
        assert!(joins(&mut rig, counter, boot, &[]).starts_with("joined"));
    }
    for (counter, boot) in [(4, "b/one"), (5, "b/two"), (6, "b/one")] {
        assert!(joins(&mut rig, counter, boot, &[]).contains("renounce"));
    }
    assert!(joins(&mut rig, 7, "b/three", &[]).starts_with("joined"));
}

#[test]
fn no_restart_of_one_agent_is_taken_for_a_copy() {
    let cases: [(&str, &[(i64, &str)]); 6] = [
        ("the process opens sessions anew", &[(1, "boot/p"), (2, "boot/p"), (3, "boot/p")]),
        ("a crashed process is followed by another within its lease", &[(1, "boot/p"), (2, "boot/q"), (3, "boot/q"), (4, "boot/r")]),
        ("the machine restarts within the lease", &[(1, "boot/p"), (2, "boot2/q"), (3, "boot2/q")]),
        (
            "it restarts again and again, more often than is remembered",
            &[
                (1, "boot/a"),
                (2, "boot/b"),
                (3, "boot/c"),
                (4, "boot/d"),
                (5, "boot/e"),
                (6, "boot/f"),
                (7, "boot/g"),
                (8, "boot/h"),
                (9, "boot/i"),
                (10, "boot/j"),
            ],
        ),
        ("an agent before this version, of one boot", &[(1, "boot"), (2, "boot"), (3, "boot")]),
        ("one is upgraded to this version, and back", &[(1, "boot"), (2, "boot/p"), (3, "boot"), (4, "boot/q")]),
    ];
    for (what, sessions) in cases {
        let mut rig = Rig::new();
        for (counter, boot) in sessions {
            let told = joins(&mut rig, *counter, boot, &[]);
            assert!(told.starts_with("joined"), "{what}: {told}");
        }
    }
}

#[test]
fn a_late_heartbeat_of_a_process_that_is_gone_proves_nothing() {
    let mut rig = Rig::new();
    joins(&mut rig, 1, "boot/p", &[]);
    joins(&mut rig, 2, "boot/q", &[]);
    let late = joins(&mut rig, 1, "boot/p", &[]);
    assert!(late.contains("another session is known → register"), "{late}");
}

#[test]
fn one_that_was_suspended_while_its_copy_ran_and_ended_is_no_second() {
    let mut rig = Rig::new();
    joins(&mut rig, 1, "boot/p", &[]);
    rig.expire("a1", 1);
    joins(&mut rig, 2, "boot/q", &[]);
    let session = Session { counter: 2, boot_id: "boot/q".into() };
    rig.input(&Input::ShellObserved { observation: Observation::LeaseExpired { agent: agent("a1"), session, silent_ms: 66_000 } });
    assert!(joins(&mut rig, 3, "boot/p", &[]).starts_with("joined"));
}
