//! Load: jobs of every kind, events, requests. What the log accepts is noted: it must have its effect.

use super::{Happening, World};
use crate::history::Accepted;
use crate::plan::{MINUTE, SECOND};
use orrery_log::Log;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use serde_json::{Value, json};

/// The topic of the data team.
pub(crate) const TOPIC: &str = "orders";
/// Its partitions.
pub(crate) const PARTITIONS: u32 = 3;
/// Jobs that events fire, and which of them: those whose number this divides.
pub(crate) const FIRED_BY: [(&str, i64); 3] = [("all", 1), ("even", 2), ("queued", 20)];
/// Between two slots of the job `minutes`, in minutes.
pub(crate) const SLOT_MINUTES: i64 = 2;
/// The job that runs once a night, at an hour that comes twice in this one.
pub(crate) const NIGHTLY: &str = "nightly";
/// Jobs that are stopped and go on, again and again: one is paused and resumed, one deleted and defined.
pub(crate) const SWITCHED: [&str; 2] = ["paused", "deleted"];
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
            (0, false) => self.inbox(topics::REQUESTS, &job, &ask("pause_job")),
            (0, true) => self.inbox(topics::REQUESTS, &job, &ask("resume_job")),
            (_, false) => NewRecord { value: None, ..self.inbox(topics::JOBS, &job, &json!({})) },
            (_, true) => self.inbox(topics::JOBS, &job, &switched(SWITCHED[which])),
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
        let record = self.inbox(topics::JOBS, name, job);
        // A definition that the log does not take is nobody's: the client would tell its user.
        let _refused = self.log.append(vec![record]);
    }

    pub(super) fn inbox(&self, topic: &str, job: &str, value: &Value) -> NewRecord {
        let partition = orrery_model::murmur2::partition_of(job.as_bytes(), self.cluster.trigger_shards);
        let value = Some(Payload::from(value.to_string().as_bytes()));
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
            self.load.events += 1;
            let number = self.load.events;
            let partition = self.chance.u32(..PARTITIONS);
            let value = Some(Payload::from(json!({"n": number}).to_string().as_bytes()));
            let record = NewRecord { topic: TOPIC.into(), partition, key: None, value, headers: Vec::new() };
            if let Ok(offsets) = self.log.append(vec![record]) {
                let accepted = Accepted::Event { topic: TOPIC.into(), partition, offset: offsets[0], number };
                self.history.accepted.push((self.now(), accepted));
            }
        }
    }

    pub(super) fn send_request(&mut self) {
        if self.now() >= self.plan.faults_until {
            return;
        }
        self.load.requests += 1;
        let key = format!("request-{}", self.load.requests);
        let job = "default/asked";
        let value = json!({"request": {"run_job": {"job": job}}, "idempotency_key": key});
        let record = self.inbox(topics::REQUESTS, job, &value);
        let taken = self.log.append(vec![record.clone()]).is_ok();
        // Some clients do not hear the answer, and ask again with the same key.
        if taken && self.chance.u8(0..4) == 0 {
            let _again = self.log.append(vec![record]);
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

    /// Bytes that are no record, on one of our topics or the data team's.
    pub(super) fn poison(&mut self, which: u32) {
        let topics = [topics::JOBS, topics::REQUESTS, topics::STATUS, topics::HEARTBEATS, topics::TASKS, topics::OUTCOMES];
        let topic = self.cluster.topic(topics[which as usize % topics.len()]);
        let values: [&[u8]; 4] = [b"{", b"\xc3\x01garbage", b"", b"\x00\x00\x00\x00\x07x"];
        let value = Some(Payload::from(values[(which / 7) as usize % values.len()]));
        let _refused = self.log.append(vec![NewRecord { topic, partition: 0, key: None, value, headers: Vec::new() }]);
    }
}
