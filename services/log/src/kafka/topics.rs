//! Topics: found with their ids, made with the configuration that their cleanup needs, compared with what is wished.

use super::config::{KafkaConfig, Role};
use super::native::{self, Described};
use super::reaper::Reaped;
use super::{RECORD_BYTES, REQUEST_TIMEOUT, unreachable};
use crate::{LogError, Topic, clock};
use futures_executor::block_on;
use orrery_model::record::{NewRecord, data_bytes};
use orrery_model::topics::{Cleanup, Compaction};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From a change of a topic to all brokers' knowledge of it.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at that.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Our records are up to a mebibyte, and the client adds to them.
const MESSAGE_BYTES: &str = "2097152";

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWish {
    /// Full name.
    pub name: String,
    /// Number of partitions.
    pub partitions: u32,
    /// How it forgets.
    pub cleanup: Cleanup,
}

/// How a topic is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It is not there: it will be made.
    Missing(TopicWish),
    /// Settings that will be changed: name, value now, value wished.
    Settings {
        /// Full topic name.
        topic: String,
        /// Name, value now, value wished.
        changes: Vec<(String, String, String)>,
    },
    /// It has another number of partitions, and nobody may change that: keys would move to other partitions, and the records of one
    /// key would lose their order.
    Partitions {
        /// Full topic name.
        topic: String,
        /// As it is.
        existing: u32,
        /// As it should be.
        wanted: u32,
    },
}

pub(super) struct Topics {
    admin: Reaped<AdminClient<DefaultClientContext>>,
    replication: Option<i32>,
    known: Mutex<BTreeMap<String, Topic>>,
    /// The id that each topic was last seen with, and how often that has changed.
    generations: Mutex<BTreeMap<String, (Option<String>, u64)>>,
}

