//! The shards of one service that a member owns, and those that it stands by for.

use super::{ShardConfig, ShardHandle, stand_by, start};
use crate::messages::Cluster;
use crate::standby::stands_by;
use orrery_log::{Log, clock};
use orrery_model::decider::Decider;
use orrery_model::messages::Member;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A member that cannot hold its shards stays away so long at first, each time twice as long …
const AWAY_FIRST: Duration = Duration::from_secs(10);
/// … up to this: each return costs the shards that it is given a moment. Who has been back for so long begins anew.
const AWAY_MOST: Duration = Duration::from_secs(3_600);

/// What a member needs to own shards.
pub struct HostConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: Cluster,
    /// Folder of all local stores.
    pub folder: PathBuf,
    /// This member, as it announces itself.
    pub member: Arc<Member>,
    /// Draws a lineage for a shard that is new.
    pub draw_lineage: fn() -> String,
}

/// Starts and stops the shards of one service as they are assigned and revoked. Dropping it stops them all.
pub struct Host<D> {
    config: HostConfig,
    shards: u32,
    held: Mutex<Shards>,
    decider: PhantomData<fn() -> D>,
}

#[derive(Default)]
struct Shards {
    /// Counts assignments: a shard that another member has fenced is acquired again at once only under a newer one (§1.5).
    generation: i64,
    owned: BTreeMap<u32, ShardHandle>,
    standbys: BTreeMap<u32, ShardHandle>,
    away: Away,
}

/// When a member that could not hold its shards tries again.
#[derive(Default)]
struct Away {
    until: Option<Instant>,
    times: u32,
}

impl Away {
    fn begin(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now > until + AWAY_MOST) {
            self.times = 0;
        }
        self.until = Some(now + (AWAY_FIRST * 2u32.saturating_pow(self.times)).min(AWAY_MOST));
        self.times += 1;
    }
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }
}

impl<D: Decider> Host<D> {
    /// Owns nothing yet. `shards` is how many the service has.
    pub fn new(config: HostConfig, shards: u32) -> Self {
        Self { config, shards, held: Mutex::default(), decider: PhantomData }
    }

    /// Shards that are assigned to this member from now on.
    pub fn assigned(&self, shards: &[u32]) {
        let mut held = self.held();
        held.generation += 1;
        let generation = held.generation;
        for shard in shards {
            // One store has one user: the standby's passes to the owner.
            drop(held.standbys.remove(shard));
            drop(held.owned.remove(shard));
            match start::<D>(self.shard(*shard, generation)) {
                Ok(handle) => drop(held.owned.insert(*shard, handle)),
                Err(error) => tracing::error!(service = D::SERVICE, shard, %error, "an assigned shard was not started"),
            }
        }
        tracing::info!(service = D::SERVICE, ?shards, generation, "shards were assigned");
    }

    /// Shards that are another member's when this returns: each ends after the transaction under way.
    pub fn revoked(&self, shards: &[u32]) {
        let ended: Vec<ShardHandle> = {
            let mut held = self.held();
            shards.iter().filter_map(|shard| held.owned.remove(shard)).collect()
        };
        // All are told first, then waited for.
        ended.iter().for_each(ShardHandle::tell_to_stop);
        drop(ended);
        tracing::info!(service = D::SERVICE, ?shards, "shards were revoked");
    }

    /// Keeps those stores warm that fall to this member (§9.3); `members` are all that live.
    pub fn stand_by(&self, members: &[&str]) {
        let own = &*self.config.member.member;
        let mut held = self.held();
        for shard in 0..self.shards {
            let wanted = !held.owned.contains_key(&shard) && stands_by(D::SERVICE, shard, own, members);
            if !wanted {
                drop(held.standbys.remove(&shard));
            } else if let Entry::Vacant(place) = held.standbys.entry(shard) {
                match stand_by::<D>(self.shard(shard, 0)) {
                    Ok(handle) => drop(place.insert(handle)),
                    Err(error) => tracing::warn!(service = D::SERVICE, shard, %error, "no standby"),
                }
            }
        }
    }

    /// False for a while after a shard could not be held for a reason of this member's own, such as its clock, its disk or its
    /// version: its shards had better be assigned to others.
    pub fn may_own(&self) -> bool {
        let (now, mut held) = (clock::monotonic(), self.held());
        if held.owned.values().any(ShardHandle::is_unfit) && held.away.is_over(now) {
            held.away.begin(now);
        }
        held.away.is_over(now)
    }

    /// Shards that this member owns, and whether each has been acquired.
    pub fn owned(&self) -> Vec<(u32, bool)> {
        self.held().owned.iter().map(|(shard, handle)| (*shard, handle.is_ready())).collect()
    }

    /// What is wrong with the shards that it should own, in words, if anything is.
    pub fn trouble(&self) -> Option<String> {
        let is_away = !self.may_own();
        let held = self.held();
        let of_shard = |(shard, handle): (&u32, &ShardHandle)| Some(format!("{}/{shard} {}", D::SERVICE, handle.trouble()?));
        let away = is_away.then(|| "this member stays away from its shards, as it could not hold one".to_owned());
        held.owned.iter().find_map(of_shard).or(away)
    }

    /// Shards whose stores are kept, and whether each is at its changelog's end.
    pub fn standbys(&self) -> Vec<(u32, bool)> {
        self.held().standbys.iter().map(|(shard, handle)| (*shard, handle.is_ready())).collect()
    }

    fn shard(&self, shard: u32, generation: i64) -> ShardConfig {
        let HostConfig { log, cluster, folder, member, draw_lineage } = &self.config;
        ShardConfig {
            log: log.clone(),
            cluster: cluster.clone(),
            shard,
            generation,
            folder: folder.join(format!("{}-{shard}", D::SERVICE)),
            member: member.clone(),
            draw_lineage: *draw_lineage,
        }
    }

    fn held(&self) -> MutexGuard<'_, Shards> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_hold_its_shards_stays_away_longer_each_time() {
        let (mut away, now) = (Away::default(), clock::monotonic());
        assert!(away.is_over(now));
        let mut seconds = |now| {
            away.begin(now);
            away.until.map(|until| (until - now).as_secs())
        };
        assert_eq!([seconds(now), seconds(now), seconds(now)], [Some(10), Some(20), Some(40)]);
        (0..40).for_each(|_| assert!(seconds(now) >= Some(80)));
        assert_eq!(seconds(now), Some(3_600));
        let later = now + 3 * AWAY_MOST;
        assert_eq!(seconds(later), Some(10), "it has held its shards for long");
        assert!(!away.is_over(later) && away.is_over(later + AWAY_FIRST));
    }
}
