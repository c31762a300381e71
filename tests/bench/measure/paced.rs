//! From an event to the process that it starts, at a steady 100 events in a second.

use super::event::{TOPIC, stamping_home};
use crate::Result;
use crate::clock::{MS, SECOND, as_ms, monotonic_ns};
use crate::home::Home;
use crate::metric::{Metric, latencies, metric};
use crate::stamp::{Stamp, Stamps};
use crate::suite::Context;

/// Between two events.
const PERIOD: i64 = 10 * MS;
/// For the starts that are still to come when all events are sent.
const LATEST: i64 = 10 * SECOND;

/// The events leave at fixed times, whether or not those before have started anything. How late the latest left is told too: a
/// request that is answered slowly delays the next one, which a latency counted from its own request would hide.
pub(crate) fn at_100_hz(context: &mut Context) -> Result<Vec<Metric>> {
    let bare = context.bare_ms()?;
    let count = context.sizes.paced_seconds * 100;
    let stamps = Stamps::new()?;
    let (home, _first) = stamping_home(&stamps)?;
    let mut pace = Pace { sent: Vec::new(), started: vec![None; count] };
    let latest = pace.send(&home, &stamps)?;
    let taken = pace.collect(&stamps).map_err(|why| format!("{why}; {}", home.others()))?;
    let mut found = latencies("event_to_start_100hz", &taken, bare)?;
    found.push(metric("event_sent_late_100hz_ms.max", as_ms(latest), "ms"));
    Ok(found)
}

/// Times of requests and of starts, by number.
struct Pace {
    sent: Vec<i64>,
    started: Vec<Option<i64>>,
}

impl Pace {
    /// Sends all; returns how late the latest was.
    fn send(&mut self, home: &Home, stamps: &Stamps) -> Result<i64> {
        let (began, mut latest) = (monotonic_ns() + PERIOD, 0);
        for n in 0..self.started.len() {
            let due = began + PERIOD * i64::try_from(n).map_err(|e| e.to_string())?;
            while let Some(stamp) = stamps.next(due)? {
                self.take(&stamp)?;
            }
            let label = n.to_string();
            let before = monotonic_ns();
            self.sent.push(before);
            latest = latest.max(before - due);
            home.event(TOPIC, &label)?;
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
