//! A standby on a thread of its own: follows a changelog until it is stopped, and leaves the folder to whoever comes next (§9.3).

use super::{ShardConfig, ShardHandle, spawn};
use crate::restore::AcquireError;
use crate::standby::Standby;
use crate::store::RocksStore;
use orrery_log::{Bell, LogError, clock};
use orrery_model::decider::Decider;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks at the changelog: an acquisition finds that much more to read, and a transaction is not a write of its own.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// From an error to the next opening of the store.
const OPEN_AGAIN: Duration = Duration::from_secs(10);

/// Keeps a shard's store warm. Stop it before [`super::start`] opens the same folder.
pub fn stand_by<D: Decider>(config: ShardConfig) -> Result<ShardHandle, LogError> {
    spawn(format!("{}-{}-standby", D::SERVICE, config.shard), &config.log.clone(), move |stop, ready, bell| {
        while !stop.load(Ordering::Acquire) {
            if let Err(error) = follow::<D>(&config, stop, ready, bell) {
                ready.store(false, Ordering::Release);
                tracing::warn!(service = D::SERVICE, shard = config.shard, %error, "the standby's store is opened again");
                bell.wait(OPEN_AGAIN);
            }
        }
    })
}

fn follow<D: Decider>(config: &ShardConfig, stop: &AtomicBool, ready: &AtomicBool, bell: &Arc<Bell>) -> Result<(), AcquireError> {
    let store = Box::new(RocksStore::open_or_begin(&config.folder)?);
    let mut standby = Standby::open(&config.log, &config.cluster, (D::SERVICE, config.shard), store, clock::wall())?;
    while !stop.load(Ordering::Acquire) {
        let behind = standby.step(&config.log, clock::wall())?;
        ready.store(behind == 0, Ordering::Release);
        if behind == 0 {
            bell.wait(LOOK_EVERY);
        }
    }
    Ok(())
}
