//! When a trigger is due: cron, repeating intervals, single times.
//!
//! Slots are strictly ordered instants: `next_after(t)` is later than `t`, always. Cron expressions ([`cron`]) are walked on the wall
//! clock; this module alone maps them to instants (design §5), by the rules of their [`Zone`]:
//!
//! * A schedule whose minute or hour field begins with `*` follows real time: what a gap skips does not happen, and what an
//!   overlap repeats happens twice.
//! * Any other fires at the first valid instant after a gap, and once, the first time, in an overlap.
//!
//! A compiled expression takes about 5.5 KB; equal ones are therefore shared, and a [`Schedule`] is a few words.

mod cron;
#[cfg(test)]
mod tests;

use chrono::{NaiveDateTime, TimeDelta};
use cron::Expression;
use orrery_model::job::{Dialect, Interval, Period, Problem, Slots, Trigger, TriggerKind};
use orrery_model::time::{Timestamp, format_span_ms};
use orrery_model::zone::{self, Shown, Zone};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

/// A compiled time trigger, cheap to clone.
#[derive(Debug, Clone)]
pub struct Schedule(Plan);

#[derive(Debug, Clone)]
enum Plan {
    Cron(Arc<(Expression, Zone)>),
    Interval(Arc<Slots>),
    At(Timestamp),
}

impl Schedule {
    /// Compiles a trigger; `None` for triggers without time. `defined_at` is where an interval with an empty start begins: the
    /// time its definition was taken, which the caller keeps. The field in a problem is relative to the trigger.
    pub fn compile(trigger: &Trigger, defined_at: Timestamp) -> Result<Option<Self>, Problem> {
        let plan = match trigger.kind() {
            Some(TriggerKind::Cron(text)) => {
                let zone = named(trigger)?.unwrap_or_else(Zone::utc);
                Plan::Cron(interned(text, trigger.dialect.unwrap_or_default(), zone)?)
            }
            Some(TriggerKind::Interval(text)) => {
                let interval = Interval::parse(text).map_err(|e| Problem::new("interval", e.to_string()))?;
                let slots = interval.slots(named(trigger)?, defined_at);
                Plan::Interval(Arc::new(slots.ok_or_else(|| Problem::new("interval", format!("{text:?} begins beyond the calendar")))?))
            }
            Some(TriggerKind::At(time)) => Plan::At(time),
            Some(TriggerKind::Event(_) | TriggerKind::After(_)) | None => return Ok(None),
        };
        Ok(Some(Self(plan)))
    }

    /// The first slot strictly after `t`; none if there is no more.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        let next = match &self.0 {
            Plan::Cron(plan) => next_cron(&plan.0, &plan.1, t),
            Plan::Interval(slots) => slots.first_after(t).map(|(_, slot)| slot),
            Plan::At(time) => Some(*time),
        };
        next.filter(|next| *next > t)
    }

    /// The slots after `t`, oldest first; each is found when it is asked for.
    pub fn slots_after(&self, t: Timestamp) -> impl Iterator<Item = Timestamp> {
        let mut last = t;
        std::iter::from_fn(move || {
            last = self.next_after(last)?;
            Some(last)
        })
    }

    /// The schedule in English.
    pub fn describe(&self) -> String {
        match &self.0 {
            Plan::Cron(plan) => format!("{} ({})", plan.0.describe(), plan.1),
            Plan::Interval(slots) => {
                let Slots { count, period: Period { months, days, ms }, start, zone, .. } = &**slots;
                let months = match months {
                    0 => String::new(),
                    1 => "1 month ".to_owned(),
                    n => format!("{n} months "),
                };
                let rest = if (*days, *ms) == (0, 0) { String::new() } else { format_span_ms(days * 86_400_000 + ms) };
                let times = count.map(|n| format!(", {n} times")).unwrap_or_default();
                let place = zone.name().filter(|name| *name != "UTC").map(|name| format!(" ({name})")).unwrap_or_default();
                format!("Every {}, from {}{place}{times}", format!("{months}{rest}").trim_end(), zone.show(*start))
            }
            Plan::At(time) => format!("Once, at {time}"),
        }
    }

    /// What is probably not meant, though it is taken.
    pub fn warning(&self) -> Option<&str> {
        if let Plan::Cron(plan) = &self.0 { plan.0.warning.as_deref() } else { None }
    }
}

