//! Load: jobs of every kind, events, requests. What the log accepts is noted: it must have its effect.

use super::{Happening, World};
use crate::history::Accepted;
use crate::machine::wall;
use crate::plan::{MINUTE, SECOND};
use orrery_log::{Log, TopicPartition};
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics::{self, Cleanup};
use orrery_runtime::rows::{self, full_key};
use serde_json::{Value, json};

/// The topic of the data team.
pub(crate) const TOPIC: &str = "orders";
/// Its partitions.
pub(crate) const PARTITIONS: u32 = 3;
/// Jobs that events fire, and which of them: those whose number this divides.
pub(crate) const FIRED_BY: [(&str, i64); 3] = [("all", 1), ("even", 2), ("queued", 20)];
/// Jobs that come and go while events arrive, and which of them fire them.
pub(crate) const LATE: [(&str, i64); 4] = [("late-0", 11), ("late-1", 13), ("late-2", 17), ("late-3", 19)];
/// Between two slots of the job `minutes`, in minutes.
pub(crate) const SLOT_MINUTES: i64 = 2;
/// The job that runs once a night, at an hour that comes twice in this one.
pub(crate) const NIGHTLY: &str = "nightly";
/// Jobs that are stopped and go on, again and again: one is paused and resumed, one deleted and defined.
pub(crate) const SWITCHED: [&str; 2] = ["paused", "deleted"];
/// Of so many events one has an idempotency key, and is sent twice.
const KEYED: i64 = 8;
/// What is sent again comes at most so much later.
const LATE_MOST: i64 = 120 * SECOND;
/// Between two tries of a client whom nobody answered.
const AGAIN: i64 = 2 * SECOND;

/// What clients remember.
#[derive(Default)]
pub(crate) struct Load {
    events: i64,
    requests: i64,
    /// Which of the switched jobs are stopped.
    stopped: [bool; 2],
}

/// The jobs of every world.
pub(crate) fn jobs() -> Vec<Value> {
    let job = |name: &str, triggers: Value, more: Value| {
        let mut job = json!({"name": name, "triggers": triggers, "command": ["true"], "resources": {"cpus": "300m", "memory": "64MiB"}});
        if let (Some(job), Some(more)) = (job.as_object_mut(), more.as_object()) {
            job.extend(more.clone());
        }
        job
    };
    let [all, even, queued] = FIRED_BY;
    let divides = |divisor: i64| json!([{"event": TOPIC, "when": format!("data.n % {divisor} == 0")}]);
    vec![
        job(all.0, json!([{"event": TOPIC}]), json!({"concurrency": "allow", "retries": {"max": 2, "backoff": "5s"}})),
        job(even.0, divides(even.1), json!({"concurrency": "allow", "constraints": ["zone == z0"]})),
        job(queued.0, divides(queued.1), json!({"concurrency": "queue"})),
        job(
            "minutes",
            json!([{"cron": format!("*/{SLOT_MINUTES} * * * *")}]),
            json!({"concurrency": "allow", "catch_up": {"policy": "all", "window": "6h"}}),
        ),
        job(
            NIGHTLY,
            json!([{"cron": "30 2 * * *", "zone": "Europe/Paris"}]),
            json!({"concurrency": "allow", "catch_up": {"policy": "all", "window": "6h"}}),
        ),
        job("paris", json!([{"cron": "*/30 * * * *", "zone": "Europe/Paris"}]), json!({"concurrency": "forbid"})),
        job("after", json!([{"after": ["minutes"]}]), json!({"concurrency": "allow", "priority": 80})),
        job("asked", json!([]), json!({"concurrency": "allow", "timeout": "2m", "resources": {"cpus": "1500m", "memory": "512MiB"}})),
        job("replaced", json!([{"interval": "R/2026-10-25T00:05:00Z/PT3M"}]), json!({"concurrency": "replace"})),
    ]
}

/// The definition of one of [`SWITCHED`].
fn switched(name: &str) -> Value {
    let resources = json!({"cpus": "100m", "memory": "16MiB"});
    json!({"name": name, "triggers": [{"cron": "* * * * *"}], "command": ["true"], "resources": resources, "concurrency": "allow"})
}

impl World {
    pub(super) fn define_jobs(&mut self) {
        for job in jobs() {
            let name = format!("default/{}", job["name"].as_str().unwrap_or_default());
            self.send_job(&name, &job);
        }
        for (which, name) in SWITCHED.into_iter().enumerate() {
            self.send_job(&format!("default/{name}"), &switched(name));
            self.at(2 * MINUTE, Happening::Switch(which));
        }
    }

