//! Ids as newtypes over text with one strict character set, and the deterministic ids of runs and attempts.
//!
//! An id is safe in a URL segment, a file name, a Kafka key and a shell word; it is checked once, where it enters. It is kept in
//! place, not behind a pointer: tables are searched by ids.

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};
use std::fmt;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not valid: {why}")]
pub struct IdError {
    /// What the id names ("job name", "agent id").
    pub kind: &'static str,
    /// The refused text.
    pub value: String,
    /// What is wrong and what is allowed.
    pub why: String,
}

/// Declares id newtypes: transparent text in serde and Avro, `parse` is the only checked way in.
/// A macro because each id must implement the same six foreign traits.
macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $rule:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks the text against this id's rule.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                $rule(text).map_err(|why| IdError { kind: $kind, value: text.chars().take(80).collect(), why })?;
                Ok(Self(text.into()))
            }
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(Text(Self::parse, $kind))
            }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
        crate::codec::avro_text!($name);
    )*};
}

/// Reads an id out of the text that the decoder has, without a copy of it in between.
struct Text<T>(fn(&str) -> Result<T, IdError>, &'static str);

impl<T> serde::de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

text_id! {
    /// `namespace/name`; the namespace defaults to `default`.
    JobName, "job name", job_name_rule;
    /// 16 characters of base32(BLAKE3(job, incarnation, cause)): deterministic, so a retry of the same cause is the same run.
    RunId, "run id", plain_rule;
    /// `<run id>.<n>`, n counting from 1.
    AttemptId, "attempt id", plain_rule;
    /// One agent's identity, created with its journal.
    AgentId, "agent id", plain_rule;
    /// The tenant a task is accounted to; `*` is everybody's.
    Role, "role", role_rule;
    /// For whom a request is made or work is done.
    Principal, "principal", plain_rule;
}

/// Most characters in an id.
pub const ID_MAX: usize = 128;

fn plain_rule(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > ID_MAX {
        return Err(format!("it has {} characters, allowed are 1 to {ID_MAX}", text.len()));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("it must begin with a letter or digit".into());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // By bytes, as ids are read with every record: what begins at an illegal one is a character.
    match text.bytes().position(|byte| !legal(byte)).and_then(|at| text[at..].chars().next()) {
        Some(c) => Err(format!("{c:?} is not allowed; use letters, digits, '.', '_' and '-'")),
        None => Ok(()),
    }
}

fn job_name_rule(text: &str) -> Result<(), String> {
    match text.split_once('/') {
        Some((namespace, name)) => plain_rule(namespace).and_then(|()| plain_rule(name)),
        None => Err("a job name is namespace/name".into()),
    }
}

fn role_rule(text: &str) -> Result<(), String> {
    if text == "*" { Ok(()) } else { plain_rule(text) }
}

impl JobName {
    /// Reads `name` or `namespace/name`; the namespace defaults to `default`.
    pub fn with_default_namespace(text: &str) -> Result<Self, IdError> {
        if text.contains('/') {
            return Self::parse(text);
        }
        plain_rule(text).map_err(|why| IdError { kind: "job name", value: text.chars().take(80).collect(), why })?;
        Self::parse(&format!("default/{text}"))
    }
}

impl RunId {
    /// The run of this cause, for this life of the job.
    pub fn derive(job: &JobName, incarnation: i64, cause: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [job.as_str().as_bytes(), &incarnation.to_be_bytes(), cause.as_bytes()] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(base32(&hasher.finalize().as_bytes()[..10]).into())
    }

    /// The run's attempt number `n`, counting from 1.
    pub fn attempt(&self, n: i32) -> AttemptId {
        AttemptId(format_smolstr!("{self}.{n}"))
    }
}

impl AttemptId {
    /// The run and the number of this attempt; `None` if the text is not `<run id>.<n>`.
    pub fn split(&self) -> Option<(RunId, i32)> {
        let (run, n) = self.0.rsplit_once('.')?;
        Some((RunId::parse(run).ok()?, n.parse().ok().filter(|n| *n > 0)?))
    }
}

/// RFC 4648 base32 in lower case, without padding; 10 bytes give 16 characters.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut out = String::with_capacity(bytes.len() * 8 / 5);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(ALPHABET[((buffer >> bits) & 31) as usize] as char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_a_function_of_its_cause() {
        let job = JobName::with_default_namespace("report").expect("a valid name");
        let id = RunId::derive(&job, 1, "time:2026-11-21T02:00:00Z");
        assert_eq!(id, RunId::derive(&job, 1, "time:2026-11-21T02:00:00Z"));
        assert_ne!(id, RunId::derive(&job, 2, "time:2026-11-21T02:00:00Z"));
        assert_eq!(id.as_str().len(), 16);
        assert_eq!(id.attempt(3).split(), Some((id, 3)));
    }

    #[test]
    fn ids_that_could_escape_are_refused() {
        for bad in ["", "../x", "a/b/c", "a b", "a\0", ".hidden", "x/../y", "-rf"] {
            assert!(JobName::with_default_namespace(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(JobName::with_default_namespace("team-a/x_1.y").expect("valid").as_str(), "team-a/x_1.y");
    }
}
