//! From an event to the process that it starts, at a steady rate.

use super::event::{TOPIC, stamping_home};
use crate::Result;
use crate::clock::{MS, SECOND, as_ms, monotonic_ns};
use crate::metric::{Metric, latencies, metric};
use crate::stamp::{Stamp, Stamps};
use crate::suite::Context;

/// For the starts that are still to come when all events are sent.
const LATEST: i64 = 10 * SECOND;

/// 100 events in a second at a standalone.
pub(crate) fn at_100_hz(context: &mut Context) -> Result<Vec<Metric>> {
    let bare = context.bare_ms()?;
    let stamps = Stamps::new()?;
    let (home, _first) = stamping_home(&stamps)?;
    let paced = run(&stamps, context.sizes.paced_seconds * 100, 10 * MS, |n| home.event(TOPIC, &n.to_string()));
    let Paced { taken, latest } = paced.map_err(|why| format!("{why}; {}", home.others()))?;
    let mut found = latencies("event_to_start_100hz", &taken, bare)?;
    found.push(metric("event_sent_late_100hz_ms.max", as_ms(latest), "ms"));
    Ok(found)
}

/// What came of it.
pub(crate) struct Paced {
    /// From each event to its start.
    pub(crate) taken: Vec<i64>,
    /// How late the latest event left: a request that is answered slowly delays the next one, which a latency counted from its own
    /// request would hide.
    pub(crate) latest: i64,
}

/// Sends so many events at fixed times, whether or not those before have started anything; the label of each is its number.
pub(crate) fn run(stamps: &Stamps, count: usize, period: i64, send: impl Fn(usize) -> Result<()>) -> Result<Paced> {
    let mut pace = Pace { sent: Vec::new(), started: vec![None; count] };
    let latest = pace.send(stamps, period, send)?;
    Ok(Paced { taken: pace.collect(stamps)?, latest })
}

/// Times of requests and of starts, by number.
struct Pace {
    sent: Vec<i64>,
    started: Vec<Option<i64>>,
}

impl Pace {
    /// Sends all; returns how late the latest was.
    fn send(&mut self, stamps: &Stamps, period: i64, send: impl Fn(usize) -> Result<()>) -> Result<i64> {
        let (began, mut latest) = (monotonic_ns() + period, 0);
        for n in 0..self.started.len() {
            let due = began + period * i64::try_from(n).map_err(|e| e.to_string())?;
            while let Some(stamp) = stamps.next(due)? {
                self.take(&stamp)?;
            }
            let before = monotonic_ns();
            self.sent.push(before);
            latest = latest.max(before - due);
            send(n)?;
        }
        Ok(latest)
    }

    /// Waits for the rest; returns all latencies.
    fn collect(&mut self, stamps: &Stamps) -> Result<Vec<i64>> {
        let until = monotonic_ns() + LATEST;
        while self.started.iter().any(Option::is_none) {
            let missing = self.started.iter().filter(|started| started.is_none()).count();
            let stamp = stamps.next(until)?.ok_or_else(|| format!("{missing} events have started nothing"))?;
            self.take(&stamp)?;
        }
        Ok(self.sent.iter().zip(&self.started).filter_map(|(sent, started)| Some((*started)? - sent)).collect())
    }

    fn take(&mut self, stamp: &Stamp) -> Result<()> {
        let slot = stamp.label.parse().ok().and_then(|n: usize| self.started.get_mut(n));
        match slot.map(|slot| slot.replace(stamp.at)) {
            Some(None) => Ok(()),
            Some(Some(_)) => Err(format!("event {} ran twice", stamp.label)),
            None => Err(format!("{stamp:?} is of none of the events")),
        }
    }
}
