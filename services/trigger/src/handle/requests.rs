//! Requests: run, cancel, retry, mark success, pause, resume.
//!
//! An idempotency key belongs to who asks, what is asked, and the job or run that it is asked of (§10.1): within that, the same
//! request once more gets the first answer, and another one is a conflict. Elsewhere the same key is another key.

use super::Turn;
use super::runs::NewRun;
use crate::facts::Decision;
use orrery_model::id::{JobName, Principal, RunId};
use orrery_model::messages::{EnvVar, ForwardBody, Origin, Request, RequestRecord, RunRecord, RunState};

impl Turn<'_> {
    /// A request about a run goes where its record's key leads, unless the run is known here.
    pub(super) fn requested(&mut self, asked: &RequestRecord, job: Option<&JobName>, origin: &Origin) {
        let RequestRecord { request, principal, idempotency_key } = asked;
        let known_here = !self.is_forwarded(origin) && request.run().is_some_and(|run| self.state.runs.get(run).is_some());
        let forwarded = || ForwardBody::RequestForwarded { asked: asked.clone(), job: job.cloned() };
        if let Some(job) = request.job().or(job).filter(|_| !known_here)
            && !self.takes(job, origin, forwarded)
        {
            return;
        }
        let who = principal.as_ref().map_or("*", Principal::as_str);
        let Some(key) = idempotency_key else {
            let id = origin.place();
            if let Some(answer) = self.grant(request, principal.as_ref(), &id) {
                self.decide(Decision::Answered { id, keyed: false, answer, asked: String::new() });
            }
            return;
        };
        let (id, asked) = (self.keyed_id(request, who, key), digest(request));
        match self.state.answers.get(&id).cloned() {
            Some(first) if first.asked == asked => self.decide(Decision::AnsweredBefore { id, answer: first.answer }),
            Some(first) => self.refuse_other(request, key, &first.answer),
            None => {
                let by = self.first_or_again(request, format!("{who}/{key}"), origin);
                if let Some(answer) = self.grant(request, principal.as_ref(), &by) {
                    self.decide(Decision::Answered { id, keyed: true, answer, asked });
                }
            }
        }
    }

    /// Names a keyed request. A job that was made anew is another one.
    fn keyed_id(&self, request: &Request, who: &str, key: &str) -> String {
        let life = |job: &JobName| self.entry(job).map_or(0, |entry| entry.incarnation);
        match request {
            Request::RunJob { job, .. } => format!("run/{job}/{}/{who}/{key}", life(job)),
            Request::PauseJob { job } => format!("pause/{job}/{}/{who}/{key}", life(job)),
            Request::ResumeJob { job } => format!("resume/{job}/{}/{who}/{key}", life(job)),
            Request::CancelRun { run, .. } => format!("cancel/{run}/{who}/{key}"),
            Request::RetryRun { run } => format!("retry/{run}/{who}/{key}"),
            Request::MarkSuccess { run } => format!("mark-success/{run}/{who}/{key}"),
        }
    }

    /// Names the cause of a keyed run. Where an answer is forgotten and its run is not, the key asks for another run.
    fn first_or_again(&self, request: &Request, by: String, origin: &Origin) -> String {
        let Request::RunJob { job, .. } = request else { return by };
        let life = self.entry(job).map_or(0, |entry| entry.incarnation);
        let first = RunId::derive(job, life, &format!("request:{by}"));
        if self.state.runs.get(&first).is_some() { format!("{by}@{}", origin.place()) } else { by }
    }

    fn refuse_other(&mut self, request: &Request, key: &str, answer: &str) {
        let subject = request.job().map(JobName::as_str).or(request.run().map(RunId::as_str));
        let detail = format!("the idempotency key {key:?} has come before with other arguments, and was answered with {answer}");
        let hint = "take another key; with the same arguments it gets that answer again".to_owned();
        self.refuse("conflict", detail, Some(hint), subject);
    }

    /// Does what is asked, or refuses it; the answer if it does.
    fn grant(&mut self, request: &Request, principal: Option<&Principal>, id: &str) -> Option<String> {
        let who = principal.map_or_else(|| "a request".to_owned(), ToString::to_string);
        match request {
            Request::RunJob { job, args } => self.run_job(job, args, id),
            Request::CancelRun { run, reason } => {
                let why = reason.as_ref().map_or_else(|| format!("cancelled by {who}"), |why| format!("cancelled by {who}: {why}"));
                self.cancel_run(run, &why)
            }
            Request::RetryRun { run } => self.retry_run(run, &format!("retried by {who}")),
            Request::MarkSuccess { run } => self.mark_success(run, &format!("marked as succeeded by {who}")),
            Request::PauseJob { job } => self.set_paused(job, true).then(|| job.to_string()),
            Request::ResumeJob { job } => self.set_paused(job, false).then(|| job.to_string()),
        }
    }

    fn run_job(&mut self, job: &JobName, args: &[EnvVar], id: &str) -> Option<String> {
        let Some(entry) = self.entry(job) else {
            self.unknown_job(job);
            return None;
        };
        if entry.paused {
            self.refuse("conflict", format!("{job} is paused"), Some("resume it first".into()), Some(job.as_str()));
            return None;
        }
        if let Some(bad) = args.iter().find(|arg| !is_name(&arg.name)) {
            let detail = format!("{:?} is not the name of an argument", bad.name);
            self.refuse("invalid", detail, Some("use letters, digits and _, not a digit first".into()), Some(job.as_str()));
            return None;
        }
        let cause = format!("request:{id}");
        let root = self.state.cycle_to_make_up(job).unwrap_or_else(|| cause.clone());
        let new = NewRun { root, cause, nominal: None, event: None, matched: None, args: args.to_vec(), joined: None, caught_up: false };
        self.create_run(job, new).map(|run| run.to_string())
    }

    fn cancel_run(&mut self, run: &RunId, why: &str) -> Option<String> {
        let record = self.known_run(run)?;
        if record.state.is_final() {
            let hint = "only a run that goes on can be cancelled".to_owned();
            self.refuse("conflict", format!("{run} has ended already ({})", record.state.word()), Some(hint), Some(run.as_str()));
            return None;
        }
        self.cancel(run, why);
        Some(run.to_string())
    }

    fn retry_run(&mut self, run: &RunId, why: &str) -> Option<String> {
        let record = self.ended_without_success(run, "retried")?;
        let job = record.job.clone();
        self.decide(Decision::RunProgressed {
            record: RunRecord { state: RunState::Waiting, reason: Some(why.into()), ended_at: None, next_attempt_at: None, ..record },
        });
        self.start_held(&job);
        Some(run.to_string())
    }

    fn mark_success(&mut self, run: &RunId, why: &str) -> Option<String> {
        let record = self.ended_without_success(run, "marked as succeeded")?;
        let ended_at = record.ended_at.or(Some(self.at));
        self.end(RunRecord { state: RunState::Succeeded, reason: Some(why.into()), ended_at, ..record });
        Some(run.to_string())
    }

    fn ended_without_success(&mut self, run: &RunId, done: &str) -> Option<RunRecord> {
        let record = self.known_run(run)?;
        let allowed = record.state.is_final() && record.state != RunState::Succeeded;
        if !allowed {
            let detail = format!("{run} is {}; only a run that has ended without success can be {done}", record.state.word());
            self.refuse("conflict", detail, None, Some(run.as_str()));
        }
        allowed.then_some(record)
    }

    fn known_run(&mut self, run: &RunId) -> Option<RunRecord> {
        let record = self.record(run);
        if record.is_none() {
            let hint = "it never was, or it has ended and newer runs of its job have taken its place here".to_owned();
            self.refuse("not_found", format!("there is no run {run}"), Some(hint), Some(run.as_str()));
        }
        record
    }
}

/// Equal for equal requests, whatever the order of their arguments.
fn digest(request: &Request) -> String {
    let mut request = request.clone();
    if let Request::RunJob { args, .. } = &mut request {
        args.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
    }
    let text = serde_json::to_vec(&request).expect("a request has only text keys");
    blake3::hash(&text).to_hex().to_string()
}

/// Arguments become environment variables and names in templates.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(plain)
}
