//! Answers those who ask through the log for the output of attempts that ran here: gateways on other machines.

use crate::logs::{LogChunk, ReadLogError, Stream, read_log};
use orrery_log::{Bell, Log, LogError, TopicPartition, clock};
use orrery_model::id::AgentId;
use orrery_model::limits::OUTPUT_PIECE_BYTES;
use orrery_model::messages::{OUTPUT, OutputPiece, OutputWanted, READ};
use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::topics;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Questions are small.
const READ_BYTES: usize = 64 << 10;
/// Longest wait without looking around.
const WAIT_MOST: Duration = Duration::from_secs(60);
/// Pause before a log that refused is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Nobody waits any more for the answer to a question that is older.
const STALE_MS: i64 = 60_000;

/// Whose output, and where it is asked for.
pub struct OutputsConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Begins the names of our topics.
    pub prefix: String,
    /// The agent's cell: the partition of both topics.
    pub cell: u32,
    /// The agent.
    pub agent: AgentId,
    /// Its folder.
    pub dir: PathBuf,
}

/// The thread that answers; dropping it ends the thread.
pub struct Outputs {
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Outputs {
    /// Answers what is asked from now on.
    pub fn start(config: OutputsConfig) -> std::io::Result<Self> {
        let asks = TopicPartition::new(&format!("{}{}", config.prefix, topics::READS), config.cell);
        let (stop, bell) = (Arc::new(AtomicBool::new(false)), config.log.bell(&[&asks.topic]));
        let thread = std::thread::Builder::new().name("orrery-outputs".into()).spawn({
            let (stop, bell) = (stop.clone(), bell.clone());
            move || {
                let mut position = None;
                while !stop.load(Ordering::Acquire) {
                    match config.answer_next(&asks, &mut position) {
                        Ok(true) => {}
                        Ok(false) => drop(bell.wait(WAIT_MOST)),
                        Err(error) => {
                            tracing::warn!(%error, "questions for output are not answered; tried again in a second");
                            bell.wait(TRY_AGAIN);
                        }
                    }
                }
            }
        })?;
        Ok(Self { stop, bell, thread: Some(thread) })
    }
}

impl Outputs {
    /// False after a panic: nobody answers any more.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // Its panic was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl OutputsConfig {
    /// Reads once, from the end that the topic had at first; true if there was something.
    fn answer_next(&self, asks: &TopicPartition, position: &mut Option<Offset>) -> Result<bool, LogError> {
        let from = position.map_or_else(|| self.log.end_offset(asks), Ok)?;
        *position = Some(from);
        let fetch = match self.log.read(asks, from, READ_BYTES) {
            Err(LogError::OutOfRange { end, .. }) => {
                *position = Some(end);
                return Ok(true);
            }
            read => read?,
        };
        for record in &fetch.records {
            if let Some(piece) = self.answer(record) {
                let topic = format!("{}{}", self.prefix, topics::OUTPUT_PIECES);
                let value = Some(OUTPUT.encode(&piece).as_slice().into());
                self.log.append(vec![NewRecord { topic, partition: asks.partition, key: None, value, headers: Vec::new() }])?;
            }
        }
        *position = Some(fetch.next);
        Ok(!fetch.records.is_empty())
    }

    /// None where another one is asked, nobody waits any more, or nobody is named and nothing is here.
    fn answer(&self, record: &Record) -> Option<OutputPiece> {
        let OutputWanted { ask, attempt, agent, stderr, from, max } = READ.decode(record.value.as_ref()?.as_bytes()).ok()?;
        let is_named = agent.is_some();
        if agent.is_some_and(|agent| agent != self.agent) || clock::wall().since_ms(record.appended) > STALE_MS {
            return None;
        }
        let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
        let (from, max) = (u64::try_from(from).unwrap_or(0), usize::try_from(max).unwrap_or(0).min(OUTPUT_PIECE_BYTES));
        let nothing = LogChunk { from, ..LogChunk::default() };
        let (chunk, refused) = match read_log(&self.dir, &attempt, stream, from, max) {
            Ok(chunk) => (chunk, None),
            Err(ReadLogError::NoOutput { .. }) if !is_named => return None,
            Err(ReadLogError::NoOutput { .. }) => (nothing, None),
            Err(error) => (nothing, Some(error.to_string())),
        };
        let number = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
        Some(OutputPiece {
            ask,
            agent: self.agent.clone(),
            from: number(chunk.from),
            bytes: chunk.bytes.as_slice().into(),
            start: number(chunk.start),
            end: number(chunk.end),
            refused,
        })
    }
}
