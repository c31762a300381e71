//! What agent and supervisor say to each other over `<dir>/supervisor.sock`.
//!
//! A frame is a little-endian u32 length and a JSON array of requests (agent → supervisor) or events (supervisor → agent).
//! A connection begins with [`Request::Hello`], answered by [`Event::Snapshot`] before any other event; what an earlier connection
//! sent and the supervisor had not read by then is never acted upon, so the snapshot says all.

use orrery_model::id::AttemptId;
use orrery_model::messages::{End, EnvVar, ProcessLimit, TaskSpec};
use orrery_model::payload::Payload;
use orrery_model::time::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Largest frame: [`STARTS_PER_FRAME`] specs of 256 KiB, each byte at most 6 in JSON (`\u0000`): 32 × 256 KiB × 6 = 48 MiB.
pub const FRAME_MAX: usize = 64 << 20;
/// Starts that fit one frame, see [`FRAME_MAX`].
pub const STARTS_PER_FRAME: usize = 32;
/// Name of the socket in the agent's folder.
pub const SOCKET: &str = "supervisor.sock";

/// Agent → supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First of a connection; the answer is a snapshot.
    Hello,
    /// Start these, in order.
    Start {
        /// What.
        tasks: Vec<StartTask>,
    },
    /// SIGTERM to the group, after the grace SIGKILL to the tree.
    Kill {
        /// Which; an unknown one is ignored.
        attempt: AttemptId,
        /// Instead of the task's own grace, milliseconds.
        grace_ms: Option<i64>,
        /// Becomes the end's reason.
        reason: String,
    },
    /// All tasks may live until then (CLOCK_BOOTTIME, milliseconds); an earlier time than before is ignored.
    Lease {
        /// The deadline.
        until_boot_ms: i64,
    },
    /// These ends are acknowledged: drop them.
    Forget {
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// Answer: how the agent knows that the supervisor runs.
    Ping,
    /// End as soon as no task lives, without waiting for the usual idle time.
    ShutdownWhenIdle,
}

/// One attempt to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartTask {
    /// Which.
    pub attempt: AttemptId,
    /// The command; its first element is looked up in the task's PATH.
    pub argv: Vec<String>,
    /// Variables of the task, beside the fixed ones.
    pub env: Vec<EnvVar>,
    /// User to run as; the supervisor's own if none.
    pub user: Option<String>,
    /// Resource limits.
    pub limits: Vec<ProcessLimit>,
    /// Killed after this long, milliseconds.
    pub timeout_ms: Option<i64>,
    /// Between SIGTERM and SIGKILL, milliseconds.
    pub grace_ms: i64,
    /// Data for `ORRERY_EVENT_FILE`.
    pub event: Option<EventData>,
    /// `ORRERY_FENCE`: number of the decision that sent the launch.
    pub fence: i64,
}

impl StartTask {
    /// The start that a launch command asks for.
    pub fn new(spec: TaskSpec, fence: i64) -> Self {
        Self {
            attempt: spec.attempt,
            argv: spec.argv,
            env: spec.env,
            user: spec.user,
            limits: spec.limits,
            timeout_ms: spec.timeout_ms,
            grace_ms: spec.grace_ms,
            event: spec.event.as_ref().map(EventData::new),
            fence,
        }
    }
}

/// An event's bytes in JSON without ambiguity (a payload that is the text `hex:00` stays that text).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventData {
    /// UTF-8.
    Text(String),
    /// Anything else, in hexadecimal.
    Hex(String),
}

impl EventData {
    /// From the bytes.
    pub fn new(payload: &Payload) -> Self {
        payload.text().map_or_else(|| Self::Hex(orrery_model::codec::hex(payload.as_bytes())), |text| Self::Text(text.to_owned()))
    }

    /// The bytes; digits that are none (which [`EventData::new`] never writes) are left out.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex(digits) => digits
                .as_bytes()
                .chunks(2)
                .filter_map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
                .collect(),
        }
    }
}

