//! Measurements of services in processes of their own, on a real broker.

pub(crate) mod decisions;
pub(crate) mod event;
pub(crate) mod failover;
pub(crate) mod idle;
mod load;
pub(crate) mod matching;
pub(crate) mod restore;
mod site;
