//! What leaves the shard: a pure projection of decisions.

use crate::facts::Decision;
use orrery_model::decider::Message;
use orrery_model::id::{AgentId, AttemptId, JobName};
use orrery_model::messages::{Alert, Command, End, EndKind, Order, Outcome, OutcomeChange, Session, Status, StatusChange};
use orrery_model::time::Timestamp;

pub(crate) fn messages(at: Timestamp, decision: &Decision, out: &mut Vec<Message>) {
    let outcome = |attempt: &AttemptId, job: &JobName, hop: i32, change| {
        Message::Outcome(Outcome { attempt: attempt.clone(), job: job.clone(), hop, at, change })
    };
    match decision {
        Decision::AgentJoined { agent, session, adopted, .. } | Decision::AgentWelcomed { agent, session, adopted, .. } => {
            out.push(command(agent, session, Order::Welcome { adopted: adopted.clone() }));
        }
        Decision::AgentRefused { agent, session, reason, copy } => {
            let reason = reason.clone();
            let order = if *copy { Order::Renounce { reason } } else { Order::Register { reason } };
            out.push(command(agent, session, order));
        }
        Decision::Placed { spec, agent, session, .. } => {
            out.push(command(agent, session, Order::Launch { spec: spec.clone() }));
            out.push(outcome(&spec.attempt, &spec.job, spec.hop, OutcomeChange::AttemptPlaced { agent: agent.clone() }));
        }
        Decision::KillOrdered { attempt, agent, session, reason } => out.push(kill(agent, session, attempt, reason)),
        Decision::StatusTaken { status: Status { agent, session, attempt, seq, change }, job, hop } => {
            out.push(command(agent, session, Order::Acknowledge { attempt: attempt.clone(), seq: *seq }));
            out.push(outcome(attempt, job, *hop, taken(agent, change)));
        }
        Decision::Reacked { attempt, agent, session, seq, kill: unwanted } => {
            out.push(command(agent, session, Order::Acknowledge { attempt: attempt.clone(), seq: *seq }));
            out.extend(unwanted.as_ref().map(|reason| kill(agent, session, attempt, reason)));
        }
        Decision::TaskDropped { attempt, job, hop, kind, reason } => {
            let end = end(*kind, reason, at);
            out.push(outcome(attempt, job, *hop, OutcomeChange::AttemptEnded { agent: None, end }));
        }
        Decision::TaskDeclined { attempt, job, hop, reasons, suggested_cell } => {
            let change = OutcomeChange::AttemptDeclined { reasons: reasons.clone(), suggested_cell: *suggested_cell };
            out.push(outcome(attempt, job, *hop, change));
        }
        Decision::TaskLost { attempt, job, hop, agent, reason } => {
            let end = end(EndKind::Lost, reason, at);
            out.push(outcome(attempt, job, *hop, OutcomeChange::AttemptEnded { agent: Some(agent.clone()), end }));
        }
        Decision::Alerted { code, detail } => {
            out.push(Message::Alert(Alert { job: None, run: None, code: code.clone(), detail: detail.clone(), at }));
        }
        Decision::ShardsLearned { .. }
        | Decision::AgentChanged { .. }
        | Decision::AgentLost { .. }
        | Decision::TaskQueued { .. }
        | Decision::TaskWaits { .. }
        | Decision::TaskReturned { .. }
        | Decision::CancelKept { .. }
        | Decision::PlacementPaused {}
        | Decision::PlacementResumed {} => {}
    }
}

fn command(agent: &AgentId, session: &Session, order: Order) -> Message {
    Message::Command(Box::new(Command { agent: agent.clone(), session: session.clone(), order }))
}

fn kill(agent: &AgentId, session: &Session, attempt: &AttemptId, reason: &str) -> Message {
    command(agent, session, Order::Kill { attempt: attempt.clone(), reason: reason.to_owned() })
}

fn taken(agent: &AgentId, change: &StatusChange) -> OutcomeChange {
    match change {
        StatusChange::TaskRunning { pid, started_at } => {
            OutcomeChange::AttemptRunning { agent: agent.clone(), pid: *pid, started_at: *started_at }
        }
        StatusChange::TaskEnded { end } => OutcomeChange::AttemptEnded { agent: Some(agent.clone()), end: end.clone() },
    }
}

/// An end that no agent told.
fn end(kind: EndKind, reason: &str, ended_at: Timestamp) -> End {
    End { kind, code: None, signal: None, reason: Some(reason.to_owned()), wall_ms: 0, cpu_ms: 0, peak_memory: 0, ended_at }
}
