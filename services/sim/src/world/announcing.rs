//! What the members of a world say of themselves, and the raising of the logic version that waits for it (protocol §9.5).

use super::faults::Healing;
use super::{Happening, World};
use crate::machine::wall;
use crate::plan::{MINUTE, SECOND};
use orrery_allocator::Allocator;
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_model::messages::{LogicVersions, Member};
use orrery_runtime::membership::{announcement, lacking, living, logic_of, member, raise};
use orrery_trigger::Trigger;
use std::sync::Arc;

/// The newest version of both deciders' logic.
pub(super) const NEWEST_LOGIC: i32 = *Trigger::LOGIC_VERSIONS.end();
/// What an old binary has.
pub(super) const OLD_LOGIC: i32 = *Trigger::LOGIC_VERSIONS.start();
/// Between two announcements of a member, and between two tries to raise the version.
const EVERY: i64 = MINUTE;
/// How long a binary stays set back: less than any world keeps tombstones, as a shard may have no owner meanwhile.
const SET_BACK: i64 = 3 * MINUTE;

/// A member whose binary has the versions up to this one.
pub(super) fn announced(name: &str, newest: i32) -> Arc<Member> {
    let at_most = |logic: LogicVersions| LogicVersions { newest: logic.newest.min(newest), ..logic };
    member(name, vec![at_most(logic_of::<Trigger>()), at_most(logic_of::<Allocator>())], Trigger::tz_version(), wall(0))
}

impl World {
    pub(super) fn begin_announcing(&mut self) {
        self.at(SECOND, Happening::Announce);
        if let Some(at) = self.plan.raise_logic_at {
            self.members[0].logic = OLD_LOGIC;
            self.at(at, Happening::RaiseLogic);
        }
    }

    /// Every member that lives says so, also if it owns nothing.
    pub(super) fn announce(&mut self) {
        for m in 0..self.members.len() {
            self.announce_one(m);
        }
        self.after(EVERY, Happening::Announce);
    }

    pub(super) fn announce_one(&mut self, m: usize) {
        let member = &self.members[m];
        if member.alive && member.paused_until <= self.now() {
            let record = announcement(&self.cluster, &announced(&member.name, member.logic));
            let _unheard = self.log.append(vec![record]);
        }
    }

    /// Somebody raises the version; while members do not have it, their binaries are exchanged first. Afterwards one of them is set
    /// back by mistake: it must not own.
    pub(super) fn raise_logic(&mut self) {
        let services = [Trigger::SERVICE, Allocator::SERVICE];
        let members = living(&self.log, &self.cluster, wall(self.now())).unwrap_or_default();
        let lack = services.iter().any(|service| !lacking(&members, service, NEWEST_LOGIC).is_empty());
        if lack || members.is_empty() {
            self.exchange_binaries();
            return self.after(EVERY, Happening::RaiseLogic);
        }
        let records = services.map(|service| raise(&self.cluster, service, NEWEST_LOGIC, None)).to_vec();
        if self.log.append(records).is_err() {
            return self.after(EVERY, Happening::RaiseLogic);
        }
        self.note(|| "the logic is raised".into());
        self.history.raised = true;
        if !self.healed {
            let m = self.members.len() - 1;
            self.members[m].logic = OLD_LOGIC;
            self.kill_member(m);
            self.after(SET_BACK, Happening::Heals(Healing::Binaries));
        }
    }

    /// Old binaries are replaced by new ones.
    pub(super) fn exchange_binaries(&mut self) {
        for m in 0..self.members.len() {
            if self.members[m].logic < NEWEST_LOGIC {
                self.members[m].logic = NEWEST_LOGIC;
                self.kill_member(m);
            }
        }
    }
}
