//! Cells: which one a task is sent to, and which next if it is handed back (protocol §6.1).
//!
//! Each attempt begins at its job's cell and goes to each cell at most once; at the last one it waits.

use super::Turn;
use super::runs::task_bytes;
use crate::expr::Budget;
use crate::facts::Decision;
use crate::rows::RunRow;
use crate::state::Compiled;
use orrery_model::job::{JobSpec, Problem};
use orrery_model::messages::{Reason, RunRecord, RunState};
use orrery_model::murmur2::partition_of;
use orrery_model::planted::{Bug, planted};

impl Turn<'_> {
    /// A cell that is named must be there.
    pub(super) fn check_cell(&self, spec: &JobSpec) -> Option<Problem> {
        let cells = self.state.shards().cells;
        let named = spec.cell.filter(|cell| !(0..cells).contains(cell))?;
        let (message, hint) = match cells {
            1 => (format!("there is no cell {named}, only cell 0"), "leave cell out".to_owned()),
            _ => (format!("there is no cell {named}, only 0 to {}", cells - 1), "name one of these, or leave cell out for any".to_owned()),
        };
        Some(Problem::new("cell", message).hint(hint))
    }

    /// Sends an attempt to the next cell that has not had it, made by the present definition, whose version the run has from then on.
    /// A command that cannot be rendered fails the run, as does a cell that is not there.
    pub(super) fn send(&mut self, record: RunRecord, compiled: &Compiled, tried: &[i32], suggested: Option<i32>) {
        let version = self.entry(&record.job).map_or(record.version, |entry| entry.version);
        let record = RunRecord { version, ..record };
        let Some(cell) = self.next_cell(&compiled.spec, tried, suggested) else {
            return self.fail(record, "no cell is left to try");
        };
        let had_it: Vec<i32> = tried.iter().copied().chain([cell]).collect();
        let may_decline = self.next_cell(&compiled.spec, &had_it, None).is_some();
        let mut budget = Budget::default();
        let task = self.task(&record, compiled, (tried.len() as i32, may_decline), &mut budget);
        self.work += budget.spent();
        match task {
            Ok(spec) => {
                self.event_bytes += spec.event.as_ref().map_or(0, |event| event.as_bytes().len());
                self.event_bytes += task_bytes(&spec.argv, &spec.env);
                self.decide(Decision::AttemptWanted { record, cell, spec });
            }
            Err(problem) => {
                let attempts = record.attempts - i32::from(tried.is_empty());
                self.fail(RunRecord { attempts, ..record }, &problem.to_string());
            }
        }
    }

    /// The cell that has it never started it. One that is being ended has ended with that, and goes nowhere else.
    pub(super) fn attempt_declined(&mut self, row: &RunRow, record: RunRecord, reasons: &[Reason], suggested: Option<i32>) {
        let job = record.job.clone();
        let compiled = self.state.compiled(&job);
        match (row.leads_to, compiled) {
            (Some(state), _) if !planted(Bug::CancelHandBack) => self.end(RunRecord { state, ended_at: Some(self.at), ..record }),
            (_, Some(compiled)) if self.next_cell(&compiled.spec, &row.tried, suggested).is_some() => {
                self.send(RunRecord { state: RunState::Waiting, reason: None, ..record }, &compiled, &row.tried, suggested);
            }
            _ => {
                let reasons = reasons.iter().map(|reason| reason.detail.as_str()).collect::<Vec<_>>().join("; ");
                self.fail(record, &format!("no cell can place it: {reasons}"));
            }
        }
        self.start_held(&job);
    }

    fn fail(&mut self, record: RunRecord, reason: &str) {
        self.end(RunRecord { state: RunState::Failed, reason: Some(reason.to_owned()), ended_at: Some(self.at), ..record });
    }

    /// The suggested cell, else the next in number, of those that may have the job's tasks and have not had this one.
    fn next_cell(&self, spec: &JobSpec, tried: &[i32], suggested: Option<i32>) -> Option<i32> {
        let cells = self.state.shards().cells;
        let first = match (tried.last(), spec.cell) {
            (Some(last), _) => last + 1,
            (None, Some(named)) => named,
            (None, None) => partition_of(spec.name.as_str().as_bytes(), cells as u32) as i32,
        };
        let is_open = |cell: &i32| (0..cells).contains(cell) && spec.cell.is_none_or(|named| named == *cell) && !tried.contains(cell);
        suggested.into_iter().chain((first..first + cells).map(|cell| cell % cells)).find(is_open)
    }
}
