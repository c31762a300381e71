//! Members die and come back.

use super::members::{Key, TURN_US};
use super::{Happening, World};
use crate::crash::Crashed;
use crate::plan::SECOND;
use orrery_log::Log;
use orrery_runtime::founding::{FoundingError, found};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

impl World {
    pub(super) fn died(&mut self, m: usize, crashed: &Crashed) {
        let name = self.members[m].name.clone();
        self.note(|| format!("{name} dies: {crashed:?}"));
        if let Crashed::OverRecord | Crashed::Decider = crashed {
            // Whatever it was, it was the record's doing.
            let span = self.chance.i64(SECOND / 2..20 * SECOND);
            self.end_member(m, span);
        } else {
            self.kill_member(m);
        }
    }

    pub(super) fn kill_member(&mut self, m: usize) {
        let span = self.chance.i64(SECOND / 2..20 * SECOND);
        self.kill_member_for(m, span);
    }

    pub(super) fn kill_member_for(&mut self, m: usize, span: i64) {
        let now = self.now();
        self.history.kills.push(now);
        self.end_member(m, span);
    }

    fn end_member(&mut self, m: usize, span: i64) {
        let member = &mut self.members[m];
        if !member.alive {
            return;
        }
        member.alive = false;
        member.running.store(false, Ordering::Relaxed);
        member.life += 1;
        member.paused_until = 0;
        member.shards.clear();
        member.standbys.clear();
        member.snapshots.clear();
        self.after(span, Happening::MemberStarts(m));
    }

    pub(super) fn member_starts(&mut self, m: usize) {
        if std::mem::replace(&mut self.members[m].alive, true) {
            return;
        }
        self.members[m].running = Arc::new(AtomicBool::new(true));
        self.announce_one(m);
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        match found(&log, &self.cluster) {
            Ok(()) | Err(FoundingError::Log(_)) => {}
            Err(refused) => self.history.stopped.push(refused.to_string()),
        }
        self.after(TURN_US, Happening::Follow(m, self.members[m].life));
        let mine: Vec<(Key, i64)> =
            self.assigned.iter().filter(|(_, assigned)| assigned.member == m).map(|(key, assigned)| (*key, assigned.generation)).collect();
        for (key, generation) in mine {
            self.after(TURN_US, Happening::Told(m, key, generation, true));
        }
    }

    /// A member is gone for long; the last one that lives stays.
    pub(super) fn stay_away(&mut self, m: usize, span: i64) {
        if (0..self.members.len()).any(|other| other != m && self.members[other].alive) {
            self.kill_member_for(m, span);
        }
    }
}
