//! Tests of the agent with real processes: the supervisor by its socket, the core as tables, the whole over a log.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not count as tests")]

mod cluster;
mod containment;
mod core;
mod end_to_end;
mod fake_log;
mod limits;
mod recovery;
mod rig;
mod supervisor;
mod trouble;
