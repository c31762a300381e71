//! The story of one event, by its place: what it is, which shard reads its partition and whether it has, and what each job that
//! watches its topic made of it.
//!
//! An event that did not match stands in no journal, but for a range that was read without effect (protocol §5.5). So it is
//! evaluated again, by the definitions of now, as long as its topic, or a journal, has it.

mod trail;
mod verdict;

#[cfg(test)]
mod tests;

pub use trail::Trail;
pub use verdict::{Verdict, Watcher};

use super::topics::parts;
use super::{Line, Mark, codes};
use orrery_model::journal::DropReason;
use orrery_model::messages::EventData;
use orrery_model::topics::{DLQ_SUFFIX, check_topic_name};
use orrery_trigger::event::EventView;
use orrery_trigger::starts::is_behind_start;
use serde::Serialize;
use serde_json::Value;
use trail::Account;

/// Characters of a key that are told.
const KEY_CHARS: usize = 80;
/// Things to do that are told.
const NEXT: usize = 10;

/// Where an event stands: `orders.paid/0/17`, that is topic, partition, offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPlace {
    /// Full name of its topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: i64,
}

impl std::fmt::Display for EventPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Reads `orders.paid/0@17`, and what other commands print: `orders.paid/0/17`, `orders.paid~1/0/17`. The generation is left out:
/// what is told of is the topic as it is now.
impl std::str::FromStr for EventPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (source, offset) = text.rsplit_once(['@', '/'])?;
            let place = format!("{source}/{offset}");
            let (topic, partition, offset) = parts(&place).filter(|(_, _, offset)| *offset >= 0)?;
            Some(Self { topic: topic.to_owned(), partition: partition.try_into().ok()?, offset })
        };
        let refused = || format!("{text:?} is not the place of an event; write TOPIC/PARTITION@OFFSET, such as orders.paid/0@17");
        let place = parsed().ok_or_else(refused)?;
        check_topic_name(&place.topic)?;
        Ok(place)
    }
}

impl EventPlace {
    /// True if this names it, whatever the generation.
    fn is_named(&self, text: &str) -> bool {
        parts(text) == Some((self.topic.as_str(), self.partition as i32, self.offset))
    }

    /// True if this, an [`EventData`] of a journal, is it.
    fn is(&self, event: &Value) -> bool {
        event["topic"].as_str() == Some(self.topic.as_str())
            && event["partition"].as_i64() == Some(i64::from(self.partition))
            && event["offset"].as_i64() == Some(self.offset)
    }

    /// True if this names an event behind it in its partition, whatever the generation.
    pub fn lies_before(&self, text: &str) -> bool {
        parts(text)
            .is_some_and(|(topic, partition, offset)| topic == self.topic && partition == self.partition as i32 && offset > self.offset)
    }
}

/// What an event's story is made of.
#[derive(Debug, Clone, Copy)]
pub struct EventFacts<'a> {
    /// Where it stands.
    pub place: &'a EventPlace,
    /// The event, as its topic has it or, where that has it no longer, a journal.
    pub event: Option<&'a EventData>,
    /// What lies shortly before it in its partition.
    pub before: &'a [EventData],
    /// First offset that the partition still has.
    pub start: i64,
    /// Trigger shard that reads the partition.
    pub reader: u32,
    /// What journals say of it.
    pub trail: &'a Trail,
    /// Jobs that watch its topic, and those that it has fired.
    pub watchers: &'a [Watcher],
    /// How many more there are.
    pub others: usize,
}

impl EventFacts<'_> {
    /// True if its reader has passed it, as far as the journal says.
    fn is_passed(&self) -> bool {
        self.trail.is_accounted_for() || self.trail.position().is_some_and(|position| position > self.place.offset)
    }
}

/// The story of an event.
#[derive(Debug, Clone, Serialize)]
pub struct EventStory {
    /// Its place: topic, partition, offset.
    pub event: String,
    /// In one sentence.
    pub answer: String,
    /// What it is.
    pub record: Vec<Line>,
    /// Who reads its partition, and whether it was read.
    pub reading: Vec<Line>,
    /// What it came to for each job, those first that it fired.
    pub jobs: Vec<Verdict>,
    /// How many jobs that watch its topic are not told of.
    pub others: usize,
    /// What would help.
    pub next: Vec<Line>,
}

/// Tells an event's story.
pub fn event_story(facts: &EventFacts<'_>) -> EventStory {
    let jobs: Vec<Verdict> = facts.watchers.iter().map(|watcher| verdict::of(facts, watcher)).collect();
    let reading = reading(facts);
    let (answer, next) = (answer(facts, &reading, &jobs), next(facts, &reading, &jobs));
    let (event, record) = (facts.event.map_or_else(|| facts.place.to_string(), EventData::place), record(facts));
    EventStory { event, answer, record, reading: vec![reading], jobs, others: facts.others, next }
}

/// What the event is, and whether its topic still has it.
fn record(facts: &EventFacts<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(event) = facts.event {
        let key = EventView::new(event)
            .key()
            .map_or_else(|| "without a key".to_owned(), |key| format!("key {:?}", key.chars().take(KEY_CHARS).collect::<String>()));
        let text = format!("appended at {}, {key}, {} bytes with its headers", event.appended, event.bytes());
        lines.push(Line::new(Mark::Good, codes::EVENT, text));
        if event.generation > 0 {
            let text = format!("the topic was made again: this is its generation {}", event.generation);
            lines.push(Line::new(Mark::Note, codes::EVENT, text));
        }
    }
    if facts.place.offset < facts.start {
        let begins = format!("its topic no longer has it: the partition begins at {} now", facts.start);
        lines.push(match facts.event {
            Some(_) => Line::new(Mark::Note, codes::GONE, format!("{begins}; it is told as the journal has it")),
            None => Line::new(Mark::Bad, codes::GONE, begins),
        });
    }
    lines
}

