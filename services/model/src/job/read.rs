//! Reading documents: one type for YAML, TOML and JSON, and errors that name line, column, field and remedy.
//!
//! YAML may hold several documents divided by `---`, TOML one job or an array `[[job]]`, JSON an object or an array.
//! Size is checked before anything is parsed; aliases, depth and events are bounded, so no document grows while it is read.

use super::{JobSpec, StartFrom};
use crate::id::JobName;
use crate::limits::JOB_BYTES;
use crate::time::Timestamp;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_saphyr::MessageFormatter;
use std::cell::RefCell;
use std::fmt;

#[cfg(test)]
mod tests;

/// A file of several documents: as much as 64 of the longest.
const FILE_BYTES: usize = 64 * JOB_BYTES;
/// What the aliases of a YAML file may amount to, in parser events; a job has some tens.
const ALIAS_EVENTS: usize = 100_000;

/// Text formats of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML, several documents divided by `---`.
    Yaml,
    /// TOML: one job, or `[[job]]`.
    Toml,
    /// JSON: an object or an array.
    Json,
}

/// Why a text is not a job document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}{}", hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct DocumentError {
    /// Line, counting from 1.
    pub line: usize,
    /// Column in characters, counting from 1.
    pub column: usize,
    /// What is wrong, with field and value.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Reads every job of the text; the rules beyond types are [`super::check`]'s.
pub fn read_documents(text: &str, format: Format) -> Result<Vec<JobSpec>, DocumentError> {
    check_size(text, FILE_BYTES)?;
    let jobs = match format {
        Format::Yaml => read_yaml(text),
        Format::Toml => read_toml(text),
        Format::Json if text.trim_start().starts_with('[') => read_json_as(text),
        Format::Json if text.trim().is_empty() => Ok(Vec::new()),
        Format::Json => read_json_as(text).map(|job| vec![job]),
    }?;
    if jobs.is_empty() {
        return Err(DocumentError { line: 1, column: 1, message: "there is no job in it".into(), hint: Some(EXAMPLE.into()) });
    }
    Ok(jobs)
}

/// Reads one job from a JSON object: the form of the catalogue, of HTTP and of the inbox topic.
pub fn read_json(text: &str) -> Result<JobSpec, DocumentError> {
    check_size(text, JOB_BYTES)?;
    read_json_as(text)
}

const EXAMPLE: &str = "the least is a name and a command, for example {name: hello, command: [echo, hello]}";

fn check_size(text: &str, limit: usize) -> Result<(), DocumentError> {
    if text.len() <= limit {
        return Ok(());
    }
    let message = format!("it has {} bytes, allowed are {limit}", text.len());
    Err(DocumentError { line: 1, column: 1, message, hint: Some("let the command read large data from a file".into()) })
}

fn read_json_as<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    let mut de = serde_json::Deserializer::from_str(text);
    let fail = |path: String, e: &serde_json::Error| {
        let message = e.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        explain(e.line().max(1), e.column().max(1), &path, message)
    };
    let value = serde_path_to_error::deserialize(&mut de).map_err(|e| fail(e.path().to_string(), e.inner()))?;
    de.end().map_err(|e| fail(".".into(), &e))?;
    Ok(value)
}

fn read_toml(text: &str) -> Result<Vec<JobSpec>, DocumentError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        job: Vec<JobSpec>,
    }
    let table: toml::Table = read_toml_as(text)?;
    if table.is_empty() {
        return Ok(Vec::new());
    }
    if table.contains_key("job") { read_toml_as(text).map(|file: File| file.job) } else { read_toml_as(text).map(|job| vec![job]) }
}

fn read_toml_as<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    let fail = |path: String, e: &toml::de::Error| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        explain(line, column, &path, e.message())
    };
    let de = toml::Deserializer::parse(text).map_err(|e| fail(".".into(), &e))?;
    serde_path_to_error::deserialize(de).map_err(|e| fail(e.path().to_string(), e.inner()))
}

