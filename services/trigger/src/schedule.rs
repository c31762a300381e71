//! When a trigger is due: cron, repeating intervals, single times.
//!
//! Slots are strictly ordered instants: `next_after(t)` is later than `t`, always. Cron expressions are read by `croner` and
//! walked on the wall clock; this module alone maps the wall clock to instants (design §5):
//!
//! * A schedule whose minute or hour field begins with `*` follows real time: what a gap skips does not happen, and what an
//!   overlap repeats happens twice.
//! * Any other fires at the first valid instant after a gap, and once, the first time, in an overlap.
//!
//! A compiled `croner` expression takes about 5.5 KB; equal expressions are therefore shared, and a [`Schedule`] is a few words.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use orrery_model::job::{Dialect, Interval, Problem, Trigger, TriggerKind};
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

/// A compiled time trigger, cheap to clone.
#[derive(Debug, Clone)]
pub struct Schedule(Plan);

#[derive(Debug, Clone)]
enum Plan {
    Cron { wall: Arc<Cron>, zone: Tz, real_time: bool },
    Interval(Arc<(Interval, Timestamp)>),
    At(Timestamp),
}

/// Longest cron expression.
const CRON_BYTES: usize = 1_000;

impl Schedule {
    /// Compiles a trigger; `None` for triggers without time. `defined_at` is where an interval with an empty start begins: the
    /// time its definition was taken, which the caller keeps. The field in a problem is relative to the trigger.
    pub fn compile(trigger: &Trigger, defined_at: Timestamp) -> Result<Option<Self>, Problem> {
        let plan = match trigger.kind() {
            Some(TriggerKind::Cron(text)) => {
                let dialect = trigger.dialect.unwrap_or_default();
                let wall = interned(text, dialect)?;
                let zone = trigger.zone.as_deref().unwrap_or("UTC");
                let zone = zone.parse().map_err(|_| Problem::new("zone", format!("{zone:?} is not a time zone of the IANA database")))?;
                Plan::Cron { real_time: follows_real_time(&wall, dialect), wall, zone }
            }
            Some(TriggerKind::Interval(text)) => {
                let interval = Interval::parse(text).map_err(|e| Problem::new("interval", e.to_string()))?;
                let start = interval.start.unwrap_or(defined_at);
                Plan::Interval(Arc::new((interval, start)))
            }
            Some(TriggerKind::At(time)) => Plan::At(time),
            Some(TriggerKind::Event(_) | TriggerKind::After(_)) | None => return Ok(None),
        };
        Ok(Some(Self(plan)))
    }

    /// The first slot strictly after `t`; none if there is no more.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        let next = match &self.0 {
            Plan::Cron { wall, zone, real_time } => next_cron(wall, *zone, *real_time, t),
            Plan::Interval(plan) => plan.0.first_slot_after(plan.1, t).map(|(_, slot)| slot),
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
            Plan::Cron { wall, zone, .. } => format!("{} ({zone})", wall.describe().trim_end_matches('.')),
            Plan::Interval(plan) => {
                let (Interval { count, period, .. }, start) = (&plan.0, plan.1);
                let months = if period.months > 0 { format!("{} months ", period.months) } else { String::new() };
                let rest = if period.ms > 0 { orrery_model::time::format_span_ms(period.ms) } else { String::new() };
                let times = count.map(|n| format!(", {n} times")).unwrap_or_default();
                format!("Every {}, from {start}{times}", format!("{months}{rest}").trim_end())
            }
            Plan::At(time) => format!("Once, at {time}"),
        }
    }
}

/// Version of the time zone database compiled in; each journal entry carries it. It is part of the logic (§9.5): a release with
/// another one has other [`LOGIC_VERSIONS`](orrery_model::decider::Decider::LOGIC_VERSIONS).
pub fn tz_version() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

