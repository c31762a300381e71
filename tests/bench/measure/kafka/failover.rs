//! How long nothing is decided when an owner is killed, and when one hands over in order.

use super::site::Site;
use crate::Result;
use crate::clock::{MS, as_ms};
use crate::measure::paced::{self, Paced};
use crate::metric::{Metric, metric, percentile};
use crate::stamp::Stamps;
use crate::suite::Context;

/// Between two events.
const PERIOD: i64 = 20 * MS;
/// Events of one measurement, by which an owner has come back.
const EVENTS: usize = 30 * 50;
/// After so many, what is measured happens; until then the standby has caught up.
const BEFORE: usize = 10 * 50;

/// kill -9 of the process that owns all trigger shards and that of all cells, each with a warm standby; the longest of all waits for
/// a start, less what starts take otherwise.
pub(crate) fn killed(_: &mut Context) -> Result<Vec<Metric>> {
    let mut found = Vec::new();
    for role in ["trigger", "allocator"] {
        let gap = gap(role, |site, name| drop(site.cluster.kill(name)))?;
        found.push(metric(&format!("failover_s.{role}"), as_ms(gap) / 1_000.0, "s"));
    }
    Ok(found)
}

/// The same, when it is asked to end (SIGTERM). Nobody waits for the end: the event at which that is asked has left by then.
pub(crate) fn in_order(_: &mut Context) -> Result<Vec<Metric>> {
    let mut found = Vec::new();
    for role in ["trigger", "allocator"] {
        let gap = gap(role, |site, name| site.cluster.tell_to_stop(name))?;
        found.push(metric(&format!("handover_ms.{role}"), as_ms(gap), "ms"));
    }
    Ok(found)
}

fn gap(role: &str, end: impl FnOnce(&mut Site, &str)) -> Result<i64> {
    let stamps = Stamps::new()?;
    let mut site = Site::start(1, 1)?;
    site.serve(1);
    // The owner is the one that came first.
    site.define_stamping(&stamps, 1)?;
    site.cluster.start("standby", role, &[]);
    let site = std::cell::RefCell::new(site);
    let end = std::cell::Cell::new(Some(end));
    let Paced { taken, .. } = paced::run(&stamps, EVENTS, PERIOD, |n| {
        if n == BEFORE
            && let Some(end) = end.take()
        {
            end(&mut site.borrow_mut(), role);
        }
        site.borrow().stamp(n, 1)
    })?;
    // Those before are not delayed by what happens.
    let longest = taken[BEFORE..].iter().copied().max().unwrap_or(0);
    Ok(longest - percentile(&taken[..BEFORE], 50)?)
}
