//! The trigger's decisions, as a reader of the journal sees them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod budgets;
mod cells;
mod events;
mod fires;
mod jobs;
mod rereads;
mod rig;
mod runs;
mod schedules;
mod shards;