/// The compiled expression, shared by all schedules that have it. A cache of a pure function: it never changes an answer.
fn interned(text: &str, dialect: Dialect) -> Result<Arc<Cron>, Problem> {
    type Shared = BTreeMap<(String, bool), Weak<Cron>>;
    static SHARED: Mutex<(Shared, usize)> = Mutex::new((BTreeMap::new(), 1_000));
    let key = (text.trim().to_owned(), dialect == Dialect::Quartz);
    let mut guard = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (shared, purge_at) = &mut *guard;
    if let Some(cron) = shared.get(&key).and_then(Weak::upgrade) {
        return Ok(cron);
    }
    if shared.len() >= *purge_at {
        shared.retain(|_, cron| cron.strong_count() > 0);
        *purge_at = 1_000.max(shared.len() * 2);
    }
    let cron = Arc::new(parse(text, dialect)?);
    shared.insert(key, Arc::downgrade(&cron));
    Ok(cron)
}

fn parse(text: &str, dialect: Dialect) -> Result<Cron, Problem> {
    let (name, example) = match dialect {
        Dialect::Unix => ("unix", "write minute, hour, day of month, month, day of week: \"0 2 * * *\"; for seconds set dialect: quartz"),
        Dialect::Quartz => ("quartz", "write second, minute, hour, day of month, month, day of week: \"0 0 2 * * ?\""),
    };
    let refused =
        |why: &str| Problem::new("cron", format!("{text:?} is not a cron expression of the {name} dialect ({why})")).hint(example);
    if text.len() > CRON_BYTES || !text.is_ascii() {
        return Err(refused("it is too long, or holds other characters than ASCII"));
    }
    let parser = match dialect {
        Dialect::Unix => CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build(),
        Dialect::Quartz => CronParser::builder().seconds(Seconds::Required).year(Year::Optional).alternative_weekdays(true).build(),
    };
    let nicknamed = if text.trim().eq_ignore_ascii_case("@midnight") { "@daily" } else { text };
    parser.parse(nicknamed).map_err(|e| {
        let why = e.to_string();
        let why = why.trim_end_matches('.').rsplit_once(": ").map_or(why.as_str(), |(_, why)| why);
        refused(&why.replace("CronPattern", "it").replace("Pattern must", "it must"))
    })
}

/// True if the minute or the hour begins with `*`.
fn follows_real_time(cron: &Cron, dialect: Dialect) -> bool {
    let minute = usize::from(dialect == Dialect::Quartz);
    cron.as_str().split_whitespace().skip(minute).take(2).any(|field| field.starts_with('*'))
}

/// Slots later than this are none: beyond it the calendar's arithmetic would end.
const LAST_YEAR: i32 = 4_999;

/// The first slot after `t`: walks the matching wall clock times, and maps each to the instants that show it.
fn next_cron(cron: &Cron, zone: Tz, real_time: bool, t: Timestamp) -> Option<Timestamp> {
    let from = DateTime::from_timestamp(t.0.div_euclid(1_000_000), 0)?.with_timezone(&zone);
    let again = if real_time { next_in_second_half(cron, &from) } else { None };
    let mut wall = next_wall(cron, from.naive_local(), false)?;
    let first = loop {
        match zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(instant) if instant > from => break instant,
            MappedLocalTime::Ambiguous(early, _) if early > from => break early,
            MappedLocalTime::Ambiguous(_, late) if real_time && late > from => break late,
            // The second half of an overlap, where only real time fires: go on behind it.
            MappedLocalTime::Single(_) => wall = next_wall(cron, wall, false)?,
            MappedLocalTime::Ambiguous(early, late) => {
                let end = clock_change(&early, &late).naive_utc() + early.offset().fix();
                wall = next_wall(cron, end, true)?;
            }
            MappedLocalTime::None => {
                let end = after_gap(zone, wall)?;
                if !real_time && end > from {
                    break end;
                }
                wall = next_wall(cron, end.naive_local(), true)?;
            }
        }
    };
    let next = again.map_or(first, |again| again.min(first));
    Some(Timestamp(next.timestamp_micros()))
}

/// If `from` shows a time that the clock will repeat: the first match from the moment it goes back.
fn next_in_second_half(cron: &Cron, from: &DateTime<Tz>) -> Option<DateTime<Tz>> {
    let MappedLocalTime::Ambiguous(early, late) = from.timezone().from_local_datetime(&from.naive_local()) else { return None };
    if *from >= late {
        return None;
    }
    let back = clock_change(&early, &late);
    let wall = next_wall(cron, back.naive_local(), true)?;
    from.timezone().from_local_datetime(&wall).latest()
}

