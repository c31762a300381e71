//! Starts, and what is read again for a definition that came to its reader late (protocol §5.2, §5.4).

use crate::rig::{Rig, event, lines, wanted};
use expect_test::expect;
use orrery_model::decider::Decider;
use orrery_model::id::JobName;
use orrery_model::job::{Format, read_documents};
use orrery_model::journal::{Observation, Shards};
use orrery_model::messages::{CatalogEntry, EventData, Header, StartPosition};
use orrery_model::time::Timestamp;
use orrery_trigger::{Decision, Input, Trigger};

const ON_T: &str = "command: [x]\nconcurrency: allow\ntriggers: [{event: t, from: earliest}]";
const REREAD: &str = "t#default/a#1.1";

fn at(offset: i64) -> Vec<StartPosition> {
    vec![StartPosition { topic: "t".into(), generation: 0, partition: 0, offset, topic_id: String::new() }]
}

fn job() -> JobName {
    JobName::with_default_namespace("a").unwrap()
}

/// Defines the job where the topic begins at one offset and is read at another.
fn defined(rig: &mut Rig, start: i64, read: i64) -> Vec<Decision> {
    let document = read_documents(&format!("name: a\n{ON_T}"), Format::Yaml).unwrap().remove(0).to_json();
    let (origin, appended) = (rig.origin("jobs"), rig.at);
    rig.input(&Input::JobSubmitted { document, principal: None, starts: at(start), origin, appended, read: at(read) })
}

fn again(rig: &mut Rig, event: EventData) -> String {
    lines(&rig.input(&Input::EventReread { job: job(), event }))
}

fn caught_up(rig: &mut Rig) -> String {
    lines(&rig.input(&Trigger::observed(Observation::CaughtUp { topic: REREAD.into(), partition: 0 })))
}

#[test]
fn what_was_passed_is_read_again_for_the_new_job_alone_before_it_sees_the_rest() {
    let mut rig = Rig::new();
    rig.define("name: b\ncommand: [x]\nconcurrency: allow\ntriggers: [{event: t}]");
    assert_eq!(lines(&defined(&mut rig, 3, 5)), format!("defined default/a v1 life 1\nreads again {REREAD}/0 from 3 for default/a"));
    let of = |decisions: &[Decision]| wanted(decisions).iter().map(|run| run.job.to_string()).collect::<Vec<_>>();
    assert_eq!(of(&rig.event("t", 5, "{}")), ["default/b"], "the new job waits for what lies before");
    assert_eq!(again(&mut rig, event("t", 3, "{}")).lines().next(), Some("kept t/0/3"));
    rig.restart();
    expect![[r#"
        created default/a event:t/0/5 #0 waiting
        wanted default/a event:t/0/5 #1 waiting"#]]
    .assert_eq(&again(&mut rig, event("t", 5, "{}")));
    assert_eq!(caught_up(&mut rig), "has read t/0 again for default/a");
    assert_eq!(of(&rig.event("t", 6, "{}")), ["default/a", "default/b"]);
    assert_eq!(again(&mut rig, event("t", 4, "{}")), "", "what is left of a re-read that is over");
}

#[test]
fn a_definition_that_counts_from_where_its_reader_stands_needs_no_reread() {
    let mut rig = Rig::new();
    assert_eq!(lines(&defined(&mut rig, 5, 5)), "defined default/a v1 life 1");
    assert_eq!(lines(&defined(&mut rig, 0, 9)), "defined default/a v1 life 1", "a start that is known is kept");
}

#[test]
fn a_reader_that_learns_late_reads_again_and_forwards() {
    let mut rig = Rig::new();
    rig.acquire(Shards { shard: 0, trigger_shards: 2, cells: 1 });
    let document = read_documents(&format!("name: a\n{ON_T}"), Format::Yaml).unwrap().remove(0).to_json();
    let entry = CatalogEntry {
        job: job(),
        version: 1,
        incarnation: 1,
        document,
        paused: false,
        starts: at(3),
        next_due: None,
        defined_at: Timestamp(0),
        principal: None,
        since: Vec::new(),
    };
    let learned = |version: i64| Input::CatalogArrived { job: job(), entry: Some(CatalogEntry { version, ..entry.clone() }), read: at(5) };
    assert_eq!(lines(&rig.input(&learned(1))), format!("learned default/a v1\nreads again {REREAD}/0 from 3 for default/a"));
    assert_eq!(lines(&rig.input(&learned(2))), "learned default/a v2", "the next version goes on with it");
    assert_eq!(rig.event("t", 5, "{}").len(), 0);
    assert_eq!(again(&mut rig, event("t", 4, "{}")), "forwarded t/0/4 to 1: fire of default/a v2");
    let gone = Input::CatalogArrived { job: job(), entry: None, read: Vec::new() };
    assert_eq!(lines(&rig.input(&gone)), "forgotten default/a");
    assert_eq!(rig.trigger.rereads(), []);
}

#[test]
fn a_topic_made_anew_ends_its_rereads_and_counts_from_its_start() {
    let mut rig = Rig::new();
    defined(&mut rig, 3, 5);
    let anew = Observation::TopicRecreated { topic: "t".into(), generation: 1, partition: 0, topic_id: "new".into() };
    assert_eq!(lines(&rig.input(&Trigger::observed(anew))), "has read t/0 again for all");
    let first = EventData { generation: 1, topic_id: "new".into(), ..event("t", 0, "{}") };
    assert_eq!(wanted(&rig.input(&Input::EventArrived { event: first }))[0].cause, "event:t~1/0/0");
}

#[test]
fn an_event_with_a_key_fires_once_also_when_it_is_read_again() {
    let mut rig = Rig::new();
    rig.define("name: b\ncommand: [x]\nconcurrency: allow\ntriggers: [{event: t}]");
    let headers = vec![Header { name: "idempotency-key".into(), value: b"k".as_slice().into() }];
    let keyed = |offset: i64| EventData { headers: headers.clone(), ..event("t", offset, "{}") };
    let live = |rig: &mut Rig, offset: i64| wanted(&rig.input(&Input::EventArrived { event: keyed(offset) })).len();
    assert_eq!((live(&mut rig, 3), live(&mut rig, 4)), (1, 0));
    defined(&mut rig, 0, 5);
    assert!(again(&mut rig, keyed(3)).contains("wanted default/a event:t/0/3"), "the record that counts");
    assert_eq!(again(&mut rig, keyed(4)), "", "the one that was sent again");
}

#[test]
fn a_record_older_than_a_refused_one_does_not_count() {
    let mut rig = Rig::new();
    let older = rig.at;
    rig.at = Timestamp(older.0 + 1_000);
    assert_eq!(lines(&rig.withdraw("a")), "submitted default/a\nrefused not_found: there is no job default/a; no hint");
    let (newer, document) = (rig.at, format!("name: a\n{ON_T}"));
    let document = read_documents(&document, Format::Yaml).unwrap().remove(0).to_json();
    let origin = rig.origin("jobs");
    let late = Input::JobSubmitted { document, principal: None, starts: Vec::new(), origin, appended: older, read: Vec::new() };
    assert_eq!(lines(&rig.input(&late)), format!("superseded default/a of {older} by {newer}"));
}
