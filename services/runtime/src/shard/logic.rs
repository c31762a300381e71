//! The version of the logic that a shard decides by: cluster state, raised by a record on `admin` (§9.5).
//!
//! A binary may have several versions compiled in. Which one is in force stands in the head and in every entry, so that an upgrade
//! of one member changes nothing by itself, and replay goes by what was in force.

use super::{Shard, Step, StepError};
use crate::messages::dead_letter;
use crate::quarantine::quarantined_by;
use crate::rows::Position;
use orrery_model::decider::{Decider, Poison};
use orrery_model::journal::{DropReason, Observation, Source};
use orrery_model::messages::{ADMIN, AdminChange, AdminRecord, LogicVersions};
use orrery_model::planted::{Bug, planted};
use orrery_model::record::Record;
use std::sync::Arc;

impl<D: Decider> Shard<D> {
    /// Goes on by the version of the last head. A shard that is new begins with the oldest version there is; raises follow from
    /// `admin`, which it reads from its start.
    pub(super) fn begin_logic(&mut self) {
        if self.head.logic_version == 0 {
            self.head.logic_version = *D::LOGIC_VERSIONS.start();
        }
        if planted(Bug::LogicForgotten) {
            self.head.logic_version = *D::LOGIC_VERSIONS.end();
        }
        self.decider.decide_by(self.head.logic_version);
    }

    /// The version in force.
    pub const fn logic_version(&self) -> i32 {
        self.head.logic_version
    }

    /// Refuses to switch to what the member does not have.
    pub fn let_switch(&mut self, has: LogicVersions) {
        self.logic = has;
    }

    /// A record on `admin`: the shell's, not the decider's.
    pub(super) fn take_admin(
        &mut self,
        (topic, partition): (&Arc<str>, u32),
        position: Position,
        record: &Record,
        step: &mut Step<'_, D>,
    ) -> Result<(), StepError> {
        let range = (record.prev, record.offset + 1);
        let value = record.value.as_ref().map_or(&[][..], |value| value.as_bytes());
        match ADMIN.decode(value) {
            Err(error) => {
                step.dead.push(dead_letter(topic, partition, record, &Poison::new("decode", error.to_string())));
                self.drop_range(topic, partition, range, 1, DropReason::Poison);
            }
            Ok(AdminRecord { change: AdminChange::LogicRaised { service, to }, .. })
                if service == D::SERVICE && to > self.head.logic_version =>
            {
                if !self.logic.has(to) {
                    return Err(StepError::NoLogic { version: to, oldest: self.logic.oldest, newest: self.logic.newest });
                }
                let (topic, partition, generation) = (topic.to_string(), partition as i32, position.generation);
                let source = Source::FromRecord { topic, partition, generation, offset: record.offset, prev: record.prev, item: 0 };
                self.switch(source, to, step);
            }
            Ok(change) => {
                self.quarantined.extend(quarantined_by(change, (D::SERVICE, self.sender.shard)));
                self.drop_range(topic, partition, range, 1, DropReason::NoEffect);
            }
        }
        self.move_position(topic, partition, Position { offset: record.offset + 1, ..position });
        Ok(())
    }

    /// The entry that says so is the first that the new version decides on.
    fn switch(&mut self, source: Source, to: i32, step: &mut Step<'_, D>) {
        let hash_before = self.hash_now();
        let from = std::mem::replace(&mut self.head.logic_version, to);
        self.decider.decide_by(to);
        let hash_after = self.hash_now();
        tracing::info!(service = D::SERVICE, shard = self.sender.shard, from, to, "the logic version was raised");
        let switched = Observation::LogicSwitched { from, to, hash_before, hash_after };
        self.handle(source, D::observed(switched), true, step);
    }

    /// The state hash in the middle of a step; the rows that have changed so far are written with the step's transaction.
    pub(super) fn hash_now(&mut self) -> String {
        let begun = self.changed.len();
        self.decider.take_changes(&mut self.changed);
        self.changed[begun..].iter().for_each(|change| self.hash.follow(change));
        self.hash.to_hex()
    }
}
