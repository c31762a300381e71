//! The node agent and the task supervisor.
//!
//! * [`supervisor`]: one small process for all tasks of an agent. It starts them, keeps their output, kills their whole trees and
//!   holds the lease timer; it outlives the agent.
//! * [`core`]: what the agent decides, without clock or I/O: sessions, launches, numbered status updates, the lease (protocol §7.3, §8).
//! * [`journal`]: what the agent must not forget over kill -9 and power loss.
//! * [`driver`]: threads and files around the core; [`start`] is the way in.
//! * [`logs`]: the output of attempts by absolute byte position, for the gateway.
//! * [`outputs`]: the same, for gateways on other machines.

pub mod core;
pub mod driver;
pub mod journal;
pub mod link;
pub mod logs;
pub mod outputs;
pub mod supervisor;
pub mod wire;

mod host;

pub use driver::{Ability, AgentConfig, AgentError, AgentHandle, start};
pub use host::close_to_others;
pub use logs::{LogChunk, ReadLogError, Stream, log_path, read_log};

use orrery_model::id::AttemptId;
use std::path::{Path, PathBuf};

/// Folder of all sandboxes below the agent's folder.
pub const SANDBOXES: &str = "sandboxes";
/// Folder of all output, beside the sandboxes: a task may name its own files as it likes.
pub const OUTPUTS: &str = "outputs";

/// The sandbox of an attempt: its working directory.
pub fn sandbox(dir: &Path, attempt: &AttemptId) -> PathBuf {
    dir.join(SANDBOXES).join(attempt.as_str())
}

/// The folder with the output of an attempt, made with its first byte.
pub fn output_folder(dir: &Path, attempt: &AttemptId) -> PathBuf {
    dir.join(OUTPUTS).join(attempt.as_str())
}
