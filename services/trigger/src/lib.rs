//! Pure: decides when a job runs. The state machine behind trigger shards (design §1, §5).
//!
//! Read `facts.rs` for what it can be told and what it can decide, `state.rs` for what it remembers, `handle/` for the
//! deciding (one file per kind of input) and `apply.rs` for the only way state changes.

pub mod apply;
pub mod check;
pub mod decode;
pub mod event;
pub mod expr;
pub mod facts;
mod handle;
pub mod joins;
pub mod predicate;
pub mod project;
pub mod rows;
pub mod schedule;
mod shards;
pub mod starts;
mod state;
pub mod template;
mod triggers;
mod watchers;

pub use facts::{Decision, EventData, Input};
pub use state::Trigger;
