//! Stories from entries made by hand: only what a story reads is in them.

use super::*;
use orrery_allocator::rows::TaskRow;
use orrery_model::id::{AgentId, JobName, RunId};
use orrery_model::messages::{CatalogEntry, EventData, Reason};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const RUN: &str = "abcdefghij234567";

fn at(second: i64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000 + second * 1_000)
}

/// An entry of `trigger/0` or `allocator/0`, one second apart.
fn entry(service: &'static str, second: i64, decisions: Value) -> EntryView {
    let place = Place { service: service.into(), shard: 0, offset: second, item: 0 };
    let entry = json!({"epoch": 3, "actor": "alice", "decisions": decisions});
    EntryView { place, service, seq: second, at: at(second), kinds: Vec::new(), entry }
}

fn record(state: &str, attempts: i32, more: &Value) -> Value {
    let mut record = json!({
        "run": RUN, "job": "shop/receipt", "version": 1, "cause": "event:orders.paid/0/0", "root": "event:orders.paid/0/0",
        "nominal": null, "state": state, "reason": null, "attempts": attempts, "agent": null, "created_at": at(0),
        "started_at": null, "ended_at": null, "end": null, "next_attempt_at": null, "updated_at": at(0),
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        record[name.as_str()] = value.clone();
    }
    record
}

fn created(reason: Option<&str>) -> Value {
    json!({"run_created": {"record": record("waiting", 0, &json!({"reason": reason})), "event": "orders.paid/0/0"}})
}

fn wanted() -> Value {
    json!({"attempt_wanted": {"record": record("waiting", 1, &json!({})), "cell": 0, "spec": {}}})
}

fn story(entries: &[EntryView], second: i64) -> Option<RunStory> {
    story_with(entries, second, None)
}

fn story_with(entries: &[EntryView], second: i64, counted: Option<&Counted>) -> Option<RunStory> {
    let run = RunId::parse(RUN).expect("an id");
    run_story(&RunFacts { run: &run, entries, spec: None, counted, as_of: at(second) })
}

/// A run whose end makes room on an agent.
fn room(cell: u32, second: i64) -> Room {
    let (agent, run) = (AgentId::parse("a-1").expect("an id"), RunId::parse("other").expect("an id"));
    Room { cell, agent, run: Some(run), at: at(second) }
}

fn told(lines: &[Line]) -> String {
    let one = |line: &Line| {
        let place = line.place.as_ref().map_or_else(String::new, |place| format!(" {place}"));
        format!("{:?} {} {}{place}", line.mark, line.code, line.text)
    };
    lines.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn a_life() -> Vec<EntryView> {
    let end = json!({
        "kind": "failed", "code": 3, "signal": null, "reason": null, "wall_ms": 1500, "cpu_ms": 1, "peak_memory": 1, "ended_at": at(8),
    });
    let over = json!({"agent": "a-1", "reason": "it exited with 3", "end": end});
    vec![
        entry("trigger", 0, json!([created(None), wanted()])),
        entry(
            "allocator",
            1,
            json!([{"task_queued": {"spec": {"attempt": format!("{RUN}.1")}, "order": 1, "reasons": [
            {"code": "INSUFFICIENT_CPUS", "detail": "it needs 4 cpus; agent a-1 is closest: 1 of 8 free, 3 short", "agents": 2}]}}]),
        ),
        entry("allocator", 5, json!([{"placed": {"spec": {"attempt": format!("{RUN}.1")}, "agent": "a-1"}}])),
        entry("trigger", 6, json!([{"run_progressed": {"record": record("starting", 1, &json!({"agent": "a-1"}))}}])),
        entry("trigger", 7, json!([{"run_progressed": {"record": record("running", 1, &json!({"agent": "a-1"}))}}])),
        entry("trigger", 9, json!([{"run_ended": {"record": record("failed", 1, &over)}}])),
    ]
}

#[test]
fn a_waiting_run_names_all_reasons_and_what_would_help() {
    let story = story(&a_life(), 4).expect("it was made");
    assert_eq!((story.headline.word.as_str(), story.headline.for_ms), ("WAITING", 4_000));
    assert_eq!(story.headline.why.as_deref(), Some("eligible, not placed"));
    assert_eq!(story.headline.place.map(|place| place.to_string()).as_deref(), Some("allocator/0@1.0"));
    assert!(told(&story.placement).contains("Bad INSUFFICIENT_CPUS it needs 4 cpus; agent a-1 is closest"), "{}", told(&story.placement));
    assert_eq!(told(&story.next), "Note INSUFFICIENT_CPUS ask for at most 1 cpus (agent a-1 now), or wait until tasks end there");
    assert_eq!(story.next[0].agents, Some(2));
}

#[test]
fn a_waiting_run_names_the_cell_whose_agents_were_counted() {
    let reasons = vec![Reason { code: NEVER_FITS.into(), detail: "it is too large".into(), agents: 7 }];
    let here = Counted { cell: 0, agents: 7, reasons, room: Some(room(0, 60)) };
    let told_by = |counted: &Counted| story_with(&a_life(), 4, Some(counted)).expect("it was made");
    let story = told_by(&here);
    let queued = story.placement.iter().find(|line| line.code == QUEUED).expect("it waits");
    assert_eq!((queued.text.contains("waits in cell 0"), queued.agents), (true, Some(7)));
    assert_eq!(told(&story.next), "Note NEVER_FITS ask for less, or start an agent in cell 0 that is large enough");
    let because = |counted: &Counted| told_by(counted).expected.map(|expected| expected.because).unwrap_or_default();
    assert!(because(&here).starts_with("run other on agent a-1 of cell 0 is expected to end"), "{}", because(&here));
    let there = Counted { room: Some(Room { run: None, ..room(2, 60) }), ..here.clone() };
    assert_eq!(because(&there), "agent a-1 of cell 2, which it goes on to, has room");
    // The journal has it in cell 0: what another cell counted is older, or newer.
    let elsewhere = told_by(&Counted { cell: 1, ..here });
    assert_eq!((elsewhere.next[0].code, elsewhere.expected), (INSUFFICIENT_CPUS, None));
}

#[test]
fn a_run_is_told_as_of_any_time() {
    let words: Vec<Option<String>> = [-1, 0, 6, 8, 9].map(|second| story(&a_life(), second).map(|story| story.headline.word)).into();
    let word = |text: &str| Some(text.to_owned());
    assert_eq!(words, [None, word("WAITING"), word("STARTING"), word("RUNNING"), word("FAILED")]);
    let story = story(&a_life(), 100).expect("it was made");
    assert_eq!(told(&story.trigger), "Good TRIGGER_MATCH event orders.paid/0/0 matched trigger/0@0.0");
    assert!(
        told(&story.placement).contains("Good PLACED attempt 1 was placed on a-1 after 5s allocator/0@5.0"),
        "{}",
        told(&story.placement)
    );
    assert!(
        told(&story.attempts).ends_with("Bad FAILED attempt 1 exited with 3 on a-1 after 1s500ms trigger/0@9.0"),
        "{}",
        told(&story.attempts)
    );
    assert_eq!((story.headline.epoch, story.headline.for_ms), (Some(3), 91_000));
}

#[test]
fn a_held_run_names_the_one_that_it_waits_for() {
    let held = entry("trigger", 0, json!([created(Some("concurrency is queue, and otherrun goes on"))]));
    let other = json!({"run_ended": {"record": {"run": "otherrun"}}});
    let entries = [held, entry("trigger", 8, json!([other, wanted()]))];
    let before = story(&entries, 5).expect("it was made");
    assert_eq!(before.gates[0].code, CONCURRENCY);
    assert!(told(&before.next).contains("run otherrun of the same job must end"), "{}", told(&before.next));
    let behind = story(&entries, 9).expect("it was made");
    assert!(told(&behind.gates).starts_with("Good CONCURRENCY held for 8s, until run otherrun ended"), "{}", told(&behind.gates));
    let paused = [entry("trigger", 0, json!([created(Some("the job is paused"))]))];
    assert_eq!(told(&story(&paused, 1).expect("made").next), "Note PAUSED orrery job resume shop/receipt");
}

#[test]
fn the_nearest_event_says_which_part_of_the_predicate_failed() {
    let job = JobName::parse("shop/receipt").expect("a name");
    let document =
        json!({"name": job, "command": ["true"], "triggers": [{"event": "orders.paid", "when": "data.amount > 100 && data.paid"}]});
    let definition = CatalogEntry {
        job: job.clone(),
        version: 1,
        incarnation: 1,
        document: document.to_string(),
        paused: false,
        starts: Vec::new(),
        next_due: None,
        defined_at: at(-100),
        principal: None,
        since: Vec::new(),
    };
    let event = |offset: i64, value: &str| EventData {
        topic: "orders.paid".into(),
        generation: 0,
        partition: 0,
        offset,
        appended: at(offset),
        key: None,
        headers: Vec::new(),
        value: Some(value.as_bytes().into()),
        topic_id: String::new(),
    };
    let events = vec![event(0, r#"{"amount": 120, "paid": true}"#), event(5, r#"{"amount": 50, "paid": true}"#)];
    let topics = [TopicFacts { topic: "orders.paid".into(), events, runs: BTreeMap::new() }];
    let entries = [entry("trigger", 0, json!([created(None), wanted()]))];
    let facts = JobFacts { job: &job, entries: &entries, entry: &definition, topics: &topics, at: at(6), until: at(60) };
    let story = job_story(&facts);
    let told: Vec<(&str, &str)> = story.topics[0].events.iter().map(|event| (event.code, event.text.as_str())).collect();
    assert_eq!(told[0], (TRIGGER_MATCH, "it matched, and made run abcdefghij234567"));
    assert_eq!(told[1], (NO_TRIGGER_MATCH, "data.amount > 100 is false: data.amount = 50"));
    let nothing = job_story(&JobFacts { entries: &[], ..facts });
    assert!(nothing.answer.contains("the nearest event orders.paid/0/5 did not count"), "{}", nothing.answer);
    let early = job_story(&JobFacts { entries: &[], at: at(-200), ..facts });
    assert_eq!((early.definition[0].mark, early.definition[0].code), (Mark::Bad, DEFINITION));
}

#[test]
fn a_join_that_did_not_fire_names_the_parent_that_is_lacking() {
    let job = JobName::parse("shop/bill").expect("a name");
    let document = json!({"name": job, "command": ["true"], "triggers": [{"at": at(99).to_string()}, {"after": ["shop/a", "shop/b"]}]});
    let definition = CatalogEntry {
        job: job.clone(),
        version: 1,
        incarnation: 1,
        document: document.to_string(),
        paused: false,
        starts: Vec::new(),
        next_due: None,
        defined_at: at(-100),
        principal: None,
        since: Vec::new(),
    };
    let done = |parent: &str, run: &str, root: &str| json!({"parent_done": {"job": job, "trigger": 1, "parent": parent, "run": run, "root": root}});
    let story = |entries: &[EntryView]| {
        let story = job_story(&JobFacts { job: &job, entries, entry: &definition, topics: &[], at: at(6), until: at(60) });
        format!("{}\n{}", story.answer, told(&story.next))
    };
    let left_over = entry("trigger", 0, json!([done("shop/b", "run-b0", "time:0")]));
    let waits = story(&[left_over.clone(), entry("trigger", 1, json!([done("shop/a", "run-a1", "time:1")]))]);
    let expected = "triggers[1] waits for shop/b: no end of it as wanted is of the cycle time:1, as that of shop/a is (run run-a1)";
    assert!(waits.contains(expected) && waits.contains("orrery explain job shop/b --at "), "{waits}");
    let none = story(&[]);
    assert!(none.starts_with("Nothing was due"), "{none}");
}

#[test]
fn an_agent_is_told_as_of_a_time() {
    let total = json!({"cpus": 4, "memory": 1 << 30, "disk": 0});
    let attributes = json!([{"name": "zone", "value": "eu"}, {"name": "resisting", "value": "r.1: pid 7, uid 65534"}]);
    let entries = [
        entry("allocator", 0, json!([{"agent_joined": {"agent": "a-1", "session": {"counter": 2}, "total": total, "adopted": []}}])),
        entry("allocator", 2, json!([{"placed": {"spec": {"attempt": "r.1", "job": "a/b"}, "agent": "a-1"}}])),
        entry("allocator", 3, json!([{"agent_changed": {"agent": "a-1", "total": total, "attributes": attributes}}])),
        entry("allocator", 9, json!([{"agent_lost": {"agent": "a-1", "session": {"counter": 2}, "silent_ms": 60_000}}])),
    ];
    let agent = AgentId::parse("a-1").expect("an id");
    let before = agent_story(&agent, &entries, at(5));
    assert_eq!((before.word, before.attempts.as_slice()), ("JOINED", &["r.1".to_owned()][..]));
    assert_eq!(before.session[1].text, "changed: cpus 4, memory 1GiB, disk 0; resisting: r.1: pid 7, uid 65534");
    assert_eq!(agent_story(&agent, &entries, at(9)).word, "LOST");
}

#[test]
fn what_waits_is_summed_up_by_reason() {
    let reason = |code: &str| Reason { code: code.into(), detail: format!("because of {code}"), agents: 1 };
    let one = |subject: &str, cell: Option<u32>, codes: &[&str]| Waiting {
        subject: subject.into(),
        job: "a/b".into(),
        cell,
        reasons: codes.iter().map(|code| reason(code)).collect(),
    };
    let waiting = [
        one("r.1", Some(0), &[NEVER_FITS, FILTERED_CONSTRAINT]),
        one("s.1", Some(0), &[NEVER_FITS, NEVER_FITS]),
        one("t.1", Some(1), &[NEVER_FITS]),
        one("u", None, &[PAUSED]),
    ];
    let told = pending(&waiting, true, |_, _| None);
    let group = |group: &Group| (group.code.clone(), group.cell, group.tasks, group.subject.clone());
    let groups: Vec<_> = told.groups.iter().map(group).collect();
    let wanted = |code: &str, cell, tasks, subject: &str| (code.to_owned(), cell, tasks, subject.to_owned());
    assert_eq!(
        groups,
        [
            wanted(NEVER_FITS, Some(0), 2, "r.1"),
            wanted(FILTERED_CONSTRAINT, Some(0), 1, "r.1"),
            wanted(NEVER_FITS, Some(1), 1, "t.1"),
            wanted(PAUSED, None, 1, "u"),
        ]
    );
    assert_eq!((told.count, told.or_more), (4, true));
    assert!(told.groups[2].next.contains("start an agent in cell 1"), "{}", told.groups[2].next);
}

#[test]
fn room_comes_with_the_end_that_frees_enough() {
    let resources = |cpus: i64| serde_json::from_value(json!({"cpus": cpus, "memory": 0, "disk": 0})).expect("resources");
    let running = |run: &str, cpus: i64, ends: Option<i64>| Running {
        run: RunId::parse(run).expect("an id"),
        resources: resources(cpus),
        ends: ends.map(at),
    };
    let agent = AgentId::parse("a-1").expect("an id");
    let tasks = [running("late", 4, Some(30)), running("soon", 1, Some(10)), running("who-knows", 8, None)];
    let room = |need: i64, second: i64| {
        let room = room_at((0, &agent), &resources(1), &resources(need), &tasks, at(second))?;
        Some((room.run.map_or_else(String::new, |run| run.to_string()), room.at))
    };
    assert_eq!(room(1, 5), Some((String::new(), at(5))));
    assert_eq!(room(2, 5), Some(("soon".into(), at(10))));
    assert_eq!((room(2, 20), room(6, 20)), (None, Some(("late".into(), at(30)))));
    assert_eq!(room(7, 5), None);
    assert_eq!((median_ms(vec![9, 1, 5]), median_ms(vec![1, 2]), median_ms(vec![])), (Some(5), Some(1), None));
}

/// It came to its cell at 0.
fn waiting_task(hop: i32, may_decline: bool) -> TaskRow {
    let spec = json!({
        "attempt": format!("{RUN}.1"), "job": "shop/receipt", "version": 1, "hop": hop, "may_decline": may_decline, "role": "*",
        "principal": null, "priority": 50, "resources": {"cpus": 1, "memory": 0, "disk": 0}, "constraints": [], "argv": ["true"],
        "env": [], "user": null, "limits": [], "timeout_ms": null, "grace_ms": 1000, "event": null, "avoid": null,
    });
    let row = json!({"spec": spec, "order": 1, "wanted_at": at(0), "reasons": [], "place": null, "unwanted": null});
    serde_json::from_value(row).expect("a row")
}

#[test]
fn a_task_has_room_in_the_cell_that_has_it_when_the_room_comes() {
    let soon = |cell: u32, second: i64| Outlook::Room(Some(room(cell, second)));
    let first = |task: &TaskRow, outlooks: [Outlook; 3]| {
        let room = first_room(task, (0, 3), at(2), |cell| outlooks[cell as usize].clone())?;
        Some((room.cell, room.at, room.run.is_some()))
    };
    let roams = waiting_task(0, true);
    assert_eq!(first(&roams, [soon(0, 9), soon(1, 3), soon(2, 3)]), Some((0, at(9), true)));
    // A cell that it has left by then does not count; room that is there before it comes is there when it comes.
    assert_eq!(first(&roams, [soon(0, 30), soon(1, 3), soon(2, 3)]), Some((1, at(10), false)));
    assert_eq!(first(&roams, [soon(0, 30), soon(1, 40), soon(2, 50)]), Some((2, at(50), true)));
    // Where no agent could run it, it is handed back at once.
    assert_eq!(first(&roams, [Outlook::Hopeless, soon(1, 5), soon(2, 3)]), Some((1, at(5), true)));
    assert_eq!(first(&roams, [Outlook::Hopeless, Outlook::Hopeless, soon(2, 1)]), Some((2, at(2), false)));
    assert_eq!(first(&roams, [Outlook::Room(None), Outlook::Room(None), Outlook::Hopeless]), None);
    // The last cell keeps it, as does one that no other may follow.
    assert_eq!(first(&waiting_task(1, true), [soon(0, 30), soon(1, 40), soon(2, 3)]), Some((1, at(40), true)));
    assert_eq!(first(&waiting_task(0, false), [soon(0, 30), soon(1, 3), soon(2, 3)]), Some((0, at(30), true)));
}

#[test]
fn a_line_says_where_a_reading_was_cut_off_and_what_tells_the_rest() {
    let line = |limit| Line::cut_off(("allocator", 3), limit, "`orrery audit log --run r` tells all").text;
    let text = "reading allocator/3 was cut off at 8 MiB: what lies beyond is not told; `orrery audit log --run r` tells all";
    assert_eq!(line(Limit::Bytes(8 << 20)), text);
    assert!(line(Limit::Entries(200)).contains("cut off at 200 entries"));
    assert!(line(Limit::Offsets(5_000)).contains("cut off at 5000 offsets"));
}
