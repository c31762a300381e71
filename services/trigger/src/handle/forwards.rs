//! Several shards: what concerns another shard's job goes to its owner, once (protocol §4.1, §4.2).
//!
//! A shard reads `jobs` and `requests` at its own partition. So an input whose origin is another partition was forwarded, and is
//! never forwarded again. One partition's inputs are forwarded in order by the one shard that reads it: the highest offset
//! taken of each is enough to know what comes again.

use super::Turn;
use crate::facts::Decision;
use orrery_model::id::JobName;
use orrery_model::messages::{CatalogEntry, EndedRun, Forward, ForwardBody, Origin, StartPosition};
use orrery_model::planted::{Bug, planted};

/// Names the numbered ends of runs that one shard tells another, as a topic would name them.
const ENDS: &str = "ends";

impl Turn<'_> {
    /// True if an input about this job is to be taken here. Another shard's is forwarded, unless it was before.
    pub(super) fn takes(&mut self, job: &JobName, origin: &Origin, body: impl FnOnce() -> ForwardBody) -> bool {
        let (owner, here) = (self.state.owner(job), self.state.shards().shard);
        let owner = if planted(Bug::NotForwarded) { here } else { owner };
        match (owner == here, self.is_forwarded(origin)) {
            (true, false) => true,
            (true, true) => self.takes_forward(origin),
            (false, false) => {
                self.decide(Decision::Forwarded { forward: Forward { to: owner, origin: origin.clone(), body: body() } });
                false
            }
            (false, true) => {
                if self.takes_forward(origin) {
                    let detail = format!("{} was forwarded to shard {here}, but shard {owner} owns {job}", origin.place());
                    self.refuse("misrouted", detail, None, Some(job.as_str()));
                }
                false
            }
        }
    }

    pub(super) fn is_forwarded(&self, origin: &Origin) -> bool {
        origin.partition != self.state.shards().shard
    }

    /// True the first time.
    pub(super) fn takes_forward(&mut self, origin: &Origin) -> bool {
        let is_new = !self.state.has_taken(origin);
        if is_new {
            self.decide(Decision::ForwardTaken { origin: origin.clone() });
        }
        is_new
    }

    /// A definition as its owner published it; this shard's own are known.
    pub(super) fn catalog_arrived(&mut self, job: &JobName, entry: Option<&CatalogEntry>, read: &[StartPosition]) {
        if self.state.owner(job) == self.state.shards().shard {
            return;
        }
        match (self.state.catalog.get(job).map(|row| row.entry.clone()), entry) {
            (Some(known), Some(entry)) if known == *entry => {}
            (known, Some(entry)) => {
                self.decide(Decision::DefinitionLearned { entry: entry.clone() });
                self.begin_rereads(known.as_ref(), entry, read);
            }
            (Some(_), None) => self.decide(Decision::DefinitionForgotten { job: job.clone() }),
            (None, None) => {}
        }
    }

    /// Tells a shard that owns dependent jobs.
    pub(super) fn tell_end(&mut self, to: i32, ended: &EndedRun) {
        let offset = self.state.ends_told(to) + 1;
        let origin = Origin { topic: ENDS.into(), partition: self.state.shards().shard, generation: 0, offset };
        let body = ForwardBody::EndForwarded { ended: ended.clone() };
        self.decide(Decision::Forwarded { forward: Forward { to, origin, body } });
    }

    /// A run of another shard has ended.
    pub(super) fn end_arrived(&mut self, ended: &EndedRun, origin: &Origin) {
        if self.takes_forward(origin) {
            self.start_children(ended);
        }
    }
}
