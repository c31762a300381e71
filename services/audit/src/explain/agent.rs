//! The story of an agent: joined, changed, lost, and what was placed on it and ended there.

use super::reading::{Decided, decisions, took};
use super::{Line, Mark, codes};
use crate::EntryView;
use orrery_model::id::AgentId;
use orrery_model::messages::{Attribute, End, TROUBLES};
use orrery_model::resources::Resources;
use orrery_model::time::{Timestamp, format_span_ms};
use serde::{Deserialize, Serialize};

/// The story of an agent.
#[derive(Debug, Clone, Serialize)]
pub struct AgentStory {
    /// Which.
    pub agent: AgentId,
    /// As of when.
    pub as_of: Timestamp,
    /// `JOINED`, `LOST`, or `UNKNOWN` where nothing of what was read says.
    pub word: &'static str,
    /// Attempts that it had then, of those that were placed within what was read.
    pub attempts: Vec<String>,
    /// Its session and what it offers.
    pub session: Vec<Line>,
    /// What was placed on it and ended there.
    pub tasks: Vec<Line>,
}

/// Tells an agent's story from entries of its cell's journal, by time.
pub fn agent_story(agent: &AgentId, entries: &[EntryView], as_of: Timestamp) -> AgentStory {
    let mut story =
        AgentStory { agent: agent.clone(), as_of, word: "UNKNOWN", attempts: Vec::new(), session: Vec::new(), tasks: Vec::new() };
    for decided in decisions(entries, as_of) {
        let of_status = decided.fields["status"]["agent"].as_str();
        if decided.text("agent").or(of_status) == Some(agent.as_str()) {
            story.take(&decided);
        }
    }
    story
}

impl AgentStory {
    fn take(&mut self, decided: &Decided<'_>) {
        let reason = decided.text("reason").unwrap_or_default();
        let attempt = decided.attempt().unwrap_or("?");
        match decided.kind {
            "agent_joined" => {
                self.word = codes::JOINED;
                self.attempts = decided.read("adopted").unwrap_or_default();
                let text = format!("joined, session {}{}", decided.fields["session"]["counter"], offers(decided));
                self.session.push(Line::new(Mark::Good, codes::JOINED, text).of(decided.entry));
            }
            "agent_changed" => {
                self.session.push(Line::new(Mark::Note, codes::CHANGED, format!("changed{}", offers(decided))).of(decided.entry));
            }
            "agent_refused" => {
                self.session.push(Line::new(Mark::Bad, codes::REFUSED, format!("refused: {reason}")).of(decided.entry));
            }
            "agent_lost" => {
                self.word = codes::LOST;
                let silent = format_span_ms(decided.number("silent_ms").unwrap_or(0));
                self.session.push(Line::new(Mark::Bad, codes::LOST, format!("lost, after {silent} of silence")).of(decided.entry));
            }
            "placed" => {
                let job = decided.fields["spec"]["job"].as_str().unwrap_or("?");
                if !self.attempts.iter().any(|known| known == attempt) {
                    self.attempts.push(attempt.to_owned());
                }
                self.tasks.push(Line::new(Mark::Good, codes::PLACED, format!("{attempt} of {job} was placed here")).of(decided.entry));
            }
            "status_taken" => self.status(decided, attempt),
            "task_lost" => {
                self.gone(attempt);
                self.tasks.push(Line::new(Mark::Bad, codes::LOST, format!("{attempt} was lost: {reason}")).of(decided.entry));
            }
            "kill_ordered" => {
                let text = format!("{attempt} is to be ended: {reason}");
                self.tasks.push(Line::new(Mark::Note, codes::UNWANTED, text).of(decided.entry));
            }
            _ => {}
        }
    }

    fn status(&mut self, decided: &Decided<'_>, attempt: &str) {
        let change = &decided.fields["status"]["change"];
        let Some(end) = change["task_ended"].get("end").and_then(|end| End::deserialize(end).ok()) else {
            let pid = &change["task_running"]["pid"];
            self.tasks.push(Line::new(Mark::Good, codes::STARTED, format!("{attempt} runs, process {pid}")).of(decided.entry));
            return;
        };
        self.gone(attempt);
        let good = end.kind == orrery_model::messages::EndKind::Succeeded;
        let code = end.code.map_or_else(String::new, |code| format!(", exit code {code}"));
        let text = format!("{attempt} has ended ({}{code}){}", end.kind.word(), took(&end));
        let (mark, code) = if good { (Mark::Good, codes::SUCCEEDED) } else { (Mark::Bad, codes::FAILED) };
        self.tasks.push(Line::new(mark, code, text).of(decided.entry));
    }

    fn gone(&mut self, attempt: &str) {
        self.attempts.retain(|known| known != attempt);
    }
}

/// What an agent offers, and what it says is wrong with it.
fn offers(decided: &Decided<'_>) -> String {
    let total = decided.read::<Resources>("total");
    let offered = total.map(|total| format!(": cpus {}, memory {}, disk {}", total.cpus, total.memory, total.disk));
    let attributes = decided.read::<Vec<Attribute>>("attributes").unwrap_or_default();
    let troubles = attributes.iter().filter(|attribute| TROUBLES.contains(&attribute.name.as_str()));
    let told = troubles.map(|Attribute { name, value }| format!("; {name}: {value}"));
    offered.into_iter().chain(told).collect()
}
