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
        let found: String = found.take_while(|c| !matches!(c, ',' | '}' | ']' | '#')).take(40).collect();
        explain(line.max(1), column.max(1), &FAILED_AT.take(), &yaml_message(e.without_snippet(), found.trim()))
    })
}

/// The message in serde's words, as the other formats have it; `found` is the text where reading failed.
fn yaml_message(error: &serde_saphyr::Error, found: &str) -> String {
    use serde_saphyr::Error;
    let one_of = |words: &[&str]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    match error {
        Error::Unexpected { expected: "mapping start", .. } => format!("invalid type: `{found}`, expected struct"),
        Error::Unexpected { expected: "sequence start", .. } => format!("invalid type: `{found}`, expected a sequence"),
        Error::Unexpected { expected: "string scalar", .. } => format!("invalid type: `{found}`, expected a string"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const YAML: &str = "name: reports/daily
triggers:
  - {cron: '0 2 * * *', zone: Europe/Paris}
  - at: 2026-12-01T00:00:00Z
  - event: orders.paid
    when: data.amount > 100 && key != \"\"
    from: 2026-11-21T00:00:00Z
  - after: [ingest, team/clean]
command: [python3, report.py, '{{ event.data.id }}']
resources: {cpus: 1, memory: 256MiB, disk: 1GiB}
retries: {max: 3, backoff: 10s}
timeout: 1h
env: {STAGE: prod, N: 1}
limits: {nofile: 1024}
";
    const TOML: &str = r#"name = "reports/daily"
command = ["python3", "report.py", "{{ event.data.id }}"]
resources = {cpus = 1, memory = "256MiB", disk = "1GiB"}
retries = {max = 3, backoff = "10s"}
timeout = "1h"
[env]
STAGE = "prod"
N = "1"
[limits]
nofile = 1024
[[triggers]]
cron = "0 2 * * *"
zone = "Europe/Paris"
[[triggers]]
at = 2026-12-01T00:00:00Z
[[triggers]]
event = "orders.paid"
when = 'data.amount > 100 && key != ""'
from = 2026-11-21T00:00:00Z
[[triggers]]
after = ["ingest", "team/clean"]
"#;

    #[test]
    fn the_formats_say_the_same() {
        let yaml = read_documents(YAML, Format::Yaml).expect("valid YAML");
        assert_eq!(read_documents(TOML, Format::Toml).expect("valid TOML"), yaml);
        let json = yaml[0].to_json();
        assert_eq!(read_json(&json).as_ref(), Ok(&yaml[0]));
        assert_eq!(read_documents(&format!("[{json},{json}]"), Format::Json).expect("valid JSON").len(), 2);
        assert_eq!(read_documents(&format!("---\n{YAML}---\n{YAML}"), Format::Yaml).expect("valid YAML").len(), 2);
        let jobs =
            "[[job]]\nname = \"a\"\nshell = \"true\"\n[[job]]\nname = \"b\"\nshell = \"true\"\n[[job.triggers]]\ncron = \"@daily\"\n";
        assert_eq!(read_documents(jobs, Format::Toml).expect("valid TOML")[1].triggers.len(), 1);
    }

    fn check(format: Format, texts: &[&str], expected: Expect) {
        let said = |text: &&str| match read_documents(text, format) {
            Ok(jobs) => format!("{} jobs", jobs.len()),
            Err(e) => e.to_string(),
        };
        expected.assert_eq(&texts.iter().map(said).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn errors_in_yaml() {
        let texts = [
            "",
            "# nothing\n---\n",
            "name: a\ncomand: [x]",
            "name: a\nretries:\n  maxx: 3",
            "name: a\nretries: yes",
            "name: a\nretries: {max: many}",
            "name: a\nretries: {on_lost: yes}",
            "name: a\ntimeout: 10",
            "name: a\ntimeout: 10 minutes",
            "name: a\ncommand: echo hello",
            "name: a\nresources: {memory: 12XB}",
            "name: a\nresources: {memory: [1]}",
            "name: a\ntriggers:\n  - cron: '* * * * *'\n  - after: ['../x']",
            "name: a\ntriggers:\n  - at: tomorrow",
            "name: a\ntriggers:\n  - corn: x",
            "name: a\nconcurrency: forbidden",
            "name: a\nconcurrency: x",
            "name: a/b/c",
            "command: [x]",
            "name: a\nname: b",
            "name: a\n  command: [x]",
            "name: [a",
            "name: a\nenv: *unknown",
            "just text",
            "- name: a",
            "name: a\ncommand: [x]\n---\nname: b\nprioritty: 3",
        ];
        check(
            Format::Yaml,
            &texts,
            expect![[r#"
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 2, column 1: unknown field `comand`; did you mean `command`?
            line 3, column 3: retries: unknown field `maxx`; did you mean `max`?
            line 2, column 10: retries: invalid type: `yes`, expected a mapping of fields; write for example retries: {max: 3, backoff: 10s}
            line 2, column 16: retries.max: invalid value: `many`, expected a whole number
            line 2, column 20: retries.on_lost: invalid value: `yes`, expected true or false
            line 2, column 10: timeout: "10" is not a duration; write for example 250ms, 10s, 5m, 1h30m or 2d
            line 2, column 10: timeout: "10 minutes" is not a duration; write for example 250ms, 10s, 5m, 1h30m or 2d
            line 2, column 10: command: invalid type: `echo hello`, expected a list; write each argument by itself, ["python3", "report.py"], or use shell for a script
            line 2, column 21: resources.memory: "12XB" is not a size; write for example 256MiB, 1GiB or 500MB
            line 2, column 21: resources.memory: expected a number, or a text such as 500m or 256MiB
            line 4, column 12: triggers[1].after: job name "../x" is not valid: it must begin with a letter or digit
            line 3, column 9: triggers[0].at: "tomorrow" is not an RFC 3339 time such as 2026-11-21T02:00:00Z (premature end of input)
            line 3, column 5: triggers[0]: unknown field `corn`; did you mean `cron`?
            line 2, column 14: concurrency: `forbidden` is not one of its words; did you mean `forbid`?
            line 2, column 14: concurrency: `x` is not one of its words; known are allow, forbid, queue, replace
            line 1, column 7: name: job name "a/b/c" is not valid: '/' is not allowed; use letters, digits, '.', '_' and '-'
            line 1, column 1: there is no `name`; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 2, column 1: the field `name: b` is there twice
            line 1, column 7: name: job name "a command" is not valid: ' ' is not allowed; use letters, digits, '.', '_' and '-'
            line 1, column 7: name: invalid type: `[a`, expected a string
            line 2, column 6: alias references unknown anchor
            line 1, column 1: invalid type: `just text`, expected a mapping of fields; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 1, column 1: invalid type: `- name: a`, expected a mapping of fields; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 5, column 1: unknown field `prioritty`; did you mean `priority`?"#]],
        );
    }

    #[test]
    fn errors_in_toml() {
        let texts = [
            "",
            "name = \"a\"\ncomand = [\"x\"]",
            "name = \"a\"\nretries = {maxx = 3}",
            "name = \"a\"\nretries = true",
            "name = a",
            "name = \"a\"\n[[triggers]]\nat = 2026-12-01",
            "[[job]]\nname = \"a\"\n[[job]]\nname = \"b\"\npriority = \"high\"",
            "[[job]]\nname = \"a\"\n[other]\nx = 1",
            "job = 1",
        ];
        check(
            Format::Toml,
            &texts,
            expect![[r#"
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 2, column 1: unknown field `comand`; did you mean `command`?
            line 2, column 12: retries: unknown field `maxx`; did you mean `max`?
            line 2, column 11: retries: invalid type: boolean `true`, expected a mapping of fields; write for example retries: {max: 3, backoff: 10s}
            line 1, column 8: string values must be quoted, expected literal string
            line 3, column 6: triggers[0].at: "2026-12-01" is not an RFC 3339 time such as 2026-11-21T02:00:00Z (premature end of input)
            line 5, column 12: job[1].priority: invalid type: string "high", expected a whole number
            line 3, column 2: unknown field `other`; known are job
            line 1, column 7: job: invalid type: integer `1`, expected a list; put it in brackets"#]],
        );
    }

    #[test]
    fn errors_in_json() {
        let texts = [
            "",
            "[]",
            "{",
            "{\"name\": \"a\"} x",
            "{\"name\": \"a\",\n \"comand\": []}",
            "[{\"name\": \"a\"}, {\"name\": \"b\", \"triggers\": [{\"on\": \"fail\"}]}]",
            "{\"name\": 1}",
            "{\"name\": \"a\", \"timeout\": 10}",
            "null",
        ];
        check(
            Format::Json,
            &texts,
            expect![[r#"
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 1, column 1: EOF while parsing an object
            line 1, column 15: trailing characters
            line 2, column 9: unknown field `comand`; did you mean `command`?
            line 1, column 56: [1].triggers[0].on: `fail` is not one of its words; known are success, failure, any
            line 1, column 10: name: invalid type: integer `1`, expected a string; put it in quotes
            line 1, column 27: timeout: invalid type: integer `10`, expected a string; write it as text with a unit, such as "10s"
            line 1, column 4: invalid type: null, expected a mapping of fields; the least is a name and a command, for example {name: hello, command: [echo, hello]}"#]],
        );
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("name: a\nenv: &a0 {A: x}\n");
        for n in 1..20 {
            bomb.push_str(&format!("x{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
        }
        assert!(read_documents(&bomb, Format::Yaml).is_err());
        for deep in ["[".repeat(200_000), "{a: ".repeat(50_000), "- ".repeat(100_000)] {
            assert!(read_documents(&deep, Format::Yaml).is_err());
            assert!(read_documents(&deep, Format::Json).is_err());
            assert!(read_documents(&format!("name = {deep}"), Format::Toml).is_err());
        }
        assert!(read_json(&" ".repeat(JOB_BYTES + 1)).expect_err("too long").message.contains("bytes"));
    }
}
