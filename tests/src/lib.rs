//! What end-to-end tests and benchmarks share: real servers in processes of their own, and a client.

pub mod cluster;
pub mod kafka;
pub mod oracle;
pub mod proxy;
pub mod server;

pub use server::{Answer, Server, binary};
