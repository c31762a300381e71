//! Records of user topics, and what they start for another shard's job.

use crate::id::JobName;
use crate::payload::Payload;
use crate::record::data_bytes;
use crate::time::Timestamp;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};

/// Trigger → trigger: an event that one shard has read matches a job that the other owns (protocol §5.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Fire {
    /// Which job.
    pub job: JobName,
    /// Its incarnation, as the reader knows it.
    pub incarnation: i64,
    /// Version of the definition that matched.
    pub version: i64,
    /// Which of its triggers matched.
    pub trigger: i32,
    /// The record.
    pub event: EventData,
}

/// A record of a user topic, kept as received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct EventData {
    /// Full topic name.
    pub topic: String,
    /// Generation of the topic.
    pub generation: i64,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Log-append time.
    pub appended: Timestamp,
    /// Key.
    pub key: Option<Payload>,
    /// Headers, in the producer's order.
    pub headers: Vec<Header>,
    /// Value; none is a tombstone.
    pub value: Option<Payload>,
    /// Identity of the topic: says whether an offset of a definition is one of this topic, whatever its reader has counted.
    #[serde(default)]
    pub topic_id: String,
}

impl EventData {
    /// Names the record: `topic[~generation]/partition/offset`.
    pub fn place(&self) -> String {
        format!("{}/{}", self.source(), self.offset)
    }
    /// Names its topic partition: `topic[~generation]/partition`.
    pub fn source(&self) -> String {
        source(&self.topic, self.generation, self.partition)
    }
    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).and_then(|header| header.value.text())
    }
    /// Bytes of key, headers and value.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.as_bytes().len()).sum();
        data_bytes(self.key.as_ref(), self.value.as_ref()) + headers
    }
}

/// Names a topic partition: `topic[~generation]/partition`.
pub fn source(topic: &str, generation: i64, partition: i32) -> String {
    let generation = if generation > 0 { format!("~{generation}") } else { String::new() };
    format!("{topic}{generation}/{partition}")
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Payload,
}