    /// Stops a job, or lets it go on. At the end all go on: what is held must come to its end.
    pub(super) fn switch(&mut self, which: usize) {
        let on = self.load.stopped[which];
        if self.now() >= self.plan.faults_until && !on {
            return;
        }
        let job = format!("default/{}", SWITCHED[which]);
        let ask = |request: &str| json!({"request": {request: {"job": job}}});
        let record = match (which, on) {
            (0, false) => self.inbox(topics::REQUESTS, &job, Some(&ask("pause_job"))),
            (0, true) => self.inbox(topics::REQUESTS, &job, Some(&ask("resume_job"))),
            (_, false) => self.inbox(topics::JOBS, &job, None),
            (_, true) => self.inbox(topics::JOBS, &job, Some(&switched(SWITCHED[which]))),
        };
        let (topic, partition) = (record.topic.clone(), record.partition);
        let span = match self.log.append(vec![record]) {
            Ok(offsets) => {
                self.load.stopped[which] = !on;
                let accepted = Accepted::Switched { job, on, topic, partition, offset: offsets[0] };
                self.history.accepted.push((self.now(), accepted));
                self.chance.i64(5 * SECOND..4 * MINUTE)
            }
            Err(_) => AGAIN,
        };
        self.after(span, Happening::Switch(which));
    }

    fn send_job(&mut self, name: &str, job: &Value) {
        let record = self.inbox(topics::JOBS, name, Some(job));
        self.send_record(record, None);
    }

    /// A record that the log does not take is nobody's: the client would tell its user. An event's number says which it is.
    pub(super) fn send_record(&mut self, record: NewRecord, event: Option<i64>) -> Option<i64> {
        let (topic, partition) = (record.topic.clone(), record.partition);
        let offset = self.log.append(vec![record]).ok()?[0];
        if let Some(number) = event {
            let accepted = Accepted::Event { topic, partition, offset, number, generation: self.generation() };
            self.history.accepted.push((self.now(), accepted));
        }
        Some(offset)
    }

    /// The data team's topic as it is now: its place in [`crate::history::History::topics`].
    pub(super) fn generation(&self) -> usize {
        self.history.topics.len() - 1
    }

    pub(super) fn inbox(&self, topic: &str, job: &str, value: Option<&Value>) -> NewRecord {
        let partition = orrery_model::murmur2::partition_of(job.as_bytes(), self.cluster.trigger_shards);
        let value = value.map(|value| Payload::from(value.to_string().as_bytes()));
        NewRecord { topic: self.cluster.topic(topic), partition, key: Some(job.as_bytes().into()), value, headers: Vec::new() }
    }

    pub(super) fn send_event(&mut self) {
        if self.now() < self.plan.faults_until {
            self.events(1);
            let span = self.chance.i64(SECOND / 10..2 * self.plan.event_every);
            self.after(span, Happening::Event);
        }
    }

    /// So many events; what the log does not take is never sent again, as its producer was told so.
    pub(super) fn events(&mut self, count: u32) {
        for _ in 0..count {
            let (number, mut record) = self.next_event();
            // Some producers do not hear the answer, and send the event again with its key, at once or much later.
            if number % KEYED == 0 {
                record.headers.push(("idempotency-key".into(), format!("event-{number}").as_bytes().into()));
                let span = if self.chance.bool() { 0 } else { self.chance.i64(0..LATE_MOST) };
                self.after(span, Happening::Sends(record.clone(), Some(number)));
            }
            self.send_record(record, Some(number));
        }
    }

    pub(super) fn next_event(&mut self) -> (i64, NewRecord) {
        self.load.events += 1;
        let number = self.load.events;
        let partition = self.chance.u32(..self.partitions());
        let value = Some(Payload::from(json!({"n": number}).to_string().as_bytes()));
        (number, NewRecord { topic: TOPIC.into(), partition, key: None, value, headers: Vec::new() })
    }

    /// Of the data team's topic, which may get more.
    pub(super) fn partitions(&self) -> u32 {
        self.log.topic(TOPIC).ok().flatten().map_or(PARTITIONS, |topic| topic.partitions)
    }

    pub(super) fn send_request(&mut self) {
        if self.now() >= self.plan.faults_until {
            return;
        }
        self.load.requests += 1;
        let key = format!("request-{}", self.load.requests);
        let job = "default/asked";
        let value = json!({"request": {"run_job": {"job": job}}, "idempotency_key": key});
        let mut record = self.inbox(topics::REQUESTS, job, Some(&value));
        if self.chance.u8(0..4) == 0 {
            record.partition = self.chance.u32(..self.cluster.trigger_shards);
        }
        let taken = self.log.append(vec![record.clone()]).is_ok();
        // Some clients do not hear the answer, and ask again with the same key, at once or when others have asked meanwhile.
        if taken && self.chance.u8(0..4) == 0 {
            let span = if self.chance.bool() { 0 } else { self.chance.i64(0..LATE_MOST) };
            self.after(span, Happening::Sends(record, None));
        }
        if taken {
            self.history.accepted.push((self.now(), Accepted::Request { job: job.into(), key }));
        }
        let span = if taken { self.chance.i64(SECOND..4 * self.plan.event_every) } else { AGAIN };
        self.after(span, Happening::Request);
    }

