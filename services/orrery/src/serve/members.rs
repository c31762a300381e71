//! A process that owns shards: assigned by a consumer group or by its settings, announced among the members, standing by for what
//! others own.

use super::Connection;
use crate::config::Config;
use crate::standalone::draw_lineage;
use anyhow::Result;
use orrery_log::kafka::{Assignee, Group};
use orrery_log::{Bell, Log, clock};
use orrery_model::decider::Decider;
use orrery_model::messages::Member;
use orrery_runtime::driver::{Host, HostConfig};
use orrery_runtime::membership::{ANNOUNCE_EVERY, announcement, living, logic_of, member};
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at who lives.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A running member. Dropping it hands its shards over, then leaves.
pub(super) struct Members {
    name: String,
    trouble: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Ends when it is dropped.
    assignment: Option<Box<dyn Any>>,
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
    standing_by: Option<JoinHandle<()>>,
}

impl Members {
    pub(super) fn start<D: Decider>(config: &Config, connection: &Connection, role: &str) -> Result<Self> {
        let kafka = config.needs_kafka()?;
        let Connection { log, cluster } = connection;
        let name = config.get("member").map_or_else(|| default_name(config, role), |name| Ok(name.to_owned()))?;
        let member = member(&name, vec![logic_of::<D>()], Trigger::tz_version(), clock::wall());
        let journal = cluster.topic(&format!("{}.journal", D::SERVICE));
        let shards = if D::SERVICE == Trigger::SERVICE { cluster.trigger_shards } else { cluster.cells };
        let host = HostConfig {
            log: log.clone(),
            cluster: cluster.clone(),
            folder: config.data_dir()?.join("store"),
            member: member.clone(),
            draw_lineage,
        };
        let host = Arc::new(Hosted(Host::<D>::new(host, shards)));
        let (stop, bell) = (Arc::new(AtomicBool::new(false)), Arc::new(Bell::default()));
        let standing_by = std::thread::Builder::new().name("members".into()).spawn({
            let (log, cluster, host, stop, bell) = (connection.port(), cluster.clone(), host.clone(), stop.clone(), bell.clone());
            move || stand_by(&log, &cluster, &member, &host.0, (&stop, &bell))
        })?;
        let trouble = {
            let host = host.clone();
            Arc::new(move || host.0.trouble())
        };
        let assignment: Box<dyn Any> = match config.numbers("shards", shards)? {
            Some(shards) => Box::new(Fixed::begin(host, shards)),
            None => Box::new(Group::join(&kafka, &cluster.topic(D::SERVICE), &journal, &name, host)?),
        };
        Ok(Self { name, trouble, assignment: Some(assignment), stop, bell, standing_by: Some(standing_by) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Says so if the thread that stands by for other members' shards has ended, which nobody asked for.
    pub(super) fn failure(&self) -> Option<String> {
        let ended = self.standing_by.as_ref().is_some_and(JoinHandle::is_finished);
        ended.then(|| "the thread that stands by for other members has ended; the reason is in the messages above".to_owned())
    }

    /// What is wrong with the shards that are assigned to this process, if anything is.
    pub(super) fn trouble(&self) -> Arc<dyn Fn() -> Option<String> + Send + Sync> {
        self.trouble.clone()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        // First what others wait for.
        drop(self.assignment.take());
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.standing_by.take() {
            let _ended = thread.join();
        }
    }
}

/// Shards that the settings name, as long as the process lives. Another member that is set to one of them fences this one, and is
/// fenced by it in turn, each time after a longer pause.
struct Fixed {
    assignee: Arc<dyn Assignee>,
    shards: Vec<u32>,
}

impl Fixed {
    fn begin(assignee: Arc<dyn Assignee>, shards: Vec<u32>) -> Self {
        assignee.assigned(&shards);
        Self { assignee, shards }
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        self.assignee.revoked(&self.shards);
    }
}

struct Hosted<D>(Host<D>);

impl<D: Decider> Assignee for Hosted<D> {
    fn assigned(&self, partitions: &[u32]) {
        self.0.assigned(partitions);
    }
    fn is_willing(&self) -> bool {
        self.0.may_own()
    }
    fn revoked(&self, partitions: &[u32]) {
        self.0.revoked(partitions);
    }
}

/// Announces the member, also while it owns nothing, and keeps the stores that fall to it.
fn stand_by<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, member: &Member, host: &Host<D>, (stop, bell): (&AtomicBool, &Bell)) {
    let mut announced = None;
    while !stop.load(Ordering::Acquire) {
        let due = announced.is_none_or(|at: std::time::Instant| at.elapsed() >= ANNOUNCE_EVERY);
        let looked = (|| {
            if due {
                log.append(vec![announcement(cluster, member)])?;
                announced = Some(clock::monotonic());
            }
            living(&**log, cluster, clock::wall())
        })();
        match looked {
            Ok(members) => {
                let serves = |other: &&Member| other.logic.iter().any(|logic| logic.service == D::SERVICE);
                host.stand_by(&members.iter().filter(serves).map(|other| other.member.as_str()).collect::<Vec<_>>());
            }
            Err(error) => tracing::warn!(%error, "who lives is not known now"),
        }
        bell.wait(LOOK_EVERY);
    }
}

/// The same for every start in this folder of this host.
fn default_name(config: &Config, role: &str) -> Result<String> {
    let folder = config.data_dir()?;
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let digest = blake3::hash(folder.display().to_string().as_bytes()).to_hex();
    Ok(format!("{role}-{host}-{}", &digest[..8]))
}
