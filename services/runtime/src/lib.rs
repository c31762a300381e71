//! The shard loop: intake, stamps, one commit, head rows, restore; standbys and snapshots beside it.
//!
//! [`shard::Shard`] is sans-IO: it is given records and returns the transaction to commit. [`owner::Owner`] is one ownership of
//! it, without threads or clocks; [`driver`] is the thin thread around that. Paragraph numbers in comments are those of the log protocol (services/ARCHITECTURE.md, "the log's rules").

pub mod chain;
pub mod committing;
pub mod driver;
pub mod founding;
pub mod leases;
pub mod membership;
pub mod messages;
pub mod owner;
mod packing;
pub mod quarantine;
pub mod restore;
pub mod rows;
pub mod shard;
pub mod snapshots;
pub mod stamp;
pub mod standby;
pub mod statehash;
pub mod store;
pub mod suspects;
