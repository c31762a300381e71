//! Defects that can be planted, to prove that the simulator finds them: one for each rule whose break must not go unseen.
//!
//! Without the feature `planted`, which only the simulator asks for, [`planted`] is always false and costs nothing. With it, a
//! defect is planted in one thread at a time, by [`plant`].

/// A rule that is broken on purpose; the paragraph is the log protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// §1.1: an ownership goes on with the epoch of the one before.
    SameEpoch,
    /// §1.2: after a re-fence nobody asks whether another owner has written meanwhile.
    NoHeadCheck,
    /// §1.3: a writer goes on after a commit of which nobody knows.
    ReuseWriter,
    /// §1.4: a journal that is ahead of its head is not followed.
    NoRollForward,
    /// §1.4: messages of the last transaction are not sent again.
    NoResend,
    /// §1.4: rows behind the last head are applied.
    HeadlessRows,
    /// §1.5: who was fenced never acquires again, though the shard stays assigned to it.
    FencedForGood,
    /// §1.6: a record that does not join the position is taken.
    NoPrevCheck,
    /// §2.1: a message that was taken is taken again.
    RepeatTaken,
    /// §2.1: one mark for all that a service sends, whichever shard it comes from and on whatever topic.
    OneMark,
    /// §3.1: positions are not in the transaction that passes them.
    PositionUnsaved,
    /// §3.2: what was read and dropped is not in the journal.
    DroppedUntold,
    /// §3.3: a repeated status is not answered.
    NoReack,
    /// §4.1: of two definitions of a job the one that comes later counts, not the one that was appended later.
    OlderJob,
    /// §4.2: a record about another shard's job is taken where it lies.
    NotForwarded,
    /// §5.1: every shard reads every partition of a user topic.
    ReadByTwo,
    /// §5.2: a reader that learns of a trigger does not read again what it has passed already.
    MatchBeforeCatalog,
    /// §5.4: a topic that was made again is read on as if it were the old one.
    OldGeneration,
    /// §6.1: a task that is handed back goes on to the next cell, though its run was cancelled meanwhile.
    CancelHandBack,
    /// §7.1: a member owns whatever its wall clock says.
    ClockUnjudged,
    /// §7.1: the decider is ticked before what waited for the new owner has been read.
    TickBeforeBacklog,
    /// §7.1: `at` is whatever the wall clock says.
    AtByWall,
    /// §7.2: leases are measured by the wall clock that `at` follows, not by the monotonic clock.
    LeaseByAt,
    /// §7.2: a lease runs out before `heartbeats` has been read to an end asked for afterwards.
    LeaseUnread,
    /// §7.3: the agent counts its lease from the answer to a heartbeat, not from before its first send.
    LeaseFromAnswer,
    /// §8.1: commands for a session that is over are followed.
    DeadSession,
    /// §8.3: a launch is not in the journal before its start.
    LaunchUnsynced,
    /// §8.3: a launch of a known attempt is run again.
    RunAgain,
    /// §9.1: a store that is too old to have seen all tombstones is used; that is both checks that stop it, the head's age and the
    /// state hash.
    StoreTooOld,
    /// §9.2: a shard is acquired while a transaction is open in its topics, which hides what was committed behind it.
    OpenUnseen,
    /// §9.5: an owner decides by the newest version that it has, not by the one in force.
    LogicForgotten,
    /// §9.6: a snapshot without its end is taken for whole.
    TornSnapshot,
    /// §10.1: an event is fired for as often as it comes, whatever its idempotency key.
    KeyForgotten,
    /// §10.2: a record is readable before it is durable.
    VisibleBeforeSync,
    /// §11.1: the chain does not go on over entries.
    Unchained,
    /// §11.3: all messages of an entry have the same index.
    OneIndex,
    /// §11.4: what is written follows another schema than the one that it names.
    OtherSchema,
    /// An agent is given more than it has.
    Overcommit,
    /// Of tasks that fit on the same agents the last comes first.
    LastFirst,
    /// The gateway goes on showing a job that was deleted.
    ShowsDeleted,
    /// What was set aside before an ownership began is decided on in it.
    QuarantineForgotten,
    /// The record behind one that is set aside goes with it.
    QuarantineNeighbour,
    /// A shard does not write down which record it takes.
    HandUnwritten,
    /// A shard that lost rows goes on in the lineage that it had.
    OldLineage,
    /// A wall clock that is years ahead is believed.
    HoldIgnored,
}

impl Bug {
    /// Every defect.
    pub const ALL: [Self; 45] = [
        Self::SameEpoch,
        Self::NoHeadCheck,
        Self::ReuseWriter,
        Self::NoRollForward,
        Self::NoResend,
        Self::HeadlessRows,
        Self::FencedForGood,
        Self::NoPrevCheck,
        Self::RepeatTaken,
        Self::OneMark,
        Self::PositionUnsaved,
        Self::DroppedUntold,
        Self::NoReack,
        Self::OlderJob,
        Self::NotForwarded,
        Self::ReadByTwo,
        Self::MatchBeforeCatalog,
        Self::OldGeneration,
        Self::CancelHandBack,
        Self::ClockUnjudged,
        Self::TickBeforeBacklog,
        Self::AtByWall,
        Self::LeaseByAt,
        Self::LeaseUnread,
        Self::LeaseFromAnswer,
        Self::DeadSession,
        Self::LaunchUnsynced,
        Self::RunAgain,
        Self::StoreTooOld,
        Self::OpenUnseen,
        Self::LogicForgotten,
        Self::TornSnapshot,
        Self::KeyForgotten,
        Self::VisibleBeforeSync,
        Self::Unchained,
        Self::OneIndex,
        Self::OtherSchema,
        Self::Overcommit,
        Self::LastFirst,
        Self::ShowsDeleted,
        Self::QuarantineForgotten,
        Self::QuarantineNeighbour,
        Self::HandUnwritten,
        Self::OldLineage,
        Self::HoldIgnored,
    ];
}

/// With the feature each decider has one version of its logic more, which decides as the one before: so that raising the version is
/// exercised for real.
pub const SPARE_LOGIC_VERSIONS: i32 = cfg!(feature = "planted") as i32;

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    /// Is told the value of a record.
    type Watch = fn(&[u8]);

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static WATCHED: Cell<Option<Watch>> = const { Cell::new(None) };
    }

    /// From now on this is told in this thread of each record that a shard begins to decide on; it may panic, as a decider may.
    pub fn watch_records(watch: Watch) {
        WATCHED.set(Some(watch));
    }

    /// A shard begins to decide on a record of this value.
    pub fn takes_record(value: &[u8]) {
        if let Some(watch) = WATCHED.get() {
            watch(value);
        }
    }

    /// Plants a defect in this thread, or takes it out.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// True if this defect is planted in this thread.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    /// Always false: this build has no defects to plant.
    #[must_use]
    pub const fn planted(_: super::Bug) -> bool {
        false
    }

    /// Does nothing: nobody watches.
    pub const fn takes_record(_: &[u8]) {}
}

pub use switch::*;
