//! A standby on a thread of its own: follows a changelog until it is stopped, and leaves the folder to whoever comes next (§9.3).

use super::{ShardConfig, ShardHandle, Signs, spawn};
use crate::restore::AcquireError;
use crate::standby::Standby;
use crate::store::RocksStore;
use orrery_log::{LogError, clock};
use orrery_model::decider::Decider;
use std::time::Duration;

/// Between two looks at the changelog: an acquisition finds that much more to read, and a transaction is not a write of its own.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// From an error to the next opening of the store.
const OPEN_AGAIN: Duration = Duration::from_secs(10);

/// Keeps a shard's store warm. Stop it before [`super::start`] opens the same folder.
pub fn stand_by<D: Decider>(config: ShardConfig) -> Result<ShardHandle, LogError> {
    spawn(format!("{}-{}-standby", D::SERVICE, config.shard), &config.log.clone(), move |signs| {
        let mut store_failed = false;
        while !signs.is_to_stop() {
            if let Err(error) = follow::<D>(&config, signs, store_failed) {
                store_failed = matches!(error, AcquireError::Store(_));
                signs.set_ready(false);
                tracing::warn!(service = D::SERVICE, shard = config.shard, %error, "the standby's store is opened again");
                signs.bell.wait(OPEN_AGAIN);
            }
        }
    })
}

fn follow<D: Decider>(config: &ShardConfig, signs: &Signs, store_failed: bool) -> Result<(), AcquireError> {
    let store = Box::new(RocksStore::open_after(&config.folder, store_failed)?);
    let mut standby = Standby::open(&config.log, &config.cluster, (D::SERVICE, config.shard), store, clock::wall())?;
    while !signs.is_to_stop() {
        signs.looks_around();
        let behind = standby.step(&config.log, clock::wall())?;
        signs.set_ready(behind == 0);
        if behind == 0 {
            signs.bell.wait(LOOK_EVERY);
        }
    }
    Ok(())
}
