//! A cluster on Kafka, found as it should be.

use crate::cli::serve::Signals;
use crate::config::Config;
use anyhow::{Result, bail};
use orrery_log::kafka::{Difference, KafkaLog, TopicWish};
use orrery_log::{Log, LogError};
use orrery_model::topics;
use orrery_runtime::founding::FoundingError;
use orrery_runtime::messages::Cluster;
use std::sync::Arc;
use std::time::Duration;

/// From one try to reach the brokers to the next.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Shards and cells at most: each has partitions in a dozen topics.
const SHARDS_MOST: u32 = 1_024;

/// The log, and the cluster's numbers.
pub(crate) struct Connection {
    pub log: Arc<KafkaLog>,
    pub cluster: Cluster,
}

impl Connection {
    /// Opens the log; nothing is asked of the brokers yet.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let log = KafkaLog::open(config.needs_kafka()?)?;
        let cluster = Cluster {
            prefix: config.get("prefix").unwrap_or_default().into(),
            trigger_shards: config.number("trigger_shards", 1..=SHARDS_MOST)?,
            cells: config.number("cells", 1..=SHARDS_MOST)?,
            ..Cluster::single()
        };
        Ok(Self { log, cluster })
    }

    /// Opens the log and waits until the brokers answer; then the topics must be there. None if a signal came first.
    pub(super) fn wait(config: &Config, signals: &mut Signals) -> Result<Option<Self>> {
        let connection = Self::open(config)?;
        loop {
            match connection.check() {
                Ok(()) => return Ok(Some(connection)),
                Err(error) if is_passing(&error) => tracing::warn!(%error, "waiting for the log"),
                Err(error) => return Err(error),
            }
            if signals.came_within(TRY_AGAIN) {
                return Ok(None);
            }
        }
    }

    fn check(&self) -> Result<()> {
        let differences = self.log.plan_topics(&wishes(&self.cluster))?;
        let wrong = differences.iter().find(|difference| !matches!(difference, Difference::Settings { .. }));
        match wrong {
            Some(Difference::Missing(wish)) => bail!("topic {} is missing; `orrery topics apply` makes it", wish.name),
            Some(Difference::Partitions { topic, existing, wanted }) => bail!(
                "topic {topic} has {existing} partitions, not {wanted}: set trigger_shards and cells as this cluster was made, or another prefix"
            ),
            _ => {}
        }
        let port: Arc<dyn Log> = self.log.clone();
        Ok(orrery_runtime::founding::found(&port, &self.cluster)?)
    }
}

/// The topics of a cluster as they should be.
pub(crate) fn wishes(cluster: &Cluster) -> Vec<TopicWish> {
    let wish = |topic: &topics::TopicDef| TopicWish {
        name: cluster.topic(topic.name),
        partitions: cluster.partitions(topic.partitions),
        cleanup: topic.cleanup,
    };
    topics::TOPICS.iter().map(wish).collect()
}

/// True for what waiting may help.
fn is_passing(error: &anyhow::Error) -> bool {
    let of_log = |error: &LogError| matches!(error, LogError::Unreachable { .. });
    error.downcast_ref::<LogError>().is_some_and(of_log)
        || error.downcast_ref::<FoundingError>().is_some_and(|error| match error {
            FoundingError::Log(error) => of_log(error),
            FoundingError::Busy => true,
            _ => false,
        })
}
