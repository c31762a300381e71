//! Load as it is written down.

use super::load::TOPIC;
use super::{Happening, World};
use crate::script::Act;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_trigger::decode::PRINCIPAL_HEADER;
use serde_json::json;

impl World {
    pub(super) fn begin_script(&mut self) {
        let acts = self.plan.script.iter().flat_map(|script| &script.acts);
        let times: Vec<i64> = acts.map(|(at, _)| *at).collect();
        for (place, at) in times.into_iter().enumerate() {
            self.at(at, Happening::Acts(place));
        }
    }

    pub(super) fn act(&mut self, place: usize) {
        let Some((_, act)) = self.plan.script.as_ref().and_then(|script| script.acts.get(place)).cloned() else { return };
        let record = match act {
            Act::Define { by, job } => {
                let name = job["name"].as_str().unwrap_or_default();
                let headers = vec![(PRINCIPAL_HEADER.to_owned(), by.as_bytes().into())];
                NewRecord { headers, ..self.inbox(topics::JOBS, name, Some(&job)) }
            }
            Act::Run { by, job } => {
                let asked = json!({"request": {"run_job": {"job": job}}, "principal": by});
                self.inbox(topics::REQUESTS, job, Some(&asked))
            }
            Act::Event { partition, data } => {
                let value = Some(Payload::from(data.to_string().as_bytes()));
                NewRecord { topic: TOPIC.into(), partition, key: None, value, headers: Vec::new() }
            }
        };
        self.send_record(record, None);
    }
}
