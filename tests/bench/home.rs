//! A standalone with a data folder of its own, and what measurements do with it.

use crate::Result;
use crate::clock::{MS, SECOND, monotonic_ns};
use crate::stamp::Stamps;
use orrery_tests::Server;
use orrery_tests::server::{Answer, client_post, end_supervisor};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use ureq::Agent;

/// Events of one request.
const BATCH: usize = 1_000;
/// Between two looks at a count.
const LOOK_EVERY: i64 = 5 * MS;
/// A count that does not change for so long will not change any more.
const STUCK_AFTER: i64 = 30 * SECOND;

/// A data folder, and the standalone that serves it, if one does.
pub(crate) struct Home {
    server: Option<Server>,
    token: String,
    agent: Agent,
    folder: PathBuf,
    _temporary: TempDir,
}

impl Home {
    /// A fresh folder with a standalone.
    pub(crate) fn start() -> Result<Self> {
        let temporary = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build();
        let folder = temporary.path().join("data");
        let mut home = Self { server: None, token: String::new(), agent: config.into(), folder, _temporary: temporary };
        home.resume();
        Ok(home)
    }

    /// Starts a standalone on the folder; returns when it is ready.
    pub(crate) fn resume(&mut self) {
        let server = Server::start(&self.folder);
        // Once: reading it for each request would be measured with the requests.
        self.token = server.token();
        self.server = Some(server);
    }

    /// kill -9 of the standalone alone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
            // Dropping it would end the supervisor, which outlives its standalone; it ends with the folder.
            std::mem::forget(server);
        }
    }

    /// Data folder.
    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Of the standalone.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.server().map(Server::pid)
    }

    /// Defines a [`small_job`].
    pub(crate) fn define(&self, name: &str, trigger: &Value, command: &[String]) -> Result<()> {
        self.define_as(&small_job(name, trigger, command))
    }

    /// Defines a job.
    pub(crate) fn define_as(&self, document: &Value) -> Result<()> {
        self.post("/api/v1/jobs", &document.to_string(), &[]).map(drop)
    }

    /// Sends `{"n": label}`.
    pub(crate) fn event(&self, topic: &str, label: &str) -> Result<()> {
        self.post(&format!("/api/v1/events/{topic}"), &json!({"n": label}).to_string(), &[]).map(drop)
    }

    /// Sends so many events, in batches back to back.
    pub(crate) fn events(&self, topic: &str, count: usize) -> Result<()> {
        let path = format!("/api/v1/events/{topic}");
        for first in (0..count).step_by(BATCH) {
            let body: String = (first..count.min(first + BATCH)).map(|n| format!("{{\"n\":{n}}}\n")).collect();
            self.post(&path, &body, &[("content-type", "application/x-ndjson")])?;
        }
        Ok(())
    }

    /// An answer of the API.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let answer = self.server()?.try_get(path).map_err(|e| format!("GET {path}: {e}"))?;
        if answer.is_good() { Ok(answer.body) } else { Err(format!("GET {path}: {answer:?}")) }
    }

    /// So many runs, evenly picked from all.
    pub(crate) fn runs_apart(&self, count: usize) -> Result<Vec<String>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/api/v1/runs?limit=1000{cursor}"))?;
            all.extend(page["items"].as_array().into_iter().flatten().filter_map(|run| run["id"].as_str()).map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let step = (all.len() / count.max(1)).max(1);
        Ok(all.into_iter().step_by(step).take(count).collect())
    }

    /// Runs in a state.
    pub(crate) fn count(&self, state: &str) -> Result<usize> {
        let path = format!("/api/v1/runs?state={state}&count=true&limit=1");
        let answer = self.get(&path)?;
        let count = answer["count"].as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| format!("GET {path}: {answer}"))
    }

    /// Waits until exactly so many runs are in a state; looks at the count, and pauses at the socket of no stamps in between.
    pub(crate) fn wait_for_count(&self, state: &str, wanted: usize, pauses: &Stamps) -> Result<()> {
        let (mut last, mut changed) = (0, monotonic_ns());
        loop {
            let count = self.count(state)?;
            if count == wanted {
                return Ok(());
            }
            if count > wanted {
                return Err(format!("{count} runs are {state}, more than the {wanted} that there can be"));
            }
            if count != last {
                (last, changed) = (count, monotonic_ns());
            } else if monotonic_ns() - changed > STUCK_AFTER {
                return Err(format!("{count} runs are {state} and not {wanted}, for {} s; {}", STUCK_AFTER / SECOND, self.others()));
            }
            pauses.pause(LOOK_EVERY)?;
        }
    }

    /// Runs of all states, for error messages.
    pub(crate) fn others(&self) -> String {
        let states = ["waiting", "starting", "running", "succeeded", "failed", "lost", "skipped", "cancelled"];
        let counts = states.map(|state| self.count(state).map_or_else(|_| format!("{state} ?"), |count| format!("{state} {count}")));
        format!("runs: {}", counts.join(", "))
    }

    fn post(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let answer = client_post(&self.agent, &self.server()?.url, &self.token, path, body, headers);
        let answer = answer.map_err(|e| format!("POST {path}: {e}"))?;
        if answer.is_good() { Ok(answer) } else { Err(format!("POST {path}: {answer:?}")) }
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().ok_or_else(|| "no standalone serves this folder now".to_owned())
    }
}

/// A job that is small and may run any number of times at once.
pub(crate) fn small_job(name: &str, trigger: &Value, command: &[String]) -> Value {
    let resources = json!({"cpus": "1m", "memory": "1MiB"});
    json!({"name": name, "triggers": [trigger], "command": command, "concurrency": "allow", "resources": resources})
}

impl Drop for Home {
    fn drop(&mut self) {
        self.server = None;
        end_supervisor(&self.folder);
    }
}