/// Who reads the event's partition, and whether it was read.
fn reading(facts: &EventFacts<'_>) -> Line {
    let reader = format!("trigger/{} reads its partition", facts.reader);
    let Some((account, entry)) = facts.trail.account() else { return not_accounted_for(facts, &reader) };
    let (mark, code, text) = match account {
        Account::Taken => (Mark::Good, codes::READ, format!("{reader}, and has decided on it")),
        Account::Dropped(DropReason::NoEffect | DropReason::Repeat) => {
            (Mark::Good, codes::READ, format!("{reader}, and has read it without effect"))
        }
        Account::Dropped(DropReason::BeforeStart) => (Mark::Bad, codes::BEFORE_START, format!("{reader}, and began behind it")),
        Account::Dropped(DropReason::Quarantined) => {
            let text =
                format!("{reader}, and set it aside without deciding on it: it is a dead letter, in {}{DLQ_SUFFIX}", facts.place.topic);
            (Mark::Bad, codes::DEAD_LETTER, text)
        }
        Account::Dropped(DropReason::Poison) => {
            let text = format!("{reader}, and could not take it: it is a dead letter, in {}{DLQ_SUFFIX}", facts.place.topic);
            (Mark::Bad, codes::DEAD_LETTER, text)
        }
    };
    Line::new(mark, code, text).of(entry)
}

/// Why no entry accounts for the event.
fn not_accounted_for(facts: &EventFacts<'_>, reader: &str) -> Line {
    if facts.watchers.is_empty() && facts.others == 0 {
        return Line::new(Mark::Bad, codes::NOT_READ, format!("no job watches {}, so nobody reads it", facts.place.topic));
    }
    // What lies before all starts is not read, and leaves nothing in the journal.
    let counts = |watcher: &Watcher| match (&watcher.definition, facts.event) {
        (Some((entry, _)), Some(event)) => is_behind_start(entry, event),
        _ => true,
    };
    if facts.others == 0 && !facts.watchers.iter().any(counts) {
        let text = format!("{reader}, which begins to count behind it for every job: it is left out");
        return Line::new(Mark::Bad, codes::BEFORE_START, text);
    }
    let soon = "it was not read yet, or without effect, which is journalled within ten seconds";
    match facts.trail.position() {
        Some(position) if position > facts.place.offset => {
            let text = format!("{reader}, and stands at {position}; no entry that accounts for it was found in what was looked at");
            Line::new(Mark::Note, codes::READ, text)
        }
        Some(position) => Line::new(Mark::Bad, codes::NOT_READ, format!("{reader}, and stands at {position}: {soon}")),
        None => Line::new(Mark::Bad, codes::NOT_READ, format!("{reader}, of which its journal says nothing: {soon}")),
    }
}

/// The sentence.
fn answer(facts: &EventFacts<'_>, reading: &Line, jobs: &[Verdict]) -> String {
    let event = facts.event.map_or_else(|| facts.place.to_string(), EventData::place);
    let (fired, all) = (jobs.iter().filter(|verdict| verdict.run.is_some()).count(), jobs.len() + facts.others);
    // The last line that is more than a note says how it stands; the first one in the way says why it does not.
    let last = |verdict: &Verdict| verdict.lines.iter().rfind(|line| line.mark != Mark::Note).map(|line| line.text.clone());
    let bad = |verdict: &Verdict| verdict.lines.iter().find(|line| line.mark == Mark::Bad).map(|line| line.text.clone());
    if fired > 0 {
        // Those that it fired come first: where they are all that is told of, there may be more.
        let at_least = if fired == jobs.len() && facts.others > 0 { "at least " } else { "" };
        return match jobs {
            [only] if all == 1 => format!("Event {event} has fired {}: {}.", only.job, last(only).unwrap_or_default()),
            _ => format!("Event {event} has fired {at_least}{fired} of {all} jobs."),
        };
    }
    if reading.mark == Mark::Bad {
        return format!("Event {event} has fired nothing: {}.", reading.text);
    }
    match (jobs, jobs.iter().find_map(|verdict| Some((&verdict.job, bad(verdict)?)))) {
        ([_], Some((job, why))) if all == 1 => format!("Event {event} has not fired {job}: {why}."),
        (_, Some((job, why))) => format!("Event {event} has fired none of {all} jobs; {job}, for one: {why}."),
        (_, None) if facts.event.is_none() => format!("Event {event} is gone from its topic, and is not known to have fired anything."),
        (_, None) => format!("Event {event} has fired nothing."),
    }
}

/// What would help: each once, for the reading first.
fn next(facts: &EventFacts<'_>, reading: &Line, jobs: &[Verdict]) -> Vec<Line> {
    let topic = &facts.place.topic;
    let text = match reading.code {
        codes::NOT_READ if jobs.is_empty() && facts.others == 0 => Some(format!("give a job a trigger for it: `event: {topic}`")),
        codes::NOT_READ => Some("wait until it was read; where the shards stand: `orrery cluster status`".to_owned()),
        codes::DEAD_LETTER => Some(format!("orrery dlq list --topic {topic}")),
        _ => None,
    };
    let mut lines: Vec<Line> = text.map(|text| Line::new(Mark::Note, reading.code, text)).into_iter().collect();
    for line in facts.watchers.iter().zip(jobs).flat_map(|(watcher, verdict)| verdict::helps(watcher, verdict)) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.truncate(NEXT);
    lines
}
