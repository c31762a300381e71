//! Re-reads: events that a reader passed before it knew a job's definition (protocol §5.2).

use super::Turn;
use crate::event::EventView;
use crate::facts::Decision;
use crate::starts::source_of;
use orrery_model::id::JobName;
use orrery_model::messages::{CatalogEntry, EventData, StartPosition, source};
use orrery_model::planted::{Bug, planted};

impl Turn<'_> {
    /// Called with a definition that has just been decided on, and the one that was known before.
    pub(super) fn begin_rereads(&mut self, old: Option<&CatalogEntry>, entry: &CatalogEntry, read: &[StartPosition]) {
        if planted(Bug::MatchBeforeCatalog) {
            return;
        }
        for from in self.state.unread(old, entry, read) {
            self.decide(Decision::RereadBegun { job: entry.job.clone(), from });
        }
    }

    /// An event read again for one job. What is left of a re-read that is over does nothing.
    pub(super) fn event_reread(&mut self, job: &JobName, event: &EventData) {
        if !self.state.is_rereading(job, &event.source()) || self.is_repeated(event) {
            return;
        }
        let place = event.place();
        let Some(trigger) = self.matches(job, event, &EventView::new(event), &place) else { return };
        if self.entry(job).is_none() {
            self.forward_fire(job, trigger, event);
        } else {
            if self.state.event(&place).is_none() {
                self.decide(Decision::EventKept { event: event.clone() });
            }
            self.create_fired(job, event, None);
        }
        self.remember_key(event);
    }

    /// The shell stands with a re-read where it stands with the topic partition: from here on the job sees what the others see.
    pub(super) fn caught_up(&mut self, name: &str, partition: i32) {
        let done = self.state.rereads.iter().find(|(_, from)| from.topic == name && from.partition == partition);
        if let Some(((job, source), _)) = done {
            let (job, source) = (Some(job.clone()), source.clone());
            self.decide(Decision::RereadEnded { job, source });
        }
    }

    /// What lay in the topic before it was made anew is gone (§5.4).
    pub(super) fn recreated(&mut self, topic: &str, generation: i64, partition: i32) {
        for old in (0..generation).map(|old| source(topic, old, partition)) {
            if self.state.rereads.iter().any(|(_, from)| source_of(from) == old) {
                self.decide(Decision::RereadEnded { job: None, source: old });
            }
        }
    }
}
