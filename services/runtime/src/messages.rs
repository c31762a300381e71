//! From messages to log records: which topic and partition, and packing (§10.3, §11.3).

use crate::packing::packs;
use crate::snapshots::SnapshotSetting;
use apache_avro::AvroSchemaComponent;
use orrery_model::codec::{Codec, encode_item, hex};
use orrery_model::decider::{Message, Poison};
use orrery_model::journal::Shards;
use orrery_model::limits::INPUT_BYTES;
use orrery_model::messages::{self, Item, Packed, RunRecord};
use orrery_model::murmur2::partition_of;
use orrery_model::payload::Payload;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::{ID_HEADER, MessageId, NewRecord, Record};
use orrery_model::topics;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// The cluster's fixed numbers, stored when it is made (§4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Begins all our topic names.
    pub prefix: String,
    /// Number of trigger shards.
    pub trigger_shards: u32,
    /// Number of cells.
    pub cells: u32,
    /// How its log compacts (§9.1).
    pub compaction: topics::Compaction,
    /// How often all rows are written to the log, and in what pieces (§9.6).
    pub snapshots: SnapshotSetting,
}

impl Cluster {
    /// One shard and one cell, as standalone has it.
    pub fn single() -> Self {
        Self {
            prefix: topics::DEFAULT_PREFIX.into(),
            trigger_shards: 1,
            cells: 1,
            compaction: topics::Compaction::default(),
            snapshots: SnapshotSetting::default(),
        }
    }
    /// Full name of one of our topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
    /// Number of partitions that one of our topics has.
    pub fn partitions(&self, partitions: topics::Partitions) -> u32 {
        match partitions {
            topics::Partitions::PerTriggerShard => self.trigger_shards,
            topics::Partitions::PerCell => self.cells,
            topics::Partitions::PerCellAndAgent => self.cells * topics::COMMAND_PARTITIONS,
            topics::Partitions::One => 1,
        }
    }
    /// What a decider is told of the cluster and of its own place in it.
    pub fn shards(&self, shard: u32) -> Shards {
        Shards { shard: shard as i32, trigger_shards: self.trigger_shards as i32, cells: self.cells as i32 }
    }
    /// Trigger shard that owns a job.
    pub fn owner_of_job(&self, job: &orrery_model::id::JobName) -> u32 {
        partition_of(job.as_str().as_bytes(), self.trigger_shards)
    }
    /// Trigger shard that reads a partition of a user topic.
    pub fn reader_of(&self, topic: &str, partition: u32) -> u32 {
        topics::reader(topic, partition as i32, self.trigger_shards)
    }
}

/// Who sends: begins the ids of all messages of a shard.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Service.
    pub service: &'static str,
    /// Shard.
    pub shard: u32,
    /// Lineage of the shard.
    pub lineage: String,
    /// Epoch under which the entry was written.
    pub epoch: i64,
}

/// Collects a transaction's messages and turns them into records.
#[derive(Debug)]
pub struct Outbox<'c> {
    cluster: &'c Cluster,
    packs: BTreeMap<(i64, &'static str, u32), Pack>,
    runs: BTreeMap<orrery_model::id::RunId, Box<RunRecord>>,
    plain: Vec<NewRecord>,
}

/// Messages of one topic partition, of one kind.
#[derive(Debug)]
enum Pack {
    Forwards(Vec<Item<messages::Forward>>),
    Tasks(Vec<Item<messages::TaskMessage>>),
    Outcomes(Vec<Item<messages::Outcome>>),
    Commands(Vec<Item<messages::Command>>),
}

impl<'c> Outbox<'c> {
    /// Empty.
    pub fn new(cluster: &'c Cluster) -> Self {
        Self { cluster, packs: BTreeMap::new(), runs: BTreeMap::new(), plain: Vec::new() }
    }

    /// Adds one entry's message, in order.
    pub fn add(&mut self, sender: &Sender, seq: i64, index: i32, message: Message) {
        let index = if planted(Bug::OneIndex) { 0 } else { index };
        match message {
            Message::Forward(body) => {
                let owner = body.to as u32;
                let pack = self.packs.entry((sender.epoch, topics::FORWARDS, owner)).or_insert_with(|| Pack::Forwards(Vec::new()));
                if let Pack::Forwards(items) = pack {
                    items.push(Item { seq, index, body: *body });
                }
            }
            Message::Task(body) => {
                let cell = body.cell() as u32;
                let pack = self.packs.entry((sender.epoch, topics::TASKS, cell)).or_insert_with(|| Pack::Tasks(Vec::new()));
                if let Pack::Tasks(items) = pack {
                    items.push(Item { seq, index, body: *body });
                }
            }
            Message::Outcome(body) => {
                let owner = self.cluster.owner_of_job(&body.job);
                let pack = self.packs.entry((sender.epoch, topics::OUTCOMES, owner)).or_insert_with(|| Pack::Outcomes(Vec::new()));
                if let Pack::Outcomes(items) = pack {
                    items.push(Item { seq, index, body });
                }
            }
            Message::Command(body) => {
                let partition = topics::commands_partition(sender.shard, &body.agent);
                let pack = self.packs.entry((sender.epoch, topics::COMMANDS, partition)).or_insert_with(|| Pack::Commands(Vec::new()));
                if let Pack::Commands(items) = pack {
                    items.push(Item { seq, index, body: *body });
                }
            }
            Message::Run(record) => {
                self.runs.insert(record.run.clone(), record);
            }
            Message::Catalog(job, entry) => {
                let value = entry.map(|entry| messages::CATALOG.encode(&entry));
                self.plain(topics::CATALOG, sender.shard, job.as_str(), value);
            }
            Message::Alert(alert) => {
                let key = alert.job.as_ref().map_or_else(String::new, ToString::to_string);
                self.plain(topics::ALERTS, 0, &key, Some(messages::ALERT.encode(&alert)));
            }
        }
    }

