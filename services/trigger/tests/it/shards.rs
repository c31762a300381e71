//! Several shards: what concerns another's job finds its owner (protocol §4.1, §4.2).

use crate::rig::{Rig, last, lines};
use expect_test::expect;
use orrery_model::decider::{Decider, InputTopic, Message};
use orrery_model::id::JobName;
use orrery_model::journal::Shards;
use orrery_model::messages::{CATALOG, EndKind, FORWARDS, Forward, Item, Origin, Packed, Request, RequestRecord};
use orrery_model::record::Record;
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_trigger::{Decision, Input, Trigger};

/// Shards whose messages to each other arrive at once, by way of records.
pub(crate) struct Cluster {
    pub(crate) rigs: Vec<Rig>,
}

impl Cluster {
    pub(crate) fn new(trigger_shards: i32) -> Self {
        let rig = |shard| {
            let mut rig = Rig::new();
            rig.acquire(Shards { shard, trigger_shards, cells: 1 });
            rig
        };
        Self { rigs: (0..trigger_shards).map(rig).collect() }
    }

    /// Something happens at one shard; what is decided there and, because of it, elsewhere.
    pub(crate) fn at(&mut self, shard: usize, what: impl FnOnce(&mut Rig) -> Vec<Decision>) -> String {
        let decisions = what(&mut self.rigs[shard]);
        let mut told = vec![told(shard, &decisions)];
        self.deliver(shard, &decisions, &mut told);
        told.retain(|lines| !lines.is_empty());
        told.join("\n")
    }

    fn deliver(&mut self, from: usize, decisions: &[Decision], lines: &mut Vec<String>) {
        for (to, input) in inputs_of(self.rigs.len(), from, decisions) {
            let decisions = self.rigs[to].input(&input);
            lines.push(told(to, &decisions));
            self.deliver(to, &decisions, lines);
        }
    }
}

fn told(shard: usize, decisions: &[Decision]) -> String {
    lines(decisions).lines().map(|line| format!("{shard}: {line}")).collect::<Vec<_>>().join("\n")
}

/// What other shards read of these decisions' messages.
pub(crate) fn inputs_of(shards: usize, from: usize, decisions: &[Decision]) -> Vec<(usize, Input)> {
    let mut messages = Vec::new();
    decisions.iter().for_each(|decision| Trigger::messages(Timestamp(0), decision, &mut messages));
    let mut inputs = Vec::new();
    for message in messages {
        match message {
            Message::Forward(forward) => inputs.push((forward.to as usize, read_forward(*forward))),
            Message::Catalog(job, entry) => {
                let value = entry.map(|entry| CATALOG.encode(&entry));
                let input = read(topics::CATALOG, Some(job.as_str()), value);
                inputs.extend((0..shards).filter(|to| *to != from).map(|to| (to, input.clone())));
            }
            _ => {}
        }
    }
    inputs
}

fn read_forward(forward: Forward) -> Input {
    read(topics::FORWARDS, None, Some(FORWARDS.encode(&Packed { items: vec![Item { seq: 1, index: 0, body: forward }] })))
}

fn read(topic: &str, key: Option<&str>, value: Option<Vec<u8>>) -> Input {
    let (key, value) = (key.map(|key| key.as_bytes().into()), value.map(|value| value.as_slice().into()));
    let record = Record { offset: 0, prev: 0, appended: Timestamp(0), key, value, headers: Vec::new() };
    let topic = InputTopic { name: topic, ours: true, partition: 0, generation: 0, id: "" };
    Trigger::decode(topic, &record).unwrap().remove(0).input
}

fn job(name: &str) -> JobName {
    JobName::with_default_namespace(name).unwrap()
}

#[test]
fn names_lead_to_their_shards() {
    let owner = |name: &str| orrery_model::murmur2::partition_of(job(name).as_str().as_bytes(), 2);
    assert_eq!(["a", "b", "d", "e"].map(owner), [1, 1, 0, 0]);
}

