//! `orrery dlq`: records that could not be taken, on `<topic>.dlq`.
//!
//! A log forgets nothing on request, so what became of a dead letter is a record behind it in the same partition: without a value,
//! with the header [`SETTLES`] that names its offset. A retry and that record are one transaction.

use super::output::{self, column, text, wide};
use super::{Context, audit, exit};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use orrery_log::{Commit, Log, TopicPartition, pieces};
use orrery_model::id::Principal;
use orrery_model::payload::Payload;
use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::topics::{DLQ, DLQ_SUFFIX};
use orrery_runtime::messages::{Cluster, DLQ_CAME_WITH, DLQ_HEADERS};
use orrery_runtime::quarantine::{self, RecordPlace, ShardName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

/// Header of a record that settles a dead letter: its offset.
const SETTLES: &str = "orrery.settles";
/// How it was settled: `retried` or `dropped`.
const HOW: &str = "orrery.settled.how";
/// By whom.
const BY: &str = "orrery.settled.by";
/// Begins the headers that say what was wrong.
const ERROR: &str = "orrery.error.";

#[derive(Subcommand)]
pub(crate) enum Dlq {
    /// List dead letters that nobody has settled
    List(Which),
    /// Print one dead letter whole
    Show { place: Place },
    /// Send dead letters to their topic again, as they came, and settle them
    Retry {
        #[arg(required = true)]
        places: Vec<Place>,
    },
    /// Set a record aside that a shard cannot decide on, also while no server can start: it becomes a dead letter
    Quarantine {
        /// The shard that reads it: trigger/0, as the server's messages name it
        shard: ShardName,
        /// The record: TOPIC/PARTITION@OFFSET
        record: RecordPlace,
        /// Why, for those who read the journal later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Settle dead letters without sending them again
    Drop {
        #[arg(required = true)]
        places: Vec<Place>,
    },
}

#[derive(Args)]
pub(crate) struct Which {
    /// Only those of this topic (orders, orrery.jobs)
    #[arg(long)]
    topic: Option<String>,
    /// Those too that were settled
    #[arg(long)]
    all: bool,
}

/// Where a dead letter stands, as `dlq list` prints it: `orders.dlq/0@17`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    at: TopicPartition,
    offset: Offset,
}

impl FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let place = RecordPlace::read(text).filter(|place| place.topic.ends_with(DLQ_SUFFIX));
        let place = place.map(|RecordPlace { topic, partition, offset }| Self { at: TopicPartition::new(&topic, partition), offset });
        place.ok_or_else(|| format!("{text:?} is no place of a dead letter; write TOPIC.dlq/PARTITION@OFFSET as `orrery dlq list` does"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.at.topic, self.at.partition, self.offset)
    }
}

/// A dead letter, and how it was settled.
struct Letter {
    place: Place,
    record: Record,
    settled: Option<String>,
}

impl Dlq {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::List(which) => list(context, &which),
            Self::Show { place } => show(context, &place),
            Self::Retry { places } => settle(context, &places, "retried"),
            Self::Quarantine { shard, record, reason } => quarantine(context, &shard, record, reason),
            Self::Drop { places } => settle(context, &places, "dropped"),
        }
    }
}

fn list(context: &Context, which: &Which) -> Result<ExitCode> {
    let (log, _) = audit::open(context)?;
    let mut items = Vec::new();
    for topic in log.topics()?.iter().filter(|topic| topic.name.ends_with(DLQ_SUFFIX)) {
        if which.topic.as_ref().is_some_and(|of| topic.name.strip_suffix(DLQ_SUFFIX) != Some(of)) {
            continue;
        }
        for partition in 0..topic.partitions {
            let letters = letters(&*log, &TopicPartition::new(&topic.name, partition))?;
            items.extend(letters.into_values().filter(|letter| which.all || letter.settled.is_none()).map(|letter| letter.document(false)));
        }
    }
    output::list(
        context.format,
        &json!({ "items": items }),
        &[
            column("PLACE", |letter| text(&letter["place"])),
            column("AT", |letter| text(&letter["at"])),
            column("STAGE", |letter| text(&letter["error"]["stage"])),
            column("MESSAGE", |letter| text(&letter["error"]["message"])),
            wide("KEY", |letter| text(&letter["key"])),
            wide("SETTLED", |letter| text(&letter["settled"])),
        ],
    );
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, place: &Place) -> Result<ExitCode> {
    let (log, _) = audit::open(context)?;
    output::one(context.format, &find(&*log, place)?.document(true), "place");
    Ok(ExitCode::SUCCESS)
}

