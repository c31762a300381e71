//! Fires: an event that one shard has read starts a job that another owns (protocol §5.1, §5.3).
//!
//! The reader matches with the definition that it knows; the owner decides by the one that counts.

use super::Turn;
use crate::facts::Decision;
use crate::starts::is_behind_start;
use orrery_model::id::JobName;
use orrery_model::messages::{EventData, Fire, Forward, ForwardBody, Origin};

/// Fires of one job that wait for its definition; each holds its event.
const FIRES_PARKED: usize = 100;

impl Turn<'_> {
    /// Tells the owner of a job that an event matches.
    pub(super) fn forward_fire(&mut self, job: &JobName, trigger: i32, event: &EventData) {
        let Some(entry) = self.state.definition(job) else { return };
        let (incarnation, version) = (entry.incarnation, entry.version);
        let EventData { topic, partition, generation, offset, .. } = event.clone();
        let fire = Fire { job: job.clone(), incarnation, version, trigger, event: event.clone() };
        let (to, origin) = (self.state.owner(job), Origin { topic, partition, generation, offset });
        self.event_bytes += event.bytes();
        self.decide(Decision::Forwarded { forward: Forward { to, origin, body: ForwardBody::FireForwarded { fire } } });
    }

    /// A reader may know a version that is still to come here. Behind a fire that waits, all of the job wait, or a later event
    /// would hide an earlier one.
    pub(super) fn fire_arrived(&mut self, fire: &Fire) {
        let (owner, here) = (self.state.owner(&fire.job), self.state.shards().shard);
        if owner != here {
            let detail = format!("{} fires {} at shard {here}, but shard {owner} owns it", fire.event.place(), fire.job);
            return self.refuse("misrouted", detail, None, Some(fire.job.as_str()));
        }
        let waiting = self.state.parked_fires(&fire.job).count();
        match waiting > 0 || self.state.is_ahead(fire) {
            false => self.take_fire(fire),
            true if waiting >= FIRES_PARKED => {
                self.skip(fire, format!("{waiting} events wait for the job's definition already"));
            }
            true => {
                let number = self.state.parked_fires(&fire.job).last().map_or(0, |(number, _)| number + 1);
                self.decide(Decision::FireParked { number: i64::from(number), fire: fire.clone() });
            }
        }
    }

    /// The first waiting fire of a job whose definition has come.
    pub(super) fn release_fire(&mut self, job: &JobName) {
        let Some((number, fire)) = self.state.parked_fires(job).next().map(|(number, fire)| (number, fire.clone())) else { return };
        self.decide(Decision::FireReleased { job: job.clone(), number: i64::from(number) });
        self.take_fire(&fire);
    }

    /// The run uses the present definition. An event at or below the highest that has fired is a repeat.
    fn take_fire(&mut self, fire: &Fire) {
        let Fire { job, event, .. } = fire;
        let (Some(entry), Some(compiled)) = (self.entry(job), self.state.compiled(job)) else {
            return self.skip(fire, "the job is gone".to_owned());
        };
        if entry.incarnation != fire.incarnation {
            return self.skip(fire, format!("the job was made anew: this is its life {}", entry.incarnation));
        }
        if !compiled.spec.triggers.iter().any(|trigger| trigger.event.as_deref() == Some(event.topic.as_str())) {
            return self.skip(fire, format!("version {} of the job has no trigger of this topic", entry.version));
        }
        if !is_behind_start(entry, event) {
            return self.skip(fire, format!("it lies before the start of version {}", entry.version));
        }
        if self.state.has_fired(job, event) {
            return;
        }
        if self.state.event(&event.place()).is_none() {
            self.decide(Decision::EventKept { event: event.clone() });
        }
        self.create_fired(job, event, Some(fire.version));
    }

    fn skip(&mut self, fire: &Fire, reason: String) {
        let Fire { job, incarnation, version, trigger, event } = fire;
        let (job, event) = (job.clone(), event.place());
        self.decide(Decision::Skipped { job, incarnation: *incarnation, version: *version, trigger: *trigger, event, reason });
    }
}
