//! Pure vocabulary of the whole system: ids, time, resources, the job document, messages, the decider's contract and codecs.
//!
//! Nothing here reads a clock, draws a random number, touches the environment or does I/O; CI proves it.

pub mod avro;
pub mod codec;
pub mod decider;
pub mod id;
pub mod job;
pub mod journal;
pub mod limits;
pub mod messages;
pub mod murmur2;
pub mod payload;
pub mod planted;
pub mod record;
pub mod resources;
pub mod schemas;
pub mod table;
pub mod time;
pub mod topics;
mod words;
pub mod zone;
