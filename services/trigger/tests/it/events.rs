//! Event triggers.

use crate::rig::{Rig, lines, wanted};
use expect_test::expect;
use orrery_model::job::{Format, read_documents};
use orrery_model::messages::StartPosition;
use orrery_trigger::{Decision, Input};

const PAID: &str = "name: a
command: [report, '{{ event.data.id }}']
concurrency: allow
triggers: [{event: orders.paid, when: data.amount > 100}, {event: orders.paid, when: data.vip}]";

#[test]
fn a_matching_event_fires_once_and_reaches_the_task() {
    let mut rig = Rig::new();
    rig.define(PAID);
    let decisions = rig.event("orders.paid", 7, r#"{"id": "o-1", "amount": 101, "vip": true}"#);
    expect![[r#"
        kept orders.paid/0/7
        created default/a event:orders.paid/0/7 #0 waiting
        wanted default/a event:orders.paid/0/7 #1 waiting"#]]
    .assert_eq(&lines(&decisions));
    let Some(Decision::AttemptWanted { spec, .. }) = decisions.last() else { panic!() };
    assert_eq!(spec.argv, ["report", "o-1"]);
    assert_eq!(spec.event.as_ref().unwrap().text(), Some(r#"{"id": "o-1", "amount": 101, "vip": true}"#));
    assert_eq!(lines(&rig.event("orders.paid", 7, r#"{"id": "o-1", "amount": 101, "vip": true}"#)), "", "the same record again");
    assert_eq!(lines(&rig.event("orders.paid", 8, r#"{"id": "o-1", "amount": 100, "vip": false}"#)), "", "a miss");
    assert_eq!(lines(&rig.event("orders", 9, r#"{"amount": 1000}"#)), "", "another topic");
}

#[test]
fn an_event_sent_again_with_its_key_fires_nothing() {
    let mut rig = Rig::new();
    rig.define("name: a\ncommand: [x]\ntriggers: [{event: t}]");
    let keyed = |offset| {
        let mut event = crate::rig::event("t", offset, "{}");
        event.headers.push(orrery_trigger::facts::Header { name: "Idempotency-Key".into(), value: b"k".as_slice().into() });
        Input::EventArrived { event }
    };
    assert_eq!(wanted(&rig.input(&keyed(1))).len(), 1);
    assert_eq!(lines(&rig.input(&keyed(2))), "");
}

#[test]
fn a_predicate_that_cannot_be_evaluated_is_a_miss_that_is_told() {
    let mut rig = Rig::new();
    rig.define(PAID);
    expect![[r#"
        predicate of default/a failed: there is no "amount"
        kept orders.paid/0/1
        created default/a event:orders.paid/0/1 #0 waiting
        ended default/a event:orders.paid/0/1 #0 failed (command[1]: "{{ event.data.id }}" does not render: there is no event.data.id; write for example {{ event.data.id | default("none") }})"#]]
    .assert_eq(&lines(&rig.event("orders.paid", 1, r#"{"vip": true}"#)));
}

#[test]
fn events_before_the_definition_do_not_fire() {
    let mut rig = Rig::new();
    let spec = read_documents(PAID, Format::Yaml).unwrap().remove(0);
    let end = StartPosition { topic: "orders.paid".into(), generation: 0, partition: 0, offset: 5, topic_id: String::new() };
    rig.submit(spec.to_json(), vec![end]);
    assert_eq!(orrery_model::decider::Decider::reads_from(&rig.trigger, "orders.paid", 0, ""), Some(5));
    assert_eq!(rig.event("orders.paid", 4, r#"{"id": 1, "amount": 101, "vip": true}"#).len(), 0);
    assert_eq!(wanted(&rig.event("orders.paid", 5, r#"{"id": 1, "amount": 101, "vip": true}"#)).len(), 1);
    let mut next = crate::rig::event("orders.paid", 0, r#"{"id": 1, "amount": 101, "vip": true}"#);
    (next.generation, next.topic_id) = (1, "another".into());
    assert_eq!(wanted(&rig.input(&Input::EventArrived { event: next })).len(), 1, "a topic made again begins at its start");
}

#[test]
fn an_event_for_many_jobs_is_spread_over_entries() {
    let mut rig = Rig::new();
    for i in 0..700 {
        rig.define(&format!("name: j{i:03}\ncommand: [x]\ntriggers: [{{event: t}}]"));
    }
    let decisions = rig.event("t", 0, "{}");
    assert_eq!(wanted(&decisions).len(), 700);
    assert!(lines(&decisions).contains("parked until Some(default/j"));
    assert!(lines(&decisions).ends_with("parked until None"));
}

#[test]
fn a_large_event_is_copied_once_per_entry() {
    let mut rig = Rig::new();
    for i in 0..5 {
        rig.define(&format!("name: j{i}\ncommand: [x]\ntriggers: [{{event: t}}]"));
    }
    let large = format!("{:?}", "x".repeat(200 << 10));
    let first = crate::rig::event("t", 0, &large);
    let mut decisions = Vec::new();
    orrery_model::decider::Decider::handle(&mut rig.trigger, rig.at, &Input::EventArrived { event: first }, &mut decisions);
    assert_eq!(wanted(&decisions).len(), 1, "{}", lines(&decisions));
    assert_eq!(wanted(&rig.sleep_to("2026-11-21T00:00:01Z")).len(), 4);
}

#[test]
fn an_event_waits_behind_an_earlier_one_that_is_spread_over_entries() {
    let mut rig = Rig::new();
    for i in 0..700 {
        let yaml = format!("name: j{i:03}\ncommand: [x]\nconcurrency: allow\ntriggers: [{{event: t, when: data.all || {i} == 600}}]");
        let document = read_documents(&yaml, Format::Yaml).unwrap().remove(0).to_json();
        let origin = rig.origin("jobs");
        let submitted = Input::JobSubmitted { document, principal: None, starts: Vec::new(), origin, appended: rig.at, read: Vec::new() };
        // Not by the rig, which would compile all of them for each.
        orrery_model::decider::Decider::handle(&mut rig.trigger, rig.at, &submitted, &mut Vec::new());
    }
    let mut decisions = Vec::new();
    for (offset, all) in [(8, true), (9, false), (10, false)] {
        let event = crate::rig::event("t", offset, &format!(r#"{{"all": {all}}}"#));
        orrery_model::decider::Decider::handle(&mut rig.trigger, rig.at, &Input::EventArrived { event }, &mut decisions);
    }
    decisions.extend(rig.sleep_to("2026-11-21T00:00:01Z"));
    let causes: Vec<String> =
        wanted(&decisions).into_iter().filter(|run| run.job.as_str() == "default/j600").map(|run| run.cause).collect();
    assert_eq!(causes, ["event:t/0/8", "event:t/0/9", "event:t/0/10"]);
    assert_eq!(wanted(&decisions).len(), 702);
}

#[test]
fn a_command_that_would_be_too_large_fails_its_run() {
    let mut rig = Rig::new();
    rig.define("name: a\nconcurrency: allow\ncommand: [x, '{{ event.data }}', '{{ event.data }}']\ntriggers: [{event: t}]");
    let told = |rig: &mut Rig, offset, bytes| lines(&rig.event("t", offset, &format!("\"{}\"", "y".repeat(bytes))));
    assert!(!told(&mut rig, 1, 90 << 10).contains("failed"));
    let refused = told(&mut rig, 2, 100 << 10);
    assert!(refused.contains("failed (command: with its environment it would have 20"), "{refused}");
}
