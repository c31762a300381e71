//! Records as every log delivers them, and the identity of the messages in them (protocol §2, §11.3).

use crate::payload::Payload;
use crate::time::Timestamp;

/// Where a record stands. Offsets have gaps; nobody counts on contiguity.
pub type Offset = i64;

/// A record read from a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub offset: Offset,
    /// The position it was read from: no record lies between `prev` and `offset` (protocol §1.6).
    pub prev: Offset,
    /// Log-append time.
    pub appended: Timestamp,
    /// Key, if any.
    pub key: Option<Payload>,
    /// Value; none is a tombstone.
    pub value: Option<Payload>,
    /// Headers in the producer's order.
    pub headers: Vec<(String, Payload)>,
}

/// Bytes of a record's key and value: what limits on data count.
pub fn data_bytes(key: Option<&Payload>, value: Option<&Payload>) -> usize {
    [key, value].into_iter().flatten().map(|payload| payload.as_bytes().len()).sum()
}

impl Record {
    /// Size of key, value and headers, bytes.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.as_bytes().len()).sum();
        data_bytes(self.key.as_ref(), self.value.as_ref()) + headers
    }

    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).and_then(|(_, v)| v.text())
    }
}

/// A record to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Key, if any.
    pub key: Option<Payload>,
    /// Value; none is a tombstone.
    pub value: Option<Payload>,
    /// Headers.
    pub headers: Vec<(String, Payload)>,
}

/// Header that carries a [`MessageId`].
pub const ID_HEADER: &str = "orrery-id";

/// Identity of a packed record's first item; each item carries its own seq and index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// Sending service ("trigger", "allocator").
    pub service: String,
    /// Sending shard.
    pub shard: u32,
    /// Lineage of the sending shard, hex.
    pub lineage: String,
    /// Epoch of the ownership that sent it.
    pub epoch: i64,
    /// Entry that it follows from.
    pub seq: i64,
    /// Place among the entry's messages.
    pub index: i32,
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}/{}/{}", self.service, self.shard, self.lineage, self.epoch, self.seq, self.index)
    }
}

impl MessageId {
    /// Reads the header's text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let id = Self {
            service: parts.next()?.to_owned(),
            shard: parts.next()?.parse().ok()?,
            lineage: parts.next()?.to_owned(),
            epoch: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(id)
    }
}
