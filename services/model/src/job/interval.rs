//! ISO 8601 repeating intervals, `R[n]/[start]/period`: the n-th slot is always counted from the start, so nothing drifts.
//!
//! `R`, `R-1`: without end; `R5`: five slots in all. The start may be empty: the time the job is taken. Months and years are
//! calendar months in UTC, and a day that a month lacks becomes its last one (31 January, then 28 February, then 31 March).
//! Weeks, days, hours, minutes and seconds are exact, decimals are taken down to the millisecond. Starts are read liberally:
//! basic or extended form, with or without seconds, any offset; without an offset they are UTC.

use crate::time::Timestamp;
use chrono::{DateTime, FixedOffset, Months, NaiveDate, NaiveDateTime, NaiveTime};

/// A repeating interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Slots in all; none is without end.
    pub count: Option<i64>,
    /// First slot; none is the time the job is taken.
    pub start: Option<Timestamp>,
    /// Between slots.
    pub period: Period,
}

/// Calendar months and exact milliseconds; together more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Months (years are 12).
    pub months: i64,
    /// Weeks, days, hours, minutes, seconds as milliseconds.
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

/// Longest period: a thousand years.
const PERIOD_MONTHS_MAX: i64 = 12_000;
const PERIOD_MS_MAX: i64 = 1_000 * 366 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
/// 9999-12-31T23:59:59.999999Z.
const LAST_SLOT: Timestamp = Timestamp(253_402_300_799_999_999);
/// A calendar month on average: 400 years have 146,097 days.
const MONTH_US: i128 = 146_097 * DAY_MS as i128 * 1000 / 4_800;

impl Interval {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self, IntervalError> {
        parse(text.trim()).map_err(|why| IntervalError { text: text.chars().take(200).collect(), why })
    }

    /// The n-th slot from 0, or none before the first, behind the last, or past the year 9999. `start` is where the interval
    /// begins: its own start, or the time the job was taken.
    pub fn slot(&self, start: Timestamp, n: i64) -> Option<Timestamp> {
        if n < 0 || self.count.is_some_and(|count| n >= count) {
            return None;
        }
        let months = u32::try_from(self.period.months.checked_mul(n)?).ok()?;
        let shifted = match months {
            0 => start.0,
            _ => DateTime::from_timestamp_micros(start.0)?.checked_add_months(Months::new(months))?.timestamp_micros(),
        };
        let slot = i128::from(shifted) + i128::from(self.period.ms) * i128::from(n) * 1000;
        i64::try_from(slot).ok().map(Timestamp).filter(|slot| *slot <= LAST_SLOT)
    }

