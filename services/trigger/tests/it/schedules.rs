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
    let decisions = rig.sleep_to("2026-11-21T04:30:00Z");
    wanted(&decisions).iter().fold(lines(&decisions), |text, record| text.replace(record.run.as_str(), "RUN"))
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
        created default/a time:2026-11-21T04:00:00Z #0 waiting (what is caught up runs one after another, and RUN goes on)
        slot 2026-11-21T04:00:00Z, next 2026-11-21T05:00:00Z, missed 2 older than the window of catch_up"#]]
    .assert_eq(&asleep("{policy: all, window: 2h}"));
}

#[test]
fn a_long_sleep_of_a_fast_job_is_bounded() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\nconcurrency: allow\ntriggers: [{interval: R//PT1S}]\ncatch_up: {policy: all}");
    let decisions = rig.sleep_to("2026-11-21T02:00:00Z");
    let text = lines(&decisions);
    let made = text.lines().filter(|line| line.starts_with("created ") && !line.contains(" skipped ")).count();
    assert_eq!(made, 1 + orrery_model::limits::QUEUED_RUNS_PER_JOB, "one goes on, and the others wait");
    assert!(text.contains("more late slots than catch_up runs at once"));
}

/// Sleeps over nine slots, of which the last is on time; then each run takes four seconds, and all ends are told in order.
fn caught_up(concurrency: &str) -> String {
    let mut rig = Rig::new();
    rig.define(&format!(
        "name: a\ncommand: [x]\nconcurrency: {concurrency}\ntriggers: [{{cron: '*/10 * * * *'}}, {{event: t}}]\ncatch_up: {{policy: all}}"
    ));
    let mut seen = rig.sleep_to("2026-11-21T01:30:05Z");
    let mut order = Vec::new();
    for second in 6.. {
        // The newest wanted run that has not ended, oldest first.
        let going: Vec<_> = rig.trigger.runs().filter(|run| run.attempts == 1 && !run.state.is_final()).cloned().collect();
        let of_slots: Vec<_> = going.iter().filter(|run| run.nominal.is_some()).collect();
        let Some(next) = of_slots.first().copied() else { break };
        assert_eq!(of_slots.len(), 1, "one after another: {concurrency}");
        order.push(next.nominal.unwrap().to_string()[11..16].to_owned());
        if second == 8 {
            seen.extend(rig.event("t", 1, "{}"));
            rig.restart();
        }
        rig.at = crate::rig::time(&format!("2026-11-21T01:30:{second:02}Z"));
        seen.extend(rig.ends(next, EndKind::Succeeded));
    }
    let of_event = lines(&seen).lines().rev().find(|line| line.contains(" event:t/0/1 ")).unwrap_or_default().to_owned();
    let how = if of_event.starts_with("wanted ") {
        "runs"
    } else if of_event.contains(" skipped ") {
        "skipped"
    } else {
        "waits"
    };
    format!("{concurrency}: {}; an event meanwhile {how}", order.join(" "))
}

#[test]
fn what_is_caught_up_queues_by_itself_whatever_the_concurrency() {
    expect![[r#"
        forbid: 00:10 00:20 00:30 00:40 00:50 01:00 01:10 01:20 01:30; an event meanwhile skipped
        queue: 00:10 00:20 00:30 00:40 00:50 01:00 01:10 01:20 01:30; an event meanwhile runs
        allow: 00:10 00:20 00:30 00:40 00:50 01:00 01:10 01:20 01:30; an event meanwhile runs
        replace: 00:10 00:20 00:30 00:40 00:50 01:00 01:10 01:20 01:30; an event meanwhile runs"#]]
    .assert_eq(&["forbid", "queue", "allow", "replace"].map(caught_up).join("\n"));
}

#[test]
fn a_slot_in_its_time_follows_the_concurrency_while_others_are_caught_up() {
    for (concurrency, expected) in [("forbid", "skipped"), ("replace", "waiting"), ("allow", "waiting")] {
        let mut rig = Rig::new();
        rig.define(&format!(
            "name: a\ncommand: [x]\nconcurrency: {concurrency}\ntriggers: [{{cron: '0 * * * *'}}]\ncatch_up: {{policy: all}}"
        ));
        rig.sleep_to("2026-11-21T03:30:00Z");
        let mut seen = rig.advance_to("2026-11-21T04:00:00Z");
        seen.extend(rig.advance_to("2026-11-21T05:00:00Z"));
        let state = |slot: &str| rig.trigger.runs().find(|run| run.cause.contains(slot)).map(|run| run.state.to_string());
        assert_eq!(state("T02:00"), Some("waiting".into()), "{concurrency}: what is owed stays");
        assert_eq!(state("T03:00"), Some("waiting".into()), "{concurrency}: what is owed stays");
        assert_eq!(state("T05:00").as_deref(), Some(expected), "{concurrency}");
        assert_eq!(state("T04:00").as_deref(), Some(if concurrency == "replace" { "cancelled" } else { expected }), "{concurrency}");
    }
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
        let made = lines(&rig.request(orrery_model::messages::Request::ResumeJob { job: name }));
        let hour = |line: &str| line.strip_prefix("created default/a time:2026-11-21T").map(|rest| rest[..5].to_owned());
        let hours: Vec<String> = made.lines().filter_map(hour).filter(|hour| hour != "00:30").collect();
        assert_eq!(hours.join(" "), "01:00 02:00 03:00", "{after}");
    }
}
