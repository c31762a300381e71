//! Leases, kept by the shell on its own monotonic clock from the moment it read the renewal (§7.2).
//!
//! A lease that ran out is only reported after `heartbeats` has been read to an end that was asked for after the deadline:
//! an owner that was paused must not declare a healthy cluster dead.

use orrery_model::decider::Lease;
use orrery_model::id::AgentId;
use orrery_model::journal::Observation;
use orrery_model::messages::Session;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Held {
    session: Session,
    lease_ms: i64,
    renewed_us: i64,
}

/// All leases of a shard.
#[derive(Debug, Default)]
pub struct Leases {
    held: BTreeMap<AgentId, Held>,
}

impl Leases {
    /// Starts or renews a lease as of `now_us`; a renewal of an older session is ignored.
    pub fn renew(&mut self, lease: Lease, now_us: i64) {
        let older = self.held.get(&lease.agent).is_some_and(|held| lease.session < held.session);
        if !older {
            self.held.insert(lease.agent, Held { session: lease.session, lease_ms: lease.lease_ms, renewed_us: now_us });
        }
    }

    /// When the next lease runs out.
    pub fn next_deadline_us(&self) -> Option<i64> {
        self.held.values().map(|held| held.renewed_us + held.lease_ms * 1000).min()
    }

    /// Takes out the leases that have run out; call it only after the renewals' topic was read to an end asked for now.
    pub fn take_expired(&mut self, now_us: i64) -> Vec<Observation> {
        let expired = |held: &Held| held.renewed_us + held.lease_ms * 1000 <= now_us;
        let agents: Vec<AgentId> = self.held.iter().filter(|(_, held)| expired(held)).map(|(agent, _)| agent.clone()).collect();
        let observe = |agent: AgentId| {
            let held = self.held.remove(&agent)?;
            Some(Observation::LeaseExpired { agent, session: held.session, silent_ms: (now_us - held.renewed_us) / 1000 })
        };
        agents.into_iter().filter_map(observe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_out_once_and_only_when_silent() {
        let session = |counter| Session { counter, boot_id: "b".into() };
        let agent = AgentId::parse("a1").expect("an id");
        let lease = |counter| Lease { agent: agent.clone(), session: session(counter), lease_ms: 10 };
        let mut leases = Leases::default();
        leases.renew(lease(2), 0);
        leases.renew(lease(1), 9_000);
        assert_eq!(leases.next_deadline_us(), Some(10_000), "an older session renews nothing");
        assert_eq!(leases.take_expired(9_999), vec![]);
        let expired = Observation::LeaseExpired { agent: agent.clone(), session: session(2), silent_ms: 10 };
        assert_eq!(leases.take_expired(10_000), vec![expired]);
        assert_eq!(leases.take_expired(90_000), vec![]);
    }
}
