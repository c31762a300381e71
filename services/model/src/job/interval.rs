//! ISO 8601 repeating intervals, `R[n]/[start]/period`: the n-th slot is always counted from the start, so nothing drifts.
//!
//! `R`, `R-1`: without end; `R5`: five slots in all. The start may be empty: the time the job is taken. Years, months, weeks and days
//! are those of the calendar in the trigger's `zone`, or without one in the offset that the start is written with: what is behind
//! the T is exact. A day that a month lacks becomes its last one (31 January, then 28 February, then 31 March). A time that the zone's
//! clocks skip becomes the first instant behind the gap, one that they repeat is the first of the two. Decimals are taken down to the
//! millisecond. Starts are read liberally: basic or extended form, with or without seconds, any offset; without an offset they are in
//! the zone, or UTC.

use crate::time::Timestamp;
use crate::zone::{Shown, Zone, offset_seconds};
use chrono::{Days, Months, NaiveDate, NaiveDateTime, NaiveTime};

/// A repeating interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Slots in all; none is without end.
    pub count: Option<i64>,
    /// First slot; none is the time the job is taken.
    pub start: Option<Start>,
    /// Between slots.
    pub period: Period,
}

/// Where an interval begins, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// On the clock of its zone or offset.
    pub wall: NaiveDateTime,
    /// Seconds ahead of UTC; none: the zone says.
    pub offset_s: Option<i32>,
}

/// Calendar months, calendar days and exact milliseconds; together more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Months (years are 12).
    pub months: i64,
    /// Days (weeks are 7).
    pub days: i64,
    /// Hours, minutes, seconds as milliseconds.
    pub ms: i64,
}

/// Why a text is not a repeating interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a repeating interval: {why}")]
pub struct IntervalError {
    /// The refused text.
    pub text: String,
    /// What is wrong and what to write.
    pub why: String,
}

/// The slots of an interval whose start is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Slots {
    /// In all; none is without end.
    pub count: Option<i64>,
    /// Between slots.
    pub period: Period,
    /// The first slot.
    pub start: Timestamp,
    /// Whose calendar months and days are.
    pub zone: Zone,
    /// The start on the zone's clock.
    wall: NaiveDateTime,
}

/// Longest period: a thousand years.
const PERIOD_MONTHS_MAX: i64 = 12_000;
const PERIOD_MS_MAX: i64 = 1_000 * 366 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
/// 9999-12-30T00:00:00Z: the calendar ends within a day of it, whatever the zone.
const LAST_SLOT: Timestamp = Timestamp(253_402_128_000_000_000);
/// A calendar month on average: 400 years have 146,097 days.
const MONTH_US: i128 = 146_097 * DAY_MS as i128 * 1000 / 4_800;

impl Interval {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self, IntervalError> {
        parse(text.trim()).map_err(|why| IntervalError { text: text.chars().take(200).collect(), why })
    }

    /// The slots in this zone, where one is given; `taken` is where an interval with an empty start begins. None if the start is
    /// beyond the calendar.
    pub fn slots(&self, zone: Option<Zone>, taken: Timestamp) -> Option<Slots> {
        let Self { count, start, period } = *self;
        let written_in = start.and_then(|start| start.offset_s).and_then(Zone::fixed);
        let zone = zone.or_else(|| written_in.clone()).unwrap_or_else(Zone::utc);
        let (start, wall) = match start {
            None => (taken, zone.wall(taken)?),
            Some(Start { wall, offset_s: None }) => (zone.shown(wall)?.first(), wall),
            Some(Start { wall, offset_s: Some(_) }) => {
                let start = written_in?.shown(wall)?.first();
                (start, zone.wall(start)?)
            }
        };
        Some(Slots { count, period, start, zone, wall })
    }
}

