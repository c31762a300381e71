//! The whole system under every fault, in simulated time.
//!
//! Production code runs here as it is: the deciders, the shard loop ([`orrery_runtime::owner`]), the agent's core. Simulated are
//! the log, the store's disk, clocks, network, supervisors and processes. One thread, one seed: the same seed gives the same
//! bytes.

pub mod checkers;
pub mod crash;
pub mod defects;
pub mod disk;
pub mod export;
pub mod history;
pub mod log;
pub mod machine;
pub mod plan;
pub mod run;
pub mod script;
pub mod sweep;
pub mod week;
pub mod world;
