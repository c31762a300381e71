//! Deadlines: schedule slots, back-offs, `start_within`, and what had no room before.
//!
//! Every deadline that is due leads to a decision that moves it; else it would be due for ever.

use super::Turn;
use super::jobs::late_before;
use super::runs::NewRun;
use crate::facts::Decision;
use crate::state::{Compiled, Deadline};
use orrery_model::id::{JobName, RunId};
use orrery_model::job::CatchUpPolicy;
use orrery_model::limits::CATCH_UP_RUNS;
use orrery_model::messages::{RunRecord, RunState};
use orrery_model::time::Timestamp;

/// Slots of one schedule taken at once; the rest follow with the next tick.
const SLOTS_AT_ONCE: usize = 200;

impl Turn<'_> {
    pub(super) fn tick(&mut self) {
        while self.has_room() {
            let due = self.state.index.next_due(self.at);
            match due {
                Some((_, Deadline::Slot(job, trigger))) => self.take_slots(&job, trigger),
                Some((_, Deadline::Attempt(run))) => self.start(&run),
                Some((_, Deadline::StartBy(run))) => self.too_late(&run),
                Some((_, Deadline::Turn(job))) => self.start_held(&job),
                Some((_, Deadline::Event(source, offset))) => self.event_goes_on(&format!("{source}/{offset}")),
                Some((_, Deadline::Fire(job))) => self.release_fire(&job),
                None => return,
            }
        }
    }

    fn take_slots(&mut self, job: &JobName, trigger: u32) {
        let (Some(compiled), Some(row)) = (self.state.compiled(job), self.state.slots.get(&(job.clone(), trigger)).copied()) else {
            return;
        };
        let Some(schedule) = compiled.schedules.get(trigger as usize).and_then(Option::as_ref) else {
            // Accepted by an older version, and not a schedule to this one: it stands still rather than being due for ever.
            let (job, trigger) = (job.clone(), trigger as i32);
            let reason = Some("its schedule cannot be read by this version".to_owned());
            return self.decide(Decision::SlotTaken { job, trigger, slot: self.at, next: None, missed: 0, reason, caught_up: 0 });
        };
        let first = row.next.unwrap_or(self.at);
        let mut later = schedule.slots_after(first).peekable();
        let mut due = vec![first];
        due.extend(std::iter::from_fn(|| later.next_if(|slot| *slot <= self.at)).take(SLOTS_AT_ONCE - 1));
        let next = later.next();
        let newest_is_last = next.is_none_or(|next| next > self.at);
        let mut taken = Taken { caught_up: row.caught_up, missed: 0, reason: None };
        for (i, slot) in due.iter().enumerate() {
            let newest = newest_is_last && i + 1 == due.len();
            if self.is_run(&compiled, *slot, newest, &mut taken) {
                // A slot was missed if it is late, and also if it was due together with one before it.
                let missed = i > 0 || row.behind || *slot <= late_before(self.at);
                self.create_scheduled(job, *slot, missed && compiled.spec.catch_up.policy == CatchUpPolicy::All);
            }
            if !self.has_room() && i + 1 < due.len() {
                return self.slot_taken(job, trigger, *slot, due.get(i + 1).copied(), taken);
            }
        }
        self.slot_taken(job, trigger, due[due.len() - 1], next, taken);
    }

    fn slot_taken(&mut self, job: &JobName, trigger: u32, slot: Timestamp, next: Option<Timestamp>, taken: Taken) {
        let Taken { caught_up, missed, reason } = taken;
        self.decide(Decision::SlotTaken { job: job.clone(), trigger: trigger as i32, slot, next, missed, reason, caught_up });
    }

    /// Decides by the job's catch-up policy whether a slot is run.
    fn is_run(&self, compiled: &Compiled, slot: Timestamp, newest: bool, taken: &mut Taken) -> bool {
        if slot > late_before(self.at) {
            taken.caught_up = 0;
            return true;
        }
        let catch_up = compiled.spec.catch_up;
        let too_old = catch_up.window.is_some_and(|window| self.at.since_ms(slot) > window.0);
        let why_not = match catch_up.policy {
            _ if too_old => Some("older than the window of catch_up"),
            CatchUpPolicy::None => Some("catch_up is none"),
            CatchUpPolicy::Latest if !newest => Some("catch_up is latest, and there is a newer slot"),
            CatchUpPolicy::All if taken.caught_up >= CATCH_UP_RUNS as i64 => Some("more late slots than catch_up runs at once"),
            CatchUpPolicy::Latest | CatchUpPolicy::All => None,
        };
        match why_not {
            Some(why) => {
                taken.missed += 1;
                taken.reason = Some(why.to_owned());
            }
            None => taken.caught_up += 1,
        }
        why_not.is_none()
    }

    fn create_scheduled(&mut self, job: &JobName, slot: Timestamp, caught_up: bool) {
        let cause = format!("time:{slot}");
        let new = NewRun {
            root: cause.clone(),
            cause,
            nominal: Some(slot),
            event: None,
            matched: None,
            args: Vec::new(),
            joined: None,
            caught_up,
        };
        self.create_run(job, new);
    }

    /// A run that has not started by its time never will (`start_within`).
    fn too_late(&mut self, run: &RunId) {
        let Some(record) = self.record(run) else { return };
        let why = "it had not started within start_within".to_owned();
        if self.state.runs.get(run).is_some_and(|row| row.live) {
            self.unwant(record, why, RunState::Skipped);
        } else {
            self.end(RunRecord { state: RunState::Skipped, reason: Some(why), ended_at: Some(self.at), next_attempt_at: None, ..record });
        }
    }
}

/// What has come of some slots.
struct Taken {
    caught_up: i64,
    missed: i64,
    reason: Option<String>,
}
