//! Crash points: where a process can die within a call. They lie at the calls of the ports, so that production code needs none
//! of its own: whatever stands between two calls only changes memory, which is lost anyway.

use orrery_model::planted::watch_records;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A place where a process can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A shard is to be acquired; nothing has happened.
    BeforeFence,
    /// Older owners are fenced, nothing is restored.
    AfterFence,
    /// In a read: while restoring, or before a step.
    Read,
    /// Decided, not handed to the committer.
    Decided,
    /// The transaction is about to be sent.
    BeforeCommit,
    /// Committed; the store does not know.
    AfterCommit,
    /// The store is about to be written (also while restoring).
    BeforeStore,
    /// The store is written.
    AfterStore,
    /// Between two records of a snapshot.
    Snapshot,
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 9] = [
        Self::BeforeFence,
        Self::AfterFence,
        Self::Read,
        Self::Decided,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeStore,
        Self::AfterStore,
        Self::Snapshot,
    ];
}

/// What unwinds whoever dies here.
#[derive(Debug)]
pub enum Crashed {
    /// A process, at a crash point.
    At(Point),
    /// A process, over a record: its stack or its memory was not enough.
    OverRecord,
    /// A shard alone: its decider has panicked over a record.
    Decider,
}

/// Values of records of which a shard dies, and of which its whole process does.
pub const DEADLY: [&[u8]; 2] = [br#"{"deadly":"shard"}"#, br#"{"deadly":"process"}"#];

/// Nobody survives a deadly record in hand.
fn survive(value: &[u8]) {
    if value == DEADLY[0] {
        resume_unwind(Box::new(Crashed::Decider));
    }
    if value == DEADLY[1] {
        resume_unwind(Box::new(Crashed::OverRecord));
    }
}

/// Which point kills next, and which have killed.
#[derive(Debug, Default)]
pub struct CrashPoints {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The point, and how often it is passed before it kills.
    armed: Option<(Point, u32)>,
    killed: BTreeMap<Point, u64>,
    /// A process that may die is running.
    mortal: bool,
}

impl CrashPoints {
    /// Runs a piece of a process that may die in it. Any other panic is a defect, and goes on.
    pub fn mortal<T>(&self, piece: impl FnOnce() -> T) -> Result<T, Crashed> {
        watch_records(survive);
        self.lock().mortal = true;
        let result = catch_unwind(AssertUnwindSafe(piece));
        self.lock().mortal = false;
        result.map_err(|panic| match panic.downcast::<Crashed>() {
            Ok(crashed) => *crashed,
            Err(panic) => resume_unwind(panic),
        })
    }

    /// Whoever passes this point for the `after`-th time from now on dies there.
    pub fn arm(&self, point: Point, after: u32) {
        self.lock().armed = Some((point, after));
    }

    /// Nobody dies any more.
    pub fn disarm(&self) {
        self.lock().armed = None;
    }

    /// A point is passed; it may be the last thing that this process does.
    pub fn pass(&self, point: Point) {
        let dies = {
            let mut state = self.lock();
            let mortal = state.mortal;
            match &mut state.armed {
                _ if !mortal => false,
                Some((armed, 0)) if *armed == point => {
                    state.armed = None;
                    *state.killed.entry(point).or_default() += 1;
                    true
                }
                Some((armed, left)) if *armed == point => {
                    *left -= 1;
                    false
                }
                _ => false,
            }
        };
        if dies {
            // Not `panic!`: nothing is wrong, so nothing is to be printed.
            resume_unwind(Box::new(Crashed::At(point)));
        }
    }

    /// True while a piece of a process runs that may die.
    pub fn is_mortal(&self) -> bool {
        self.lock().mortal
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often each point has killed.
    pub fn killed(&self) -> BTreeMap<Point, u64> {
        self.lock().killed.clone()
    }
}
