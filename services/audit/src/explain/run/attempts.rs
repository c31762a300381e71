//! Starts and ends of a run's attempts.

use super::Tale;
use crate::explain::reading::{Decided, took};
use crate::explain::{Line, Mark, codes};
use orrery_model::messages::{End, EndKind, RunRecord, RunState};

impl Tale {
    pub(super) fn progressed(&mut self, decided: &Decided<'_>, record: &RunRecord) {
        let n = record.attempts;
        let agent = record.agent.as_ref().map_or_else(String::new, |agent| format!(" on {agent}"));
        let line = match record.state {
            RunState::Running => Line::new(Mark::Good, codes::STARTED, format!("attempt {n} runs{agent}")),
            // Its place is told with the cell's decision.
            RunState::Starting => return,
            _ => {
                // Asked for once more after its end.
                self.wanted_at = None;
                Line::new(Mark::Note, codes::REQUEST, record.reason.clone().unwrap_or_else(|| "it goes on".to_owned()))
            }
        };
        self.attempts.push(line.of(decided.entry));
    }

    pub(super) fn unwanted(&mut self, decided: &Decided<'_>) {
        let reason = decided.text("reason").unwrap_or("nobody said why");
        self.attempts.push(Line::new(Mark::Note, codes::UNWANTED, format!("it is to be ended: {reason}")).of(decided.entry));
    }

    /// An attempt, or the run, is over.
    pub(super) fn over(&mut self, decided: &Decided<'_>, record: &RunRecord) {
        let had_attempt = self.wanted_at.take().is_some();
        self.waits = None;
        let mark = if record.state == RunState::Succeeded { Mark::Good } else { Mark::Bad };
        let reason = record.reason.clone().unwrap_or_else(|| record.state.word().to_owned());
        let mut text = match record.end.as_ref().filter(|_| had_attempt) {
            Some(end) => ended(record, end),
            None => reason.clone(),
        };
        let code = match (record.end.as_ref().filter(|_| had_attempt).map(|end| end.kind), record.state) {
            (Some(EndKind::Lost), _) | (_, RunState::Lost) => codes::LOST,
            (_, RunState::Succeeded) => codes::SUCCEEDED,
            (_, RunState::Skipped | RunState::Cancelled) => match codes::of_words(&reason) {
                codes::OTHER => codes::UNWANTED,
                code => code,
            },
            _ => codes::FAILED,
        };
        if !had_attempt && self.held.is_some() {
            // What held it back ended with it, not for it.
            self.gates.extend(self.held.take().map(|(_, line)| line));
        }
        if let Some(at) = record.next_attempt_at {
            text.push_str(&format!("; the next attempt is due at {at}"));
        }
        self.attempts.push(Line::new(mark, code, text).of(decided.entry));
    }
}

fn ended(record: &RunRecord, end: &End) -> String {
    let how = match (end.kind, end.code, end.signal) {
        (EndKind::TimedOut, ..) => "was ended by its timeout".to_owned(),
        (EndKind::NotStarted, ..) => "could not be started".to_owned(),
        (EndKind::Lost, ..) => "was lost".to_owned(),
        (EndKind::Killed, ..) => "was ended by Orrery".to_owned(),
        (_, Some(code), _) => format!("exited with {code}"),
        (_, None, Some(signal)) => format!("was ended by signal {signal}"),
        (kind, None, None) => format!("has {}", kind.word()),
    };
    let agent = record.agent.as_ref().map_or_else(String::new, |agent| format!(" on {agent}"));
    let why = end.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("attempt {} {how}{agent}{}{why}", record.attempts, took(end))
}