/// The dead letters of a partition, by offset.
fn letters(log: &dyn Log, at: &TopicPartition) -> Result<BTreeMap<Offset, Letter>> {
    let mut found: BTreeMap<Offset, Letter> = BTreeMap::new();
    for piece in pieces(log, at, log.start_offset(at)?, log.end_offset(at)?) {
        for record in piece? {
            match header(&record, SETTLES).map(|offset| offset.parse::<Offset>()) {
                None => {
                    let place = Place { at: at.clone(), offset: record.offset };
                    found.insert(record.offset, Letter { place, record, settled: None });
                }
                Some(Ok(offset)) => {
                    // The first one counts.
                    if let Some(letter) = found.get_mut(&offset).filter(|letter| letter.settled.is_none()) {
                        let (how, by) = (header(&record, HOW).unwrap_or("settled"), header(&record, BY).unwrap_or("nobody known"));
                        letter.settled = Some(format!("{how} by {by} at {}", record.appended));
                    }
                }
                Some(Err(_)) => {}
            }
        }
    }
    Ok(found)
}

fn find(log: &dyn Log, place: &Place) -> Result<Letter> {
    let there = log.topic(&place.at.topic)?.is_some_and(|topic| place.at.partition < topic.partitions);
    let found = if there { letters(log, &place.at)?.remove(&place.offset) } else { None };
    let Some(letter) = found else { bail!("there is no dead letter at {place}; `orrery dlq list --all` shows those that are there") };
    Ok(letter)
}