thread_local! {
    /// Where the newest [`Traced`] failed: `serde_saphyr` hands out only its own error, which knows no path.
    static FAILED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A job that leaves the path of its error in [`FAILED_AT`].
struct Traced(JobSpec);

impl<'de> Deserialize<'de> for Traced {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        serde_path_to_error::deserialize(d).map(Self).map_err(|e| {
            FAILED_AT.set(e.path().to_string());
            e.into_inner()
        })
    }
}

fn read_yaml(text: &str) -> Result<Vec<JobSpec>, DocumentError> {
    FAILED_AT.set(String::new());
    let mut options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    options.alias_limits.max_total_replayed_events = ALIAS_EVENTS;
    serde_saphyr::from_multiple_with_options::<Traced>(text, options).map(|jobs| jobs.into_iter().map(|job| job.0).collect()).map_err(|e| {
        let (line, column) = e.location().map_or((1, 1), |at| (at.line() as usize, at.column() as usize));
        let found = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().chars().skip(column.saturating_sub(1));
        let found: String = found.take(40).collect();
        let end = [", ", "}", "]", " #"].iter().filter_map(|mark| found.find(mark)).min().unwrap_or(found.len());
        let found = found[..end].trim().trim_end_matches(',');
        let message = yaml_message(e.without_snippet(), found);
        let error = explain(line.max(1), column.max(1), &FAILED_AT.take(), &message);
        DocumentError { hint: unquoted(&message, found).or(error.hint), ..error }
    })
}

/// What to do about a text that YAML takes for something else; `found` is where reading failed.
fn unquoted(message: &str, found: &str) -> Option<String> {
    let sign = found.chars().next().filter(|c| "*&!|>%@`".contains(*c));
    match sign {
        Some(sign) => Some(format!("{sign} at the beginning of a value is a sign of YAML's own; put the value in quotes: \"{found}\"")),
        _ if found.starts_with("{{") => Some(format!("braces are a mapping in YAML; put the value in quotes: \"{found} }}}}\"")),
        _ if message != NULL && message.ends_with("expected a string") => Some("put it in quotes".into()),
        _ if message.contains("mapping values") || message.contains("parsing a flow") => {
            Some("a text in which a : is followed by a space, or one in braces with a comma, wants quotes".into())
        }
        _ => None,
    }
}

/// No value where a text is wanted.
const NULL: &str = "invalid type: null, expected a string";

/// The message in serde's words, as the other formats have it; `found` is the text where reading failed.
fn yaml_message(error: &serde_saphyr::Error, found: &str) -> String {
    use serde_saphyr::Error;
    let one_of = |words: &[&str]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    match error {
        Error::Unexpected { expected: "mapping start", .. } => format!("invalid type: `{found}`, expected struct"),
        Error::Unexpected { expected: "sequence start", .. } => format!("invalid type: `{found}`, expected a sequence"),
        Error::Unexpected { expected: "string scalar", .. } => format!("invalid type: `{found}`, expected a string"),
        Error::NullIntoString { .. } => NULL.to_owned(),
        Error::UnknownAnchor { .. } => format!("`{found}` refers to an anchor that is nowhere"),
        Error::InvalidScalar { ty, .. } => format!("invalid value: `{found}`, expected {ty}"),
        Error::InvalidBooleanStrict { .. } => format!("invalid value: `{found}`, expected true or false"),
        Error::DuplicateMappingKey { .. } => format!("the field `{}` is there twice", found.trim_end_matches(':')),
        Error::SerdeUnknownField { field, expected, .. } => format!("unknown field `{field}`, expected one of {}", one_of(expected)),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown variant `{variant}`, expected one of {}", one_of(expected))
        }
        Error::SerdeInvalidType { unexpected, expected, .. } => format!("invalid type: {unexpected}, expected {expected}"),
        other => serde_saphyr::DefaultMessageFormatter.format_message(other).into_owned(),
    }
}

