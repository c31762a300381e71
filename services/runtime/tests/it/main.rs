//! The shard loop on the real embedded log, with a small decider that adds numbers.

mod clocks;
mod counting;
mod crashes;
mod driving;
mod faults;
mod fencing;
mod fixture;
mod founding;
mod inputs;
mod joins;
mod membership;
mod restoring;
mod routing;
mod salvage;
mod snapshots;
mod standby;