impl Topics {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let admin = config.client(Role::Admin)?.create().map_err(|error| config.refused(&error))?;
        Ok(Self { admin: Reaped::new(admin), replication: config.replication, known: Mutex::default(), generations: Mutex::default() })
    }

    /// The topic as the brokers have it now.
    pub(super) fn find(&self, name: &str) -> Result<Option<Topic>, LogError> {
        let found = self.describe(name)?;
        let Some(Described { id, partitions }) = found else {
            self.known().remove(name);
            return Ok(None);
        };
        if let Some(known) = self.known().get(name)
            && known.id == id
            && known.partitions == partitions
        {
            return Ok(Some(known.clone()));
        }
        let Some(settings) = self.settings(name)? else { return Ok(None) };
        let topic = Topic { name: name.into(), id, partitions, cleanup: cleanup_of(&settings) };
        self.known().insert(name.into(), topic.clone());
        Ok(Some(topic))
    }

    /// All topics that are not the brokers' own.
    pub(super) fn all(&self) -> Result<Vec<Topic>, LogError> {
        let metadata = self.admin.inner().fetch_metadata(None, REQUEST_TIMEOUT).map_err(|error| unreachable("listing topics", &error))?;
        let mut names: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).filter(|name| !name.starts_with("__")).collect();
        names.sort_unstable();
        names.into_iter().filter_map(|name| self.find(name).transpose()).collect()
    }

    /// Counts the identities that a topic was seen with: what was fetched under another one is of another topic (§5.4).
    pub(super) fn generation(&self, name: &str) -> u64 {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(name).map_or(0, |(_, generation)| *generation)
    }

    /// Refuses a partition that is not there. What was seen before is not asked for again.
    pub(super) fn check(&self, name: &str, partition: u32) -> Result<(), LogError> {
        let seen = self.known().get(name).map(|topic| topic.partitions);
        let partitions = match seen {
            Some(partitions) if partition < partitions => partitions,
            _ => self.find(name)?.map_or(0, |topic| topic.partitions),
        };
        if partition < partitions { Ok(()) } else { Err(LogError::NoSuchPartition { topic: name.into(), partition }) }
    }

    /// Refuses records of which one cannot be sent, before any is.
    pub(super) fn check_records(&self, records: &[NewRecord]) -> Result<(), LogError> {
        records.iter().try_for_each(|record| {
            self.check(&record.topic, record.partition)?;
            let bytes = data_bytes(record.key.as_ref(), record.value.as_ref());
            if bytes > RECORD_BYTES { Err(LogError::TooLarge { topic: record.topic.clone(), bytes, limit: RECORD_BYTES }) } else { Ok(()) }
        })
    }

    /// True if there is such a topic now.
    pub(super) fn is_there(&self, name: &str) -> Result<bool, LogError> {
        Ok(self.describe(name)?.is_some())
    }

    /// What was seen of this topic may be over.
    pub(super) fn forget(&self, name: &str) {
        self.known().remove(name);
    }

    /// Makes a topic, or finds the one that somebody else has just made.
    pub(super) fn make(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        let settings = settings_for(cleanup);
        let replication = TopicReplication::Fixed(self.replication.unwrap_or(-1));
        let mut topic = NewTopic::new(name, i32::try_from(partitions).unwrap_or(i32::MAX), replication);
        for (setting, value) in &settings {
            topic = topic.set(setting, value);
        }
        let answers = block_on(self.admin.create_topics([&topic], &options())).map_err(|error| unreachable("making a topic", &error))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((
                    _,
                    code @ (RDKafkaErrorCode::InvalidTopic
                    | RDKafkaErrorCode::InvalidPartitions
                    | RDKafkaErrorCode::InvalidReplicationFactor),
                )) => {
                    return Err(LogError::BadTopic { why: format!("topic {name} with {partitions} partitions cannot be made: {code}") });
                }
                Err((_, code)) => return Err(unreachable(&format!("making {name}"), &code)),
            }
        }
        self.until(|| Ok(self.has_leaders(name, partitions)?.then(|| self.find(name)).transpose()?.flatten()), name)
    }

    /// Deletes a topic, if it is there.
    pub(super) fn delete(&self, name: &str) -> Result<(), LogError> {
        let answers = block_on(self.admin.delete_topics(&[name], &options())).map_err(|error| unreachable("deleting a topic", &error))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((_, code)) => return Err(unreachable(&format!("deleting {name}"), &code)),
            }
        }
        self.until(|| Ok(self.find(name)?.is_none().then_some(())), name)
    }

    /// How a topic differs from a wish, if it does.
    pub(super) fn difference(&self, wish: &TopicWish) -> Result<Option<Difference>, LogError> {
        let Some(found) = self.describe(&wish.name)? else { return Ok(Some(Difference::Missing(wish.clone()))) };
        if found.partitions != wish.partitions {
            let (topic, existing, wanted) = (wish.name.clone(), found.partitions, wish.partitions);
            return Ok(Some(Difference::Partitions { topic, existing, wanted }));
        }
        let Some(resource) = self.settings(&wish.name)? else { return Ok(Some(Difference::Missing(wish.clone()))) };
        let changes: Vec<_> = settings_for(wish.cleanup)
            .into_iter()
            .filter_map(|(name, wished)| {
                let now = resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
                (!is_same(name, &now, &wished)).then(|| (name.to_owned(), now, wished))
            })
            .collect();
        Ok((!changes.is_empty()).then(|| Difference::Settings { topic: wish.name.clone(), changes }))
    }

    pub(super) fn apply(&self, difference: &Difference) -> Result<(), LogError> {
        match difference {
            Difference::Missing(wish) => self.make(&wish.name, wish.partitions, wish.cleanup).map(drop),
            Difference::Partitions { topic, existing, wanted } => {
                Err(LogError::TopicDiffers { topic: topic.clone(), existing: *existing, wanted: *wanted })
            }
            Difference::Settings { topic, changes } => {
                // The request replaces all settings of the topic: those of others are named again.
                let resource = self.settings(topic)?;
                let set = resource.iter().flat_map(|resource| &resource.entries).filter(|entry| entry.source == ConfigSource::DynamicTopic);
                let mut wanted: BTreeMap<&str, &str> =
                    set.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
                wanted.extend(changes.iter().map(|(name, _, wished)| (name.as_str(), wished.as_str())));
                let mut altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
                for (name, value) in wanted {
                    altered = altered.set(name, value);
                }
                let answers =
                    block_on(self.admin.alter_configs([&altered], &options())).map_err(|error| unreachable("changing a topic", &error))?;
                self.forget(topic);
                let refused = answers.into_iter().find_map(Result::err);
                refused.map_or(Ok(()), |(_, code)| Err(LogError::BadTopic { why: format!("topic {topic} cannot be changed: {code}") }))
            }
        }
    }

    fn describe(&self, name: &str) -> Result<Option<Described>, LogError> {
        let described = native::describe(self.admin.inner(), name, REQUEST_TIMEOUT)
            .map_err(|error| unreachable(&format!("asking for topic {name}"), &error))?;
        let id = described.as_ref().map(|described| described.id.clone());
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, generation) = generations.entry(name.to_owned()).or_default();
        if *seen != id {
            (*seen, *generation) = (id, *generation + 1);
        }
        Ok(described)
    }

    fn settings(&self, name: &str) -> Result<Option<ConfigResource>, LogError> {
        let asked = [ResourceSpecifier::Topic(name)];
        let answers =
            block_on(self.admin.describe_configs(&asked, &options())).map_err(|error| unreachable("asking for settings", &error))?;
        match answers.into_iter().next() {
            Some(Ok(resource)) => Ok(Some(resource)),
            Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) | None => Ok(None),
            Some(Err(code)) => Err(unreachable(&format!("asking for the settings of {name}"), &code)),
        }
    }

    fn has_leaders(&self, name: &str, partitions: u32) -> Result<bool, LogError> {
        let metadata =
            self.admin.inner().fetch_metadata(Some(name), REQUEST_TIMEOUT).map_err(|error| unreachable("asking for leaders", &error))?;
        let led = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .filter(|partition| partition.error().is_none() && partition.leader() >= 0);
        Ok(led.count() as u64 >= u64::from(partitions))
    }

    /// Looks until it is so: a change is known to the controller before all brokers know it.
    fn until<T>(&self, mut look: impl FnMut() -> Result<Option<T>, LogError>, name: &str) -> Result<T, LogError> {
        let deadline = clock::monotonic() + SETTLES_WITHIN;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if clock::monotonic() > deadline {
                return Err(unreachable(&format!("waiting for topic {name}"), &"the brokers do not agree about it"));
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Topic>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

/// How a topic is configured so that it forgets this way. Append times are the brokers' (§2.3).
fn settings_for(cleanup: Cleanup) -> Vec<(&'static str, String)> {
    let Compaction { lag_ms, tombstones_ms } = Compaction::default();
    let (policy, retention, is_compacted) = match cleanup {
        Cleanup::Compact => ("compact", None, true),
        Cleanup::DeleteAfterMs(ms) => ("delete", Some(ms), false),
        Cleanup::CompactAndDeleteAfterMs(ms) => ("compact,delete", Some(ms), true),
        Cleanup::Forever => ("delete", Some(-1), false),
    };
    let mut settings = vec![
        ("cleanup.policy", policy.to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("max.message.bytes", MESSAGE_BYTES.to_owned()),
    ];
    settings.extend(retention.map(|ms| ("retention.ms", ms.to_string())));
    if is_compacted {
        settings.extend([("min.compaction.lag.ms", lag_ms.to_string()), ("delete.retention.ms", tombstones_ms.to_string())]);
    }
    settings
}

fn cleanup_of(settings: &ConfigResource) -> Cleanup {
    let get = |name: &str| settings.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let ms: i64 = get("retention.ms").parse().unwrap_or(-1);
    match (get("cleanup.policy").contains("compact"), get("cleanup.policy").contains("delete")) {
        (true, true) => Cleanup::CompactAndDeleteAfterMs(ms),
        (true, false) => Cleanup::Compact,
        _ if ms < 0 => Cleanup::Forever,
        _ => Cleanup::DeleteAfterMs(ms),
    }
}

/// Lists have no order.
fn is_same(name: &str, now: &str, wished: &str) -> bool {
    let parts = |text: &str| {
        let mut parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort_unstable();
        parts
    };
    if name == "cleanup.policy" { parts(now) == parts(wished) } else { now == wished }
}