/// The moment between two instants with different offsets at which the clock changes; a day has 17 halvings to a second.
fn clock_change(early: &DateTime<Tz>, late: &DateTime<Tz>) -> DateTime<Tz> {
    let (mut before, mut after) = (*early, *late);
    while after.timestamp() - before.timestamp() > 1 {
        let middle = before + TimeDelta::seconds((after.timestamp() - before.timestamp()) / 2);
        if middle.offset().fix() == late.offset().fix() { after = middle } else { before = middle }
    }
    after
}

/// The first instant behind the gap that `wall` lies in.
fn after_gap(zone: Tz, wall: NaiveDateTime) -> Option<DateTime<Tz>> {
    chrono_tz::GapInfo::new(&wall, &zone)?.end
}

/// The next wall clock time that the expression names, from `wall` on or behind it.
fn next_wall(cron: &Cron, wall: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
    use chrono::Datelike;
    cron.find_next_occurrence(&wall, inclusive).ok().filter(|next| next.year() <= LAST_YEAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn cron(text: &str, zone: &str) -> Schedule {
        let trigger = Trigger { cron: Some(text.into()), zone: Some(zone.into()), ..Trigger::default() };
        Schedule::compile(&trigger, Timestamp(0)).expect(text).expect("a time trigger")
    }

    /// Oldest version of the logic that is compiled in, and the database that it and all after it decide by; the last is today's.
    const DATABASES: &[(i32, &str)] = &[(1, "2025b")];

    #[test]
    fn another_time_zone_database_is_another_version_of_the_logic() {
        let oldest = *<crate::Trigger as orrery_model::decider::Decider>::LOGIC_VERSIONS.start();
        let why = "chrono-tz was raised: begin LOGIC_VERSIONS with a new number, and add it to DATABASES";
        assert_eq!(DATABASES.last(), Some(&(oldest, tz_version())), "{why}");
        assert!(DATABASES.windows(2).all(|pair| pair[0].0 < pair[1].0), "{why}");
    }

    fn slots_between(schedule: &Schedule, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        schedule.slots_after(after).take_while(|slot| *slot <= until).collect()
    }

    /// The slots between two instants, as the zone's clock shows them.
    fn check(text: &str, zone: &str, after: &str, until: &str, expected: Expect) {
        let tz: Tz = zone.parse().expect(zone);
        let slots = slots_between(&cron(text, zone), at(after), at(until));
        assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "slots ascend");
        let shown = slots.iter().map(|slot| slot.to_utc().with_timezone(&tz).format("%d %H:%M:%S %:z").to_string());
        expected.assert_eq(&shown.collect::<Vec<_>>().join(", "));
    }

    #[test]
    fn the_clock_goes_forward() {
        // New York: 2026-03-08, 02:00 to 03:00, at 07:00 UTC.
        let day = |text, expected| check(text, "America/New_York", "2026-03-08T05:30:00Z", "2026-03-08T09:00:00Z", expected);
        day("0 * * * *", expect!["08 01:00:00 -05:00, 08 03:00:00 -04:00, 08 04:00:00 -04:00, 08 05:00:00 -04:00"]);
        day(
            "*/30 * * * *",
            expect![
                "08 01:00:00 -05:00, 08 01:30:00 -05:00, 08 03:00:00 -04:00, 08 03:30:00 -04:00, 08 04:00:00 -04:00, 08 04:30:00 -04:00, 08 05:00:00 -04:00"
            ],
        );
        day("30 2 * * *", expect!["08 03:00:00 -04:00"]);
        day("30 2,3 * * *", expect!["08 03:00:00 -04:00, 08 03:30:00 -04:00"]);
        day("0 2,3 * * *", expect!["08 03:00:00 -04:00"]);
        day("30 1 * * *", expect!["08 01:30:00 -05:00"]);
        day("* 2 * * *", expect![[""]]);
        // Lord Howe: 2026-10-04, 02:00 to 02:30, at 15:30 UTC the day before.
        let day = |text, expected| check(text, "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T17:30:00Z", expected);
        day("0 * * * *", expect!["04 01:00:00 +10:30, 04 03:00:00 +11:00, 04 04:00:00 +11:00"]);
        day("15 2 * * *", expect!["04 02:30:00 +11:00"]);
        day(
            "*/15 * * * *",
            expect![
                "04 00:45:00 +10:30, 04 01:00:00 +10:30, 04 01:15:00 +10:30, 04 01:30:00 +10:30, 04 01:45:00 +10:30, 04 02:30:00 +11:00, 04 02:45:00 +11:00, 04 03:00:00 +11:00, 04 03:15:00 +11:00, 04 03:30:00 +11:00, 04 03:45:00 +11:00, 04 04:00:00 +11:00, 04 04:15:00 +11:00, 04 04:30:00 +11:00"
            ],
        );
        // Paris: 2026-03-29, 02:00 to 03:00, at 01:00 UTC.
        check(
            "30 2 * * *",
            "Europe/Paris",
            "2026-03-28T00:00:00Z",
            "2026-03-31T00:00:00Z",
            expect!["28 02:30:00 +01:00, 29 03:00:00 +02:00, 30 02:30:00 +02:00"],
        );
        // Apia: the whole of 2011-12-30 is missing.
        check(
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            "2012-01-01T00:00:00Z",
            expect!["29 12:00:00 -10:00, 31 00:00:00 +14:00, 31 12:00:00 +14:00, 01 12:00:00 +14:00"],
        );
        check(
            "0 */6 * * *",
            "Pacific/Apia",
            "2011-12-30T00:00:00Z",
            "2011-12-31T00:00:00Z",
            expect!["29 18:00:00 -10:00, 31 00:00:00 +14:00, 31 06:00:00 +14:00, 31 12:00:00 +14:00"],
        );
        // Santiago: midnight itself is missing on 2026-09-06.
        check(
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T00:00:00Z",
            "2026-09-07T12:00:00Z",
            expect!["05 00:00:00 -04:00, 06 01:00:00 -03:00, 07 00:00:00 -03:00"],
        );
    }

    #[test]
    fn the_clock_goes_back() {
        // New York: 2026-11-01, 02:00 to 01:00, at 06:00 UTC.
        let day = |text, expected| check(text, "America/New_York", "2026-11-01T04:30:00Z", "2026-11-01T08:00:00Z", expected);
        day("0 * * * *", expect!["01 01:00:00 -04:00, 01 01:00:00 -05:00, 01 02:00:00 -05:00, 01 03:00:00 -05:00"]);
        day(
            "*/30 * * * *",
            expect![
                "01 01:00:00 -04:00, 01 01:30:00 -04:00, 01 01:00:00 -05:00, 01 01:30:00 -05:00, 01 02:00:00 -05:00, 01 02:30:00 -05:00, 01 03:00:00 -05:00"
            ],
        );
        day("30 1 * * *", expect!["01 01:30:00 -04:00"]);
        day("0 1 * * *", expect!["01 01:00:00 -04:00"]);
        day("0,30 1,2 * * *", expect!["01 01:00:00 -04:00, 01 01:30:00 -04:00, 01 02:00:00 -05:00, 01 02:30:00 -05:00"]);
        day("30 2 * * *", expect!["01 02:30:00 -05:00"]);
        day("*/30 1 * * *", expect!["01 01:00:00 -04:00, 01 01:30:00 -04:00, 01 01:00:00 -05:00, 01 01:30:00 -05:00"]);
        // Lord Howe: 2026-04-05, 02:00 to 01:30, at 15:00 UTC the day before.
        let day = |text, expected| check(text, "Australia/Lord_Howe", "2026-04-04T13:30:00Z", "2026-04-04T17:00:00Z", expected);
        day("0 * * * *", expect!["05 01:00:00 +11:00, 05 02:00:00 +10:30, 05 03:00:00 +10:30"]);
        day(
            "*/15 * * * *",
            expect![
                "05 00:45:00 +11:00, 05 01:00:00 +11:00, 05 01:15:00 +11:00, 05 01:30:00 +11:00, 05 01:45:00 +11:00, 05 01:30:00 +10:30, 05 01:45:00 +10:30, 05 02:00:00 +10:30, 05 02:15:00 +10:30, 05 02:30:00 +10:30, 05 02:45:00 +10:30, 05 03:00:00 +10:30, 05 03:15:00 +10:30, 05 03:30:00 +10:30"
            ],
        );
        day("45 1 * * *", expect!["05 01:45:00 +11:00"]);
        check(
            "30 2 * * *",
            "Europe/Paris",
            "2026-10-24T00:00:00Z",
            "2026-10-27T00:00:00Z",
            expect!["24 02:30:00 +02:00, 25 02:30:00 +02:00, 26 02:30:00 +01:00"],
        );
    }

    #[test]
    fn dialects() {
        let slot = |cron: &str, dialect| {
            let trigger = Trigger { cron: Some(cron.into()), dialect: Some(dialect), ..Trigger::default() };
            let schedule = Schedule::compile(&trigger, Timestamp(0)).expect(cron).expect("a time trigger");
            schedule.next_after(at("2026-11-20T12:00:00Z")).map(|t| t.to_string()).unwrap_or_default()
        };
        for (text, dialect, next) in [
            ("0 0 * * 1", Dialect::Unix, "2026-11-23T00:00:00Z"),
            ("0 0 * * 7", Dialect::Unix, "2026-11-22T00:00:00Z"),
            ("0 0 13 * FRI", Dialect::Unix, "2026-11-27T00:00:00Z"),
            ("0 0 L * *", Dialect::Unix, "2026-11-30T00:00:00Z"),
            ("0 0 * * FRI#1", Dialect::Unix, "2026-12-04T00:00:00Z"),
            ("@midnight", Dialect::Unix, "2026-11-21T00:00:00Z"),
            ("@hourly", Dialect::Quartz, "2026-11-20T13:00:00Z"),
            ("0 0 0 ? * 1", Dialect::Quartz, "2026-11-22T00:00:00Z"),
            ("15 0 0 * * ?", Dialect::Quartz, "2026-11-21T00:00:15Z"),
            ("0 0 0 1 1 ? 2030", Dialect::Quartz, "2030-01-01T00:00:00Z"),
            ("0 0 0 1 1 ? 2020", Dialect::Quartz, ""),
            ("0 0 29 2 *", Dialect::Unix, "2028-02-29T00:00:00Z"),
            ("0 0 30 2 *", Dialect::Unix, ""),
        ] {
            assert_eq!(slot(text, dialect), next, "{text}");
        }
    }

    #[test]
    fn other_triggers() {
        let trigger = Trigger { interval: Some("R3//PT1H".into()), ..Trigger::default() };
        let hourly = Schedule::compile(&trigger, at("2026-11-20T12:00:00Z")).expect("valid").expect("a time trigger");
        assert_eq!(hourly.slots_after(Timestamp(0)).take(10).count(), 3);
        assert_eq!(hourly.describe(), "Every 1h, from 2026-11-20T12:00:00Z, 3 times");
        let once = Trigger { at: Some(at("2026-11-20T12:00:00Z")), ..Trigger::default() };
        let once = Schedule::compile(&once, Timestamp(0)).expect("valid").expect("a time trigger");
        assert_eq!(once.slots_after(Timestamp(0)).take(10).collect::<Vec<_>>(), [at("2026-11-20T12:00:00Z")]);
        assert_eq!(once.next_after(at("2026-11-20T12:00:00Z")), None);
        let event = Trigger { event: Some("t".into()), ..Trigger::default() };
        assert!(Schedule::compile(&event, Timestamp(0)).expect("valid").is_none());
        expect!["At 09:00, on Monday (Europe/Paris)"].assert_eq(&cron("0 9 * * 1", "Europe/Paris").describe());
        assert!(std::mem::size_of::<Schedule>() <= 16, "a schedule is {} bytes", std::mem::size_of::<Schedule>());
    }

    #[test]
    fn refusals() {
        let said = |text: &str| {
            let trigger = Trigger { cron: Some(text.into()), ..Trigger::default() };
            Schedule::compile(&trigger, Timestamp(0)).expect_err(text).to_string()
        };
        let texts = ["", "* * *", "0 0 2 * * *", "61 * * * *", "0 0 * * MONDAY", "@reboot", "* * * * é", "a b c d e"];
        expect![[r#"
            cron: "" is not a cron expression of the unix dialect (it cannot be an empty string.); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "* * *" is not a cron expression of the unix dialect (it must have 5 fields when seconds are disallowed); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "0 0 2 * * *" is not a cron expression of the unix dialect (it must have 5 fields when seconds are disallowed); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "61 * * * *" is not a cron expression of the unix dialect (Number out of bounds); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "0 0 * * MONDAY" is not a cron expression of the unix dialect (it contains illegal character 'D' in part '1DAY'); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "@reboot" is not a cron expression of the unix dialect (it must have 5 fields when seconds are disallowed); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "* * * * é" is not a cron expression of the unix dialect (it is too long, or holds other characters than ASCII); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
            cron: "a b c d e" is not a cron expression of the unix dialect (it contains illegal character 'A' in part 'A'); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz"#]].assert_eq(&texts.map(said).join("\n"));
    }

    fn field(max: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (1..max).prop_map(|n| format!("*/{n}")),
            (0..=max).prop_map(|n| n.to_string()),
            prop::collection::vec(0..=max, 1..4).prop_map(|ns| ns.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        ]
    }

    const ZONES: [&str; 8] = [
        "UTC",
        "America/New_York",
        "Europe/Paris",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Pacific/Apia",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Whatever the rule, slots ascend, and none is left out between two of them: asking from anywhere finds the next.
        #[test]
        fn slots_ascend_and_none_is_lost(minute in field(59), hour in field(23), zone in 0..ZONES.len(), from in 1_300_000_000i64..1_900_000_000, part in 0.0f64..1.0) {
            let schedule = cron(&format!("{minute} {hour} * * *"), ZONES[zone]);
            let slots = schedule.slots_after(Timestamp(from * 1_000_000)).take(60).collect::<Vec<_>>();
            prop_assert_eq!(slots.len(), 60);
            for pair in slots.windows(2) {
                prop_assert!(pair[0] < pair[1]);
                let between = pair[0].0 + ((pair[1].0 - pair[0].0 - 1) as f64 * part) as i64;
                prop_assert_eq!(schedule.next_after(Timestamp(between)), Some(pair[1]));
            }
        }

        /// Where minute or hour begin with `*`, the slots are exactly the minutes whose wall clock the expression names.
        #[test]
        fn real_time_is_what_the_clock_shows(minute in field(59), day in 0usize..6, zone in 0..ZONES.len()) {
            let text = format!("{minute} * * * *");
            let schedule = cron(&text, ZONES[zone]);
            let pattern = parse(&text, Dialect::Unix).expect("valid");
            let tz: Tz = ZONES[zone].parse().expect("a zone");
            let days = ["2026-03-08", "2026-11-01", "2026-04-04", "2026-10-03", "2026-03-29", "2011-12-30"];
            let start = at(&format!("{}T00:00:00Z", days[day]));
            let shown: Vec<Timestamp> = (1..=1440)
                .map(|n| start.plus_ms(n * 60_000))
                .filter(|t| pattern.is_time_matching(&t.to_utc().with_timezone(&tz)).expect("a time"))
                .collect();
            prop_assert_eq!(slots_between(&schedule, start, start.plus_ms(86_400_000)), shown);
        }

        #[test]
        fn no_text_panics(text in "[0-9*/,LW#?@A-Za-z+ -]{0,30}", quartz: bool) {
            let dialect = if quartz { Dialect::Quartz } else { Dialect::Unix };
            let trigger = Trigger { cron: Some(text), dialect: Some(dialect), ..Trigger::default() };
            if let Ok(Some(schedule)) = Schedule::compile(&trigger, Timestamp(0)) {
                let _ = schedule.next_after(at("2026-11-20T12:00:00Z"));
            }
        }
    }
}
