//! The thread that appends heartbeats and updates to the log.

use super::inbox::{Inbox, News};
use crate::core::Input;
use orrery_log::Log;
use orrery_model::id::AgentId;
use orrery_model::messages::{HEARTBEAT, Heartbeat, STATUS, Status, StatusBatch};
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// One heartbeat and one status record are under way at most, so that the queue never blocks the loop.
const QUEUE: usize = 4;

enum Job {
    Heartbeat(Heartbeat),
    Status(Vec<Status>),
}

/// The queue to the thread; dropping it ends the thread after what is under way.
pub(super) struct Sender {
    queue: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    pub(super) fn start(log: Arc<dyn Log>, inbox: Arc<Inbox>, prefix: &str, cell: u32, agent: AgentId) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let (heartbeats, status) = (format!("{prefix}{}", topics::HEARTBEATS), format!("{prefix}{}", topics::STATUS));
        let beside = inbox.clone();
        let body = move || {
            for job in jobs {
                let (topic, value) = match &job {
                    Job::Heartbeat(heartbeat) => (heartbeats.clone(), HEARTBEAT.encode(heartbeat)),
                    Job::Status(updates) => (status.clone(), STATUS.encode(&StatusBatch { updates: updates.clone() })),
                };
                let key = Some(Payload::from(agent.as_str().as_bytes()));
                let value = Some(Payload::from(value.as_slice()));
                let result = log.append(vec![NewRecord { topic, partition: cell, key, value, headers: Vec::new() }]);
                if let Err(error) = &result {
                    tracing::warn!(%agent, %error, "the log refused a record; it is sent again");
                }
                let ok = result.is_ok();
                inbox.push(News::Input(match job {
                    Job::Heartbeat(_) => Input::HeartbeatAppended { ok },
                    Job::Status(_) => Input::StatusAppended { ok },
                }));
            }
        };
        Ok(Self { queue: Some(queue), thread: Some(super::spawn_beside("agent-sender", &beside, body)?) })
    }

    pub(super) fn heartbeat(&self, heartbeat: Heartbeat) {
        self.push(Job::Heartbeat(heartbeat));
    }

    pub(super) fn status(&self, updates: Vec<Status>) {
        self.push(Job::Status(updates));
    }

    fn push(&self, job: Job) {
        if let Some(queue) = &self.queue
            && queue.send(job).is_err()
        {
            tracing::error!("the agent's sender thread is gone; the lease will run out");
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported by the panic hook.
            let _ = thread.join();
        }
    }
}
