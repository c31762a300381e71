//! Output of attempts: read where it lies, or asked for through the log where that is another machine.

use orrery_agent::{LogChunk, ReadLogError, Stream};
use orrery_log::{Log, LogError, TopicPartition, clock};
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::limits::OUTPUT_PIECE_BYTES;
use orrery_model::messages::{OUTPUT, OutputPiece, OutputWanted, READ};
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for the answers to a few questions.
const READ_BYTES: usize = 4 * OUTPUT_PIECE_BYTES;

/// A piece of output that somebody wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which attempt's.
    pub attempt: AttemptId,
    /// The agent that had it, where that is known.
    pub agent: Option<AgentId>,
    /// Which output.
    pub stream: Stream,
    /// From this byte on.
    pub from: u64,
    /// At most so many.
    pub max: usize,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It lies here, and cannot be read.
    #[error(transparent)]
    Read(#[from] ReadLogError),
    /// The agent has answered so.
    #[error("agent {agent}: {why}")]
    Refused {
        /// Who.
        agent: AgentId,
        /// What it says.
        why: String,
    },
    /// Nobody has answered.
    #[error(
        "nobody has answered within {} s for the output of {attempt} (asked: {asked}); it stays on the machine that the task ran on, and can be read while an agent runs there",
        PATIENCE.as_secs()
    )]
    Unanswered {
        /// Which attempt's output.
        attempt: AttemptId,
        /// Who was asked.
        asked: String,
    },
    /// It could not be asked for.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Reads a piece of output.
pub type ReadOutput = dyn Fn(&Wanted) -> Result<LogChunk, OutputError> + Send + Sync;

/// Where the agent of this folder is the only one.
pub fn of_folder(dir: PathBuf) -> Arc<ReadOutput> {
    Arc::new(move |wanted| Ok(orrery_agent::read_log(&dir, &wanted.attempt, wanted.stream, wanted.from, wanted.max)?))
}

/// Where agents run on machines of their own. `asker` names this gateway: no other one has the name.
pub fn of_agents(log: Arc<dyn Log>, cluster: Cluster, asker: String) -> Arc<ReadOutput> {
    let asked = AtomicU64::new(0);
    Arc::new(move |wanted| {
        let ask = format!("{asker}.{}", asked.fetch_add(1, Ordering::Relaxed));
        let piece = ask_agents(&*log, &cluster, &ask, wanted)?;
        if let Some(why) = piece.refused {
            return Err(OutputError::Refused { agent: piece.agent, why });
        }
        let position = |number: i64| u64::try_from(number).unwrap_or(0);
        let (from, start, end) = (position(piece.from), position(piece.start), position(piece.end));
        Ok(LogChunk { from, bytes: piece.bytes.as_bytes().to_vec(), start, end })
    })
}

/// Asks in every cell, as nobody knows where the attempt ran, and waits for the first answer.
fn ask_agents(log: &dyn Log, cluster: &Cluster, ask: &str, wanted: &Wanted) -> Result<OutputPiece, OutputError> {
    let pieces = cluster.topic(topics::OUTPUT_PIECES);
    let bell = log.bell(&[&pieces]);
    let answers = (0..cluster.cells).map(|cell| TopicPartition::new(&pieces, cell));
    let mut answers = answers.map(|at| log.end_offset(&at).map(|end| (at, end))).collect::<Result<Vec<_>, _>>()?;
    log.append(questions(cluster, ask, wanted))?;
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        for (at, position) in &mut answers {
            let fetch = log.read(at, *position, READ_BYTES)?;
            *position = fetch.next;
            let values = fetch.records.iter().filter_map(|record| record.value.as_ref());
            let mut pieces = values.filter_map(|value| OUTPUT.decode(value.as_bytes()).ok());
            if let Some(piece) = pieces.find(|piece| piece.ask == ask) {
                return Ok(piece);
            }
        }
        let left = deadline.saturating_duration_since(clock::monotonic());
        if left.is_zero() {
            let asked = wanted.agent.as_ref().map_or_else(|| "all agents".to_owned(), |agent| format!("agent {agent}"));
            return Err(OutputError::Unanswered { attempt: wanted.attempt.clone(), asked });
        }
        bell.wait(left);
    }
}

fn questions(cluster: &Cluster, ask: &str, wanted: &Wanted) -> Vec<NewRecord> {
    let question = OutputWanted {
        ask: ask.to_owned(),
        attempt: wanted.attempt.clone(),
        agent: wanted.agent.clone(),
        stderr: wanted.stream == Stream::Stderr,
        from: i64::try_from(wanted.from).unwrap_or(i64::MAX),
        max: i64::try_from(wanted.max).unwrap_or(i64::MAX),
    };
    let (topic, value) = (cluster.topic(topics::READS), READ.encode(&question));
    let record = |cell| {
        let value = Some(value.as_slice().into());
        NewRecord { topic: topic.clone(), partition: cell, key: None, value, headers: Vec::new() }
    };
    (0..cluster.cells).map(record).collect()
}