    /// Defines one of the jobs anew, with another priority.
    pub(super) fn redefine(&mut self, which: u32) {
        let mut all = jobs();
        let count = all.len();
        let job = &mut all[which as usize % count];
        job["priority"] = json!(which % 101);
        let name = format!("default/{}", job["name"].as_str().unwrap_or_default());
        let job = job.clone();
        self.send_job(&name, &job);
    }

    /// One of the jobs that come and go, with another priority each time. If it is there, its topic keeps its start.
    fn late(&self, which: u32) -> (String, Value) {
        let (name, divisor) = LATE[which as usize % LATE.len()];
        let minutes = i64::from(which / 16 % 30);
        let from = match which / 4 % 4 {
            0 => json!("latest"),
            1 => json!("earliest"),
            // Clocks differ, and a time that is still to come is refused.
            _ => json!(wall(self.now() - 10 * SECOND - minutes * MINUTE).to_string()),
        };
        let job = json!({
            "name": name, "triggers": [{"event": TOPIC, "from": from, "when": format!("data.n % {divisor} == 0")}], "command": ["true"],
            "resources": {"cpus": "100m", "memory": "16MiB"}, "concurrency": "allow", "priority": which / 512 % 101,
        });
        (format!("default/{name}"), job)
    }

    /// A record of the inbox for one of these jobs, by a client with some partitioner.
    fn for_late(&mut self, name: &str, job: Option<&Value>) -> NewRecord {
        let partition = self.chance.u32(..self.cluster.trigger_shards);
        NewRecord { partition, ..self.inbox(topics::JOBS, name, job) }
    }

    pub(super) fn define_late(&mut self, which: u32) {
        let (name, job) = self.late(which);
        let record = self.for_late(&name, Some(&job));
        self.send_record(record, None);
    }

    pub(super) fn withdraw_late(&mut self, which: u32) {
        let (name, _) = self.late(which);
        let record = self.for_late(&name, None);
        self.send_record(record, None);
    }

    /// Two clients, one job: what was appended later counts, whichever comes later to the job's shard.
    pub(super) fn contest(&mut self, which: u32) {
        self.define_late(which);
        let (name, mut job) = self.late(which);
        job["priority"] = json!((which / 512 + 1) % 101);
        let is_deletion = (which / 2_048).is_multiple_of(4);
        let second = self.for_late(&name, (!is_deletion).then_some(&job));
        let span = self.chance.i64(2_000..20_000);
        self.after(span, Happening::Sends(second, None));
    }

    pub(super) fn make_topic(&mut self) {
        let missing = matches!(self.log.topic(TOPIC), Ok(None));
        if missing && let Ok(made) = self.log.ensure_topic(TOPIC, PARTITIONS, Cleanup::DeleteAfterMs(7 * 86_400_000)) {
            self.history.topics.push(made.id);
        }
    }

    /// What nobody has read by then, as far as is committed, is gone with the topic.
    pub(super) fn delete_topic(&mut self) {
        let Ok(Some(topic)) = self.log.topic(TOPIC) else { return };
        let generation = self.generation();
        for partition in 0..topic.partitions {
            let read = self.committed_position(&topic.id, partition);
            self.history.deleted.insert((generation, partition), read);
        }
        self.log.delete_topic(TOPIC).expect("it answered just now");
    }

    fn committed_position(&self, topic_id: &str, partition: u32) -> i64 {
        let key = full_key(rows::POSITIONS, &rows::position_key(TOPIC, partition));
        let of_shard = |shard: u32| {
            let at = TopicPartition::new(&self.cluster.topic(topics::TRIGGER_CHANGELOG), shard);
            let from = self.log.start_offset(&at).unwrap_or_default();
            let fetch = self.log.read(&at, from, usize::MAX).unwrap_or_default();
            let newest = fetch.records.into_iter().rev().find(|record| record.key.as_ref().is_some_and(|of| of.as_bytes() == key))?;
            let position = rows::POSITION_ROW.decode(newest.value?.as_bytes()).ok()?;
            (position.topic_id == topic_id).then_some(position.offset)
        };
        (0..self.cluster.trigger_shards).filter_map(of_shard).max().unwrap_or(0)
    }

    /// Bytes that are no record, on one of our topics or the data team's.
    pub(super) fn poison(&mut self, which: u32) {
        let topics = [topics::JOBS, topics::REQUESTS, topics::STATUS, topics::HEARTBEATS, topics::TASKS, topics::OUTCOMES];
        let topic = self.cluster.topic(topics[which as usize % topics.len()]);
        let values: [&[u8]; 4] = [b"{", b"\xc3\x01garbage", b"", b"\x00\x00\x00\x00\x07x"];
        let value = Some(Payload::from(values[(which / 7) as usize % values.len()]));
        let _refused = self.log.append(vec![NewRecord { topic, partition: 0, key: None, value, headers: Vec::new() }]);
    }
}
