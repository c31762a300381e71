//! Every limit that more than one crate must agree on, by name. Past a limit the answer is a refusal, never a crash.

/// An event, or any record that a decider takes: 256 KiB.
pub const INPUT_BYTES: usize = 256 << 10;
/// A job document: 256 KiB.
pub const JOB_BYTES: usize = 256 << 10;
/// Triggers of one job.
pub const TRIGGERS_PER_JOB: usize = 100;
/// One CEL expression: 4 KiB.
pub const EXPRESSION_BYTES: usize = 4 << 10;
/// One rendered argument or environment variable: Linux' MAX_ARG_STRLEN is 128 KiB.
pub const ARGUMENT_BYTES: usize = 128 << 10;
/// Arguments of one command.
pub const ARGUMENTS: usize = 1_000;
/// Decisions for one input; a decider leaves the rest to the next tick.
pub const DECISIONS_PER_INPUT: usize = 1_000;
/// A task's command and environment together, rendered. With an event of [`INPUT_BYTES`], its record on `tasks` stays below what an
/// allocator takes, 512 KiB.
pub const TASK_BYTES: usize = 192 << 10;
/// One journal entry. An event of 256 KiB stands in it three times (as input, kept, in a task), and a rendered task once; a record of
/// the log may be a little larger.
pub const ENTRY_BYTES: usize = 1 << 20;
/// One packed record (protocol §10.3).
pub const PACKED_BYTES: usize = 256 << 10;
/// A piece of a task's output that travels through the log.
pub const OUTPUT_PIECE_BYTES: usize = 512 << 10;
/// Journal entries between two snapshots: verifying so many takes seconds, and all rows are written that much more rarely than they
/// change.
pub const SNAPSHOT_ENTRIES: i64 = 1_000_000;
/// Runs of one job that wait behind another (concurrency `queue`, or a paused job).
pub const QUEUED_RUNS_PER_JOB: usize = 1_000;
/// Finished runs of one job that the trigger keeps for `run retry` and the like; older ones live on in `runs`.
pub const FINISHED_RUNS_PER_JOB: usize = 100;
/// Missed slots of one schedule that `catch_up: all` starts.
pub const CATCH_UP_RUNS: usize = 1_000;
/// Successes of one parent that wait for the other parents of an `after` trigger.
pub const PENDING_PARENTS: usize = 100;
/// How long an idempotency key is remembered.
pub const ANSWER_MS: i64 = 24 * 3_600_000;