    /// The first slot strictly after `t`, with its number. Estimated from the average month, then corrected by the few steps
    /// that a calendar deviates from its average; never counted from zero.
    pub fn first_slot_after(&self, start: Timestamp, t: Timestamp) -> Option<(i64, Timestamp)> {
        self.slot(start, 0).filter(|_| t < LAST_SLOT)?;
        let passed = i128::from(t.0) - i128::from(start.0);
        let period = i128::from(self.period.months) * MONTH_US + i128::from(self.period.ms) * 1000;
        let mut n = i64::try_from(passed / period.max(1)).ok()?.clamp(0, self.count.unwrap_or(i64::MAX));
        let after = |n: i64| self.slot(start, n).is_none_or(|slot| slot > t);
        while n > 0 && after(n - 1) {
            n -= 1;
        }
        while !after(n) {
            n += 1;
        }
        self.slot(start, n).map(|slot| (n, slot))
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
    let (mut months, mut ms) = (0i64, 0i64);
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
        ms = scaled(number, unit_ms).and_then(|n| ms.checked_add(n)).ok_or_else(too_long)?;
        if months > PERIOD_MONTHS_MAX || ms > PERIOD_MS_MAX {
            return Err(too_long());
        }
        (last_rank, rest) = (rank, &rest[end + 1..]);
    }
    if months == 0 && ms == 0 {
        return Err(refused("it is no time at all"));
    }
    Ok(Period { months, ms })
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

/// A date and time in ISO 8601, basic or extended, with any offset.
fn read_start(text: &str) -> Result<Timestamp, String> {
    let refused = || format!("{text:?} is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now");
    let upper = Some(text.trim()).filter(|t| t.is_ascii()).ok_or_else(refused)?.to_ascii_uppercase().replace(',', ".");
    let (date, time) = upper.split_once(['T', ' ']).unwrap_or((&upper, ""));
    let date = ["%Y-%m-%d", "%Y%m%d"].iter().find_map(|f| NaiveDate::parse_from_str(date, f).ok()).ok_or_else(refused)?;
    let clock_end = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(clock_end);
    let formats = ["%H:%M:%S%.f", "%H%M%S%.f", "%H:%M", "%H%M"];
    let clock = match clock {
        "" if zone.is_empty() => NaiveTime::MIN,
        _ => formats.iter().find_map(|f| NaiveTime::parse_from_str(clock, f).ok()).ok_or_else(refused)?,
    };
    let offset_s = offset_seconds(zone).ok_or_else(refused)?;
    let offset = FixedOffset::east_opt(offset_s).ok_or_else(refused)?;
    let local = NaiveDateTime::new(date, clock).and_local_timezone(offset).single().ok_or_else(refused)?;
    Ok(Timestamp(local.timestamp_micros()))
}

/// `Z`, `+02:00`, `+0200`, `+02` or nothing.
fn offset_seconds(zone: &str) -> Option<i32> {
    let Some(sign) = zone.chars().next().filter(|c| *c != 'Z') else { return (zone.len() <= 1).then_some(0) };
    let digits = zone[1..].replacen(':', "", 1);
    let number: i32 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    let seconds = match digits.len() {
        2 => number * 3600,
        4 => number / 100 * 3600 + number % 100 * 60,
        _ => return None,
    };
    Some(if sign == '-' { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    #[test]
    fn forms_are_read_liberally() {
        let start = Some(at("2026-01-01T00:00:00Z"));
        let hour = Period { months: 0, ms: 3_600_000 };
        for (text, count, start, period) in [
            ("R/2026-01-01T00:00:00Z/PT1H", None, start, hour),
            ("R5/2026-01-01T00:00:00.000Z/PT1H", Some(5), start, hour),
            ("R-1/2026-01-01T01:00:00+01:00/PT60M", None, start, hour),
            ("R/2026-01-01T02:30:00+0230/PT3600S", None, start, hour),
            ("R/20260101T000000Z/PT1H", None, start, hour),
            ("R/2026-01-01T00:00Z/PT1H", None, start, hour),
            ("R/2026-01-01/PT1H", None, start, hour),
            ("r/2025-12-31t19:00:00-05/pt1h", None, start, hour),
            ("R//PT1H", None, None, hour),
            ("R/PT1H", None, None, hour),
            ("R0//PT1H", Some(0), None, hour),
            ("R//P1Y2M", None, None, Period { months: 14, ms: 0 }),
            ("R//P1DT12H", None, None, Period { months: 0, ms: 36 * 3_600_000 }),
            ("R//P1W", None, None, Period { months: 0, ms: 7 * DAY_MS }),
            ("R//PT0.5S", None, None, Period { months: 0, ms: 500 }),
            ("R//PT0,25S", None, None, Period { months: 0, ms: 250 }),
            ("R//PT1.5H", None, None, Period { months: 0, ms: 5_400_000 }),
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
            "R//P1é" is not a repeating interval: "P1é" is not a period (it holds other characters than ASCII); write for example PT1H, P1D, P1M or PT90S
            "R/é/P1D" is not a repeating interval: "é" is not a start; write for example 2026-11-21T00:00:00Z, or leave it empty for now"#]].assert_eq(&refusals.join("\n"));
    }

    #[test]
    fn months_are_counted_from_the_start() {
        let monthly = Interval::parse("R4/2026-01-31T10:00:00Z/P1M").expect("valid");
        let start = monthly.start.expect("given");
        let slots: Vec<String> = (0..5).map_while(|n| monthly.slot(start, n)).map(|t| t.to_string()).collect();
        assert_eq!(slots, ["2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z"]);
        assert_eq!(monthly.first_slot_after(start, at("2026-02-28T10:00:00Z")), Some((2, at("2026-03-31T10:00:00Z"))));
        assert_eq!(monthly.first_slot_after(start, at("2020-01-01T00:00:00Z")), Some((0, start)));
        assert_eq!(monthly.first_slot_after(start, at("2026-04-30T10:00:00Z")), None);
        assert_eq!(monthly.first_slot_after(start, at("2099-01-01T00:00:00Z")), None);
        let none = Interval::parse("R0//PT1H").expect("valid");
        assert_eq!(none.first_slot_after(start, start.plus_ms(1_000_000_000)), None);
    }

    #[test]
    fn extremes_end() {
        let fine = Interval::parse("R/1970-01-01T00:00:00Z/PT0.001S").expect("valid");
        assert_eq!(fine.first_slot_after(Timestamp(0), Timestamp(i64::MAX)), None);
        assert_eq!(fine.first_slot_after(Timestamp(i64::MIN), Timestamp(i64::MIN)).map(|(n, _)| n), Some(1));
        let long = Interval::parse("R/1970-01-01T00:00:00Z/P1000Y").expect("valid");
        assert_eq!(long.first_slot_after(Timestamp(0), Timestamp(i64::MAX)), None);
        assert_eq!(long.first_slot_after(Timestamp(i64::MIN), Timestamp(0)), None);
        let few = Interval { count: Some(3), start: None, period: Period { months: 0, ms: 1 } };
        assert_eq!(few.first_slot_after(Timestamp(i64::MIN), Timestamp(0)), None);
    }

    proptest! {
        #[test]
        fn the_estimate_finds_what_counting_finds(months in 0i64..30, ms in 0i64..200 * DAY_MS, start in 0i64..4_000_000_000_000, n in 0i64..2_000, shift in -1i64..=1) {
            prop_assume!(months + ms > 0);
            let interval = Interval { count: None, start: None, period: Period { months, ms } };
            let start = Timestamp::from_ms(start);
            let slot = interval.slot(start, n).expect("within the calendar");
            prop_assert!(interval.slot(start, n + 1).expect("within the calendar") > slot, "slots ascend");
            let (found, time) = interval.first_slot_after(start, Timestamp(slot.0 + shift)).expect("without end");
            prop_assert_eq!(found, if shift < 0 { n } else { n + 1 });
            prop_assert_eq!(Some(time), interval.slot(start, found));
        }
    }
}
