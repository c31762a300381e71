//! What end-to-end tests and benchmarks share: real servers in processes of their own, and a client.

pub mod kafka;
pub mod server;

pub use server::{Answer, Server, binary};
