//! Where attempts were sent, and what the cells made of them.

use super::{Tale, after};
use crate::explain::reading::Decided;
use crate::explain::{Line, Mark, codes};
use orrery_model::id::AgentId;
use orrery_model::messages::{Reason, RunRecord, TaskSpec};

impl Tale {
    pub(super) fn wanted(&mut self, decided: &Decided<'_>, record: &RunRecord) {
        self.released(decided, record);
        self.wanted_at = Some(decided.entry.at);
        (self.waits, self.agent) = (None, None);
        let (attempt, cell) = (record.attempts, decided.number("cell").unwrap_or(0));
        self.cell = u32::try_from(cell).ok();
        let needs = decided.read::<TaskSpec>("spec").map_or_else(String::new, |spec| needs(&spec));
        let changed = self.record.as_ref().is_some_and(|before| before.version != record.version);
        let version = if changed { format!(" by version {} of the job, which is a newer one", record.version) } else { String::new() };
        let text = format!("attempt {attempt} was sent to cell {cell}{version}{needs}");
        self.placement.push(Line::new(Mark::Note, codes::SENT, text).of(decided.entry));
    }

    /// A decision of a cell about an attempt.
    pub(super) fn placing(&mut self, decided: &Decided<'_>, attempt: &str) {
        let n = attempt.rsplit('.').next().unwrap_or(attempt);
        let cell = decided.entry.place.shard;
        let reason = decided.text("reason").unwrap_or_default();
        let line = match decided.kind {
            "task_queued" | "task_waits" => return self.waits_now(decided, n),
            "placed" => return self.placed(decided, n),
            "task_declined" => {
                self.waits = None;
                Line::new(Mark::Bad, codes::DECLINED, format!("cell {cell} gave attempt {n} back: {}", counted(&decided.reasons())))
            }
            "task_returned" => {
                self.agent = None;
                Line::new(Mark::Bad, codes::RETURNED, format!("attempt {n} lost its place before it started: {reason}"))
            }
            "task_dropped" => {
                self.waits = None;
                Line::new(Mark::Bad, codes::DROPPED, format!("attempt {n} was ended before it started: {reason}"))
            }
            "task_lost" => Line::new(Mark::Bad, codes::LOST, format!("attempt {n} was lost: {reason}")),
            "kill_ordered" => Line::new(Mark::Note, codes::UNWANTED, format!("the agent was told to end attempt {n}: {reason}")),
            _ => return,
        };
        self.placement.push(line.of(decided.entry));
    }

    fn waits_now(&mut self, decided: &Decided<'_>, n: &str) {
        let (reasons, cell) = (decided.reasons(), decided.entry.place.shard);
        self.cell = Some(cell);
        let line = Line::new(Mark::Bad, codes::QUEUED, format!("attempt {n} waits in cell {cell}: no agent has room for it now"));
        self.waits = Some((line.of(decided.entry), reasons));
        self.show(decided.entry);
    }

    /// A launch that is sent again is no news.
    fn placed(&mut self, decided: &Decided<'_>, n: &str) {
        let agent = decided.read::<AgentId>("agent");
        if agent.is_some() && agent == self.agent {
            return;
        }
        if let Some((line, reasons)) = self.waits.take() {
            let text = format!("attempt {n} waited{}: {}", after(line.at, decided.entry).replace(" after", " for"), counted(&reasons));
            self.placement.push(Line { mark: Mark::Note, text, ..line });
        }
        let name = agent.as_ref().map_or_else(|| "an agent".to_owned(), AgentId::to_string);
        let text = format!("attempt {n} was placed on {name}{}", after(self.wanted_at, decided.entry));
        self.placement.push(Line::new(Mark::Good, codes::PLACED, text).of(decided.entry));
        self.agent = agent;
    }
}

fn needs(spec: &TaskSpec) -> String {
    let resources = &spec.resources;
    let mut parts = vec![format!("cpus {}", resources.cpus), format!("memory {}", resources.memory)];
    if resources.disk.0 > 0 {
        parts.push(format!("disk {}", resources.disk));
    }
    parts.extend(spec.constraints.iter().cloned());
    format!(", and needs {}", parts.join(" · "))
}

/// All reasons in one line, with their codes and counts.
fn counted(reasons: &[Reason]) -> String {
    let told = reasons.iter().map(|reason| format!("{} on {} agents ({})", reason.code, reason.agents, reason.detail));
    let told = told.collect::<Vec<_>>().join("; ");
    if told.is_empty() { "no reason is recorded".to_owned() } else { told }
}
