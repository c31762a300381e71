//! Changes of the cluster's state that people decide on.

use crate::id::Principal;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};

/// Gateway → every shard, on `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct AdminRecord {
    /// What changes.
    pub change: AdminChange,
    /// Who wants it.
    #[serde(default)]
    pub principal: Option<Principal>,
}

/// What can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum AdminChange {
    /// From here on the shards of a service decide by this version of its logic (protocol §9.5).
    LogicRaised {
        /// Which service.
        service: String,
        /// The version.
        to: i32,
    },
    /// A shard decides nothing about this record: it becomes a dead letter.
    RecordQuarantined {
        /// The shard's service.
        service: String,
        /// Its number.
        shard: i32,
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// Why, in words.
        reason: String,
        /// Id of the topic: one that is made again under its name has records of its own there. Empty: whichever.
        #[serde(default)]
        topic_id: String,
    },
}
