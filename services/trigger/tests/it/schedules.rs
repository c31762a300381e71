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

/// When its runs were due, since midnight: hours, minutes, seconds.
fn due(decisions: &[orrery_trigger::Decision]) -> String {
    let times = wanted(decisions).iter().map(|record| record.nominal.unwrap().to_string()[11..19].to_owned()).collect::<Vec<_>>();
    times.join(" ")
}

#[test]
fn an_edit_moves_no_schedule() {
    let mut rig = Rig::new();
    let job = |say: &str, triggers: &str| format!("name: a\ncommand: [x]\ndescription: {say}\nconcurrency: allow\ntriggers: {triggers}");
    let mut made = rig.define(&job("one", "[{interval: R//PT6S}]"));
    made.extend(rig.advance_to("2026-11-21T00:00:09Z"));
    made.extend(rig.define(&job("two", "[{interval: R//PT6S}]")));
    made.extend(rig.advance_to("2026-11-21T00:00:13Z"));
    made.extend(rig.define(&job("two", "[{cron: '0 5 * * *'}, {interval: R//PT6S}]")));
    made.extend(rig.advance_to("2026-11-21T00:00:19Z"));
    made.extend(rig.define(&job("two", "[{interval: R//PT6S}]")));
    rig.restart();
    made.extend(rig.advance_to("2026-11-21T00:00:26Z"));
    assert_eq!(due(&made), "00:00:00 00:00:06 00:00:12 00:00:18 00:00:24", "gaps stay what they are");
    made = rig.define(&job("two", "[{interval: R//PT7S}]"));
    made.extend(rig.advance_to("2026-11-21T00:00:34Z"));
    assert_eq!(due(&made), "00:00:26 00:00:33", "another interval begins now");
}

#[test]
fn edits_do_not_count_repetitions_anew() {
    let mut rig = Rig::new();
    let mut made = Vec::new();
    for (i, until) in ["00:00:01", "00:00:03", "00:00:05", "00:01:00"].into_iter().enumerate() {
        let job = format!("name: a\ncommand: [x, v{i}]\nconcurrency: allow\ntriggers: [{{interval: R4//PT2S}}]");
        made.extend(rig.define(&job));
        made.extend(rig.advance_to(&format!("2026-11-21T{until}Z")));
    }
    made.extend(rig.define("name: a\ncommand: [y]\nconcurrency: allow\ntriggers: [{at: 2026-11-22T00:00:00Z}, {interval: R4//PT2S}]"));
    made.extend(rig.advance_to("2026-11-21T00:02:00Z"));
    assert_eq!(due(&made), "00:00:00 00:00:02 00:00:04 00:00:06", "four in all");
}

#[test]
fn what_is_owed_outlives_an_edit() {
    let job = |triggers: &str| format!("name: a\ncommand: [x]\nconcurrency: allow\ncatch_up: {{policy: all}}\ntriggers: [{triggers}]");
    let (hourly, daily) = ("{cron: '0 * * * *'}", "{cron: '30 0 * * *'}");
    for after in [format!("{daily}, {hourly}"), format!("{hourly}, {hourly}"), format!("{{event: t}}, {hourly}, {daily}")] {
        let mut rig = Rig::new();
        rig.define(&job(&format!("{hourly}, {daily}")));
        let name = orrery_model::id::JobName::parse("default/a").unwrap();
        rig.request(orrery_model::messages::Request::PauseJob { job: name.clone() });
        rig.advance_to("2026-11-21T03:30:00Z");
        rig.define(&job(&after));
        let mut times: Vec<String> =
            due(&rig.request(orrery_model::messages::Request::ResumeJob { job: name })).split(' ').map(str::to_owned).collect();
        times.retain(|time| time != "00:30:00");
        assert_eq!(times.join(" "), "01:00:00 02:00:00 03:00:00", "{after}");
    }
}