/// Serde's message in words for people, with the field's path and a remedy.
fn explain(line: usize, column: usize, path: &str, message: &str) -> DocumentError {
    let path = path.trim_matches('.').trim_end_matches(".?");
    let path = if path == "?" { "" } else { path };
    let (message, hint) = match quoted(message).as_slice() {
        [found, known @ ..] if message.starts_with("unknown field") => (format!("unknown field `{found}`"), Some(suggestion(found, known))),
        [found, known @ ..] if message.starts_with("unknown variant") => {
            (format!("`{found}` is not one of its words"), Some(suggestion(found, known)))
        }
        ["name"] if message.starts_with("missing field") => ("there is no `name`".into(), Some(EXAMPLE.into())),
        _ => (plain(message), remedy(path, message)),
    };
    let parent = path.strip_suffix(message.strip_prefix("unknown field `").and_then(|m| m.strip_suffix('`')).unwrap_or("\0"));
    let path = parent.map_or(path, |parent| parent.trim_end_matches('.'));
    let message = if path.is_empty() { message } else { format!("{path}: {message}") };
    DocumentError { line, column, message, hint }
}

/// What stands between backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn suggestion(found: &str, known: &[&str]) -> String {
    match super::check::nearest(found, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

fn plain(message: &str) -> String {
    if message.contains("untagged enum Scalar") {
        return "expected a number, or a text such as 500m or 256MiB".into();
    }
    let words =
        message.split_once("expected struct").map_or(message.to_owned(), |(before, _)| format!("{before}expected a mapping of fields"));
    let words = words.replace("expected a sequence", "expected a list").replace("expected i32", "expected a whole number");
    words.replace("expected i64", "expected a whole number").trim_end_matches('.').to_owned()
}

fn remedy(path: &str, message: &str) -> Option<String> {
    if message == NULL {
        return Some("write \"\" for an empty text, or leave it out".into());
    }
    let last = path.rsplit('.').next().unwrap_or_default();
    if message.contains("expected a sequence") {
        return Some(match last {
            "command" => "write each argument by itself, [\"python3\", \"report.py\"], or use shell for a script".into(),
            _ => "put it in brackets".into(),
        });
    }
    if message.contains("expected struct") {
        return Some(match last {
            "retries" => "write for example retries: {max: 3, backoff: 10s}".into(),
            "resources" => "write for example resources: {cpus: 0.5, memory: 256MiB}".into(),
            "catch_up" => "write for example catch_up: {policy: latest, window: 6h}".into(),
            "" => EXAMPLE.into(),
            _ => "write its fields, each with a name and a value".into(),
        });
    }
    let number =
        message.contains("invalid type: integer") || message.contains("invalid type: float") || message.contains("invalid type: bool");
    let span = matches!(last, "timeout" | "grace" | "start_within" | "backoff" | "window");
    let hint = if span { "write it as text with a unit, such as \"10s\"" } else { "put it in quotes" };
    (number && message.contains("expected a string")).then(|| hint.into())
}

pub(super) fn job_name<'de, D: Deserializer<'de>>(d: D) -> Result<JobName, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
    JobName::with_default_namespace(&text).map_err(de::Error::custom)
}

pub(super) fn job_names<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<JobName>, D::Error> {
    Vec::<String>::deserialize(d)?.iter().map(|t| JobName::with_default_namespace(t).map_err(de::Error::custom)).collect()
}

/// A time as text, or as TOML's own date-time.
pub(super) fn instant<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    struct Instant;
    impl<'de> Visitor<'de> for Instant {
        type Value = Option<Timestamp>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time such as 2026-11-21T02:00:00Z")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Timestamp::parse(text).map(Some).map_err(E::custom)
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            let time = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
            Timestamp::parse(&time.to_string()).map(Some).map_err(de::Error::custom)
        }
    }
    d.deserialize_any(Instant)
}

/// `latest`, `earliest`, or a time.
pub(super) fn start_from<'de, D: Deserializer<'de>>(d: D) -> Result<Option<StartFrom>, D::Error> {
    struct From;
    impl<'de> Visitor<'de> for From {
        type Value = Option<StartFrom>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("latest, earliest, or a time such as 2026-11-21T02:00:00Z")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "latest" => Ok(Some(StartFrom::Latest)),
                "earliest" => Ok(Some(StartFrom::Earliest)),
                time => Timestamp::parse(time)
                    .map(|time| Some(StartFrom::At(time)))
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            let time = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
            Timestamp::parse(&time.to_string()).map(|time| Some(StartFrom::At(time))).map_err(de::Error::custom)
        }
    }
    d.deserialize_any(From)
}
