//! Membership in a consumer group, used for assignment alone: the partitions of one topic stand for shards, and nothing is consumed.
//! An assignment is a hint (design §3): who owns a shard is decided by the fence.

use super::config::{KafkaConfig, Role};
use super::native;
use super::reaper::reap;
use super::{REQUEST_TIMEOUT, unreachable};
use crate::LogError;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A member that is not heard of for so long has left; the smallest that brokers allow.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two signs of life. A member learns by their answers that another one has come or gone, so that this is what a hand-over in
/// order takes.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Longest wait for news, and for being told to stop.
const POLL: Duration = Duration::from_millis(25);

/// Whom a group assigns partitions to.
pub trait Assignee: Send + Sync {
    /// These partitions are ours from now on.
    fn assigned(&self, partitions: &[u32]);
    /// Asked again and again: who is not willing leaves the group, so that others are assigned what it had, until it is.
    fn is_willing(&self) -> bool;
    /// These are not ours any more when this returns: others are assigned them then.
    fn revoked(&self, partitions: &[u32]);
}

/// A membership. Dropping it leaves the group: what was assigned is revoked.
pub struct Group {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Group {
    /// Joins a group for the partitions of a topic, under a name that tools show.
    pub fn join(config: &KafkaConfig, group: &str, topic: &str, member: &str, assignee: Arc<dyn Assignee>) -> Result<Self, LogError> {
        let mut client = config.client(Role::Consumer)?;
        client.set("client.id", member);
        client.set("group.id", group).set("auto.offset.reset", "latest").set("enable.partition.eof", "false");
        // The newer protocol (KIP-848) has its timeouts from the brokers.
        if client.get("group.protocol") != Some("consumer") {
            client
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
                .set("heartbeat.interval.ms", HEARTBEAT.as_millis().to_string());
        }
        let make = move |assignee: &Arc<dyn Assignee>| -> Result<BaseConsumer<Member>, KafkaError> {
            client.create_with_context(Member { assignee: assignee.clone() })
        };
        let (stop, topic) = (Arc::new(AtomicBool::new(false)), topic.to_owned());
        let stopped = stop.clone();
        let mut consumer = make(&assignee).map_err(|error| config.refused(&error))?;
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                if let Err(error) = follow(&consumer, &topic, &*assignee, &stopped) {
                    // A client that has failed for good is replaced by a new one, which joins anew.
                    tracing::error!(%error, "the membership in a group has failed; joining again");
                    assignee.revoked(&partitions(&consumer.assignment().unwrap_or_default()));
                    match make(&assignee) {
                        Ok(another) => reap(std::mem::replace(&mut consumer, another)),
                        Err(error) => tracing::error!(%error, "no client for a group"),
                    }
                    std::thread::park_timeout(HEARTBEAT);
                }
            }
            // Closed in line: who leaves in order is not waited for.
            drop(consumer);
        };
        let thread = std::thread::Builder::new().name("kafka-group".into()).spawn(run);
        let thread = thread.map_err(|error| LogError::Unreachable { why: format!("no thread for a group: {error}") })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// The members of a group by name, with the partitions that each is assigned. A group that nobody has joined has none.
pub fn members(config: &KafkaConfig, group: &str) -> Result<Vec<(String, Vec<u32>)>, LogError> {
    let client: BaseConsumer = config.client(Role::Consumer)?.create().map_err(|error| config.refused(&error))?;
    native::members(client.client(), group, REQUEST_TIMEOUT).map_err(|error| unreachable("asking for a group", &error))
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn follow(consumer: &BaseConsumer<Member>, topic: &str, assignee: &dyn Assignee, stopped: &AtomicBool) -> Result<(), KafkaError> {
    let mut joined = false;
    while !stopped.load(Ordering::Acquire) {
        let willing = assignee.is_willing();
        match (joined, willing) {
            (false, true) => consumer.subscribe(&[topic])?,
            (true, false) => {
                tracing::warn!("this member cannot hold its shards and leaves them to others for a while; the reason is above");
                consumer.unsubscribe();
            }
            _ => {}
        }
        joined = willing;
        if let Some(Err(error)) = consumer.poll(POLL)
            && let Some((_, why)) = consumer.client().fatal_error()
        {
            tracing::error!(why, "a group's client has failed");
            return Err(error);
        }
        // The library's thread sends signs of life when something wakes it, be it a question; else once a second.
        let _woken = consumer.assignment();
    }
    Ok(())
}

struct Member {
    assignee: Arc<dyn Assignee>,
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.assignee.revoked(&partitions(list));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            if let Err(error) = consumer.pause(list) {
                tracing::warn!(%error, "partitions that stand for shards are fetched for nothing");
            }
            self.assignee.assigned(&partitions(list));
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().filter_map(|one| u32::try_from(one.partition()).ok()).collect()
}
