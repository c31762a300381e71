//! The product as its users meet it: real processes, real HTTP, the real command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod bad_input;
mod command_line;
mod crash;
mod explain;
mod export;
mod hostile;
mod paths;
mod quarantine;
mod week;
