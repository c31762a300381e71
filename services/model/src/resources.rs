//! Resources as integers with human units: thousandths of a CPU and bytes.

use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Thousandths of a CPU. People write `0.5`, `2` or `"500m"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct MilliCpus(pub i64);

/// A size in bytes. People write `256MiB`, `1GiB`, `500MB` or a number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Bytes(pub i64);

/// What a task needs or an agent has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, AvroSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor share.
    pub cpus: MilliCpus,
    /// Main memory.
    pub memory: Bytes,
    /// Disk space.
    pub disk: Bytes,
}

impl Resources {
    /// True if every dimension of `need` fits in these.
    pub fn holds(&self, need: &Self) -> bool {
        self.short_of(need).is_empty()
    }

    /// The dimensions in which these are less than `need`, in the order cpus, memory, disk.
    pub fn short_of(&self, need: &Self) -> Vec<&'static str> {
        [("cpus", self.cpus.0, need.cpus.0), ("memory", self.memory.0, need.memory.0), ("disk", self.disk.0, need.disk.0)]
            .into_iter()
            .filter(|(_, have, want)| have < want)
            .map(|(name, ..)| name)
            .collect()
    }

    /// Dimension by dimension.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpus: MilliCpus(self.cpus.0 + other.cpus.0),
            memory: Bytes(self.memory.0 + other.memory.0),
            disk: Bytes(self.disk.0 + other.disk.0),
        }
    }

    /// Dimension by dimension; may go below zero where an agent shrank.
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            cpus: MilliCpus(self.cpus.0 - other.cpus.0),
            memory: Bytes(self.memory.0 - other.memory.0),
            disk: Bytes(self.disk.0 - other.disk.0),
        }
    }
}

const UNITS: [(&str, i64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Bytes {
    /// Reads `256MiB` and its like; a bare number is bytes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a size; write for example 256MiB, 1GiB or 500MB");
        let text_trimmed = text.trim();
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| text_trimmed.strip_suffix(unit).map(|digits| (digits.trim_end(), *factor)))
            .unwrap_or((text_trimmed, 1));
        let number: i64 = digits.parse().map_err(|_| refused())?;
        number.checked_mul(factor).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS[..4].iter().find(|(_, size)| self.0 != 0 && self.0 % size == 0) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None if self.0 == 0 => f.write_str("0"),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl MilliCpus {
    /// Reads `0.5`, `2` or `500m`, at most three decimals.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a number of CPUs; write for example 0.5, 2 or 500m, with at most three decimals");
        if let Some(milli) = text.strip_suffix('m') {
            return milli.parse().map(Self).map_err(|_| refused());
        }
        let negative = text.starts_with('-');
        let (whole, decimals) = text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
        if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        let whole: i64 = whole.parse().map_err(|_| refused())?;
        let thousandths: i64 = format!("{decimals:0<3}").parse().map_err(|_| refused())?;
        let milli = whole.checked_mul(1000).and_then(|w| w.checked_add(thousandths)).ok_or_else(refused)?;
        Ok(Self(if negative { -milli } else { milli }))
    }
}

impl fmt::Display for MilliCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, (self.0 % 1000).abs());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A number or a text, as documents have it; the text keeps a number's decimals exactly as written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Integer(i64),
    Decimal(f64),
    Text(String),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Decimal(n) => n.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// serde for a unit newtype: people's text where people read, a long in Avro.
macro_rules! human_unit {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    $name::parse(&Scalar::deserialize(d)?.text()).map_err(serde::de::Error::custom)
                } else {
                    i64::deserialize(d).map(Self)
                }
            }
        }
        crate::codec::avro_as!($name, i64);
    };
}
human_unit!(MilliCpus);
human_unit!(Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_back() {
        for (text, bytes) in [("256MiB", 256 << 20), ("1GiB", 1 << 30), ("500MB", 500_000_000), ("17", 17), ("0", 0)] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)));
            assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }
        for (text, milli) in [("0.1", 100), ("2", 2000), ("500m", 500), ("1.25", 1250), ("-1", -1000)] {
            assert_eq!(MilliCpus::parse(text), Ok(MilliCpus(milli)));
        }
        assert_eq!(MilliCpus(1250).to_string(), "1.25");
        for bad in ["1.2345", "one", "", "1e3"] {
            assert!(MilliCpus::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert!(Bytes::parse("12XB").is_err());
    }
}