impl Slots {
    /// The n-th slot from 0, or none before the first, behind the last, or past the year 9999.
    pub fn slot(&self, n: i64) -> Option<Timestamp> {
        if n < 0 || self.count.is_some_and(|count| n >= count) {
            return None;
        }
        let Period { months, days, ms } = self.period;
        // The start itself may be the second of two instants that its clock shows alike.
        let date = if n == 0 || (months, days) == (0, 0) { self.start } else { self.date(months.checked_mul(n)?, days.checked_mul(n)?)? };
        let slot = i128::from(date.0) + i128::from(ms) * i128::from(n) * 1000;
        i64::try_from(slot).ok().map(Timestamp).filter(|slot| *slot <= LAST_SLOT)
    }

    /// The start moved on the calendar.
    fn date(&self, months: i64, days: i64) -> Option<Timestamp> {
        let moved = self.wall.checked_add_months(Months::new(u32::try_from(months).ok()?))?;
        let moved = moved.checked_add_days(Days::new(u64::try_from(days).ok()?))?;
        self.zone.shown(moved).map(Shown::first)
    }

    /// The first slot strictly after `t`, with its number. Estimated from the average month, then corrected by the few steps
    /// that a calendar deviates from its average; never counted from zero.
    pub fn first_after(&self, t: Timestamp) -> Option<(i64, Timestamp)> {
        self.slot(0).filter(|_| t < LAST_SLOT)?;
        let passed = i128::from(t.0) - i128::from(self.start.0);
        let Period { months, days, ms } = self.period;
        let period = i128::from(months) * MONTH_US + (i128::from(days) * i128::from(DAY_MS) + i128::from(ms)) * 1000;
        let mut n = i64::try_from(passed / period.max(1)).ok()?.clamp(0, self.count.unwrap_or(i64::MAX));
        let after = |n: i64| self.slot(n).is_none_or(|slot| slot > t);
        while n > 0 && after(n - 1) {
            n -= 1;
        }
        while !after(n) {
            n += 1;
        }
        self.slot(n).map(|slot| (n, slot))
    }
}

fn parse(text: &str) -> Result<Interval, String> {
    let form = "write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H";
    let rest = text.strip_prefix(['R', 'r']).ok_or_else(|| format!("it does not begin with R; {form}"))?;
    let (count, rest) = rest.split_once('/').ok_or_else(|| format!("it has no '/'; {form}"))?;
    let count = match count {
        "" | "-1" => None,
        digits => Some(digits.parse().ok().filter(|n| *n >= 0).ok_or_else(|| format!("{digits:?} is no number of repetitions; {form}"))?),
    };
    let (start, period) = rest.rsplit_once('/').unwrap_or(("", rest));
    if start.starts_with(['P', 'p']) {
        return Err(format!("a period before an end is not taken; {form}"));
    }
    let start = if start.is_empty() { None } else { Some(read_start(start)?) };
    Ok(Interval { count, start, period: read_period(period)? })
}

/// A period such as `P1M`, `PT1H`, `P1DT12H`, `P1W`, `PT0.5S`.
fn read_period(text: &str) -> Result<Period, String> {
    let refused = |why: &str| format!("{text:?} is not a period ({why}); write for example PT1H, P1D, P1M or PT90S");
    if !text.is_ascii() {
        return Err(refused("it holds other characters than ASCII"));
    }
    let upper = text.to_ascii_uppercase().replace(',', ".");
    let mut rest = upper.strip_prefix('P').ok_or_else(|| refused("it does not begin with P"))?;
    let (mut months, mut days, mut ms) = (0i64, 0i64, 0i64);
    let (mut in_time, mut last_rank) = (false, 0);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            if in_time || time.is_empty() {
                return Err(refused("nothing follows the T"));
            }
            (in_time, rest) = (true, time);
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(|| refused("a number has no unit"))?;
        let (number, unit) = (&rest[..end], &rest[end..=end]);
        let Some((rank, unit_months, unit_ms)) = unit_of(unit, in_time) else {
            return Err(refused("units are Y, M, W, D, and behind a T: H, M, S"));
        };
        if rank <= last_rank {
            return Err(refused("its units are not in the order Y, M, W, D, T, H, M, S"));
        }
        let too_long = || refused("it is longer than a thousand years, or finer than a millisecond");
        months = scaled(number, unit_months).and_then(|n| months.checked_add(n)).ok_or_else(too_long)?;
        let exact = scaled(number, unit_ms).filter(|n| *n <= PERIOD_MS_MAX).ok_or_else(too_long)?;
        // Whole days are the calendar's; what is behind their decimal point is as exact as hours are.
        let whole_days = if in_time { 0 } else { exact / DAY_MS };
        (days, ms) = (days + whole_days, ms + exact - whole_days * DAY_MS);
        if months > PERIOD_MONTHS_MAX || days * DAY_MS + ms > PERIOD_MS_MAX {
            return Err(too_long());
        }
        (last_rank, rest) = (rank, &rest[end + 1..]);
    }
    if (months, days, ms) == (0, 0, 0) {
        return Err(refused("it is no time at all"));
    }
    Ok(Period { months, days, ms })
}

