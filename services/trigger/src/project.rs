//! What leaves the shard: a pure projection of decisions.

use crate::facts::Decision;
use orrery_model::decider::Message;
use orrery_model::id::JobName;
use orrery_model::messages::{Alert, RunRecord, RunState, TaskMessage};
use orrery_model::time::Timestamp;

pub(crate) fn messages(at: Timestamp, decision: &Decision, out: &mut Vec<Message>) {
    match decision {
        Decision::JobDefined { entry, .. } | Decision::JobPaused { entry } | Decision::JobResumed { entry } => {
            out.push(Message::Catalog(entry.job.clone(), Some(Box::new(entry.clone()))));
        }
        Decision::Forwarded { forward } => out.push(Message::Forward(Box::new(forward.clone()))),
        Decision::JobDeleted { job, .. } => out.push(Message::Catalog(job.clone(), None)),
        Decision::RunCreated { record, .. } | Decision::RunProgressed { record } | Decision::AttemptOver { record, .. } => {
            out.push(Message::Run(Box::new(record.clone())));
        }
        Decision::AttemptWanted { record, cell, spec } => {
            out.push(Message::Task(Box::new(TaskMessage::TaskWanted { cell: *cell, spec: spec.clone() })));
            out.push(Message::Run(Box::new(record.clone())));
        }
        Decision::AttemptUnwanted { record, cell, hop, reason, .. } => {
            let attempt = record.run.attempt(record.attempts);
            let unwanted = TaskMessage::TaskUnwanted { cell: *cell, attempt, hop: *hop, reason: reason.clone() };
            out.push(Message::Task(Box::new(unwanted)));
            out.push(Message::Run(Box::new(record.clone())));
        }
        Decision::RunEnded { record } => {
            out.extend(end_alert(at, record));
            out.push(Message::Run(Box::new(record.clone())));
        }
        Decision::Alerted { code, detail } => {
            out.push(Message::Alert(Alert { job: None, run: None, code: code.clone(), detail: detail.clone(), at }));
        }
        Decision::PredicateFailed { job, trigger, event, reason } => {
            let detail = format!("triggers[{trigger}].when could not be evaluated on {event}: {reason}");
            out.push(alert(at, job, None, "predicate_failed", detail));
        }
        Decision::SlotTaken { job, missed, reason: Some(reason), .. } if *missed > 0 => {
            out.push(alert(at, job, None, "slots_missed", format!("{missed} slots were not run: {reason}")));
        }
        Decision::ShardsLearned { .. }
        | Decision::ForwardTaken { .. }
        | Decision::DefinitionLearned { .. }
        | Decision::DefinitionForgotten { .. }
        | Decision::RereadBegun { .. }
        | Decision::RereadEnded { .. }
        | Decision::Superseded { .. }
        | Decision::Submitted { .. }
        | Decision::FireParked { .. }
        | Decision::FireReleased { .. }
        | Decision::Skipped { .. }
        | Decision::Refused { .. }
        | Decision::Answered { .. }
        | Decision::AnsweredBefore { .. }
        | Decision::SlotTaken { .. }
        | Decision::ParentDone { .. }
        | Decision::EventKept { .. }
        | Decision::EventParked { .. } => {}
    }
}

fn end_alert(at: Timestamp, record: &RunRecord) -> Option<Message> {
    let code = match record.state {
        RunState::Failed => "run_failed",
        RunState::Lost => "run_lost",
        RunState::Skipped => "run_skipped",
        _ => return None,
    };
    Some(alert(at, &record.job, Some(record), code, record.reason.clone().unwrap_or_default()))
}

fn alert(at: Timestamp, job: &JobName, run: Option<&RunRecord>, code: &str, detail: String) -> Message {
    Message::Alert(Alert { job: Some(job.clone()), run: run.map(|r| r.run.clone()), code: code.into(), detail, at })
}