/// A server that answers appends it; else it is appended to the log itself, as the server may not start for this very record.
fn quarantine(context: &Context, shard: &ShardName, record: RecordPlace, reason: Option<String>) -> Result<ExitCode> {
    if context.config.kafka()?.is_none() {
        let body = json!({"shard": shard.to_string(), "record": record.to_string(), "reason": reason});
        match context.client().map(|client| client.post("/api/v1/quarantine", &body)) {
            Ok(Err(refusal)) if refusal.code != "unreachable" => return Err(refusal.into()),
            Ok(Ok(_)) => {
                println!("{record}: {shard} sets it aside when it comes to it");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
    let (log, cluster) = audit::open_to_write(context)?;
    shard.check(&cluster).map_err(|why| anyhow::anyhow!(why))?;
    let by = context.config.principal().map(|by| Principal::parse(&by)).transpose()?;
    let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
    let place = record.to_string();
    quarantine::set_aside(&*log, &cluster, shard.of(), record, (by, reason))?;
    println!("{place}: {shard} sets it aside when it comes to it");
    Ok(ExitCode::SUCCESS)
}

fn settle(context: &Context, places: &[Place], how: &str) -> Result<ExitCode> {
    let (log, cluster) = audit::open_to_write(context)?;
    let by = context.config.principal().unwrap_or_else(|| "nobody known".into());
    let mut refused = false;
    for place in places {
        // Fenced anew for each: of two people who settle the same letter at a time, the second one sees what the first one did.
        let mut writer = log.fence(&cluster.topic(DLQ))?;
        let letter = find(&*log, place)?;
        if let Some(settled) = &letter.settled {
            eprintln!("{place}: it was {settled}; nothing was done");
            refused = true;
            continue;
        }
        let again = if how == "retried" { Some(letter.again(&log, &cluster)?) } else { None };
        let headers = [(SETTLES, place.offset.to_string()), (HOW, how.into()), (BY, by.clone())];
        let headers = headers.map(|(name, value)| (name.to_owned(), Payload::from(value.as_bytes()))).to_vec();
        let settles = NewRecord {
            topic: place.at.topic.to_string(),
            partition: place.at.partition,
            key: letter.record.key.clone(),
            value: None,
            headers,
        };
        match writer.commit(again.into_iter().chain([settles]).collect())? {
            Commit::Committed(_) => println!("{place}: {how}"),
            Commit::Fenced => bail!("{place}: somebody else settles dead letters now; look with `orrery dlq list`, and try again"),
            Commit::Unknown(why) => bail!("{place}: nobody knows whether it was {how} ({why}); look with `orrery dlq list`"),
        }
    }
    Ok(if refused { ExitCode::from(exit::CONFLICT) } else { ExitCode::SUCCESS })
}

impl Letter {
    fn error(&self, name: &str) -> Option<&str> {
        header(&self.record, &format!("{ERROR}{name}"))
    }

    /// The record as it came.
    fn again(&self, log: &Arc<dyn Log>, cluster: &Cluster) -> Result<NewRecord> {
        let place = &self.place;
        if self.error("stage") == Some("size") {
            bail!("{place}: it was too large to be kept; send it again, smaller, from where it came");
        }
        let of = place.at.topic.strip_suffix(DLQ_SUFFIX).unwrap_or_default();
        let topic = self.error("topic").unwrap_or(of).to_owned();
        // Whoever may write to this topic may have written the letter: it goes nowhere else.
        if topic != of && *place.at.topic != cluster.topic(DLQ) {
            bail!(
                "{place}: it says that it came from {topic}, and letters in {} come from {of}; drop it if nobody knows it",
                place.at.topic
            );
        }
        let partition = self.error("partition").and_then(|text| text.parse().ok()).unwrap_or(place.at.partition);
        if log.topic(&topic)?.is_none_or(|topic| partition >= topic.partitions) {
            bail!("{place}: {topic}/{partition}, where it came from, is not there any more");
        }
        let came = self.record.headers.iter().filter(|(name, _)| !name.starts_with(DLQ_HEADERS));
        let as_it_came = |name: &String| name.strip_prefix(DLQ_CAME_WITH).unwrap_or(name).to_owned();
        let headers = came.map(|(name, value)| (as_it_came(name), value.clone())).collect();
        Ok(NewRecord { topic, partition, key: self.record.key.clone(), value: self.record.value.clone(), headers })
    }

    fn document(&self, whole: bool) -> Value {
        let shown = |payload: &Option<Payload>| {
            payload.as_ref().map(|payload| {
                payload.text().map_or_else(|| format!("hex:{}", orrery_model::codec::hex(payload.as_bytes())), str::to_owned)
            })
        };
        let names = ["topic", "partition", "offset", "stage", "message", "blake3"];
        let error: serde_json::Map<String, Value> = names.into_iter().map(|name| (name.into(), json!(self.error(name)))).collect();
        let mut document = json!({
            "place": self.place.to_string(),
            "at": self.record.appended.to_string(),
            "key": shown(&self.record.key),
            "error": error,
            "settled": self.settled,
        });
        if whole {
            let headers = self.record.headers.iter().filter(|(name, _)| !name.starts_with(DLQ_HEADERS));
            document["headers"] = headers.map(|(name, value)| json!({"name": name, "value": shown(&Some(value.clone()))})).collect();
            document["value"] = json!(shown(&self.record.value));
        }
        document
    }
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.headers.iter().rfind(|(found, _)| found == name).and_then(|(_, value)| value.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place: Place = "a/b.dlq/3@17".parse().expect("a place");
        assert_eq!((place.at.partition, place.offset, place.to_string()), (3, 17, "a/b.dlq/3@17".to_owned()));
        for wrong in ["orders.dlq", "orders/0@1", "orders.dlq/x@1", "orders.dlq/0@-1", "orders.dlq/0"] {
            assert!(wrong.parse::<Place>().expect_err(wrong).contains("TOPIC.dlq/PARTITION@OFFSET"));
        }
    }
}
