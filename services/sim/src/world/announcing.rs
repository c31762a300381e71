//! What the members of a world say of themselves.

use crate::machine::wall;
use orrery_allocator::Allocator;
use orrery_model::decider::Decider;
use orrery_model::messages::Member;
use orrery_runtime::membership::{logic_of, member};
use orrery_trigger::Trigger;
use std::sync::Arc;

/// A member that runs the binary of all members.
pub(super) fn announced(name: &str) -> Arc<Member> {
    member(name, vec![logic_of::<Trigger>(), logic_of::<Allocator>()], Trigger::tz_version(), wall(0))
}
