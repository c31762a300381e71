//! Cells: agents of others are refused, and tasks are handed back that have no place here (protocol §6.1).

use crate::rig::{Rig, heartbeat, lines, size, task};
use expect_test::expect;
use orrery_allocator::Input;
use orrery_model::messages::{Heartbeat, TaskSpec};
use orrery_model::resources::Resources;

/// A task that another cell may be tried for.
fn roaming(attempt: &str, need: Resources) -> TaskSpec {
    TaskSpec { may_decline: true, ..task(attempt, need) }
}

#[test]
fn what_the_cell_is_told_of_the_cluster_is_a_row() {
    let mut rig = Rig::new();
    assert_eq!(rig.allocator.known_shards(), None);
    let told = [rig.acquire(2, 4), rig.acquire(2, 4), rig.acquire(2, 8)];
    assert_eq!(told, ["is shard 2 of 4 cells", "", "is shard 2 of 8 cells"]);
}

#[test]
fn an_agent_of_another_cell_is_refused() {
    let mut rig = Rig::new();
    rig.acquire(1, 2);
    let mut beat = |cell, counter, registering| {
        rig.wait(1_000);
        let heartbeat = Heartbeat { registering, cell, ..heartbeat("a1", counter, size(4, 4), &[]) };
        lines(&rig.input(&Input::HeartbeatArrived { heartbeat }))
    };
    expect![[r#"
        refused a1 #1: it belongs to cell 0, and this is cell 1 → register #1
        joined a1 #2 adopted [] ending [] → welcome [] #2
        refused a1 #3: it belongs to cell 0, and this is cell 1 → register #3
        "#]]
    .assert_eq(&[beat(0, 1, true), beat(1, 2, true), beat(0, 3, true), beat(1, 2, false)].join("\n"));
}

#[test]
fn what_can_never_be_placed_here_is_handed_back_at_once() {
    let mut rig = Rig::new();
    let mut told = vec![rig.want(roaming("none.1", size(1, 1)))];
    rig.join("a1", 1, size(4, 4), &[]);
    told.push(rig.want(roaming("large.1", size(5, 1))));
    told.push(rig.want(TaskSpec { constraints: vec!["zone == b".into()], ..roaming("zone.1", size(1, 1)) }));
    told.push(rig.want(task("stays.1", size(5, 1))));
    told.push(rig.want(roaming("large.2", size(5, 1))));
    expect![[r#"
        declined none.1 hop 0
            NO_AGENTS ×0: no agent has joined this cell, or all are lost → is declined
        declined large.1 hop 0
            NEVER_FITS ×1: even when empty, no agent that satisfies its constraints has 5 cpus, 1GiB memory and 0 disk
            INSUFFICIENT_CPUS ×1: it needs 5 cpus; agent a1 is closest: 4 of 4 free, 1 short → is declined
        declined zone.1 hop 0
            NEVER_FITS ×1: no agent satisfies all its constraints
            FILTERED_CONSTRAINT ×1: they do not satisfy the constraint zone == b → is declined
        queued stays.1
            NEVER_FITS ×1: even when empty, no agent that satisfies its constraints has 5 cpus, 1GiB memory and 0 disk
            INSUFFICIENT_CPUS ×1: it needs 5 cpus; agent a1 is closest: 4 of 4 free, 1 short
        declined large.2 hop 0
            NEVER_FITS ×1: even when empty, no agent that satisfies its constraints has 5 cpus, 1GiB memory and 0 disk
            INSUFFICIENT_CPUS ×1: it needs 5 cpus; agent a1 is closest: 4 of 4 free, 1 short → is declined"#]]
    .assert_eq(&told.join("\n"));
    assert_eq!(rig.allocator.tasks().count(), 1);
}

#[test]
fn what_waits_for_too_long_is_handed_back_unless_it_must_stay() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(2, 2), &[]);
    rig.want(task("runs.1", size(1, 1)));
    rig.want(task("stays.1", size(2, 2)));
    rig.want(roaming("first.1", size(2, 2)));
    rig.wait(3_000);
    rig.want(TaskSpec { hop: 2, ..roaming("second.1", size(2, 2)) });
    assert_eq!(rig.wait_and_tick(6_999), "");
    expect![[r#"
        declined first.1 hop 0
            INSUFFICIENT_CPUS ×1: it needs 2 cpus; agent a1 is closest: 1 of 2 free, 1 short
            INSUFFICIENT_MEMORY ×1: it needs 2GiB memory; agent a1 is closest: 1GiB of 2GiB free, 1GiB short → is declined
        declined second.1 hop 2
            INSUFFICIENT_CPUS ×1: it needs 2 cpus; agent a1 is closest: 1 of 2 free, 1 short
            INSUFFICIENT_MEMORY ×1: it needs 2GiB memory; agent a1 is closest: 1GiB of 2GiB free, 1GiB short → is declined
    "#]]
    .assert_eq(&format!("{}\n{}\n", rig.wait_and_tick(1), rig.wait_and_tick(3_000)));
    rig.want(roaming("third.1", size(2, 2)));
    assert!(rig.unwant("third.1").starts_with("dropped third.1 killed"), "a cancelled task is not handed back");
    assert_eq!(rig.wait_and_tick(3_600_000), "");
}

#[test]
fn a_lost_agent_hands_back_what_waited_for_it() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(2, 2), &[]);
    rig.want(task("runs.1", size(2, 2)));
    rig.want(roaming("waits.1", size(2, 2)));
    expect![[r#"
        lost agent a1
        lost runs.1: agent a1 was silent for 66000 ms, longer than its lease → is lost
        declined waits.1 hop 0
            NO_AGENTS ×0: no agent has joined this cell, or all are lost → is declined"#]]
    .assert_eq(&rig.expire("a1", 1));
}

#[test]
fn a_cancel_that_comes_late_or_early_knows_its_hop() {
    let (mut first, mut second) = (Rig::new(), Rig::new());
    let mut told = vec![first.want(roaming("t.1", size(1, 1)))];
    told.push(first.unwant_hop("t.1", 0));
    second.join("a1", 1, size(1, 1), &[]);
    told.push(second.unwant_hop("t.1", 1));
    told.push(second.want(TaskSpec { hop: 1, ..task("t.1", size(1, 1)) }));
    second.want(TaskSpec { hop: 1, ..task("u.1", size(1, 1)) });
    told.push(second.unwant_hop("u.1", 0));
    told.push(second.unwant_hop("u.1", 1));
    expect![[r#"
        declined t.1 hop 0
            NO_AGENTS ×0: no agent has joined this cell, or all are lost → is declined
        cancel kept t.1
        cancel kept t.1
        dropped t.1 killed: cancelled → is killed
        cancel kept u.1
        kill u.1 on a1 → kill #1"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn many_that_are_handed_back_are_spread_over_entries() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(1, 1), &[]);
    rig.want(task("runs.1", size(1, 1)));
    rig.want_many(2_000, &roaming("x.1", size(1, 1)));
    rig.quick = true;
    assert_eq!(rig.wait_and_tick(10_000).matches("is declined").count(), 2_000);
    assert_eq!(rig.allocator.waiting(), 0);
}
