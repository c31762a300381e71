//! Where tasks go, in which order, and why they wait.

use crate::rig::{Rig, agent, heartbeat, id, lines, run, size, task};
use expect_test::expect;
use orrery_allocator::rows::TaskState;
use orrery_allocator::{Decision, Input};
use orrery_model::messages::TaskSpec;
use orrery_model::payload::Payload;

fn where_is(rig: &Rig, attempt: &str) -> Option<String> {
    let (_, row) = rig.allocator.tasks().find(|(found, _)| **found == id(attempt))?;
    row.place.as_ref().map(|place| place.agent.to_string())
}

#[test]
fn the_fullest_agent_that_fits_is_taken() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(16, 16), &[]);
    rig.join("b1", 1, size(4, 4), &[]);
    rig.join("b2", 1, size(4, 4), &[]);
    rig.join("c1", 1, size(2, 64), &[]);
    expect![[r#"placed t1.1 on b1 → launch #1, is placed"#]].assert_eq(&rig.want(task("t1.1", size(1, 1))));
    rig.want(task("t2.1", size(3, 3)));
    assert_eq!(where_is(&rig, "t2.1").as_deref(), Some("b1"), "it fills b1");
    rig.want(task("t3.1", size(4, 4)));
    assert_eq!(where_is(&rig, "t3.1").as_deref(), Some("b2"));
    rig.want(task("t4.1", size(2, 60)));
    assert_eq!(where_is(&rig, "t4.1").as_deref(), Some("c1"), "the only one with so much memory");
}

#[test]
fn constraints_hold_and_an_agent_is_avoided_while_another_one_fits() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(1, 1), &[]);
    rig.join("b1", 1, size(3, 3), &[]);
    let bound = |name: &str, constraint: &str| TaskSpec { constraints: vec![constraint.into()], ..task(name, size(1, 1)) };
    rig.want(bound("t1.1", "zone == b"));
    assert_eq!(where_is(&rig, "t1.1").as_deref(), Some("b1"));
    let avoids = |name: &str| TaskSpec { avoid: Some(agent("a1")), ..task(name, size(1, 1)) };
    rig.want(avoids("t2.1"));
    assert_eq!(where_is(&rig, "t2.1").as_deref(), Some("b1"));
    rig.want(bound("t3.1", "hostname like b*"));
    rig.want(avoids("t4.1"));
    assert_eq!(where_is(&rig, "t4.1").as_deref(), Some("a1"), "nothing else is left");
    expect![[r#"
        queued t5.1
            NEVER_FITS ×2: no agent satisfies all its constraints
            FILTERED_CONSTRAINT ×2: they do not satisfy the constraint zone = a"#]]
    .assert_eq(&rig.want(bound("t5.1", "zone = a")));
}

#[test]
fn the_queue_is_served_by_priority_then_arrival_and_small_ones_pass_by() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(4, 4), &[]);
    rig.want(task("run1.1", size(4, 4)));
    for (name, priority, cpus) in [("low.1", 10, 1), ("first.1", 50, 1), ("big.1", 90, 8), ("second.1", 50, 1), ("high.1", 60, 2)] {
        rig.want(TaskSpec { priority, ..task(name, size(cpus, 1)) });
    }
    expect![[r#"
        taken run1.1 2 → acknowledge 2 #1, is succeeded
        placed high.1 on a1 → launch #1, is placed
        placed first.1 on a1 → launch #1, is placed
        placed second.1 on a1 → launch #1, is placed"#]]
    .assert_eq(&rig.ends("a1", 1, "run1.1"));
    let waiting = rig.allocator.tasks().filter(|(_, row)| row.state() == TaskState::Waiting);
    assert_eq!(waiting.map(|(id, _)| id.to_string()).collect::<Vec<_>>(), ["big.1", "low.1"]);
    assert_eq!(rig.allocator.waiting(), 2);
}

#[test]
fn why_a_task_waits_is_recorded_and_recorded_again_when_it_changes() {
    let mut rig = Rig::new();
    let told = [
        rig.want(task("t1.1", size(4, 8))),
        rig.want(TaskSpec { constraints: vec!["zone == x".into(), "zone != y".into()], ..task("t2.1", size(1, 1)) }),
        rig.join("a1", 1, size(2, 16), &[]),
        rig.join("b1", 1, size(4, 2), &[]),
        rig.join("x1", 1, size(8, 8), &[]),
        rig.want(task("t3.1", size(4, 8))),
        rig.ends("x1", 1, "t1.1"),
    ];
    expect![[r#"
        queued t1.1
            NO_AGENTS ×0: no agent has joined this cell, or all are lost
        queued t2.1
            NO_AGENTS ×0: no agent has joined this cell, or all are lost
        joined a1 #1 adopted [] ending [] → welcome [] #1
        waits t1.1
            NEVER_FITS ×1: even when empty, no agent that satisfies its constraints has 4 cpus, 8GiB memory and 0 disk
            INSUFFICIENT_CPUS ×1: it needs 4 cpus; agent a1 is closest: 2 of 2 free, 2 short
        waits t2.1
            NEVER_FITS ×1: no agent satisfies all its constraints
            FILTERED_CONSTRAINT ×1: they do not satisfy the constraint zone == x
        joined b1 #1 adopted [] ending [] → welcome [] #1
        waits t1.1
            NEVER_FITS ×2: even when empty, no agent that satisfies its constraints has 4 cpus, 8GiB memory and 0 disk
            INSUFFICIENT_CPUS ×1: it needs 4 cpus; agent a1 is closest: 2 of 2 free, 2 short
            INSUFFICIENT_MEMORY ×1: it needs 8GiB memory; agent b1 is closest: 2GiB of 2GiB free, 6GiB short
        joined x1 #1 adopted [] ending [] → welcome [] #1
        placed t1.1 on x1 → launch #1, is placed
        waits t2.1
            FILTERED_CONSTRAINT ×2: they do not satisfy the constraint zone == x
            INSUFFICIENT_MEMORY ×1: it needs 1GiB memory; agent x1 is closest: 0 of 8GiB free, 1GiB short
        queued t3.1
            INSUFFICIENT_MEMORY ×2: it needs 8GiB memory; agent b1 is closest: 2GiB of 2GiB free, 6GiB short
            INSUFFICIENT_CPUS ×1: it needs 4 cpus; agent a1 is closest: 2 of 2 free, 2 short
        taken t1.1 2 → acknowledge 2 #1, is succeeded
        placed t2.1 on x1 → launch #1, is placed"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn a_long_round_goes_on_with_ticks() {
    let mut rig = Rig::new();
    rig.want_many(2_000, &task("x.1", size(1, 0)));
    let heartbeat = orrery_model::messages::Heartbeat { registering: true, ..heartbeat("a1", 1, size(4_000, 1), &[]) };
    let first = rig.one(&Input::HeartbeatArrived { heartbeat });
    assert_eq!(first.last(), Some(&Decision::PlacementPaused {}));
    let late = TaskSpec { priority: 90, ..task("late.1", size(1, 0)) };
    assert!(lines(&rig.one(&Input::TaskWanted { spec: late })).starts_with("queued late.1"), "the round decides whose turn it is");
    assert!(lines(&rig.one(&Input::Tick {})).starts_with("placed late.1"));
    rig.quick = true;
    let rest = rig.input(&Input::Tick {});
    assert_eq!(rest.last(), Some(&Decision::PlacementResumed {}));
    assert_eq!(rig.allocator.waiting(), 0);
}

#[test]
fn large_events_are_spread_over_entries() {
    let mut rig = Rig::new();
    let large = Payload::from("x".repeat(100 << 10).as_bytes());
    for n in 0..5 {
        rig.one(&Input::TaskWanted { spec: TaskSpec { event: Some(large.clone()), ..task(&run(n), size(1, 1)) } });
    }
    let heartbeat = orrery_model::messages::Heartbeat { registering: true, ..heartbeat("a1", 1, size(9, 9), &[]) };
    let placed = |decisions: &[Decision]| decisions.iter().filter(|d| matches!(d, Decision::Placed { .. })).count();
    assert_eq!(placed(&rig.one(&Input::HeartbeatArrived { heartbeat })), 2);
    assert_eq!(placed(&rig.one(&Input::Tick {})), 2);
    assert_eq!(placed(&rig.one(&Input::Tick {})), 1);
    assert_eq!(rig.one(&Input::Tick {}), []);
}