#[test]
fn what_comes_to_another_shard_is_forwarded_once() {
    let mut cluster = Cluster::new(2);
    let mut told = vec![
        cluster.at(0, |rig| rig.define("name: a\ncommand: [x]")),
        cluster.at(0, |rig| rig.run_job("a")),
        cluster.at(1, |rig| rig.run_job("d")),
    ];
    let pause = Request::PauseJob { job: job("a") };
    let asked = RequestRecord { request: pause, principal: None, idempotency_key: Some("k".into()) };
    let input = Input::Requested { asked, job: None, origin: cluster.rigs[0].origin("requests") };
    told.push(cluster.at(0, |rig| rig.input(&input)));
    told.push(cluster.at(0, |rig| rig.withdraw("a")));
    expect![[r#"
        0: forwarded jobs/0/1 to 1: definition
        1: taken jobs/0/1
        1: defined default/a v1 life 1
        0: learned default/a v1
        0: forwarded requests/0/1 to 1: request
        1: taken requests/0/1
        1: created default/a request:requests/0/1 #0 waiting
        1: wanted default/a request:requests/0/1 #1 waiting
        1: answered
        1: forwarded requests/1/1 to 0: request
        0: taken requests/1/1
        0: refused not_found: there is no job default/d; did you mean default/a?
        0: forwarded requests/0/3 to 1: request
        1: taken requests/0/3
        1: paused default/a
        1: answered
        0: learned default/a v1
        0: forwarded jobs/0/4 to 1: tombstone of default/a
        1: taken jobs/0/4
        1: unwanted default/a request:requests/0/1 #1 waiting (its job was deleted)
        1: deleted default/a
        0: forgotten default/a"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn what_was_forwarded_is_taken_once_also_after_a_restart_and_never_forwarded_again() {
    let mut cluster = Cluster::new(2);
    let decisions = cluster.rigs[0].define("name: a\ncommand: [x]");
    let (_, input) = inputs_of(2, 0, &decisions).remove(0);
    assert_eq!(lines(&cluster.rigs[1].input(&input)), "taken jobs/0/1\ndefined default/a v1 life 1");
    assert_eq!(lines(&cluster.rigs[1].input(&input)), "");
    cluster.rigs[1].restart();
    assert_eq!(lines(&cluster.rigs[1].input(&input)), "");

    let Input::JobSubmitted { document, principal, starts, origin, appended, read } = input else { panic!() };
    let origin = Origin { partition: 1, ..origin };
    let lost = Input::JobSubmitted { document, principal, starts, origin, appended, read };
    expect![[r#"
        taken jobs/1/1
        refused misrouted: jobs/1/1 was forwarded to shard 0, but shard 1 owns default/a; no hint"#]]
    .assert_eq(&lines(&cluster.rigs[0].input(&lost)));
    assert_eq!(lines(&cluster.rigs[0].input(&lost)), "");
}

#[test]
fn a_request_about_a_run_goes_where_its_key_leads() {
    let mut cluster = Cluster::new(2);
    cluster.at(1, |rig| rig.define("name: a\ncommand: [x]"));
    let run = last(&cluster.rigs[1].run_job("a")).run;
    let cancel = |cluster: &mut Cluster, shard: usize, key: Option<&str>| {
        let request = Request::CancelRun { run: run.clone(), reason: None };
        let asked = RequestRecord { request, principal: None, idempotency_key: None };
        let origin = cluster.rigs[shard].origin("requests");
        let input = Input::Requested { asked, job: key.map(job), origin };
        cluster.at(shard, |rig| rig.input(&input)).replace(run.as_str(), "RUN")
    };
    let told = [cancel(&mut cluster, 0, None), cancel(&mut cluster, 0, Some("a")), cancel(&mut cluster, 1, Some("d"))];
    expect![[r#"
        0: refused not_found: there is no run RUN; it never was, or it has ended and newer runs of its job have taken its place here
        0: forwarded requests/0/2 to 1: request
        1: taken requests/0/2
        1: unwanted default/a request:requests/1/1 #1 waiting (cancelled by a request)
        1: answered
        1: answered"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn of_two_definitions_the_one_appended_later_counts() {
    let mut cluster = Cluster::new(2);
    let first = cluster.rigs[0].define("name: a\ncommand: [old]");
    let (_, slow) = inputs_of(2, 0, &first).remove(0);
    cluster.rigs[1].sleep_to("2026-11-21T00:00:05Z");
    let mut told = vec![cluster.at(1, |rig| rig.define("name: a\ncommand: [new]"))];
    told.push(lines(&cluster.rigs[1].input(&slow)));
    cluster.rigs[1].sleep_to("2026-11-21T00:00:06Z");
    told.push(cluster.at(1, |rig| rig.withdraw("a")));
    cluster.rigs[0].sleep_to("2026-11-21T00:00:05Z");
    told.push(cluster.at(0, |rig| rig.define("name: a\ncommand: [older]")));
    cluster.rigs[0].sleep_to("2026-11-21T00:00:07Z");
    told.push(cluster.at(0, |rig| rig.define("name: a\ncommand: [newest]")));
    expect![[r#"
        1: defined default/a v1 life 1
        0: learned default/a v1
        taken jobs/0/1
        superseded default/a of 2026-11-21T00:00:00Z by 2026-11-21T00:00:05Z
        1: deleted default/a
        0: forgotten default/a
        0: forwarded jobs/0/2 to 1: definition
        1: taken jobs/0/2
        1: superseded default/a of 2026-11-21T00:00:05Z by 2026-11-21T00:00:06Z
        0: forwarded jobs/0/3 to 1: definition
        1: taken jobs/0/3
        1: defined default/a v1 life 2
        0: learned default/a v1"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn dependent_jobs_of_other_shards_are_told_of_ends() {
    let mut cluster = Cluster::new(2);
    let mut told = vec![
        cluster.at(0, |rig| rig.define("name: d\ncommand: [x]")),
        cluster.at(1, |rig| rig.define("name: b\ncommand: [x]")),
        cluster.at(1, |rig| rig.define("name: a\ncommand: [x]\ntriggers: [{after: [d, b]}]")),
        cluster.at(0, |rig| rig.define("name: e\ncommand: [x]\ntriggers: [{after: [b], on: failure}]")),
        cluster.at(0, |rig| rig.define("name: d\ncommand: [x]\ntriggers: [{after: [a]}]")),
        cluster.at(0, |rig| rig.withdraw("d")),
    ];
    cluster.rigs[0].restart();
    let first = last(&cluster.rigs[0].run_job("d"));
    let second = last(&cluster.rigs[1].run_job("b"));
    let ended = cluster.rigs[0].ends(&first, EndKind::Succeeded);
    let (_, end) = inputs_of(2, 0, &ended).remove(0);
    told.push(lines(&ended));
    told.push(lines(&cluster.rigs[1].input(&end)));
    assert_eq!(lines(&cluster.rigs[1].input(&end)), "", "told twice");
    told.push(cluster.at(1, |rig| rig.ends(&second, EndKind::Succeeded)));
    let second = last(&cluster.rigs[1].run_job("b"));
    told.push(cluster.at(1, |rig| rig.ends(&second, EndKind::Failed)));
    let told = told.join("\n").replace(first.run.as_str(), "B");
    let runs: Vec<String> = cluster.rigs[1].trigger.runs().filter(|run| run.job == job("b")).map(|run| run.run.to_string()).collect();
    let told = runs.iter().fold(told, |told, run| told.replace(run, "D"));
    expect![[r#"
        0: defined default/d v1 life 1
        1: learned default/d v1
        1: defined default/b v1 life 1
        0: learned default/b v1
        1: defined default/a v1 life 1
        0: learned default/a v1
        0: defined default/e v1 life 1
        1: learned default/e v1
        0: submitted default/d
        0: refused invalid: triggers[0].after: the jobs would wait for each other for ever: default/d → default/a → default/d; take one of these out of `after`; no hint
        0: submitted default/d
        0: refused conflict: default/d cannot be deleted: default/a run after it; delete them first, or take it out of their `after`
        ended default/d request:requests/0/1 #1 succeeded
        forwarded ends/0/1 to 1: end of default/d (succeeded)
        taken ends/0/1
        default/a: default/d done in request:requests/0/1
        1: ended default/b request:requests/1/1 #1 succeeded
        1: default/a: default/b done in request:requests/1/1
        1: created default/a after:B+D #0 waiting
        1: wanted default/a after:B+D #1 waiting
        1: ended default/b request:requests/1/2 #1 failed (it exited with 3)
        1: forwarded ends/1/1 to 0: end of default/b (failed)
        0: taken ends/1/1
        0: created default/e after:D #0 waiting
        0: wanted default/e after:D #1 waiting"#]]
    .assert_eq(&told);
}

#[test]
fn what_is_known_of_others_is_kept_over_a_restart() {
    let mut cluster = Cluster::new(2);
    cluster.at(0, |rig| rig.define("name: d\ncommand: [x]"));
    cluster.at(1, |rig| rig.define("name: a\ncommand: [x]\ntriggers: [{after: [d]}]"));
    cluster.rigs[0].restart();
    let run = last(&cluster.rigs[0].run_job("d"));
    assert!(cluster.at(0, |rig| rig.ends(&run, EndKind::Succeeded)).contains("1: created default/a after:"));
    assert_eq!(cluster.rigs[0].trigger.job_count(), 1, "others' jobs are not its own");
}
