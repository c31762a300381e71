//! Time triggers and catch-up.

use crate::rig::{Rig, lines, wanted};
use expect_test::{Expect, expect};
use orrery_model::messages::EndKind;

fn check(decisions: &[orrery_trigger::Decision], expected: Expect) {
    expected.assert_eq(&lines(decisions));
}

#[test]
fn a_slot_makes_one_run_and_moves_on() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\ntriggers: [{cron: '0 2 * * *'}]");
    check(
        &rig.advance_to("2026-11-21T02:00:00Z"),
        expect![[r#"
            created default/a time:2026-11-21T02:00:00Z #0 waiting
            wanted default/a time:2026-11-21T02:00:00Z #1 waiting
            slot 2026-11-21T02:00:00Z, next 2026-11-22T02:00:00Z, missed 0"#]],
    );
}

fn asleep(policy: &str) -> String {
    let mut rig = Rig::new();
    rig.define(&format!("name: a\ncommand: [x]\nconcurrency: allow\ntriggers: [{{cron: '0 * * * *'}}]\ncatch_up: {policy}"));
    lines(&rig.sleep_to("2026-11-21T04:30:00Z"))
}

#[test]
fn missed_slots_follow_the_policy() {
    expect![[r#"
        slot 2026-11-21T04:00:00Z, next 2026-11-21T05:00:00Z, missed 4 catch_up is none"#]]
    .assert_eq(&asleep("{policy: none}"));
    expect![[r#"
        created default/a time:2026-11-21T04:00:00Z #0 waiting
        wanted default/a time:2026-11-21T04:00:00Z #1 waiting
        slot 2026-11-21T04:00:00Z, next 2026-11-21T05:00:00Z, missed 3 catch_up is latest, and there is a newer slot"#]]
    .assert_eq(&asleep("{policy: latest}"));
    expect![[r#"
        slot 2026-11-21T04:00:00Z, next 2026-11-21T05:00:00Z, missed 4 older than the window of catch_up"#]]
    .assert_eq(&asleep("{policy: latest, window: 10m}"));
    expect![[r#"
        created default/a time:2026-11-21T03:00:00Z #0 waiting
        wanted default/a time:2026-11-21T03:00:00Z #1 waiting
        created default/a time:2026-11-21T04:00:00Z #0 waiting
        wanted default/a time:2026-11-21T04:00:00Z #1 waiting
        slot 2026-11-21T04:00:00Z, next 2026-11-21T05:00:00Z, missed 2 older than the window of catch_up"#]]
    .assert_eq(&asleep("{policy: all, window: 2h}"));
}

#[test]
fn a_long_sleep_of_a_fast_job_is_bounded() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nconcurrency: allow\ntriggers: [{interval: R//PT1S}]\ncatch_up: {policy: all}");
    let decisions = rig.sleep_to("2026-11-21T02:00:00Z");
    let on_time = 10;
    assert_eq!(wanted(&decisions).len(), orrery_model::limits::CATCH_UP_RUNS + on_time);
    assert!(lines(&decisions).contains("more late slots than catch_up runs at once"));
}

#[test]
fn a_paused_job_catches_up_when_it_goes_on() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\ntriggers: [{cron: '0 * * * *'}]");
    let job = orrery_model::id::JobName::parse("default/a").unwrap();
    rig.request(orrery_model::messages::Request::PauseJob { job: job.clone() });
    assert_eq!(lines(&rig.advance_to("2026-11-21T03:30:00Z")), "");
    check(
        &rig.request(orrery_model::messages::Request::ResumeJob { job }),
        expect![[r#"
            resumed default/a
            answered
            created default/a time:2026-11-21T03:00:00Z #0 waiting
            wanted default/a time:2026-11-21T03:00:00Z #1 waiting
            slot 2026-11-21T03:00:00Z, next 2026-11-21T04:00:00Z, missed 2 catch_up is latest, and there is a newer slot"#]],
    );
}

#[test]
fn a_new_definition_neither_loses_nor_repeats_a_slot() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\ntriggers: [{cron: '0 * * * *'}]");
    rig.at = crate::rig::time("2026-11-21T01:00:00.5Z");
    let decisions = rig.define("name: a\ncommand: [y]\ntriggers: [{cron: '0 * * * *'}]");
    check(
        &decisions,
        expect![[r#"
            defined default/a v2 life 1
            created default/a time:2026-11-21T01:00:00Z #0 waiting
            wanted default/a time:2026-11-21T01:00:00Z #1 waiting
            slot 2026-11-21T01:00:00Z, next 2026-11-21T02:00:00Z, missed 0"#]],
    );
    rig.ends(&wanted(&decisions)[0], EndKind::Succeeded);
    check(&rig.define("name: a\ncommand: [y]\ntriggers: [{cron: '0 * * * *'}]"), expect!["defined default/a v2 life 1"]);
}

#[test]
fn one_time_and_intervals_end() {
    let mut rig = Rig::new();
    let mut decisions =
        rig.define("name: a\ncommand: [x]\nconcurrency: allow\ntriggers: [{at: 2026-11-21T01:00:00Z}, {interval: R3//PT30M}]");
    decisions.extend(rig.advance_to("2026-11-23T00:00:00Z"));
    let nominal = |record: &orrery_model::messages::RunRecord| record.nominal.unwrap().to_string();
    let times: Vec<String> = wanted(&decisions).iter().map(nominal).collect();
    assert_eq!(times, ["2026-11-21T00:00:00Z", "2026-11-21T00:30:00Z", "2026-11-21T01:00:00Z"], "two triggers due at once make one run");
    assert_eq!(orrery_model::decider::Decider::next_deadline(&rig.trigger), None);
}
