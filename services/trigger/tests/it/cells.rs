//! Cells: where an attempt is sent, and where next when it is handed back (protocol §6.1).

use crate::rig::{Rig, agent, last, lines, task_messages, wanted};
use expect_test::expect;
use orrery_model::journal::Shards;
use orrery_model::messages::{EndKind, OutcomeChange, Reason, Request, RunRecord};
use orrery_trigger::Decision;

/// A shard of a cluster with so many cells, and the first attempt of a job.
fn started(cells: i32, job: &str) -> (Rig, Vec<Decision>) {
    let mut rig = Rig::new();
    rig.acquire(Shards { shard: 0, trigger_shards: 1, cells });
    rig.define(&format!("name: a\ncommand: [x]\n{job}"));
    let decisions = rig.run_job("a");
    (rig, decisions)
}

fn declined(suggested_cell: Option<i32>) -> OutcomeChange {
    let reasons = vec![Reason { code: "NO_AGENTS".into(), detail: "no agent has joined this cell".into(), agents: 0 }];
    OutcomeChange::AttemptDeclined { reasons, suggested_cell }
}

#[test]
fn a_job_has_its_cell_by_name_or_by_its_word() {
    let sent = |cells, job| task_messages(&started(cells, job).1);
    assert_eq!(sent(1, ""), "a.1 to cell 0, hop 0, stays");
    assert_eq!(sent(4, ""), "a.1 to cell 1, hop 0, may come back");
    assert_eq!(sent(4, "cell: 3"), "a.1 to cell 3, hop 0, stays");
    let mut rig = Rig::new();
    let refused = [rig.define("name: a\ncommand: [x]\ncell: 1"), {
        rig.acquire(Shards { shard: 0, trigger_shards: 1, cells: 4 });
        rig.define("name: a\ncommand: [x]\ncell: 4")
    }];
    expect![[r#"
        submitted default/a
        refused invalid: cell: there is no cell 1, only cell 0; leave cell out; no hint
        submitted default/a
        refused invalid: cell: there is no cell 4, only 0 to 3; name one of these, or leave cell out for any; no hint"#]]
    .assert_eq(&refused.map(|decisions| lines(&decisions)).join("\n"));
}

#[test]
fn a_declined_attempt_goes_to_each_cell_once_and_stays_at_the_last() {
    let (mut rig, first) = started(4, "retries: {max: 1, backoff: 0s}");
    let run = last(&first);
    let mut told = vec![task_messages(&first)];
    for (hop, suggested) in [(0, Some(3)), (1, Some(3)), (2, None)] {
        let decisions = rig.outcome_of_hop(&run, hop, declined(suggested));
        told.push(format!("{}: {}", lines(&decisions), task_messages(&decisions)));
        assert_eq!(lines(&rig.outcome_of_hop(&run, hop, declined(None))), "", "said twice");
        assert_eq!(lines(&rig.outcome_of_hop(&run, hop, OutcomeChange::AttemptPlaced { agent: agent() })), "", "of a lower hop");
    }
    told.push(lines(&rig.outcome_of_hop(&run, 3, OutcomeChange::AttemptPlaced { agent: agent() })));
    let ended = rig.end_of_hop(&run, 3, EndKind::Failed);
    told.push(format!("{}: {}", lines(&ended), task_messages(&ended)));
    expect![[r#"
        a.1 to cell 1, hop 0, may come back
        wanted default/a request:requests/0/1 #1 waiting: a.1 to cell 3, hop 1, may come back
        wanted default/a request:requests/0/1 #1 waiting: a.1 to cell 0, hop 2, may come back
        wanted default/a request:requests/0/1 #1 waiting: a.1 to cell 2, hop 3, stays
        progressed default/a request:requests/0/1 #1 starting
        over default/a request:requests/0/1 #1 waiting (it exited with 3) next 2026-11-21T00:00:00Z
        wanted default/a request:requests/0/1 #2 waiting: a.2 to cell 1, hop 0, may come back"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn an_attempt_that_loses_its_place_waits_again_elsewhere() {
    let (mut rig, first) = started(2, "");
    let run = last(&first);
    rig.outcome(&run, OutcomeChange::AttemptPlaced { agent: agent() });
    let decisions = rig.outcome(&run, declined(None));
    assert_eq!(lines(&decisions), "wanted default/a request:requests/0/1 #1 waiting");
    assert_eq!(task_messages(&decisions), "a.1 to cell 0, hop 1, stays");
}

#[test]
fn a_cancelled_attempt_that_is_declined_has_ended() {
    let cancel = |rig: &mut Rig, run: &RunRecord| rig.request(Request::CancelRun { run: run.run.clone(), reason: None });
    let (mut rig, first) = started(4, "concurrency: queue");
    let run = last(&first);
    rig.run_job("a");
    let cancelled = cancel(&mut rig, &run);
    let decisions = rig.outcome(&run, declined(None));
    expect![[r#"
        a.1 unwanted in cell 1, hop 0
        ended default/a request:requests/0/1 #1 cancelled (cancelled by a request)
        wanted default/a request:requests/0/2 #1 waiting"#]]
    .assert_eq(&format!("{}\n{}", task_messages(&cancelled), lines(&decisions)));

    let (mut rig, first) = started(4, "");
    let run = last(&first);
    rig.outcome(&run, declined(None));
    assert_eq!(task_messages(&cancel(&mut rig, &run)), "a.1 unwanted in cell 2, hop 1");
    assert_eq!(lines(&rig.end_of_hop(&run, 0, EndKind::Killed)), "", "the first cell has nothing more to say");
    assert!(lines(&rig.end_of_hop(&run, 1, EndKind::Killed)).contains(" cancelled "));
}

#[test]
fn a_cell_that_is_named_meanwhile_is_the_only_one_left() {
    let (mut rig, first) = started(4, "");
    let run = last(&first);
    rig.define("name: a\ncommand: [x]\ncell: 0");
    let decisions = rig.outcome(&run, declined(Some(3)));
    assert_eq!(task_messages(&decisions), "a.1 to cell 0, hop 1, stays");
    expect!["ended default/a request:requests/0/1 #1 failed (no cell can place it: no agent has joined this cell)"]
        .assert_eq(&lines(&rig.outcome_of_hop(&run, 1, declined(None))));
}

#[test]
fn what_the_shard_is_told_of_the_cluster_is_a_row() {
    let mut rig = Rig::new();
    let shards = Shards { shard: 3, trigger_shards: 16, cells: 4 };
    assert_eq!(rig.trigger.known_shards(), None);
    assert_eq!(lines(&rig.acquire(shards)), "is shard 3 of 16, with 4 cells");
    assert_eq!(lines(&rig.acquire(shards)), "");
    rig.restart();
    assert_eq!(rig.trigger.known_shards(), Some(shards));
    assert_eq!(wanted(&rig.run_job("a")).len(), 0);
}
