//! The allocator from outside: inputs in, decisions and messages out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agents;
mod cells;
mod placement;
mod property;
mod rig;
mod status;