/// Release and content of the time zone database compiled in; each journal entry carries it. It is part of the logic (§9.5): a build
/// with another one has other [`LOGIC_VERSIONS`](orrery_model::decider::Decider::LOGIC_VERSIONS).
pub fn tz_version() -> &'static str {
    zone::version()
}

fn named(trigger: &Trigger) -> Result<Option<Zone>, Problem> {
    let Some(name) = trigger.zone.as_deref() else { return Ok(None) };
    let unknown = || Problem::new("zone", format!("{name:?} is not a time zone of the IANA database")).hint(zone::hint(name));
    Zone::named(name).map(Some).ok_or_else(unknown)
}

/// The compiled expression, shared by all schedules that have it. A cache of a pure function: it never changes an answer.
fn interned(text: &str, dialect: Dialect, zone: Zone) -> Result<Arc<(Expression, Zone)>, Problem> {
    type Shared = BTreeMap<(String, bool, String), Weak<(Expression, Zone)>>;
    static SHARED: Mutex<(Shared, usize)> = Mutex::new((BTreeMap::new(), 1_000));
    let key = (text.trim().to_owned(), dialect == Dialect::Quartz, zone.to_string());
    let mut guard = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (shared, purge_at) = &mut *guard;
    if let Some(plan) = shared.get(&key).and_then(Weak::upgrade) {
        return Ok(plan);
    }
    if shared.len() >= *purge_at {
        shared.retain(|_, plan| plan.strong_count() > 0);
        *purge_at = 1_000.max(shared.len() * 2);
    }
    let plan = Arc::new((Expression::read(text, dialect)?, zone));
    shared.insert(key, Arc::downgrade(&plan));
    Ok(plan)
}

/// The first slot after `t`: walks the matching wall clock times, and maps each to the instants that show it.
fn next_cron(cron: &Expression, zone: &Zone, t: Timestamp) -> Option<Timestamp> {
    let from = Timestamp(t.0.checked_sub(t.0.rem_euclid(1_000_000))?);
    let now = zone.wall(from)?;
    let again = if cron.real_time { next_in_second_half(cron, zone, from, now) } else { None };
    let mut wall = cron.next(now, false)?;
    let first = loop {
        match zone.shown(wall)? {
            Shown::Once(instant) if instant > from => break instant,
            Shown::Twice { first, .. } if first > from => break first,
            Shown::Twice { second, .. } if cron.real_time && second > from => break second,
            // The second half of an overlap, where only real time fires: go on behind it.
            Shown::Once(_) => wall = cron.next(wall, false)?,
            Shown::Twice { first, second, back } => {
                let end = zone.wall(back)? + TimeDelta::microseconds(second.0 - first.0);
                wall = cron.next(end, true)?;
            }
            Shown::Never { ahead } if !cron.real_time && ahead > from => break ahead,
            Shown::Never { ahead } => wall = cron.next(zone.wall(ahead)?, true)?,
        }
    };
    Some(again.map_or(first, |again| again.min(first)))
}

/// If `from` shows a time that the clock will repeat: the first match from the moment it goes back.
fn next_in_second_half(cron: &Expression, zone: &Zone, from: Timestamp, now: NaiveDateTime) -> Option<Timestamp> {
    let Shown::Twice { second, back, .. } = zone.shown(now)? else { return None };
    if from >= second {
        return None;
    }
    match zone.shown(cron.next(zone.wall(back)?, true)?)? {
        Shown::Once(instant) | Shown::Twice { second: instant, .. } => Some(instant),
        Shown::Never { .. } => None,
    }
}