/// Rank in the order of units, months, milliseconds.
fn unit_of(unit: &str, in_time: bool) -> Option<(u8, i64, i64)> {
    Some(match (unit, in_time) {
        ("Y", false) => (1, 12, 0),
        ("M", false) => (2, 1, 0),
        ("W", false) => (3, 0, 7 * DAY_MS),
        ("D", false) => (4, 0, DAY_MS),
        ("H", true) => (5, 0, 3_600_000),
        ("M", true) => (6, 0, 60_000),
        ("S", true) => (7, 0, 1_000),
        _ => return None,
    })
}

/// `number × unit`, where it is whole; the number may have up to nine decimals.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && decimals.is_empty()) || decimals.len() > 9 || decimals.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let billionths: i128 = format!("{decimals:0<9}").parse().ok()?;
    let part = billionths * i128::from(unit);
    let part = (part % 1_000_000_000 == 0).then_some(part / 1_000_000_000)?;
    whole.checked_mul(unit)?.checked_add(i64::try_from(part).ok()?)
}

/// A date and time in ISO 8601, basic or extended, with any offset or none.
fn read_start(text: &str) -> Result<Start, String> {
    let refused = || format!("{text:?} is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now");
    let upper = Some(text.trim()).filter(|t| t.is_ascii()).ok_or_else(refused)?.to_ascii_uppercase().replace(',', ".");
    let (date, time) = upper.split_once(['T', ' ']).unwrap_or((&upper, ""));
    let date = ["%Y-%m-%d", "%Y%m%d"].iter().find_map(|f| NaiveDate::parse_from_str(date, f).ok()).ok_or_else(refused)?;
    let clock_end = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, offset) = time.split_at(clock_end);
    let formats = ["%H:%M:%S%.f", "%H%M%S%.f", "%H:%M", "%H%M"];
    let clock = match clock {
        "" if offset.is_empty() => NaiveTime::MIN,
        _ => formats.iter().find_map(|f| NaiveTime::parse_from_str(clock, f).ok()).ok_or_else(refused)?,
    };
    let wall = NaiveDateTime::new(date, clock);
    let offset_s = if offset.is_empty() { None } else { Some(offset_seconds(offset).ok_or_else(refused)?) };
    // What is beyond the calendar's ends, and a leap second, no clock shows.
    let zone = Zone::fixed(offset_s.unwrap_or(0)).ok_or_else(refused)?;
    zone.shown(wall).map(|_| Start { wall, offset_s }).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn slots(text: &str, zone: &str) -> Slots {
        let zone = (!zone.is_empty()).then(|| Zone::named(zone).expect(zone));
        Interval::parse(text).expect(text).slots(zone, Timestamp(0)).expect("within the calendar")
    }

    #[test]
    fn forms_are_read_liberally() {
        let start = |wall: &str, offset_s| Some(Start { wall: wall.parse().expect(wall), offset_s });
        let midnight = |offset_s| start("2026-01-01T00:00:00", offset_s);
        let exact = |ms| Period { months: 0, days: 0, ms };
        let hour = exact(3_600_000);
        for (text, count, start, period) in [
            ("R/2026-01-01T00:00:00Z/PT1H", None, midnight(Some(0)), hour),
            ("R5/2026-01-01T00:00:00.000Z/PT1H", Some(5), midnight(Some(0)), hour),
            ("R-1/2026-01-01T00:00:00+01:00/PT60M", None, midnight(Some(3_600)), hour),
            ("R/2026-01-01T00:00:00-0230/PT3600S", None, midnight(Some(-9_000)), hour),
            ("R/20260101T000000Z/PT1H", None, midnight(Some(0)), hour),
            ("R/2026-01-01T00:00Z/PT1H", None, midnight(Some(0)), hour),
            ("R/2026-01-01T00:00/PT1H", None, midnight(None), hour),
            ("R/2026-01-01/PT1H", None, midnight(None), hour),
            ("r/2025-12-31t19:00:00-05/pt1h", None, start("2025-12-31T19:00:00", Some(-18_000)), hour),
            ("R//PT1H", None, None, hour),
            ("R/PT1H", None, None, hour),
            ("R0//PT1H", Some(0), None, hour),
            ("R//P1Y2M", None, None, Period { months: 14, days: 0, ms: 0 }),
            ("R//P1DT12H", None, None, Period { months: 0, days: 1, ms: 12 * 3_600_000 }),
            ("R//P1W", None, None, Period { months: 0, days: 7, ms: 0 }),
            ("R//P1.5D", None, None, Period { months: 0, days: 1, ms: 12 * 3_600_000 }),
            ("R//PT36H", None, None, exact(36 * 3_600_000)),
            ("R//PT0.5S", None, None, exact(500)),
            ("R//PT0,25S", None, None, exact(250)),
            ("R//PT1.5H", None, None, exact(5_400_000)),
        ] {
            assert_eq!(Interval::parse(text), Ok(Interval { count, start, period }), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        let texts = ["", "PT1H", "R5", "Rx//PT1H", "R//P", "R//PT", "R//P0D", "R//PT1H1D", "R//P1H", "R//P5", "R//P9999Y", "R//PT0.0001S"]
            .into_iter()
            .chain([
                "R//P0.5M",
                "R/yesterday/PT1H",
                "R/2026-02-30T00:00:00Z/P1D",
                "R/P1D/2026-01-01T00:00:00Z",
                "R/2026-01-01TZ/P1D",
                "R/2026-01-01T00:00:60Z/P1D",
                "R/2026-01-01T00:00:00+01:77/P1D",
                "R/99999-01-01T00:00:00Z/P1D",
                "R//P1é",
                "R/é/P1D",
            ]);
        let refusals: Vec<String> = texts.map(|t| Interval::parse(t).expect_err(t).to_string()).collect();
        expect![[r#"
            "" is not a repeating interval: it does not begin with R; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
            "PT1H" is not a repeating interval: it does not begin with R; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
            "R5" is not a repeating interval: it has no '/'; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
            "Rx//PT1H" is not a repeating interval: "x" is no number of repetitions; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
            "R//P" is not a repeating interval: "P" is not a period (it is no time at all); write for example PT1H, P1D, P1M or PT90S
            "R//PT" is not a repeating interval: "PT" is not a period (nothing follows the T); write for example PT1H, P1D, P1M or PT90S
            "R//P0D" is not a repeating interval: "P0D" is not a period (it is no time at all); write for example PT1H, P1D, P1M or PT90S
            "R//PT1H1D" is not a repeating interval: "PT1H1D" is not a period (units are Y, M, W, D, and behind a T: H, M, S); write for example PT1H, P1D, P1M or PT90S
            "R//P1H" is not a repeating interval: "P1H" is not a period (units are Y, M, W, D, and behind a T: H, M, S); write for example PT1H, P1D, P1M or PT90S
            "R//P5" is not a repeating interval: "P5" is not a period (a number has no unit); write for example PT1H, P1D, P1M or PT90S
            "R//P9999Y" is not a repeating interval: "P9999Y" is not a period (it is longer than a thousand years, or finer than a millisecond); write for example PT1H, P1D, P1M or PT90S
            "R//PT0.0001S" is not a repeating interval: "PT0.0001S" is not a period (it is longer than a thousand years, or finer than a millisecond); write for example PT1H, P1D, P1M or PT90S
            "R//P0.5M" is not a repeating interval: "P0.5M" is not a period (it is longer than a thousand years, or finer than a millisecond); write for example PT1H, P1D, P1M or PT90S
            "R/yesterday/PT1H" is not a repeating interval: "yesterday" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now
            "R/2026-02-30T00:00:00Z/P1D" is not a repeating interval: "2026-02-30T00:00:00Z" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now
            "R/P1D/2026-01-01T00:00:00Z" is not a repeating interval: a period before an end is not taken; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
            "R/2026-01-01TZ/P1D" is not a repeating interval: "2026-01-01TZ" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now
            "R/2026-01-01T00:00:60Z/P1D" is not a repeating interval: "2026-01-01T00:00:60Z" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now
            "R/2026-01-01T00:00:00+01:77/P1D" is not a repeating interval: "2026-01-01T00:00:00+01:77" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now
            "R/99999-01-01T00:00:00Z/P1D" is not a repeating interval: "99999-01-01T00:00:00Z" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now
            "R//P1é" is not a repeating interval: "P1é" is not a period (it holds other characters than ASCII); write for example PT1H, P1D, P1M or PT90S
            "R/é/P1D" is not a repeating interval: "é" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now"#]].assert_eq(&refusals.join("\n"));
    }

    /// The first slots, as the zone's clock shows them.
    fn shown(text: &str, zone: &str) -> String {
        let slots = slots(text, zone);
        (0..5).map_while(|n| slots.slot(n)).map(|slot| slots.zone.show(slot)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn months_are_counted_from_the_start() {
        let monthly = slots("R4/2026-01-31T10:00:00Z/P1M", "");
        let expected = "2026-01-31T10:00:00Z 2026-02-28T10:00:00Z 2026-03-31T10:00:00Z 2026-04-30T10:00:00Z";
        assert_eq!(shown("R4/2026-01-31T10:00:00Z/P1M", ""), expected);
        assert_eq!(monthly.first_after(at("2026-02-28T10:00:00Z")), Some((2, at("2026-03-31T10:00:00Z"))));
        assert_eq!(monthly.first_after(at("2020-01-01T00:00:00Z")), Some((0, monthly.start)));
        assert_eq!(monthly.first_after(at("2026-04-30T10:00:00Z")), None);
        assert_eq!(monthly.first_after(at("2099-01-01T00:00:00Z")), None);
        assert_eq!(slots("R0//PT1H", "").first_after(Timestamp::from_ms(1_000_000_000)), None);
    }

    #[test]
    fn a_calendar_is_that_of_the_offset_or_the_zone() {
        let check = |text, zone, expected: expect_test::Expect| expected.assert_eq(&shown(text, zone));
        check(
            "R/2026-03-01T00:00:00+01:00/P1M",
            "",
            expect![
                "2026-03-01T00:00:00+01:00 2026-04-01T00:00:00+01:00 2026-05-01T00:00:00+01:00 2026-06-01T00:00:00+01:00 2026-07-01T00:00:00+01:00"
            ],
        );
        check(
            "R/2026-03-01T00:00:00+01:00/P1M",
            "Europe/Paris",
            expect![
                "2026-03-01T00:00:00+01:00 2026-04-01T00:00:00+02:00 2026-05-01T00:00:00+02:00 2026-06-01T00:00:00+02:00 2026-07-01T00:00:00+02:00"
            ],
        );
        check(
            "R/2026-01-31T00:00:00/P1M",
            "Europe/Paris",
            expect![
                "2026-01-31T00:00:00+01:00 2026-02-28T00:00:00+01:00 2026-03-31T00:00:00+02:00 2026-04-30T00:00:00+02:00 2026-05-31T00:00:00+02:00"
            ],
        );
        check(
            "R/2024-02-29T23:30:00-08:00/P1Y",
            "",
            expect![
                "2024-02-29T23:30:00-08:00 2025-02-28T23:30:00-08:00 2026-02-28T23:30:00-08:00 2027-02-28T23:30:00-08:00 2028-02-29T23:30:00-08:00"
            ],
        );
        // Days in a zone are days of its clock: what a change skips is taken at its end, what it repeats once, the first time.
        check(
            "R/2026-03-27T02:30:00/P1D",
            "Europe/Paris",
            expect![
                "2026-03-27T02:30:00+01:00 2026-03-28T02:30:00+01:00 2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00 2026-03-31T02:30:00+02:00"
            ],
        );
        check(
            "R/2026-10-11T02:30:00/P1W",
            "Europe/Paris",
            expect![
                "2026-10-11T02:30:00+02:00 2026-10-18T02:30:00+02:00 2026-10-25T02:30:00+02:00 2026-11-01T02:30:00+01:00 2026-11-08T02:30:00+01:00"
            ],
        );
        check(
            "R/2026-03-28T02:30:00+01:00/P1D",
            "",
            expect![
                "2026-03-28T02:30:00+01:00 2026-03-29T02:30:00+01:00 2026-03-30T02:30:00+01:00 2026-03-31T02:30:00+01:00 2026-04-01T02:30:00+01:00"
            ],
        );
        // Hours are exact, also across a change; a start that the clock repeats stays where it is written.
        check(
            "R3/2026-10-25T02:30:00+01:00/PT12H",
            "Europe/Paris",
            expect!["2026-10-25T02:30:00+01:00 2026-10-25T14:30:00+01:00 2026-10-26T02:30:00+01:00"],
        );
        check(
            "R3/2026-03-28T00:00:00/PT24H",
            "Europe/Paris",
            expect!["2026-03-28T00:00:00+01:00 2026-03-29T00:00:00+01:00 2026-03-30T01:00:00+02:00"],
        );
        check(
            "R3/2026-10-25T02:30:00+01:00/P1D",
            "Europe/Paris",
            expect!["2026-10-25T02:30:00+01:00 2026-10-26T02:30:00+01:00 2026-10-27T02:30:00+01:00"],
        );
        check("R2//P1M", "Asia/Kolkata", expect!["1970-01-01T05:30:00+05:30 1970-02-01T05:30:00+05:30"]);
    }

    #[test]
    fn extremes_end() {
        let fine = slots("R/1970-01-01T00:00:00Z/PT0.001S", "");
        assert_eq!(fine.first_after(Timestamp(i64::MAX)), None);
        let long = slots("R/1970-01-01T00:00:00Z/P1000Y", "");
        assert_eq!(long.first_after(Timestamp(i64::MAX)), None);
        let few = Interval { count: Some(3), start: None, period: Period { months: 0, days: 0, ms: 1 } };
        assert!(few.slots(None, Timestamp(i64::MIN)).is_none() && few.slots(None, Timestamp(i64::MAX)).is_none());
        for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let last = slots("R/9999-12-28T00:00:00/P1D", zone);
            assert_eq!(last.first_after(Timestamp(i64::MIN)).map(|(n, _)| n), Some(0));
            assert!((0..9).filter_map(|n| last.slot(n)).count() < 4, "the calendar ends");
        }
    }

    proptest! {
        #[test]
        fn the_estimate_finds_what_counting_finds(months in 0i64..30, days in 0i64..200, ms in 0i64..DAY_MS, zone in 0..4usize, start in 0i64..4_000_000_000_000, n in 0i64..2_000, shift in -1i64..=1) {
            prop_assume!(months + days + ms > 0);
            let interval = Interval { count: None, start: None, period: Period { months, days, ms } };
            let zone = Zone::named(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"][zone]).expect("a zone");
            let slots = interval.slots(Some(zone), Timestamp::from_ms(start)).expect("within the calendar");
            let slot = slots.slot(n).expect("within the calendar");
            prop_assert!(slots.slot(n + 1).expect("within the calendar") > slot, "slots ascend");
            let (found, time) = slots.first_after(Timestamp(slot.0 + shift)).expect("without end");
            prop_assert_eq!(found, if shift < 0 { n } else { n + 1 });
            prop_assert_eq!(Some(time), slots.slot(found));
        }
    }
}
