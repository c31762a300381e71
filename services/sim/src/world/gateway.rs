//! The gateway: its views follow the log, late at times, and begin anew when it dies.

use super::{Happening, World};
use crate::plan::SECOND;
use orrery_gateway::views::{Follower, Views};
use std::sync::Arc;

/// Longest time between two looks.
const LOOKS_WITHIN: i64 = 20 * SECOND;

/// One gateway.
#[derive(Default)]
pub(crate) struct Gateway {
    /// Counts its starts.
    life: u64,
    /// None while it could not begin yet.
    views: Option<(Arc<Views>, Follower)>,
}

impl World {
    pub(super) fn gateway_looks(&mut self, life: u64) {
        if self.gateway.life == life {
            self.gateway_follows();
            let span = self.chance.i64(SECOND / 2..LOOKS_WITHIN);
            self.after(span, Happening::GatewayLooks(life));
        }
    }

    /// One turn; what cannot be read now is read later.
    fn gateway_follows(&mut self) {
        if self.gateway.views.is_none() {
            self.gateway.views = Views::begin(Arc::new(self.log.clone()), self.cluster.clone()).ok();
        }
        if let Some((views, follower)) = &mut self.gateway.views {
            let _later = follower.turn(views);
        }
    }

    /// Its memory is gone, and the next one reads everything from the start.
    pub(super) fn kill_gateway(&mut self) {
        self.gateway = Gateway { life: self.gateway.life + 1, views: None };
        let life = self.gateway.life;
        self.after(SECOND, Happening::GatewayLooks(life));
    }

    /// What it shows when it has read everything.
    pub(super) fn shown(&mut self) -> Option<Arc<Views>> {
        self.gateway_follows();
        self.gateway.views.as_ref().map(|(views, _)| views.clone())
    }
}
