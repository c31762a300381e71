//! Records that are set aside without being decided on: by a person, or by a member that died of one again and again.
//!
//! Which ones these are stands on `admin`, so every member knows it before it reads any input, and an auditor afterwards. A record
//! that is set aside becomes a dead letter, and the journal says so (`record_quarantined`). One that was passed before stays as it
//! was decided.

use crate::membership::{admin_record, admin_records};
use crate::messages::Cluster;
use orrery_log::{Log, LogError};
use orrery_model::id::Principal;
use orrery_model::messages::{AdminChange, AdminRecord};
use orrery_model::record::NewRecord;
use orrery_model::topics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a record stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordPlace {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: i64,
}

impl std::fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

impl RecordPlace {
    /// Reads TOPIC/PARTITION@OFFSET, whatever the topic is called.
    pub fn read(text: &str) -> Option<Self> {
        let (at, offset) = text.rsplit_once('@')?;
        let (topic, partition) = at.rsplit_once('/')?;
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some(Self { topic: topic.to_owned(), partition: partition.parse().ok()?, offset })
    }
}

impl std::str::FromStr for RecordPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text)
            .filter(|place| topics::check_topic_name(&place.topic).is_ok())
            .ok_or_else(|| format!("{text:?} is no place of a record; write TOPIC/PARTITION@OFFSET, for example orders.paid/0@17"))
    }
}

/// Names a shard: `trigger/0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardName {
    service: &'static str,
    shard: u32,
}

impl ShardName {
    /// Service and number.
    pub const fn of(&self) -> (&'static str, u32) {
        (self.service, self.shard)
    }

    /// Refuses a shard that the cluster does not have.
    pub fn check(&self, cluster: &Cluster) -> Result<(), String> {
        let shards = if self.service == "trigger" { cluster.trigger_shards } else { cluster.cells };
        if self.shard < shards { Ok(()) } else { Err(format!("there is no shard {self}; the {} has {shards}", self.service)) }
    }
}

impl std::fmt::Display for ShardName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.shard)
    }
}

impl std::str::FromStr for ShardName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(service, shard)| {
            let service = ["trigger", "allocator"].into_iter().find(|known| *known == service)?;
            Some(Self { service, shard: shard.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is no shard; write trigger/0 or allocator/0"))
    }
}

/// Why a record is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Who wants it; none: the member that died of it.
    pub by: Option<Principal>,
    /// In words.
    pub reason: String,
    /// Id of the topic in which it stands; empty: of whichever has the name.
    pub topic_id: String,
}

/// Records that one shard does not decide on.
pub type Quarantined = BTreeMap<RecordPlace, Quarantine>;

/// The record that sets one aside for a shard.
pub fn record(cluster: &Cluster, (service, shard): (&str, u32), place: RecordPlace, quarantine: Quarantine) -> NewRecord {
    let Quarantine { by, reason, topic_id } = quarantine;
    let RecordPlace { topic, partition, offset } = place;
    let (shard, partition) = (shard as i32, partition as i32);
    let change = AdminChange::RecordQuarantined { service: service.to_owned(), shard, topic, partition, offset, reason, topic_id };
    admin_record(cluster, service, change, by)
}

/// A person sets a record aside, of the topic that has the name now; if none has, of whichever will.
pub fn set_aside(
    log: &dyn Log,
    cluster: &Cluster,
    of: (&str, u32),
    place: RecordPlace,
    (by, reason): (Option<Principal>, String),
) -> Result<(), LogError> {
    let topic_id = log.topic(&place.topic)?.map_or_else(String::new, |topic| topic.id);
    log.append(vec![record(cluster, of, place, Quarantine { by, reason, topic_id })]).map(drop)
}

/// All that stand on `admin` for a shard.
pub fn read(log: &dyn Log, cluster: &Cluster, of: (&str, u32)) -> Result<Quarantined, LogError> {
    if log.topic(&cluster.topic(topics::ADMIN))?.is_none() {
        return Ok(Quarantined::new());
    }
    Ok(admin_records(log, cluster)?.into_iter().filter_map(|change| quarantined_by(change, of)).collect())
}

/// What a change of the cluster's state sets aside for a shard, if it does.
pub(crate) fn quarantined_by(change: AdminRecord, of: (&str, u32)) -> Option<(RecordPlace, Quarantine)> {
    let AdminRecord { change: AdminChange::RecordQuarantined { service, shard, topic, partition, offset, reason, topic_id }, principal } =
        change
    else {
        return None;
    };
    let is_of = (service.as_str(), shard) == (of.0, of.1 as i32);
    is_of.then_some((RecordPlace { topic, partition: partition as u32, offset }, Quarantine { by: principal, reason, topic_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place: RecordPlace = "a-b.c/3@17".parse().expect("a place");
        assert_eq!((place.partition, place.offset, place.to_string()), (3, 17, "a-b.c/3@17".to_owned()));
        assert_eq!("allocator/2".parse::<ShardName>().map(|shard| shard.of()), Ok(("allocator", 2)));
        assert!("gateway/0".parse::<ShardName>().is_err() && "trigger/x".parse::<ShardName>().is_err());
        assert!("trigger/1".parse::<ShardName>().expect("a shard").check(&Cluster::single()).is_err());
        for wrong in ["orders", "orders/0", "orders/x@1", "orders/0@-1", "/0@1", "a b/0@1"] {
            assert!(wrong.parse::<RecordPlace>().expect_err(wrong).contains("TOPIC/PARTITION@OFFSET"));
        }
    }
}
