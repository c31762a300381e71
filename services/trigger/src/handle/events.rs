//! Events: which jobs one fires, and the runs that it makes.

use super::Turn;
use super::jobs::is_behind_start;
use super::runs::NewRun;
use crate::event::EventView;
use crate::facts::{Decision, EventData};
use orrery_model::id::JobName;
use std::ops::Bound;

/// Header of a record that may be sent more than once.
const KEY_HEADER: &str = "idempotency-key";

impl Turn<'_> {
    /// An event sent again with the same idempotency key fires nothing more (§10.1).
    pub(super) fn event_arrived(&mut self, event: &EventData) {
        let id = event.header(KEY_HEADER).map(|key| format!("event:{}/{key}", event.topic));
        if id.as_ref().is_some_and(|id| self.state.answers.get(id).is_some()) {
            return;
        }
        self.fire(event, None, false);
        let fired = self.out.iter().any(|decision| matches!(decision, Decision::RunCreated { .. } | Decision::EventParked { .. }));
        if let Some(id) = id.filter(|_| fired) {
            self.decide(Decision::Answered { id, keyed: true, answer: event.place() });
        }
    }

    /// Goes on with an event that fired more jobs than one entry holds.
    pub(super) fn event_goes_on(&mut self, place: &String) {
        let Some(row) = self.state.events.get(place).cloned() else { return };
        self.fire(&row.event, row.next, true);
    }

    /// Looks at every job of the topic from `from` on. Two triggers of one job make one run (§5.3).
    fn fire(&mut self, event: &EventData, from: Option<JobName>, mut kept: bool) {
        let parked = kept;
        let place = event.place();
        let first = from.map_or(Bound::Unbounded, Bound::Included);
        let Some(jobs) = self.state.index.by_topic.get(&event.topic) else { return self.unpark(parked, &place) };
        let jobs: Vec<JobName> = jobs.range((first, Bound::Unbounded)).cloned().collect();
        let view = EventView::new(event);
        for job in jobs {
            if !self.has_room() {
                if !kept {
                    self.decide(Decision::EventKept { event: event.clone() });
                }
                return self.decide(Decision::EventParked { event: place, next: Some(job) });
            }
            if !self.matches(&job, event, &view, &place) {
                continue;
            }
            if !kept {
                self.decide(Decision::EventKept { event: event.clone() });
                kept = true;
            }
            let cause = format!("event:{place}");
            let new = NewRun { root: cause.clone(), cause, nominal: None, event: Some(place.clone()), args: Vec::new(), joined: None };
            self.create_run(&job, new);
        }
        self.unpark(parked, &place);
    }

    fn unpark(&mut self, parked: bool, place: &str) {
        if parked {
            self.decide(Decision::EventParked { event: place.to_owned(), next: None });
        }
    }

    fn matches(&mut self, job: &JobName, event: &EventData, view: &EventView<'_>, place: &str) -> bool {
        let (Some(compiled), Some(entry)) = (self.state.compiled(job), self.entry(job)) else { return false };
        let fired = self.state.fired.get(&(job.clone(), event.source()));
        if !is_behind_start(entry, event) || fired.is_some_and(|fired| fired.offset >= event.offset) {
            return false;
        }
        for (i, trigger) in compiled.spec.triggers.iter().enumerate().filter(|(_, t)| t.event.as_deref() == Some(event.topic.as_str())) {
            match (&trigger.when, &compiled.predicates[i]) {
                (None, _) => return true,
                (Some(_), None) => {}
                (Some(_), Some(predicate)) => match predicate.matches(view) {
                    Ok(true) => return true,
                    Ok(false) => {}
                    Err(reason) => {
                        let (job, event) = (job.clone(), place.to_owned());
                        self.decide(Decision::PredicateFailed { job, trigger: i as i32, event, reason });
                    }
                },
            }
        }
        false
    }
}
