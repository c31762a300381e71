//! Events: which jobs one fires, and the runs that it makes.

use super::Turn;
use super::runs::NewRun;
use crate::event::EventView;
use crate::expr::Budget;
use crate::facts::{Decision, EventData};
use crate::starts::is_behind_start;
use orrery_model::id::JobName;
use orrery_model::planted::{Bug, planted};

/// Header of a record that may be sent more than once.
const KEY_HEADER: &str = "idempotency-key";

impl Turn<'_> {
    /// An event sent again with the same idempotency key fires nothing more (§10.1).
    pub(super) fn event_arrived(&mut self, event: &EventData) {
        if self.is_repeated(event) {
            return;
        }
        if self.state.has_parked(&event.source()) {
            self.park_behind(event);
        } else {
            self.fire(event, None, false);
        }
        self.remember_key(event);
    }

    /// True if another record of the same key has fired.
    pub(super) fn is_repeated(&self, event: &EventData) -> bool {
        key_of(event).is_some_and(|id| self.state.answers.get(&id).is_some_and(|first| first.answer != event.place()))
            && !planted(Bug::KeyForgotten)
    }

    /// An event that has fired is the one of its key that counts.
    pub(super) fn remember_key(&mut self, event: &EventData) {
        let fires = |decision: &Decision| {
            matches!(decision, Decision::RunCreated { .. } | Decision::EventParked { .. } | Decision::Forwarded { .. })
        };
        let fired = self.out.iter().any(fires);
        if let Some(id) = key_of(event).filter(|id| fired && self.state.answers.get(id).is_none()) {
            self.decide(Decision::Answered { id, keyed: true, answer: event.place(), asked: String::new() });
        }
    }

    /// What has fired a job hides what lies before it: an event is not shown to anybody while an earlier one still is.
    fn park_behind(&mut self, event: &EventData) {
        let first = self.state.index.by_topic.get(&event.topic).and_then(|watchers| watchers.jobs().first().cloned());
        if first.is_some() {
            self.decide(Decision::EventKept { event: event.clone() });
            self.decide(Decision::EventParked { event: event.place(), next: first });
        }
    }

    /// Goes on with an event that fired more jobs than one entry holds.
    pub(super) fn event_goes_on(&mut self, place: &String) {
        let Some(row) = self.state.events.get(place).cloned() else { return };
        self.fire(&row.event, row.next, true);
    }

    /// Looks at the jobs of the topic that it may fire, from `from` on, those of other shards too. Two triggers of one job make one run (§5.3).
    fn fire(&mut self, event: &EventData, from: Option<JobName>, mut kept: bool) {
        let parked = kept;
        let place = event.place();
        let Some(watchers) = self.state.index.by_topic.get(&event.topic) else { return self.unpark(parked, &place) };
        let (view, source) = (EventView::new(event), event.source());
        let candidates = watchers.candidates(&view, from.as_ref());
        self.work += candidates.len() as u64 + read_work(&view);
        let mut shown = false;
        for job in candidates {
            // What lies before it is being read again for that job; this event follows then.
            if self.state.is_rereading(&job, &source) {
                continue;
            }
            // One job is shown it whatever reading it cost, or it would be parked here for ever.
            if std::mem::replace(&mut shown, true) && !self.has_room() {
                if !kept {
                    self.decide(Decision::EventKept { event: event.clone() });
                }
                return self.decide(Decision::EventParked { event: place, next: Some(job) });
            }
            let Some(trigger) = self.matches(&job, event, &view, &place) else { continue };
            if self.entry(&job).is_none() {
                self.forward_fire(&job, trigger, event);
                continue;
            }
            if !kept {
                self.decide(Decision::EventKept { event: event.clone() });
                kept = true;
            }
            self.create_fired(&job, event, None);
        }
        self.unpark(parked, &place);
    }

    fn unpark(&mut self, parked: bool, place: &str) {
        if parked {
            self.decide(Decision::EventParked { event: place.to_owned(), next: None });
        }
    }

    /// Makes the run of an event that matches; `matched` is the version that it matched elsewhere.
    pub(super) fn create_fired(&mut self, job: &JobName, event: &EventData, matched: Option<i64>) {
        let place = event.place();
        let cause = format!("event:{place}");
        let (root, event) = (cause.clone(), Some(place));
        self.create_run(job, NewRun { cause, root, nominal: None, event, matched, args: Vec::new(), joined: None, caught_up: false });
    }

    /// The first trigger of a job, of this shard or another, that this event fires. One budget pays for all of its predicates.
    pub(super) fn matches(&mut self, job: &JobName, event: &EventData, view: &EventView<'_>, place: &str) -> Option<i32> {
        let (compiled, entry) = (self.state.compiled(job)?, self.state.definition(job)?);
        if !is_behind_start(entry, event) || self.state.has_fired(job, event) {
            return None;
        }
        let (mut budget, read_before) = (Budget::default(), read_work(view));
        let mut fires = None;
        for (i, trigger) in compiled.spec.triggers.iter().enumerate().filter(|(_, t)| t.event.as_deref() == Some(event.topic.as_str())) {
            match (&trigger.when, &compiled.predicates[i]) {
                (None, _) => fires = Some(i as i32),
                (Some(_), None) => {}
                (Some(_), Some(predicate)) => match predicate.matches(view, &mut budget) {
                    Ok(true) => fires = Some(i as i32),
                    Ok(false) => {}
                    Err(reason) => {
                        let (job, event) = (job.clone(), place.to_owned());
                        self.decide(Decision::PredicateFailed { job, trigger: i as i32, event, reason });
                    }
                },
            }
            if fires.is_some() || budget.is_exhausted() {
                break;
            }
        }
        self.work += budget.spent() + (read_work(view) - read_before);
        fires
    }
}

/// Steps of reading an event's data.
pub(super) fn read_work(view: &EventView<'_>) -> u64 {
    (view.bytes_read() / BYTES_READ_PER_STEP) as u64
}

/// JSON is read at some 200 MB/s.
const BYTES_READ_PER_STEP: usize = 16;

/// Names an event that may be sent more than once.
fn key_of(event: &EventData) -> Option<String> {
    event.header(KEY_HEADER).map(|key| format!("event:{}/{key}", event.topic))
}
