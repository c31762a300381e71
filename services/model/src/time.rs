//! Points and spans of time: UTC microseconds and milliseconds as integers, and how people write them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A point in time: microseconds since 1970-01-01T00:00:00Z. In JSON it is RFC 3339 text, in Avro a long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(1000))
    }
    /// Whole milliseconds since the epoch, rounded down.
    pub const fn ms(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// This point moved by milliseconds (which may be negative), saturating.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }
    /// Milliseconds from `earlier` to this point, negative if it lies before.
    pub const fn since_ms(self, earlier: Self) -> i64 {
        (self.0.saturating_sub(earlier.0)).div_euclid(1000)
    }
    /// Reads RFC 3339 text.
    pub fn parse(text: &str) -> Result<Self, String> {
        DateTime::parse_from_rfc3339(text).map(|t| Self(t.timestamp_micros())).map_err(|e| {
            let whole = [format!("{text}Z"), format!("{text}T00:00:00Z")].into_iter().find(|t| DateTime::parse_from_rfc3339(t).is_ok());
            match whole {
                Some(whole) => format!("{text:?} does not say in which zone; write {whole}, or an offset such as +01:00 in place of the Z"),
                None => format!("{text:?} is not an RFC 3339 time such as 2026-11-21T02:00:00Z ({e})"),
            }
        })
    }
    /// The same instant for calendar work; points beyond the calendar's range are clamped to the epoch.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(t: DateTime<Utc>) -> Self {
        Self(t.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match (self.0.rem_euclid(1_000_000), self.0.rem_euclid(1000)) {
            (0, _) => SecondsFormat::Secs,
            (_, 0) => SecondsFormat::Millis,
            _ => SecondsFormat::Micros,
        };
        f.write_str(&self.to_utc().to_rfc3339_opts(format, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(d).map(Self)
        }
    }
}
crate::codec::avro_as!(Timestamp, i64);

/// Reads a span such as `250ms`, `10s`, `5m`, `1h`, `2d` or `1h30m` into milliseconds.
pub fn parse_span_ms(text: &str) -> Result<i64, String> {
    let refused = || format!("{text:?} is not a duration; write for example 250ms, 10s, 5m, 1h30m or 2d");
    let mut total: i64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let number: i64 = rest[..digits].parse().map_err(|_| refused())?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..unit_len] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        rest = &rest[unit_len..];
        total = number.checked_mul(unit_ms).and_then(|ms| total.checked_add(ms)).ok_or_else(refused)?;
    }
    Ok(total)
}

/// Writes milliseconds the way `parse_span_ms` reads them, largest units first.
pub fn format_span_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    let mut rest = ms.max(0);
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("1h30m", 5_400_000), ("2d", 172_800_000)] {
            assert_eq!(parse_span_ms(text), Ok(ms));
            assert_eq!(format_span_ms(ms), text);
        }
        for bad in ["", "5", "h", "-1s", "1 week", "9999999999999999d"] {
            assert!(parse_span_ms(bad).is_err(), "{bad:?} was taken");
        }
    }
}
