//! Members: the processes that may own shards, as they announce themselves.

use crate::time::Timestamp;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};

/// Member → the other members, on `members`: who lives, and what it can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Member {
    /// Name; key of the record.
    pub member: String,
    /// Version of the binary.
    pub binary: String,
    /// The versions of each decider's logic that are compiled in, one for each service.
    pub logic: Vec<LogicVersions>,
    /// Version of the time zone database compiled in.
    pub tz_version: String,
    /// When it started, by its own wall clock.
    pub started: Timestamp,
}

/// The versions of a decider's logic that a binary has compiled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct LogicVersions {
    /// Which decider.
    pub service: String,
    /// The oldest of them.
    pub oldest: i32,
    /// The newest.
    pub newest: i32,
}

impl LogicVersions {
    /// True if this version is one of them.
    pub const fn has(&self, version: i32) -> bool {
        self.oldest <= version && version <= self.newest
    }
}
