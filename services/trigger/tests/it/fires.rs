//! Events over several shards: one reads and matches, the job's owner decides (protocol §5.1 to §5.3).
//!
//! Of two shards, 0 reads t/0 and t/1 and owns the jobs d and e; 1 reads t/2 and owns a and b.

use crate::rig::{Rig, event, lines, wanted};
use crate::shards::{Cluster, inputs_of};
use expect_test::expect;
use orrery_model::decider::Decider;
use orrery_model::job::{Format, read_documents};
use orrery_model::journal::Shards;
use orrery_model::messages::{EventData, Fire, StartPosition};
use orrery_trigger::{Decision, Input};

const ON_T: &str = "command: [x, '{{ event.data.id }}']\nconcurrency: allow\ntriggers: [{event: t, when: data.n > 1}]";

fn start(partition: i32, offset: i64) -> StartPosition {
    StartPosition { topic: "t".into(), generation: 0, partition, offset, topic_id: String::new() }
}

fn on_t(rig: &mut Rig, name: &str, ends: Vec<StartPosition>) -> Vec<Decision> {
    let spec = read_documents(&format!("name: {name}\n{ON_T}"), Format::Yaml).unwrap().remove(0);
    rig.submit(spec.to_json(), ends)
}

/// A fire as shard 0 would send it to shard 1.
fn fire(version: i64, incarnation: i64, offset: i64) -> Fire {
    let job = orrery_model::id::JobName::with_default_namespace("a").unwrap();
    Fire { job, incarnation, version, trigger: 0, event: event("t", offset, r#"{"id": "x", "n": 2}"#) }
}

fn arrives(rig: &mut Rig, fire: Fire) -> String {
    lines(&rig.input(&Input::FireArrived { fire }))
}

#[test]
fn each_partition_has_one_reader_whoever_owns_the_jobs() {
    let mut cluster = Cluster::new(2);
    cluster.at(1, |rig| on_t(rig, "a", vec![start(0, 7), start(1, 8), start(2, 9)]));
    cluster.at(0, |rig| on_t(rig, "d", vec![start(0, 5), start(1, 9), start(2, 10)]));
    let reads = |cluster: &Cluster, shard: usize| [0, 1, 2].map(|partition| cluster.rigs[shard].trigger.reads_from("t", partition, ""));
    assert_eq!(reads(&cluster, 0), [Some(5), Some(8), None]);
    assert_eq!(reads(&cluster, 1), [None, None, Some(9)]);
    cluster.at(1, |rig| rig.withdraw("a"));
    assert_eq!(reads(&cluster, 0), [Some(5), Some(9), None]);
    assert_eq!(cluster.rigs[0].trigger.reads_from("t", 0, "made anew"), Some(0));
}

#[test]
fn an_event_fires_the_jobs_of_every_shard_once() {
    let mut cluster = Cluster::new(2);
    cluster.at(1, |rig| on_t(rig, "a", vec![start(0, 5)]));
    cluster.at(0, |rig| on_t(rig, "d", vec![start(0, 6)]));
    let mut told = Vec::new();
    for (offset, n) in [(4, 2), (5, 2), (6, 2), (7, 1)] {
        told.push(cluster.at(0, |rig| rig.event("t", offset, &format!(r#"{{"id": "o-{offset}", "n": {n}}}"#))));
    }
    expect![[r#"

        0: forwarded t/0/5 to 1: fire of default/a v1
        1: kept t/0/5
        1: created default/a event:t/0/5 #0 waiting
        1: wanted default/a event:t/0/5 #1 waiting
        0: forwarded t/0/6 to 1: fire of default/a v1
        0: kept t/0/6
        0: created default/d event:t/0/6 #0 waiting
        0: wanted default/d event:t/0/6 #1 waiting
        1: kept t/0/6
        1: created default/a event:t/0/6 #0 waiting
        1: wanted default/a event:t/0/6 #1 waiting
    "#]]
    .assert_eq(&(told.join("\n") + "\n").replace("\n\n", "\n"));
}

#[test]
fn a_fire_that_comes_again_or_late_is_a_repeat() {
    let mut cluster = Cluster::new(2);
    cluster.at(1, |rig| on_t(rig, "a", Vec::new()));
    let rig = &mut cluster.rigs[1];
    let decisions = rig.input(&Input::FireArrived { fire: fire(1, 1, 5) });
    let Some(Decision::AttemptWanted { spec, .. }) = decisions.last() else { panic!() };
    assert_eq!(spec.argv, ["x", "x"], "the event came with the fire");
    assert!(decisions.iter().any(|decision| matches!(decision, Decision::RunCreated { matched: Some(1), .. })));
    assert_eq!(arrives(rig, fire(1, 1, 5)), "");
    rig.restart();
    assert_eq!(arrives(rig, fire(1, 1, 5)), "");
    assert_eq!(arrives(rig, fire(1, 1, 4)), "");
    assert!(arrives(rig, fire(1, 1, 6)).contains("created default/a event:t/0/6"));
}

#[test]
fn a_fire_waits_for_its_version_and_others_wait_behind_it() {
    let mut cluster = Cluster::new(2);
    let rig = &mut cluster.rigs[1];
    let mut told = vec![arrives(rig, fire(1, 1, 9))];
    on_t(rig, "a", Vec::new());
    for (version, offset) in [(3, 10), (1, 11)] {
        told.push(arrives(rig, fire(version, 1, offset)));
    }
    told.push(lines(&rig.define(&format!("name: a\npriority: 60\n{ON_T}"))));
    rig.restart();
    told.push(lines(&rig.define(&format!("name: a\npriority: 70\n{ON_T}"))));
    expect![[r#"
        parked fire 0 of default/a, t/0/9
        parked fire 0 of default/a, t/0/10
        parked fire 1 of default/a, t/0/11
        defined default/a v2 life 1
        defined default/a v3 life 1
        released fire 0 of default/a
        kept t/0/10
        created default/a event:t/0/10 #0 waiting
        wanted default/a event:t/0/10 #1 waiting
        released fire 1 of default/a
        kept t/0/11
        created default/a event:t/0/11 #0 waiting
        wanted default/a event:t/0/11 #1 waiting"#]]
    .assert_eq(&told.join("\n"));
    let ran: Vec<String> = rig.trigger.runs().map(|run| format!("{} v{}", run.cause, run.version)).collect();
    assert!(ran.contains(&"event:t/0/9 v1".to_owned()) && ran.contains(&"event:t/0/11 v3".to_owned()), "{ran:?}");
}

#[test]
fn what_the_present_definition_does_not_want_is_skipped() {
    let mut cluster = Cluster::new(2);
    let rig = &mut cluster.rigs[1];
    on_t(rig, "a", vec![start(0, 5)]);
    let mut told = vec![arrives(rig, fire(1, 1, 4)), arrives(rig, fire(2, 1, 6))];
    told.push(lines(&rig.withdraw("a")));
    told.push(arrives(rig, fire(1, 1, 7)));
    on_t(rig, "a", Vec::new());
    told.push(arrives(rig, fire(1, 1, 8)));
    rig.define("name: a\ncommand: [x]\ntriggers: [{event: u}]");
    told.push(arrives(rig, fire(1, 2, 9)));
    expect![[r#"
        skipped default/a v1 on t/0/4: it lies before the start of version 1
        parked fire 0 of default/a, t/0/6
        deleted default/a
        released fire 0 of default/a
        skipped default/a v2 on t/0/6: the job is gone
        skipped default/a v1 on t/0/7: the job is gone
        skipped default/a v1 on t/0/8: the job was made anew: this is its life 2
        skipped default/a v1 on t/0/9: version 2 of the job has no trigger of this topic"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn fires_wait_in_bounded_numbers_and_only_where_they_belong() {
    let mut cluster = Cluster::new(2);
    let refused = arrives(&mut cluster.rigs[0], fire(1, 1, 5));
    assert_eq!(refused, "refused misrouted: t/0/5 fires default/a at shard 0, but shard 1 owns it; no hint");
    let rig = &mut cluster.rigs[1];
    for offset in 0..100 {
        assert!(arrives(rig, fire(1, 1, offset)).starts_with("parked"));
    }
    expect!["skipped default/a v1 on t/0/100: 100 events wait for the job's definition already"].assert_eq(&arrives(rig, fire(1, 1, 100)));
    assert_eq!(wanted(&on_t(rig, "a", Vec::new())).len(), 100);
}

#[test]
fn a_large_event_for_many_jobs_elsewhere_is_spread_over_entries() {
    let mut rig = Rig::new();
    rig.acquire(Shards { shard: 0, trigger_shards: 2, cells: 1 });
    let mut others = Rig::new();
    others.acquire(Shards { shard: 1, trigger_shards: 2, cells: 1 });
    let names = ["a", "b", "c", "g", "h"];
    for name in names {
        let defined = others.define(&format!("name: {name}\ncommand: [x]\ntriggers: [{{event: t}}]"));
        inputs_of(2, 1, &defined).into_iter().for_each(|(_, input)| drop(rig.input(&input)));
    }
    let event: EventData = event("t", 0, &format!("{:?}", "x".repeat(100 << 10)));
    let mut decisions = Vec::new();
    rig.trigger.handle(rig.at, &Input::EventArrived { event }, &mut decisions);
    assert_eq!(inputs_of(2, 0, &decisions).len(), 2, "{}", lines(&decisions));
    decisions.extend(rig.sleep_to("2026-11-21T00:00:01Z"));
    let fired: usize = inputs_of(2, 0, &decisions).into_iter().map(|(_, input)| wanted(&others.input(&input)).len()).sum();
    assert_eq!(fired, names.len());
    assert!(lines(&decisions).ends_with("parked until None"));
}
