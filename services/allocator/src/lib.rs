//! Pure: decides where a task runs. The state machine behind allocator shards, one per cell (design §1, protocol §§6–8).
//!
//! Read `facts.rs` for what it can be told and what it can decide, `state.rs` for what it remembers, `place.rs` for how an
//! agent is chosen, `handle/` for the deciding (one file per kind of input) and `apply.rs` for the only way state changes.

pub mod apply;
pub mod decode;
pub mod facts;
mod handle;
mod index;
pub mod place;
pub mod policy;
pub mod project;
pub mod rows;
pub mod state;

pub use facts::{Decision, Input, schema_files};
pub use index::SPILL_AFTER_MS;
pub use policy::{Order, Placement, Policy};
pub use state::Allocator;