    fn plain(&mut self, topic: &str, partition: u32, key: &str, value: Option<Vec<u8>>) {
        self.plain.push(NewRecord {
            topic: self.cluster.topic(topic),
            partition,
            key: Some(key.as_bytes().into()),
            value: value.map(|bytes| Payload(bytes.into())),
            headers: Vec::new(),
        });
    }

    /// All records, messages to other services first.
    pub fn into_records(mut self, sender: &Sender) -> Vec<NewRecord> {
        let mut records = Vec::new();
        for ((epoch, topic, partition), pack) in std::mem::take(&mut self.packs) {
            let place = Place { sender: &Sender { epoch, ..sender.clone() }, topic: self.cluster.topic(topic), partition };
            match pack {
                Pack::Forwards(items) => place.records(&messages::FORWARDS, &items, &mut records),
                Pack::Tasks(items) => place.records(&messages::TASKS, &items, &mut records),
                Pack::Outcomes(items) => place.records(&messages::OUTCOMES, &items, &mut records),
                Pack::Commands(items) => place.records(&messages::COMMANDS, &items, &mut records),
            }
        }
        for (run, record) in std::mem::take(&mut self.runs) {
            let partition = self.cluster.owner_of_job(&record.job);
            self.plain(topics::RUNS, partition, run.as_str(), Some(messages::RUN.encode(&record)));
        }
        records.append(&mut self.plain);
        records
    }
}

struct Place<'a> {
    sender: &'a Sender,
    topic: String,
    partition: u32,
}

impl Place<'_> {
    /// Records of these items, each named by its first one.
    fn records<M>(&self, codec: &Codec<Packed<M>>, items: &[Item<M>], out: &mut Vec<NewRecord>)
    where
        M: Serialize + DeserializeOwned + AvroSchemaComponent,
    {
        let written: Vec<(&Item<M>, Vec<u8>)> = items.iter().map(|item| (item, encode_item(item))).collect();
        for pack in packs(&written, |(_, bytes)| bytes.len()) {
            let Some((first, _)) = pack.first() else { continue };
            let id = MessageId {
                service: self.sender.service.into(),
                shard: self.sender.shard,
                lineage: self.sender.lineage.clone(),
                epoch: self.sender.epoch,
                seq: first.seq,
                index: first.index,
            };
            out.push(NewRecord {
                topic: self.topic.clone(),
                partition: self.partition,
                key: None,
                value: Some(Payload(codec.encode_items(pack.iter().map(|(_, bytes)| bytes.as_slice())).into())),
                headers: vec![(ID_HEADER.into(), id.to_string().as_bytes().into())],
            });
        }
    }
}

/// Begins the headers by which dead letters are told of and settled.
pub const DLQ_HEADERS: &str = "orrery.";
/// Put before a header of the record's producer that begins so.
pub const DLQ_CAME_WITH: &str = "came-with.";

/// The record as it came, with headers that say what was wrong. Of one that is too large, only what says which it is.
pub(crate) fn dead_letter(topic: &str, partition: u32, record: &Record, poison: &Poison) -> NewRecord {
    let size = |payload: &Option<Payload>| payload.as_ref().map_or(0, |p| p.as_bytes().len());
    let of_headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.as_bytes().len()).sum();
    let hash = record.value.as_ref().map(|v| hex(blake3::hash(v.as_bytes()).as_bytes()));
    let mut headers = if of_headers > INPUT_BYTES { Vec::new() } else { record.headers.clone() };
    // What begins as ours do was written by the record's producer: it says nothing about the dead letter.
    for (name, _) in headers.iter_mut().filter(|(name, _)| name.starts_with(DLQ_HEADERS)) {
        name.insert_str(0, DLQ_CAME_WITH);
    }
    for (name, value) in [
        ("topic", topic.to_owned()),
        ("partition", partition.to_string()),
        ("offset", record.offset.to_string()),
        ("stage", poison.stage.to_owned()),
        ("message", poison.reason.clone()),
        ("blake3", hash.unwrap_or_default()),
    ] {
        headers.push((format!("orrery.error.{name}"), value.as_bytes().into()));
    }
    let value = if poison.stage == "size" { None } else { record.value.clone() };
    let key = if size(&record.key) > INPUT_BYTES { None } else { record.key.clone() };
    NewRecord { topic: format!("{topic}{}", topics::DLQ_SUFFIX), partition, key, value, headers }
}
