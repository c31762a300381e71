//! Stories of events from entries made by hand: only what a story reads is in them.

use super::*;
use crate::{EntryView, Place};
use orrery_model::id::JobName;
use orrery_model::messages::{CatalogEntry, RunRecord};
use orrery_model::time::Timestamp;
use serde_json::{Value, json};

const RUN: &str = "abcdefghij234567";

fn at(second: i64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000 + second * 1_000)
}

/// An entry of a trigger shard, one second apart.
fn entry(shard: u32, second: i64, source: Value, dropped: Value, decisions: Value) -> EntryView {
    let place = Place { service: "trigger".into(), shard, offset: second, item: 0 };
    let input = json!({"event_arrived": {"event": event(second)}});
    let entry = json!({"source": source, "input": input, "dropped": dropped, "decisions": decisions});
    EntryView { place, service: "trigger", seq: second, at: at(second), kinds: Vec::new(), entry }
}

fn record_of(offset: i64) -> Value {
    json!({"from_record": {"topic": "orders.paid", "partition": 0, "generation": 0, "offset": offset, "prev": offset, "item": 0}})
}

fn without_effect(from: i64, to: i64) -> Value {
    json!([{"topic": "orders.paid", "partition": 0, "from": from, "to": to, "count": to - from, "reason": "no_effect"}])
}

