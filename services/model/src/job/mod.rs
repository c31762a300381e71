//! The job document: one serde type for YAML, TOML and JSON, and the rules that a document must keep.

mod check;
mod constraint;
mod interval;
mod read;

pub use check::{LIMIT_NAMES, Problem, check, did_you_mean, nearest};
pub use constraint::{Constraint, ConstraintError, Test};
pub use interval::{Interval, IntervalError, Period, Slots, Start};
pub use read::{DocumentError, Format, read_documents, read_json};

use crate::id::{JobName, Principal, Role};
use crate::resources::{Bytes, MilliCpus};
use crate::time::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// One job, as people write it; canonical JSON of this type is what the catalogue keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// `namespace/name`; the namespace defaults to `default`.
    #[serde(deserialize_with = "read::job_name")]
    pub name: JobName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it runs; none: on request only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// What runs, one template per element.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What runs, as a script for `/bin/sh -c`; instead of `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What each attempt needs.
    #[serde(default)]
    pub resources: Needs,
    /// What its agent must be like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Number of the only cell that may run it; default any, beginning with the one that the name leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<i32>,
    /// Accounted to.
    #[serde(default = "any_role")]
    pub role: Role,
    /// For whom the work is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// 0 to 100, higher first.
    #[serde(default = "middle_priority")]
    pub priority: i32,
    /// When an attempt fails.
    #[serde(default)]
    pub retries: Retries,
    /// An attempt is ended after this long; default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Between SIGTERM and SIGKILL.
    #[serde(default = "default_grace")]
    pub grace: Span,
    /// A run not started by then is skipped and alerted; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within: Option<Span>,
    /// When one run is due while another goes on.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// When slots were missed.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// User to run as, by name; default the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Resource limits (setrlimit): `nofile`, `nproc`, `core`, `fsize`, `as`, `stack`, `cpu`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, i64>,
}

/// One trigger: exactly one of `cron`, `interval`, `at`, `event`, `after` is set, which [`check`] ensures; see [`Trigger::kind`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Dialect of `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// IANA zone of `cron` and `interval`; default UTC, or the offset of the interval's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An ISO 8601 repeating interval: `R[n]/[start]/period`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Shortest period that `interval` may have; default one second, so that a slip of the pen is no thousand runs a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Span>,
    /// One time.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::instant")]
    pub at: Option<Timestamp>,
    /// Events of this topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// CEL over key, headers, data, topic, partition, offset, timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Where its topic begins to count for the job; default `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read::start_from")]
    pub from: Option<StartFrom>,
    /// Runs of these jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "read::job_names")]
    pub after: Vec<JobName>,
    /// Which ends of `after` count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<On>,
}

/// What a trigger is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TriggerKind<'a> {
    /// A cron schedule.
    Cron(&'a str),
    /// A repeating interval.
    Interval(&'a str),
    /// One time.
    At(Timestamp),
    /// Events of a topic.
    Event(&'a str),
    /// Runs of other jobs.
    After(&'a [JobName]),
}

impl Trigger {
    /// What this trigger is; `None` if none or several kinds are set.
    pub fn kind(&self) -> Option<TriggerKind<'_>> {
        let kinds = [
            self.cron.as_deref().map(TriggerKind::Cron),
            self.interval.as_deref().map(TriggerKind::Interval),
            self.at.map(TriggerKind::At),
            self.event.as_deref().map(TriggerKind::Event),
            (!self.after.is_empty()).then_some(TriggerKind::After(&self.after)),
        ];
        let mut set = kinds.into_iter().flatten();
        let first = set.next();
        if set.next().is_some() { None } else { first }
    }
}

/// From where on the events of a topic fire a job: looked up once, when the topic is new to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum StartFrom {
    /// The first event that the log still has.
    Earliest,
    /// The first event behind the definition.
    #[default]
    Latest,
    /// The first event appended at this time or later.
    At(Timestamp),
}

impl std::fmt::Display for StartFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::At(time) => time.fmt(f),
        }
    }
}

impl Serialize for StartFrom {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Dialects of cron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Five fields, Sunday is 0 or 7, day of month or day of week.
    #[default]
    Unix,
    /// Seconds first, Sunday is 1.
    Quartz,
}

/// Which ends of a parent start a dependent job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Success.
    #[default]
    Success,
    /// Failure, loss.
    Failure,
    /// Any end but `skipped`.
    Any,
}

/// Resources with the job's defaults: 0.1 CPU, 128 MiB, no disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Needs {
    /// Processor share.
    pub cpus: MilliCpus,
    /// Main memory.
    pub memory: Bytes,
    /// Disk space.
    pub disk: Bytes,
}

impl Default for Needs {
    fn default() -> Self {
        Self { cpus: MilliCpus(100), memory: Bytes(128 << 20), disk: Bytes(0) }
    }
}

/// What happens when an attempt does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Attempts after the first.
    pub max: i32,
    /// Before the second attempt; doubles each time, at most ten minutes.
    pub backoff: Span,
    /// How often an attempt is repeated that was lost with its agent (such retries do not count towards `max`).
    pub on_lost: OnLost,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max: 0, backoff: Span(10_000), on_lost: OnLost::default() }
    }
}

/// Bound of repetitions of lost attempts. In a document `true` is the default's, `false` is none, `{max: n}` is n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnLost {
    /// Repetitions of one run.
    pub max: i32,
}

impl OnLost {
    /// What `true` means: with the pauses between them some six hours of agents that are lost again and again.
    pub const USUAL_MAX: i32 = 50;
}

impl Default for OnLost {
    fn default() -> Self {
        Self { max: Self::USUAL_MAX }
    }
}

impl Serialize for OnLost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.max {
            Self::USUAL_MAX => serializer.serialize_bool(true),
            0 => serializer.serialize_bool(false),
            max => OnLostFields { max }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OnLost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnLostVisitor)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnLostFields {
    max: i32,
}

struct OnLostVisitor;

impl<'de> Visitor<'de> for OnLostVisitor {
    type Value = OnLost;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("true, false or a mapping such as {max: 5}")
    }
    fn visit_bool<E>(self, repeated: bool) -> Result<OnLost, E> {
        Ok(if repeated { OnLost::default() } else { OnLost { max: 0 } })
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OnLost, A::Error> {
        let OnLostFields { max } = OnLostFields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(OnLost { max })
    }
}

/// What happens when a run is due while another one of the job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// Both run.
    Allow,
    /// The new one is skipped, and the record says so.
    #[default]
    Forbid,
    /// The new one waits for its turn.
    Queue,
    /// The old one is ended, then the new one starts.
    Replace,
}

/// What happens to slots that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatchUp {
    /// Which are run.
    pub policy: CatchUpPolicy,
    /// Slots older than this are not; default no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
}

/// Which missed slots are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUpPolicy {
    /// None.
    None,
    /// The newest.
    #[default]
    Latest,
    /// Each, at most [`crate::limits::CATCH_UP_RUNS`].
    All,
}

/// A span of time in milliseconds, written `10s`, `5m`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&crate::time::format_span_ms(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        crate::time::parse_span_ms(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

fn any_role() -> Role {
    Role::parse("*").expect("'*' is a role")
}
const fn middle_priority() -> i32 {
    50
}
const fn default_grace() -> Span {
    Span(10_000)
}

impl JobSpec {
    /// Canonical JSON: what the catalogue keeps and replay reads.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a job document has only text keys")
    }
}
