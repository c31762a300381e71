//! The shell's own rows, tables 0 to 2: outside the decider's state and its hash, in the same transaction (§3.1, §11.2).

use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::MessageId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Table tag of the head; one row with an empty key.
pub const HEAD: u8 = 0;
/// Table tag of input positions; key: topic, zero byte, partition (u32, big endian).
pub const POSITIONS: u8 = 1;
/// Table tag of message marks; key: service, shard, lineage, topic, partition, divided by zero bytes.
pub const MARKS: u8 = 2;

/// Key of the store's own row that says which changelog it was filled from. It is never on the log.
pub const CHANGELOG_ID: &[u8] = b"\0changelog";

/// Ends the changelog part of every transaction: what was committed up to here (§1.4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, AvroSchema)]
pub struct Head {
    /// Drawn when the shard was created empty; hex.
    pub lineage: String,
    /// Ownership.
    pub epoch: i64,
    /// First entry of the transaction.
    pub first_seq: i64,
    /// Last entry of the transaction.
    pub last_seq: i64,
    /// Chain hash of the last entry, hex.
    pub chain: String,
    /// Σ BLAKE3 of the decider's rows, hex (§9.4).
    pub state_hash: String,
    /// End of the journal before the transaction: its entries lie at or behind this offset.
    pub journal_offset: i64,
    /// Number of the decider's rows.
    pub rows: i64,
    /// Time of the last entry.
    pub at: orrery_model::time::Timestamp,
    /// Version of the logic in force (§9.5).
    #[serde(default)]
    pub logic_version: i32,
}

/// Where reading one input goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Position {
    /// Next offset to read.
    pub offset: i64,
    /// Identity of the topic: another id is another generation.
    pub topic_id: String,
    /// Counts the topic's recreations.
    pub generation: i64,
}

/// The highest message taken from one sender on one input partition (§2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, AvroSchema)]
pub struct Mark {
    /// Sender's epoch.
    pub epoch: i64,
    /// Sender's entry.
    pub seq: i64,
    /// Place among the entry's messages.
    pub index: i32,
}

/// Codec of the head row.
pub static HEAD_ROW: LazyLock<Codec<Head>> = LazyLock::new(|| Codec::new(include_str!("../../../schemas/head.avsc")));
/// Codec of position rows.
pub static POSITION_ROW: LazyLock<Codec<Position>> = LazyLock::new(|| Codec::new(include_str!("../../../schemas/position.avsc")));
/// Codec of mark rows.
pub static MARK_ROW: LazyLock<Codec<Mark>> = LazyLock::new(|| Codec::new(include_str!("../../../schemas/mark.avsc")));

/// The shell's schema files, for the schema test.
pub fn schema_files() -> Vec<(&'static str, apache_avro::Schema)> {
    vec![
        ("head.avsc", Head::get_schema()),
        ("position.avsc", Position::get_schema()),
        ("mark.avsc", Mark::get_schema()),
        ("snapshot.avsc", crate::snapshots::SnapshotRecord::get_schema()),
    ]
}

/// The changelog's (and the store's) key of a row.
pub fn full_key(table: u8, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(table);
    out.extend_from_slice(key);
    out
}

/// Row key of an input's position.
pub fn position_key(topic: &str, partition: u32) -> Vec<u8> {
    let mut out = topic.as_bytes().to_vec();
    out.push(0);
    out.extend_from_slice(&partition.to_be_bytes());
    out
}

/// Reads [`position_key`] back.
pub fn read_position_key(key: &[u8]) -> Option<(String, u32)> {
    let split = key.len().checked_sub(5)?;
    let partition = u32::from_be_bytes(key[split + 1..].try_into().ok()?);
    Some((String::from_utf8(key[..split].to_vec()).ok()?, partition))
}

/// Row key of a sender's mark on one input partition.
pub(crate) fn mark_key(sender: &MessageId, (topic, partition): (&str, u32)) -> Vec<u8> {
    if planted(Bug::OneMark) {
        return sender.service.as_bytes().to_vec();
    }
    let (shard, partition) = (sender.shard.to_string(), partition.to_string());
    [sender.service.as_bytes(), shard.as_bytes(), sender.lineage.as_bytes(), topic.as_bytes(), partition.as_bytes()].join(&0)
}

/// The lineage that a sender had before on this input partition, if this is not its first one.
pub(crate) fn lineage_before(marks: &BTreeMap<Vec<u8>, Mark>, sender: &MessageId, (topic, partition): (&str, u32)) -> Option<String> {
    let of_sender = [sender.service.as_bytes(), sender.shard.to_string().as_bytes(), b""].join(&0);
    let of_input = [b"", topic.as_bytes(), partition.to_string().as_bytes()].join(&0);
    let known = marks.range(of_sender.clone()..).map(|(key, _)| key.as_slice()).take_while(|key| key.starts_with(&of_sender));
    let mut lineages = known.filter_map(|key| key.strip_prefix(of_sender.as_slice())?.strip_suffix(of_input.as_slice()));
    lineages.find(|lineage| *lineage != sender.lineage.as_bytes()).map(|lineage| String::from_utf8_lossy(lineage).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_types_agree() {
        orrery_model::schemas::compare(schema_files(), option_env!("ORRERY_WRITE_SCHEMAS").is_some()).expect("schemas agree");
    }

    #[test]
    fn a_sender_has_another_lineage_only_on_the_same_input() {
        let sender = |lineage: &str| MessageId { service: "trigger".into(), shard: 1, lineage: lineage.into(), epoch: 1, seq: 1, index: 0 };
        let marks: BTreeMap<Vec<u8>, Mark> = [(mark_key(&sender("old"), ("tasks", 0)), Mark::default())].into();
        assert_eq!(lineage_before(&marks, &sender("new"), ("tasks", 0)).as_deref(), Some("old"));
        assert_eq!(lineage_before(&marks, &sender("old"), ("tasks", 0)), None, "the same one");
        assert_eq!(lineage_before(&marks, &sender("new"), ("tasks", 1)), None, "another partition");
        assert_eq!(lineage_before(&marks, &MessageId { shard: 11, ..sender("new") }, ("tasks", 0)), None, "another sender");
    }

    #[test]
    fn position_keys_read_back() {
        assert_eq!(read_position_key(&position_key("orders.paid", 7)), Some(("orders.paid".to_owned(), 7)));
        assert_eq!(read_position_key(b"x"), None);
    }
}
