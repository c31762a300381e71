//! Outcomes: what became of attempts.

use super::Turn;
use crate::facts::Decision;
use crate::rows::RunRow;
use orrery_model::messages::{End, EndKind, Outcome, OutcomeChange, RunRecord, RunState};

/// Longest pause between two attempts.
const BACKOFF_MAX_MS: i64 = 600_000;
/// Pause after the second attempt in a run that was lost; doubles each time.
const LOST_BACKOFF_MS: i64 = 1_000;

impl Turn<'_> {
    /// Outcomes of another attempt, of a lower hop, or of a run that is over are stale: nothing is decided.
    pub(super) fn outcome_arrived(&mut self, outcome: &Outcome) {
        let Some((run, n)) = outcome.attempt.split() else { return };
        let Some(row) = self.state.runs.get(&run).filter(|row| row.live && row.record.attempts == n && row.hop() == outcome.hop) else {
            return;
        };
        let (row, record) = (row.clone(), RunRecord { updated_at: self.at, ..row.record.clone() });
        match &outcome.change {
            OutcomeChange::AttemptPlaced { agent } if record.state == RunState::Waiting => {
                let record = RunRecord { state: RunState::Starting, agent: Some(agent.clone()), ..record };
                self.decide(Decision::RunProgressed { record });
            }
            OutcomeChange::AttemptRunning { agent, started_at, .. } if record.state != RunState::Running => {
                let started_at = record.started_at.or(Some(*started_at));
                let record = RunRecord { state: RunState::Running, agent: Some(agent.clone()), started_at, ..record };
                self.decide(Decision::RunProgressed { record });
            }
            OutcomeChange::AttemptPlaced { .. } | OutcomeChange::AttemptRunning { .. } => {}
            OutcomeChange::AttemptEnded { agent, end } => {
                let agent = agent.clone().or_else(|| record.agent.clone());
                self.attempt_ended(&row, RunRecord { agent, end: Some(end.clone()), ..record }, end);
            }
            OutcomeChange::AttemptDeclined { reasons, suggested_cell } => self.attempt_declined(&row, record, reasons, *suggested_cell),
        }
    }

    fn attempt_ended(&mut self, row: &RunRow, record: RunRecord, end: &End) {
        let record = RunRecord { ended_at: Some(self.at), started_at: record.started_at.or(started(end)), ..record };
        let job = record.job.clone();
        match (end.kind, row.leads_to) {
            (EndKind::Succeeded, _) => self.end(RunRecord { state: RunState::Succeeded, reason: None, ..record }),
            (_, Some(state)) => self.end(RunRecord { state, ..record }),
            (EndKind::Lost, None) => self.attempt_lost(row, record, end),
            (_, None) => self.attempt_failed(row, record, end),
        }
        self.start_held(&job);
    }

    /// Repeated at once the first time, on another agent if there is one, then after pauses that double: whatever ends its agents may be
    /// the run itself. It does not count towards `retries.max` (§6.2), but has a bound of its own.
    fn attempt_lost(&mut self, row: &RunRow, record: RunRecord, end: &End) {
        let most = self.state.compiled(&record.job).map_or(0, |compiled| compiled.spec.retries.on_lost.max);
        let lost_before = row.lost;
        let reason = Some(end_in_words(end));
        if lost_before < most {
            let pause_ms = if lost_before == 0 { 0 } else { LOST_BACKOFF_MS << (lost_before - 1).min(20) };
            let next = self.at.plus_ms(pause_ms.min(BACKOFF_MAX_MS));
            let record = RunRecord { state: RunState::Waiting, reason, ended_at: None, next_attempt_at: Some(next), ..record };
            self.decide(Decision::AttemptOver { record, counted: false });
        } else {
            self.end(RunRecord { state: RunState::Lost, reason, ..record });
        }
    }

    fn attempt_failed(&mut self, row: &RunRow, record: RunRecord, end: &End) {
        let retries = self.state.compiled(&record.job).map(|compiled| compiled.spec.retries).filter(|retries| row.counted < retries.max);
        let reason = Some(end_in_words(end));
        let Some(retries) = retries else { return self.end(RunRecord { state: RunState::Failed, reason, ..record }) };
        let doubled = retries.backoff.0.saturating_mul(1 << row.counted.clamp(0, 30));
        let next = self.at.plus_ms(doubled.min(BACKOFF_MAX_MS.max(retries.backoff.0)));
        let record = RunRecord { state: RunState::Waiting, reason, ended_at: None, next_attempt_at: Some(next), ..record };
        self.decide(Decision::AttemptOver { record, counted: true });
    }
}

/// When a process that has ended must have started, if nobody said so before.
fn started(end: &End) -> Option<orrery_model::time::Timestamp> {
    (end.wall_ms > 0).then(|| end.ended_at.plus_ms(-end.wall_ms))
}

fn end_in_words(end: &End) -> String {
    let how = match (end.kind, end.code, end.signal) {
        (EndKind::TimedOut, ..) => "it was ended by its timeout".to_owned(),
        (EndKind::NotStarted, ..) => "it could not be started".to_owned(),
        (EndKind::Lost, ..) => "it was lost".to_owned(),
        (_, Some(code), _) => format!("it exited with {code}"),
        (_, None, Some(signal)) => format!("it was ended by signal {signal}"),
        (kind, None, None) => kind.word().to_owned(),
    };
    end.reason.as_ref().map_or(how.clone(), |reason| format!("{how}: {reason}"))
}
