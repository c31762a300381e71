//! Definitions and requests about jobs.

use crate::rig::{Rig, lines, run_id};
use expect_test::expect;
use orrery_model::id::JobName;
use orrery_model::messages::{EnvVar, Request, RequestRecord};
use orrery_trigger::{Decision, Input};

fn job(name: &str) -> JobName {
    JobName::with_default_namespace(name).unwrap()
}

#[test]
fn definitions_that_break_a_rule_are_refused_with_the_remedy() {
    let mut rig = Rig::new();
    rig.define("name: ingest\ncommand: [x]");
    rig.define("name: clean\ncommand: [x]\ntriggers: [{after: [ingest]}]");
    rig.define("name: report\ncommand: [x]\ntriggers: [{after: [clean]}]");
    let refused = [
        rig.define("name: a\ncommand: [x]\ntriggers: [{cron: 0 0 30 2 *}]"),
        rig.define("name: a\ncommand: [x]\ntriggers: [{after: [ingst]}]"),
        rig.define("name: ingest\ncommand: [x]\ntriggers: [{after: [report]}]"),
        rig.define("name: a\ncommand: [x]\ntriggers: [{after: [a]}]"),
    ];
    expect![[r#"
        submitted default/a
        refused invalid: triggers[0].cron: "0 0 30 2 *" never fires after 2026-11-21T00:00:00Z; look at its day, month and year: "0 0 30 2 *" names the 30th of February; no hint
        submitted default/a
        refused invalid: triggers[0].after: there is no job default/ingst; did you mean default/ingest?; no hint
        submitted default/ingest
        refused invalid: triggers[0].after: the jobs would wait for each other for ever: default/ingest → default/report → default/clean → default/ingest; take one of these out of `after`; no hint
        submitted default/a
        refused invalid: triggers[0].after: the job would run after itself (default/a); use an interval for work that repeats; no hint"#]]
    .assert_eq(&refused.map(|decisions| lines(&decisions)).join("\n"));
}

#[test]
fn a_deleted_job_ends_its_runs_and_its_next_life_is_another_job() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nconcurrency: queue\ntriggers: [{event: t}]");
    rig.define("name: b\ncommand: [x]\ntriggers: [{after: [a]}]");
    let withdraw = |rig: &mut Rig, name: &str| lines(&rig.withdraw(name));
    expect![[r#"
        submitted default/a
        refused conflict: default/a cannot be deleted: default/b run after it; delete them first, or take it out of their `after`"#]]
    .assert_eq(&withdraw(&mut rig, "a"));
    withdraw(&mut rig, "b");
    let first = rig.event("t", 1, "{}");
    rig.event("t", 2, "{}");
    expect![[r#"
        unwanted default/a event:t/0/1 #1 waiting (its job was deleted)
        ended default/a event:t/0/2 #0 cancelled (its job was deleted)
        deleted default/a"#]]
    .assert_eq(&withdraw(&mut rig, "a"));
    expect!["ended default/a event:t/0/1 #1 cancelled (its job was deleted)"]
        .assert_eq(&lines(&rig.ends(&crate::rig::last(&first), orrery_model::messages::EndKind::Killed)));
    expect!["defined default/a v1 life 2"].assert_eq(&lines(&rig.define("name: a\ncommand: [x]\ntriggers: [{event: t}]")));
    let again = rig.event("t", 1, "{}");
    assert_ne!(run_id(&again), run_id(&first), "another life, another run");
    expect![[r#"
        submitted default/x
        refused not_found: there is no job default/x; did you mean default/a?"#]]
    .assert_eq(&withdraw(&mut rig, "x"));
}

#[test]
fn a_job_made_anew_waits_for_its_predecessor_and_is_not_skipped_for_it() {
    for concurrency in ["forbid", "queue", "replace", "allow"] {
        let mut rig = Rig::new();
        let document = format!("name: a\ncommand: [x]\nconcurrency: {concurrency}\ntriggers: [{{event: t}}]");
        rig.define(&document);
        let old = crate::rig::last(&rig.event("t", 1, "{}"));
        rig.withdraw("a");
        rig.define(&document);
        let made = lines(&rig.event("t", 2, "{}")).replace(old.run.as_str(), "OLD");
        if concurrency == "allow" {
            assert!(made.ends_with("wanted default/a event:t/0/2 #1 waiting"), "{made}");
            continue;
        }
        let held = "created default/a event:t/0/2 #0 waiting (a run of the job's earlier life is being ended, and OLD goes on)";
        assert!(made.ends_with(held), "{concurrency}: {made}");
        rig.restart();
        let ended = lines(&rig.ends(&old, orrery_model::messages::EndKind::Killed));
        assert!(ended.ends_with("wanted default/a event:t/0/2 #1 waiting"), "{concurrency}: {ended}");
    }
}

#[test]
fn a_keyed_request_is_answered_once() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x, '{{ args.day }}']");
    let args = vec![EnvVar { name: "day".into(), value: "monday".into() }];
    let request = Request::RunJob { job: job("a"), args };
    let keyed = |rig: &mut Rig, request: Request, key: &str| {
        let asked = RequestRecord { request, principal: None, idempotency_key: Some(key.into()) };
        let origin = rig.origin("requests");
        Input::Requested { asked, job: None, origin }
    };
    let input = keyed(&mut rig, request, "k1");
    let first = rig.input(&input);
    expect![[r#"
        created default/a request:*/k1 #0 waiting
        wanted default/a request:*/k1 #1 waiting
        answered"#]]
    .assert_eq(&lines(&first));
    let answer = |decisions: &[Decision]| match decisions.last() {
        Some(Decision::Answered { answer, .. } | Decision::AnsweredBefore { answer, .. }) => answer.clone(),
        other => panic!("{other:?}"),
    };
    let repeated = rig.input(&input);
    assert_eq!((repeated.len(), answer(&repeated)), (1, answer(&first)));
    rig.sleep_to("2026-11-22T00:00:01Z");
    rig.define("name: b\ncommand: [x]");
    let pause = keyed(&mut rig, Request::PauseJob { job: job("b") }, "k2");
    rig.input(&pause);
    let next_day = lines(&rig.input(&input));
    assert!(next_day.starts_with("created default/a request:*/k1@requests/0/"), "a key is kept for a day: {next_day}");
}

#[test]
fn a_key_belongs_to_who_asks_and_what_is_asked_of_which_job_or_run() {
    let mut rig = Rig::new();
    for name in ["export", "bill"] {
        rig.define(&format!("name: {name}\ncommand: [x]\nconcurrency: allow"));
    }
    let mut keyed = |request: Request, who: Option<&str>| {
        let principal = who.map(|who| orrery_model::id::Principal::parse(who).unwrap());
        let asked = RequestRecord { request, principal, idempotency_key: Some("K".into()) };
        let origin = rig.origin("requests");
        rig.input(&Input::Requested { asked, job: None, origin })
    };
    let run = |name: &str, args: &[(&str, &str)]| {
        let args = args.iter().map(|(name, value)| EnvVar { name: (*name).into(), value: (*value).into() }).collect();
        Request::RunJob { job: job(name), args }
    };
    let (ab, ba) = ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]);
    let export = keyed(run("export", &ab), None);
    let others =
        [keyed(run("bill", &[]), None), keyed(run("export", &[]), Some("alice")), keyed(Request::PauseJob { job: job("bill") }, None)];
    assert_eq!(others.each_ref().map(|decisions| lines(decisions).contains("answered before")), [false; 3], "other keys");
    assert_eq!(run_id(&others[0]).as_str().len(), 16);
    assert_ne!(run_id(&others[0]), run_id(&export), "bill runs");
    assert_eq!(lines(&keyed(run("export", &ba), None)), "answered before", "the order of arguments does not count");
    let cancel = |run: &orrery_model::id::RunId, why: &str| Request::CancelRun { run: run.clone(), reason: Some(why.into()) };
    let cancelled = [run_id(&export), run_id(&others[0])].map(|run| lines(&keyed(cancel(&run, "late"), None)));
    assert!(cancelled.iter().all(|done| done.starts_with("unwanted") && done.ends_with("answered")), "{cancelled:?}");
    let conflicts = [keyed(run("export", &[("a", "2")]), None), keyed(cancel(&run_id(&export), "wrong"), None)];
    expect![[r#"
        refused conflict: the idempotency key "K" has come before with other arguments, and was answered with EXPORT; take another key; with the same arguments it gets that answer again
        refused conflict: the idempotency key "K" has come before with other arguments, and was answered with EXPORT; take another key; with the same arguments it gets that answer again"#]]
    .assert_eq(&conflicts.map(|decisions| lines(&decisions)).join("\n").replace(run_id(&export).as_str(), "EXPORT"));
}

#[test]
fn requests_about_what_is_not_there_are_refused() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]");
    let run = orrery_model::id::RunId::parse("nothing").unwrap();
    rig.request(Request::PauseJob { job: job("a") });
    let refused = [
        rig.run_job("b"),
        rig.run_job("a"),
        rig.request(Request::CancelRun { run: run.clone(), reason: None }),
        rig.request(Request::RetryRun { run }),
    ];
    expect![[r#"
        refused not_found: there is no job default/b; did you mean default/a?
        refused conflict: default/a is paused; resume it first
        refused not_found: there is no run nothing; it never was, or it has ended and newer runs of its job have taken its place here
        refused not_found: there is no run nothing; it never was, or it has ended and newer runs of its job have taken its place here"#]]
    .assert_eq(&refused.map(|decisions| lines(&decisions)).join("\n"));
}

#[test]
fn a_restored_trigger_writes_the_same_rows_as_one_that_went_on() {
    let mut rigs = [Rig::new(), Rig::new()];
    for (i, rig) in rigs.iter_mut().enumerate() {
        rig.define("name: a\ncommand: [x]");
        rig.run_job("a");
        rig.withdraw("a");
        let run = rig.trigger.runs().next().unwrap().clone();
        rig.ends(&run, orrery_model::messages::EndKind::Killed);
        if i == 1 {
            rig.restart();
        }
        rig.define("name: a\ncommand: [x]");
        rig.run_job("a");
    }
    assert_eq!(rigs[0].rows(), rigs[1].rows());
}
