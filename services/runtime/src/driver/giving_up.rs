//! A shard that is given up again and again: each time it is acquired once more, so that between two looks all may seem well. It is
//! counted, shown until an ownership has lasted, and told as an alert.

use super::ShardConfig;
use crate::membership::{alert_record, append_aside};
use crate::owner::Lost;
use orrery_model::messages::Alert;
use std::time::{Duration, Instant};

/// Given up so often in a row, it is told; and again each time that it has become twice as often.
const TOLD_FROM: u32 = 3;
/// An ownership that has lasted so long was not given up in a row with the one before.
const LASTS: Duration = Duration::from_secs(60);

/// Ownerships in a row that did not last.
#[derive(Debug, Default)]
pub(super) struct GivingUp {
    times: u32,
    why: String,
    /// When the ownership that goes on now began.
    holds_since: Option<Instant>,
}

impl GivingUp {
    /// The shard is held.
    pub(super) fn holds(&mut self, now: Instant) {
        self.holds_since = Some(now);
    }

    /// The shard was given up; true if somebody is to be told.
    pub(super) fn again(&mut self, why: &str, now: Instant) -> bool {
        if self.lasts(now) {
            self.times = 0;
        }
        self.holds_since = None;
        self.times += 1;
        why.clone_into(&mut self.why);
        self.times.is_multiple_of(TOLD_FROM) && (self.times / TOLD_FROM).is_power_of_two()
    }

    /// How often it was given up in a row and why the last time, if that is too often.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        (self.times >= TOLD_FROM && !self.lasts(now)).then(|| format!("was given up {} times in a row: {}", self.times, self.why))
    }

    fn lasts(&self, now: Instant) -> bool {
        self.holds_since.is_some_and(|since| now.saturating_duration_since(since) >= LASTS)
    }
}

/// Tells of it as an alert.
pub(super) fn tell(config: &ShardConfig, service: &str, lost: Option<&Lost>, trouble: &str) {
    if lost.is_some_and(Lost::is_told) {
        return;
    }
    let detail = format!("member {}: {service}/{} {trouble}", config.member.member, config.shard);
    let alert = Alert { job: None, run: None, code: "shard_given_up".into(), detail, at: config.log.wall() };
    append_aside(config.log.clone(), alert_record(&config.cluster, &config.member.member, &alert));
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_log::clock;

    #[test]
    fn it_is_told_from_the_third_time_on_until_one_has_lasted() {
        let (mut shard, now) = (GivingUp::default(), clock::monotonic());
        let mut again = || {
            shard.holds(now);
            shard.again("no leader", now + LASTS / 2)
        };
        let told: Vec<u32> = (1..=24).filter(|_| again()).collect();
        assert_eq!(told, [3, 6, 12, 24]);
        shard.holds(now);
        assert_eq!(shard.trouble(now + LASTS / 2).as_deref(), Some("was given up 24 times in a row: no leader"), "it has not lasted yet");
        assert_eq!(shard.trouble(now + LASTS), None);
        assert!(!shard.again("no leader", now + LASTS), "the first of another row");
        assert_eq!(shard.trouble(now + LASTS), None);
    }
}