fn event(offset: i64) -> EventData {
    EventData {
        topic: "orders.paid".into(),
        generation: 0,
        partition: 0,
        offset,
        appended: at(0),
        key: Some(b"alice".as_slice().into()),
        headers: Vec::new(),
        value: Some(br#"{"amount": 50, "kind": "sale"}"#.as_slice().into()),
        topic_id: String::new(),
    }
}

fn run() -> RunRecord {
    let run = json!({
        "run": RUN, "job": "shop/receipt", "version": 1, "cause": "event:orders.paid/0/5", "root": "event:orders.paid/0/5",
        "nominal": null, "state": "waiting", "reason": null, "attempts": 0, "agent": null, "created_at": at(6), "started_at": null,
        "ended_at": null, "end": null, "next_attempt_at": null, "updated_at": at(6),
    });
    serde_json::from_value(run).expect("a run")
}

/// `shop/receipt`, of shard 3, with this predicate.
fn watcher(when: &str) -> Watcher {
    let job = JobName::parse("shop/receipt").expect("a name");
    let document = json!({"name": job, "command": ["true"], "triggers": [{"event": "orders.paid", "when": when}]}).to_string();
    let spec = serde_json::from_str(&document).expect("a document");
    let entry = CatalogEntry {
        job: job.clone(),
        version: 1,
        incarnation: 1,
        document,
        paused: false,
        starts: Vec::new(),
        next_due: None,
        defined_at: at(-100),
        principal: None,
        since: Vec::new(),
    };
    Watcher { job, definition: Some((entry, spec)), owner: 3, run: None, later: None }
}

fn place() -> EventPlace {
    "orders.paid/0@5".parse().expect("a place")
}

fn story(entries: Vec<EntryView>, watchers: &[Watcher]) -> EventStory {
    story_of(&event(5), entries, watchers)
}

fn story_of(event: &EventData, entries: Vec<EntryView>, watchers: &[Watcher]) -> EventStory {
    let (place, mut trail) = (place(), Trail::new(place()));
    for entry in entries {
        trail.take(entry);
    }
    let facts = EventFacts { place: &place, event: Some(event), before: &[], start: 0, reader: 1, trail: &trail, watchers, others: 0 };
    event_story(&facts)
}

/// Mark, code and evidence of each line.
fn told(lines: &[Line]) -> Vec<String> {
    let one = |line: &Line| {
        let place = line.place.as_ref().map_or_else(String::new, |place| format!(" {place}"));
        format!("{:?} {}{place}", line.mark, line.code)
    };
    lines.iter().map(one).collect()
}

#[test]
fn places_are_read_as_commands_print_them() {
    for text in ["orders.paid/0@5", "orders.paid/0/5", "orders.paid~2/0/5"] {
        assert_eq!(text.parse::<EventPlace>(), Ok(place()), "{text}");
    }
    for wrong in ["orders.paid", "orders.paid/0", "orders.paid/x@5", "orders.paid/0@-1", "orders.paid/-1@5"] {
        assert!(wrong.parse::<EventPlace>().expect_err(wrong).contains("write TOPIC/PARTITION@OFFSET"));
    }
    assert!("a b/0@5".parse::<EventPlace>().expect_err("a name").contains("not a topic name"));
    assert_eq!(place().to_string(), "orders.paid/0/5");
    assert!(place().lies_before("orders.paid~1/0/6") && !place().lies_before("orders.paid/1/6") && !place().lies_before("orders.paid/0/5"));
}

#[test]
fn an_event_without_effect_is_evaluated_again() {
    let entries = vec![entry(1, 7, json!({"observed": {}}), without_effect(3, 7), json!([]))];
    let story = story(entries, &[watcher("data.amount > 100 && data.kind == 'sale'")]);
    assert_eq!(told(&story.reading), ["Good READ trigger/1@7.0"]);
    assert_eq!(told(&story.jobs[0].lines), ["Bad NO_TRIGGER_MATCH"]);
    assert_eq!(story.jobs[0].lines[0].text, "data.amount > 100 is false: data.amount = 50");
    assert_eq!(story.jobs[0].traces[0].parts.len(), 2);
    assert_eq!(told(&story.next), ["Note NO_TRIGGER_MATCH"]);
    let answer = "Event orders.paid/0/5 has not fired shop/receipt: data.amount > 100 is false: data.amount = 50.";
    assert_eq!(story.answer, answer);
    assert!(story.record[0].text.contains("key \"alice\""), "{}", story.record[0].text);
}

#[test]
fn an_event_that_was_not_read_yet_says_where_its_reader_stands() {
    let before = || vec![entry(1, 4, record_of(4), json!([]), json!([]))];
    let matches = story(before(), &[watcher("data.amount > 1")]);
    assert_eq!(told(&matches.reading), ["Bad NOT_READ"]);
    assert_eq!(told(&matches.jobs[0].lines), ["Note TRIGGER_MATCH"]);
    assert!(matches.reading[0].text.contains("stands at 5: it was not read yet"), "{}", matches.reading[0].text);
    let nobody = story(before(), &[]);
    assert_eq!((nobody.reading[0].code, nobody.next[0].code), (codes::NOT_READ, codes::NOT_READ));
    assert!(nobody.jobs.is_empty(), "{:?}", nobody.jobs);
    assert_eq!(nobody.answer, "Event orders.paid/0/5 has fired nothing: no job watches orders.paid, so nobody reads it.");
    let behind = story(vec![entry(1, 9, record_of(9), json!([]), json!([]))], &[watcher("data.amount > 1")]);
    assert_eq!((behind.reading[0].code, behind.jobs[0].lines[0].code), (codes::READ, codes::NOT_DECIDED));
}

#[test]
fn a_predicate_that_fails_on_what_is_no_json_says_so_and_does_not_advise_what_it_does_already() {
    let values: [(&[u8], &str); 3] = [
        (b"amount=50", "its value is no JSON (expected value at line 1 column 1), so that `data` is its text"),
        (b"\xef\xbb\xbf{\"amount\": 50}", "its value is no JSON (it begins with a byte order mark)"),
        (br#"{"amount": "\ud800"}"#, "its value is no JSON (unexpected end of hex escape at line 1 column 19)"),
    ];
    for (value, why) in values {
        let event = EventData { value: Some(value.into()), ..event(5) };
        let dropped = vec![entry(1, 6, json!({"from_tick": {}}), without_effect(5, 6), json!([]))];
        let told = story_of(&event, dropped, &[watcher("has(data.amount) && data.amount > 1")]);
        assert_eq!(told.jobs[0].lines[0].code, codes::NOT_JSON, "{told:?}");
        assert!(told.jobs[0].lines[0].text.contains(why), "{}", told.jobs[0].lines[0].text);
        let next: Vec<&str> = told.next.iter().map(|line| line.code).collect();
        assert_eq!(next, [codes::NOT_JSON]);
        let as_text = story_of(&event, Vec::new(), &[watcher("data == \"x\"")]);
        assert_eq!(as_text.jobs[0].lines[0].code, codes::NO_TRIGGER_MATCH, "it was written for texts");
    }
}

#[test]
fn a_fire_is_followed_to_the_shard_that_owns_the_job() {
    let fire = json!({"job": "shop/receipt", "incarnation": 1, "version": 1, "trigger": 0, "event": event(5)});
    let forward = json!({"to": 3, "origin": {}, "body": {"fire_forwarded": {"fire": fire}}});
    let sent = || entry(1, 5, record_of(5), json!([]), json!([{"forwarded": {"forward": forward}}]));
    let on_its_way = story(vec![sent()], &[watcher("data.amount > 1")]);
    assert_eq!(told(&on_its_way.reading), ["Good READ trigger/1@5.0"]);
    assert_eq!(told(&on_its_way.jobs[0].lines), ["Note FORWARDED trigger/1@5.0", "Bad NOT_DECIDED"]);
    let created = json!([{"run_created": {"record": run(), "event": "orders.paid/0/5"}}]);
    let made = entry(3, 6, json!({"from_tick": {}}), json!([]), created);
    let paused = Watcher { run: Some(RunRecord { reason: Some("the job is paused".into()), ..run() }), ..watcher("data.amount > 1") };
    let forgotten = story(vec![sent(), made.clone()], &[watcher("data.amount > 1")]);
    assert_eq!(told(&forgotten.jobs[0].lines)[2..], ["Good RUN trigger/3@6.0", "Note RUN"]);
    let fired = story(vec![sent(), made], &[paused]);
    let lines = ["Good TRIGGER_MATCH", "Note FORWARDED trigger/1@5.0", "Good RUN trigger/3@6.0", "Bad PAUSED"];
    assert_eq!(told(&fired.jobs[0].lines), lines);
    assert_eq!((fired.jobs[0].run.as_ref().map(ToString::to_string).as_deref(), fired.jobs[0].shard), (Some(RUN), 3));
    assert_eq!(fired.next[0].text, "orrery job resume shop/receipt");
}

#[test]
fn a_trail_is_settled_when_no_job_is_left_to_be_shown_the_event() {
    let parked = |next: Value| json!([{"event_parked": {"event": "orders.paid/0/5", "next": next}}]);
    let mut trail = Trail::new(place());
    assert!(!trail.take(entry(1, 4, record_of(4), json!([]), json!([]))), "it is about another event");
    assert!(trail.take(entry(1, 5, record_of(5), json!([]), parked(json!("shop/z")))));
    assert!(trail.is_accounted_for() && !trail.is_settled());
    assert!(trail.take(entry(1, 6, json!({"from_tick": {}}), json!([]), parked(Value::Null))));
    assert!(trail.is_settled());
    assert_eq!((trail.read_at(), trail.position(), trail.event()), (Some(at(5)), Some(6), Some(event(5))));
}