/// Supervisor → agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Everything that the supervisor knows, first of a connection.
    Snapshot(Snapshot),
    /// The process runs.
    Started {
        /// Which.
        attempt: AttemptId,
        /// Its process.
        process: Process,
    },
    /// The attempt is certainly over, its whole tree with it.
    Ended(Ended),
    /// These were not started and are not going to be: nobody's failure.
    Returned {
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// Whether anything can be started has changed.
    Unable {
        /// Why nothing can be; none if it can again.
        reason: Option<String>,
    },
    /// How the processes of a task are kept together; after each snapshot.
    Isolation {
        /// `v2`, `v1` or `none`: whether each has a cgroup of its own.
        cgroup: String,
        /// Why it has none.
        reason: Option<String>,
    },
    /// Something of this attempt lives on though all of it was killed.
    Resisting {
        /// Which.
        attempt: AttemptId,
        /// Who, and what helps.
        reason: String,
    },
    /// The answer to a ping.
    Pong {
        /// As in [`Event::Unable`].
        unable: Option<String>,
    },
}

/// All live and all unforgotten ended attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The supervisor's own process id.
    pub supervisor_pid: i32,
    /// Queued (without process) and running.
    pub live: Vec<Live>,
    /// Ended and not forgotten.
    pub ended: Vec<Ended>,
    /// Why nothing can be started, if that is so.
    pub unable: Option<String>,
}

/// An attempt that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Which.
    pub attempt: AttemptId,
    /// Its process, once started.
    pub process: Option<Process>,
}

/// A started process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id, also of its group and session.
    pub pid: i32,
    /// When.
    pub started_at: Timestamp,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub attempt: AttemptId,
    /// Its process, if one was started.
    pub process: Option<Process>,
    /// How.
    pub end: End,
    /// True if its sandbox holds anything, or it wrote output; an empty sandbox is removed at once.
    pub sandbox_kept: bool,
}

/// Why bytes from the other side are not frames.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over the limit.
    #[error("a frame of {bytes} bytes is over the limit of {FRAME_MAX}")]
    TooLarge {
        /// Announced length.
        bytes: usize,
    },
    /// The content is not what was expected.
    #[error("a frame is not a JSON list of messages")]
    Json {
        /// What the JSON reader found.
        #[source]
        source: serde_json::Error,
    },
}

/// One frame with these messages.
pub fn encode<T: Serialize>(messages: &[T]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, messages).expect("messages have only text keys, and a Vec takes every write");
    let length = u32::try_from(frame.len() - 4).expect("frames are limited to far below 4 GiB");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Collects bytes and gives frames out.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The messages of the next whole frame.
    pub fn take_frame<T: DeserializeOwned>(&mut self) -> Result<Option<Vec<T>>, FrameError> {
        let rest = &self.bytes[self.taken..];
        let Some(header) = rest.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > FRAME_MAX {
            return Err(FrameError::TooLarge { bytes: length });
        }
        let Some(body) = rest.get(4..4 + length) else { return Ok(None) };
        let messages = serde_json::from_slice(body).map_err(|source| FrameError::Json { source })?;
        self.taken += 4 + length;
        Ok(Some(messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let attempt = AttemptId::parse("a.1").unwrap();
        let messages = vec![Request::Hello, Request::Forget { attempts: vec![attempt] }];
        let stream: Vec<u8> = [encode(&messages), encode(&messages[..1])].concat();
        for step in 1..stream.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for part in stream.chunks(step) {
                frames.push(part);
                while let Some(some) = frames.take_frame::<Request>().unwrap() {
                    seen.extend(some);
                }
            }
            assert_eq!(seen, [messages.clone(), vec![Request::Hello]].concat());
        }
    }

    #[test]
    fn event_data_keeps_every_byte() {
        for bytes in [&b"{\"a\":1}"[..], b"hex:00", b"\xff\x00\n", b""] {
            assert_eq!(EventData::new(&Payload::from(bytes)).bytes(), bytes);
        }
    }
}
