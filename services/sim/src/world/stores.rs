//! Members' stores apart from ownership: standbys that follow changelogs, and snapshots that are written beside the commits.

use super::members::{Key, members_wall, needs_a_person};
use super::{Happening, World};
use crate::crash::Point;
use crate::plan::SECOND;
use orrery_log::Log;
use orrery_runtime::owner::Lost;
use orrery_runtime::restore::AcquireError;
use orrery_runtime::snapshots::Snapshot;
use orrery_runtime::standby::{Standby, stands_by};
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Between two looks of a member at the changelogs that it follows.
const FOLLOW_EVERY: i64 = 20 * SECOND;
/// Longest time between two records of a snapshot.
const PIECE_MOST: i64 = 2 * SECOND;

impl World {
    /// A member follows the changelogs of what it stands by for and does not own.
    pub(super) fn follow(&mut self, m: usize, life: u64) {
        if !self.lives(m, life, Happening::Follow(m, life)) {
            return;
        }
        self.after(FOLLOW_EVERY, Happening::Follow(m, life));
        let names: Vec<String> = self.members.iter().map(|member| member.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let keys: Vec<Key> = self.assigned.keys().copied().collect();
        for key in keys {
            if !self.members[m].holds(key) && stands_by(key.0, key.1, names[m], &names) && self.follow_one(m, key).is_err() {
                return;
            }
        }
    }

    /// One look at one changelog. What goes wrong drops the standby; the next look opens the store again.
    fn follow_one(&mut self, m: usize, key: Key) -> Result<(), ()> {
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        let member = &mut self.members[m];
        let now = members_wall(&self.log, self.now.load(Ordering::Relaxed) + member.skew);
        let (name, crash, cluster) = (format!("{}/{}-{}", member.name, key.0, key.1), self.crash.clone(), &self.cluster);
        let (standby, disk) = (member.standbys.remove(&key), member.disks.entry(key).or_default().clone());
        let stepped = crash.mortal(|| -> Result<Standby, AcquireError> {
            let open = || Standby::open(&log, cluster, key, disk.open(name.clone(), crash.clone()), now);
            let mut standby = standby.map_or_else(open, Ok)?;
            standby.step(&log, now)?;
            Ok(standby)
        });
        match stepped {
            Ok(Ok(standby)) => drop(self.members[m].standbys.insert(key, standby)),
            Ok(Err(error)) => {
                let lost = Lost::from(error);
                self.note(|| format!("{name} does not stand by: {lost}"));
                if needs_a_person(&lost) {
                    self.history.stopped.push(format!("{name}: {lost}"));
                }
            }
            Err(crashed) => {
                self.died(m, &crashed);
                return Err(());
            }
        }
        Ok(())
    }

    /// A commit has begun a snapshot; one that is under way already goes first.
    pub(super) fn begin_snapshot(&mut self, m: usize, key: Key, snapshot: Snapshot) {
        if let Entry::Vacant(place) = self.members[m].snapshots.entry(key) {
            place.insert(snapshot);
            self.plan_piece(m, key);
        }
    }

    fn plan_piece(&mut self, m: usize, key: Key) {
        let (span, life) = (self.chance.i64(SECOND / 100..PIECE_MOST), self.members[m].life);
        self.after(span, Happening::Piece(m, key, life));
    }

    /// The next record of a snapshot is appended, whoever owns the shard by now.
    pub(super) fn piece(&mut self, m: usize, key: Key, life: u64) {
        if !self.lives(m, life, Happening::Piece(m, key, life)) {
            return;
        }
        let Some(mut snapshot) = self.members[m].snapshots.remove(&key) else { return };
        let (log, crash) = (&self.log, &self.crash);
        let appended = crash.mortal(|| {
            crash.pass(Point::Snapshot);
            let record = snapshot.next_record().map_err(|e| e.to_string())?;
            record.map(|record| log.append(vec![record]).map_err(|e| e.to_string())).transpose()
        });
        match appended {
            Ok(Ok(Some(_))) => {
                self.members[m].snapshots.insert(key, snapshot);
                self.plan_piece(m, key);
            }
            Ok(Ok(None)) => {}
            Ok(Err(why)) => self.note(|| format!("a snapshot of {}/{} is torn: {why}", key.0, key.1)),
            Err(crashed) => self.died(m, &crashed),
        }
    }

    /// True if the member still lives the same life and is awake; what a paused one does it does `later`.
    fn lives(&mut self, m: usize, life: u64, later: Happening) -> bool {
        let member = &self.members[m];
        if !member.alive || member.life != life {
            return false;
        }
        let until = member.paused_until;
        if until > self.now() {
            self.at(until, later);
            return false;
        }
        true
    }
}
