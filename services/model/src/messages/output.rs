//! Output of tasks: asked for and answered through the log, as whoever asks may not reach the machine that it lies on.

use crate::id::{AgentId, AttemptId};
use crate::payload::Payload;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};

/// Gateway → agents, on `reads`: asks for a piece of an attempt's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct OutputWanted {
    /// Names this question: its answers name it too.
    pub ask: String,
    /// Which attempt's.
    pub attempt: AttemptId,
    /// Who is to answer; where nobody is named, each agent that has something.
    pub agent: Option<AgentId>,
    /// Standard error, not standard output.
    pub stderr: bool,
    /// From this byte on, counted from the output's first.
    pub from: i64,
    /// At most so many bytes.
    pub max: i64,
}

/// Agent → gateways, on `output`: the piece that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct OutputPiece {
    /// The question.
    pub ask: String,
    /// Who answers.
    pub agent: AgentId,
    /// Position of the first byte: as asked, or of the first that is still there.
    pub from: i64,
    /// The bytes; none at the end, or where no output is kept.
    pub bytes: Payload,
    /// Position of the first byte that is still there.
    pub start: i64,
    /// Position behind the last byte so far.
    pub end: i64,
    /// Why it could not be read.
    pub refused: Option<String>,
}
