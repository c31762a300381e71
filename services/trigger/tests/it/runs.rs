//! Runs and attempts: concurrency, retries, cancelling, dependent jobs.

use crate::rig::{Rig, agent, last, lines, run_id, wanted};
use expect_test::{Expect, expect};
use orrery_model::messages::{EndKind, OutcomeChange, Request};

fn check(decisions: &[orrery_trigger::Decision], expected: Expect) {
    expected.assert_eq(&lines(decisions));
}

/// Two events while the first run goes on, then its end.
fn two_events(concurrency: &str) -> String {
    let mut rig = Rig::new();
    rig.define(&format!("name: a\ncommand: [x]\nconcurrency: {concurrency}\ntriggers: [{{event: t}}]"));
    let first = rig.event("t", 1, "{}");
    let mut seen = rig.event("t", 2, "{}");
    seen.extend(rig.ends(&last(&first), if concurrency == "replace" { EndKind::Killed } else { EndKind::Succeeded }));
    lines(&seen)
}

#[test]
fn concurrency_policies() {
    expect![[r#"
        kept t/0/2
        created default/a event:t/0/2 #0 waiting
        wanted default/a event:t/0/2 #1 waiting
        ended default/a event:t/0/1 #1 succeeded"#]]
    .assert_eq(&two_events("allow"));
    let forbid = two_events("forbid");
    assert!(forbid.contains("created default/a event:t/0/2 #0 skipped (concurrency is forbid, and "), "{forbid}");
    let queue = two_events("queue");
    assert!(queue.ends_with("ended default/a event:t/0/1 #1 succeeded\nwanted default/a event:t/0/2 #1 waiting"), "{queue}");
    let replace = two_events("replace");
    assert!(replace.contains("unwanted default/a event:t/0/1 #1 waiting (replaced by "), "{replace}");
    assert!(replace.ends_with(")\nwanted default/a event:t/0/2 #1 waiting"), "{replace}");
}

#[test]
fn a_failed_attempt_is_repeated_with_doubling_pauses() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nretries: {max: 2, backoff: 10s}");
    let mut decisions = rig.run_job("a");
    decisions.clear();
    for until in ["2026-11-21T00:00:10Z", "2026-11-21T00:01:00Z"] {
        let id = rig_run(&rig);
        decisions.extend(rig.ends(&id, EndKind::Failed));
        decisions.extend(rig.advance_to(until));
    }
    decisions.extend(rig.ends(&rig_run(&rig), EndKind::TimedOut));
    check(
        &decisions,
        expect![[r#"
            over default/a request:requests/0/1 #1 waiting (it exited with 3) next 2026-11-21T00:00:10Z
            wanted default/a request:requests/0/1 #2 waiting
            over default/a request:requests/0/1 #2 waiting (it exited with 3) next 2026-11-21T00:00:30Z
            wanted default/a request:requests/0/1 #3 waiting
            ended default/a request:requests/0/1 #3 failed (it was ended by its timeout)"#]],
    );
    let retried = rig.request(Request::RetryRun { run: run_id(&decisions) });
    check(
        &retried,
        expect![[r#"
            progressed default/a request:requests/0/1 #3 waiting (retried by a request)
            wanted default/a request:requests/0/1 #4 waiting
            answered"#]],
    );
}

/// The only run that goes on.
fn rig_run(rig: &Rig) -> orrery_model::messages::RunRecord {
    rig.trigger.runs().find(|record| !record.state.is_final()).unwrap().clone()
}

#[test]
fn a_lost_attempt_is_repeated_elsewhere_without_being_counted() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]");
    let first = rig.run_job("a");
    let decisions = rig.ends(&last(&first), EndKind::Lost);
    check(
        &decisions,
        expect![[r#"
            over default/a request:requests/0/1 #1 waiting (it was lost) next 2026-11-21T00:00:00Z
            wanted default/a request:requests/0/1 #2 waiting"#]],
    );
    let Some(orrery_trigger::Decision::AttemptWanted { spec, .. }) = decisions.last() else { panic!() };
    assert_eq!(spec.avoid, Some(agent()));
    assert_eq!(lines(&rig.ends(&last(&first), EndKind::Succeeded)), "", "the first attempt's end is stale");
    rig.define("name: b\ncommand: [x]\nretries: {on_lost: false}");
    let other = rig.run_job("b");
    check(&rig.ends(&last(&other), EndKind::Lost), expect!["ended default/b request:requests/0/2 #1 lost (it was lost)"]);
}

#[test]
fn a_run_that_ends_its_agents_is_repeated_ever_later_and_a_bounded_number_of_times() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nretries: {on_lost: {max: 3}}");
    let mut attempt = last(&rig.run_job("a"));
    let mut told = Vec::new();
    for minute in 1..=4 {
        rig.starts(&attempt);
        let mut decisions = rig.ends(&attempt, EndKind::Lost);
        decisions.extend(rig.advance_to(&format!("2026-11-21T00:0{minute}:00Z")));
        told.push(lines(&decisions));
        attempt = last(&decisions);
    }
    expect![[r#"
        over default/a request:requests/0/1 #1 waiting (it was lost) next 2026-11-21T00:00:00Z
        wanted default/a request:requests/0/1 #2 waiting
        over default/a request:requests/0/1 #2 waiting (it was lost) next 2026-11-21T00:01:01Z
        wanted default/a request:requests/0/1 #3 waiting
        over default/a request:requests/0/1 #3 waiting (it was lost) next 2026-11-21T00:02:02Z
        wanted default/a request:requests/0/1 #4 waiting
        ended default/a request:requests/0/1 #4 lost (it was lost)"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn a_cancelled_run_ends_when_its_attempt_is_over() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nretries: {max: 5}");
    let run = last(&rig.run_job("a"));
    rig.starts(&run);
    let request = Request::CancelRun { run: run.run.clone(), reason: Some("wrong day".into()) };
    let mut decisions = rig.request(request.clone());
    decisions.extend(rig.ends(&run, EndKind::Killed));
    decisions.extend(rig.request(request));
    expect![[r#"
        unwanted default/a request:requests/0/1 #1 running (cancelled by a request: wrong day)
        answered
        ended default/a request:requests/0/1 #1 cancelled (cancelled by a request: wrong day)
        refused conflict: RUN has ended already (cancelled); only a run that goes on can be cancelled"#]]
    .assert_eq(&lines(&decisions).replace(run.run.as_str(), "RUN"));
}

#[test]
fn a_run_that_has_not_started_in_time_is_skipped() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nstart_within: 1m\ntriggers: [{event: t}]\nconcurrency: queue");
    let first = last(&rig.event("t", 1, "{}"));
    rig.event("t", 2, "{}");
    let mut decisions = rig.advance_to("2026-11-21T00:01:00Z");
    decisions.extend(rig.ends(&first, EndKind::Killed));
    check(
        &decisions,
        expect![[r#"
            ended default/a event:t/0/2 #0 skipped (it had not started within start_within)
            unwanted default/a event:t/0/1 #1 waiting (it had not started within start_within)
            ended default/a event:t/0/1 #1 skipped (it had not started within start_within)"#]],
    );
    let started = last(&rig.event("t", 3, "{}"));
    rig.starts(&started);
    assert_eq!(lines(&rig.advance_to("2026-11-21T01:00:00Z")), "", "what has started may take its time");
}

#[test]
fn dependent_jobs_run_in_the_cycle_of_their_parents() {
    let mut rig = Rig::new();
    for parent in ["a", "b"] {
        rig.define(&format!("name: {parent}\ncommand: [x]\nconcurrency: allow\ntriggers: [{{cron: '0 * * * *'}}]"));
    }
    rig.define("name: c\ncommand: [x]\nconcurrency: allow\ntriggers: [{after: [a, b]}]");
    rig.define("name: d\ncommand: [x]\ntriggers: [{after: [a], on: failure}]");
    let first = wanted(&rig.advance_to("2026-11-21T01:00:00Z"));
    let second = wanted(&rig.advance_to("2026-11-21T02:00:00Z"));
    let mut decisions = rig.ends(&first[0], EndKind::Succeeded);
    decisions.extend(rig.ends(&second[1], EndKind::Succeeded));
    decisions.extend(rig.ends(&second[0], EndKind::Failed));
    decisions.extend(rig.ends(&first[1], EndKind::Succeeded));
    let text = lines(&decisions);
    let named = [(&first, "A1", "B1"), (&second, "A2", "B2")]
        .into_iter()
        .fold(text, |text, (runs, a, b)| text.replace(runs[0].run.as_str(), a).replace(runs[1].run.as_str(), b));
    expect![[r#"
        ended default/a time:2026-11-21T01:00:00Z #1 succeeded
        default/c: default/a done in time:2026-11-21T01:00:00Z
        ended default/b time:2026-11-21T02:00:00Z #1 succeeded
        default/c: default/b done in time:2026-11-21T02:00:00Z
        ended default/a time:2026-11-21T02:00:00Z #1 failed (it exited with 3)
        created default/d after:A2 #0 waiting
        wanted default/d after:A2 #1 waiting
        ended default/b time:2026-11-21T01:00:00Z #1 succeeded
        default/c: default/b done in time:2026-11-21T01:00:00Z
        created default/c after:A1+B1 #0 waiting
        wanted default/c after:A1+B1 #1 waiting"#]]
    .assert_eq(&named);
    let marked = lines(&rig.request(Request::MarkSuccess { run: second[0].run.clone() }));
    assert!(marked.contains("created default/c after:"), "what was marked counts as a success: {marked}");
}

#[test]
fn ends_that_wait_stay_with_their_trigger() {
    let job = |triggers: &str| format!("name: c\ncommand: [x]\nconcurrency: allow\ntriggers: [{triggers}]");
    let (ab, ba, bd) = ("{after: [a, b]}", "{after: [b, a], on: success}", "{after: [b, d]}");
    for (after, runs) in [(format!("{bd}, {ba}, {ab}"), 1), (bd.to_owned(), 0)] {
        let mut rig = Rig::new();
        for parent in ["a", "b", "d"] {
            rig.define(&format!("name: {parent}\ncommand: [x]"));
        }
        rig.define(&job(&format!("{{cron: '0 2 * * *'}}, {ab}, {bd}")));
        let parents = ["a", "b"].map(|name| last(&rig.run_job(name)));
        rig.ends(&parents[0], EndKind::Succeeded);
        rig.define(&job(&after));
        let made = wanted(&rig.ends(&parents[1], EndKind::Succeeded));
        assert_eq!(made.len(), runs, "{after}");
    }
}

/// Parents `a` and `b` of `c` run by the hour. What is told of their runs in the first two cycles; then, in the third, `a` fails, is
/// run by hand and succeeds before or after `b` ends: the causes of `c`.
fn joined(left_over: [Option<EndKind>; 2], hand_first: bool) -> usize {
    let mut rig = Rig::new();
    for parent in ["a", "b"] {
        rig.define(&format!("name: {parent}\ncommand: [x]\nconcurrency: allow\ntriggers: [{{cron: '0 * * * *'}}]"));
    }
    rig.define("name: c\ncommand: [x]\nconcurrency: allow\ntriggers: [{after: [a, b]}]");
    let earlier = wanted(&rig.advance_to("2026-11-21T01:00:00Z"));
    for (run, kind) in earlier.iter().zip(left_over) {
        kind.map(|kind| rig.ends(run, kind));
    }
    let runs = wanted(&rig.advance_to("2026-11-21T02:00:00Z"));
    let mut seen = rig.ends(&runs[0], EndKind::Failed);
    let by_hand = last(&rig.run_job("a"));
    let order = if hand_first { [&by_hand, &runs[1]] } else { [&runs[1], &by_hand] };
    seen.extend(rig.ends(order[0], EndKind::Succeeded));
    assert_eq!(wanted(&seen), [], "one of the two is still to end");
    seen.extend(rig.ends(order[1], EndKind::Succeeded));
    let made = wanted(&seen);
    assert!(made.iter().all(|run| run.nominal == runs[1].nominal), "{made:?}");
    assert!(made.iter().all(|run| run.cause == format!("after:{}+{}", by_hand.run, runs[1].run)), "{made:?}");
    made.len()
}

#[test]
fn a_run_by_hand_makes_up_for_its_parent_whatever_is_left_over() {
    let ends = [None, Some(EndKind::Succeeded), Some(EndKind::Failed)];
    for a in ends {
        for b in ends.into_iter().filter(|b| !(a == Some(EndKind::Succeeded) && a == *b)) {
            for hand_first in [true, false] {
                assert_eq!(joined([a, b], hand_first), 1, "{a:?} {b:?} {hand_first}");
            }
        }
    }
}

#[test]
fn an_attempt_runs_by_the_present_definition_and_says_so() {
    let mut rig = Rig::new();
    let define = |rig: &mut Rig, n: i32| rig.define(&format!("name: a\ncommand: [x, v{n}]\nconcurrency: queue\nretries: {{max: 1}}"));
    // Version of the record, of the task, and what the task runs.
    let versions = |decisions: &[orrery_trigger::Decision]| {
        let told = |decision: &orrery_trigger::Decision| match decision {
            orrery_trigger::Decision::AttemptWanted { record, spec, .. } => {
                Some(format!("#{} v{} v{} {}", record.attempts, record.version, spec.version, spec.argv[1]))
            }
            _ => None,
        };
        decisions.iter().filter_map(told).collect::<Vec<_>>().join(", ")
    };
    define(&mut rig, 1);
    let first = rig.run_job("a");
    assert_eq!(versions(&first), "#1 v1 v1 v1");
    let waits = rig.run_job("a");
    define(&mut rig, 2);
    rig.ends(&last(&first), EndKind::Failed);
    let again = rig.advance_to("2026-11-21T00:00:10Z");
    assert_eq!(versions(&again), "#2 v2 v2 v2", "a retry by itself");
    define(&mut rig, 3);
    let ended = rig.ends(&last(&again), EndKind::Failed);
    assert_eq!(versions(&ended), "#1 v3 v3 v3", "a run that waited");
    assert_eq!(run_id(&ended), run_id(&waits));
    rig.ends(&last(&ended), EndKind::Succeeded);
    define(&mut rig, 4);
    let by_hand = rig.request(Request::RetryRun { run: run_id(&first) });
    assert_eq!(versions(&by_hand), "#3 v4 v4 v4", "a retry by hand");
    let lost = rig.ends(&wanted(&by_hand)[0], EndKind::Lost);
    assert_eq!(versions(&lost), "#4 v4 v4 v4");
}

#[test]
fn stale_outcomes_change_nothing() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]");
    let run = last(&rig.run_job("a"));
    rig.starts(&run);
    assert_eq!(lines(&rig.outcome(&run, OutcomeChange::AttemptPlaced { agent: agent() })), "", "it runs already");
    let mut other = run.clone();
    other.attempts = 2;
    assert_eq!(lines(&rig.ends(&other, EndKind::Succeeded)), "", "there is no second attempt");
    rig.ends(&run, EndKind::Succeeded);
    assert_eq!(lines(&rig.ends(&run, EndKind::Failed)), "", "it is over");
}
