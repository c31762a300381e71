//! What the deciders knew at some point of the past: jobs, runs, agents and tasks; and what differs between two points.
//!
//! Recorded decisions are applied, from the newest snapshot before the point on; nothing is decided again.

use crate::AuditError;
use crate::batch::each_entry;
use crate::entries::{Place, entry_at, journal_of};
use crate::verify::{load_newest, offset_behind};
use orrery_allocator::Allocator;
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_model::journal::Entry;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A point of the past; what it names is part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// All journals, with what was decided up to this time.
    Time(Timestamp),
    /// One journal, up to this entry.
    Entry(Place),
}

impl std::str::FromStr for Point {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = Timestamp::parse(text).map(Self::Time);
        let refused = |_| format!("{text:?} is neither a time such as 2026-11-21T02:00:00Z nor a place such as trigger/0@1234.5");
        time.or_else(|_| text.parse().map(Self::Entry).map_err(refused))
    }
}

/// What was known: by kind (`job`, `run`, `agent`, `task`) and name. Of runs, all that went on, and the last that had ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct State(pub BTreeMap<&'static str, BTreeMap<String, Value>>);

/// The kinds of [`State`].
pub const KINDS: [&str; 4] = ["job", "run", "agent", "task"];

/// What differs of one thing between two states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub how: &'static str,
    /// Of one that is changed: its fields that are.
    pub fields: Vec<FieldDiffers>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldDiffers {
    /// Where it stands: `document.resources.cpus`.
    pub field: String,
    /// Before; null where it was not there.
    pub from: Value,
    /// After.
    pub to: Value,
}

/// The state at a point.
pub fn state_at(log: &Arc<dyn Log>, cluster: &Cluster, point: &Point) -> Result<State, AuditError> {
    let mut state = State::default();
    match point {
        Point::Time(at) => {
            for shard in 0..cluster.trigger_shards {
                state.add_trigger(&folded::<Trigger>(log, cluster, shard, Until::Time(*at))?);
            }
            for cell in 0..cluster.cells {
                state.add_allocator(&folded::<Allocator>(log, cluster, cell, Until::Time(*at))?);
            }
        }
        Point::Entry(place) => {
            let until = Until::Seq(entry_at(&**log, cluster, place)?.seq);
            match place.service.as_str() {
                Trigger::SERVICE => state.add_trigger(&folded::<Trigger>(log, cluster, place.shard, until)?),
                _ => state.add_allocator(&folded::<Allocator>(log, cluster, place.shard, until)?),
            }
        }
    }
    Ok(state)
}

/// What differs between two states, by kind and name.
pub fn difference(from: &State, to: &State) -> Vec<Differs> {
    let nothing = BTreeMap::new();
    let mut found = Vec::new();
    for kind in KINDS {
        let (before, after) = (from.0.get(kind).unwrap_or(&nothing), to.0.get(kind).unwrap_or(&nothing));
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (how, fields) = match (before.get(name), after.get(name)) {
                (Some(before), Some(after)) => ("changed", fields_between(before, after)),
                (None, _) => ("added", Vec::new()),
                (_, None) => ("removed", Vec::new()),
            };
            if how != "changed" || !fields.is_empty() {
                found.push(Differs { kind, name: name.clone(), how, fields });
            }
        }
    }
    found
}

impl State {
    fn add(&mut self, kind: &'static str, name: impl ToString, value: Value) {
        self.0.entry(kind).or_default().insert(name.to_string(), value);
    }

    fn add_trigger(&mut self, trigger: &Trigger) {
        for entry in trigger.jobs() {
            let mut value = json!(entry);
            // As a document its fields can be compared.
            value["document"] = serde_json::from_str(&entry.document).unwrap_or_else(|_| entry.document.clone().into());
            self.add("job", &entry.job, value);
        }
        trigger.runs().for_each(|record| self.add("run", &record.run, json!(record)));
    }

    fn add_allocator(&mut self, allocator: &Allocator) {
        for (agent, row) in allocator.agents() {
            let mut value = json!(row);
            value["used"] = json!(allocator.used(agent));
            self.add("agent", agent, value);
        }
        allocator.tasks().for_each(|(attempt, row)| self.add("task", attempt, json!(row)));
    }
}

/// How far decisions are applied.
#[derive(Clone, Copy)]
enum Until {
    Time(Timestamp),
    Seq(i64),
}

impl Until {
    fn holds(self, seq: i64, at: Timestamp) -> bool {
        match self {
            Self::Time(until) => at <= until,
            Self::Seq(until) => seq <= until,
        }
    }
}

fn folded<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32, until: Until) -> Result<D, AuditError> {
    let journal = journal_of(cluster, D::SERVICE, shard);
    let mut decider = D::default();
    let from = match load_newest::<D>(log, cluster, shard, &|seq, at| until.holds(seq, at), &mut decider)? {
        Some(seq) => offset_behind::<D>(log, &journal, seq)?,
        None => 0,
    };
    each_entry::<D>(&**log, &journal, from, |Entry { seq, at, decisions, .. }| {
        if !until.holds(seq, at) {
            return ControlFlow::Break(());
        }
        decisions.iter().for_each(|decision| decider.apply(at, decision));
        ControlFlow::Continue(())
    })?;
    Ok(decider)
}

/// The leaves that differ.
fn fields_between(from: &Value, to: &Value) -> Vec<FieldDiffers> {
    let mut found = Vec::new();
    compare("", from, to, &mut found);
    found
}

fn compare(field: &str, from: &Value, to: &Value, found: &mut Vec<FieldDiffers>) {
    if from == to {
        return;
    }
    let (Value::Object(before), Value::Object(after)) = (from, to) else {
        found.push(FieldDiffers { field: field.to_owned(), from: from.clone(), to: to.clone() });
        return;
    };
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let inner = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
        compare(&inner, before.get(name).unwrap_or(&Value::Null), after.get(name).unwrap_or(&Value::Null), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(kind: &'static str, name: &str, value: Value) -> State {
        State(BTreeMap::from([(kind, BTreeMap::from([(name.to_owned(), value)]))]))
    }

    #[test]
    fn what_differs_is_told_by_field() {
        let before = state("job", "a", json!({"version": 1, "document": {"resources": {"cpus": 1}, "name": "a"}}));
        let after = state("job", "a", json!({"version": 2, "document": {"resources": {"cpus": 2}, "name": "a", "retries": {"max": 1}}}));
        let [Differs { kind: "job", name, how: "changed", fields }] = &difference(&before, &after)[..] else { panic!("one job differs") };
        assert_eq!(name, "a");
        let told: Vec<String> = fields.iter().map(|field| format!("{} {} {}", field.field, field.from, field.to)).collect();
        assert_eq!(told, ["document.resources.cpus 1 2", "document.retries null {\"max\":1}", "version 1 2"]);
        assert_eq!(difference(&before, &before), []);
        let hows = |from: &State, to: &State| difference(from, to).iter().map(|found| found.how).collect::<Vec<_>>();
        assert_eq!((hows(&before, &State::default()), hows(&State::default(), &before)), (vec!["removed"], vec!["added"]));
    }

    #[test]
    fn points_are_times_or_places() {
        assert!(matches!("2026-11-21T02:00:00Z".parse(), Ok(Point::Time(_))));
        assert!(matches!("trigger/0@12.3".parse(), Ok(Point::Entry(place)) if place.offset == 12 && place.item == 3));
        assert!("yesterday".parse::<Point>().is_err_and(|why| why.contains("trigger/0@1234.5")));
    }
}
