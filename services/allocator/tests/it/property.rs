//! Random inputs. What must hold is checked by the rig after every decision.

use crate::rig::{Rig, agent, heartbeat, id, session, size, status, task};
use orrery_allocator::Input;
use orrery_allocator::rows::TaskState;
use orrery_model::journal::Observation;
use orrery_model::messages::{EndKind, Heartbeat, TaskSpec};
use orrery_model::resources::Resources;
use proptest::prelude::*;

const AGENTS: [&str; 3] = ["a1", "a2", "b1"];
const TOTALS: [i64; 3] = [4, 4, 8];

/// One thing that happens; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    Want { task: usize, cpus: i64, memory: i64, priority: i32, zone: Option<bool>, avoid: bool, roams: bool },
    Unwant { task: usize },
    Beat { agent: usize, session: i64, registering: bool, live: Vec<usize> },
    Status { agent: usize, session: i64, task: usize, seq: i64, ended: bool },
    Expire { agent: usize, session: i64 },
    Wait { ms: i64 },
}

fn event() -> impl Strategy<Value = Event> {
    let want = (0..12usize, 1..5i64, 0..5i64, 0..3i32, proptest::option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let want = want.prop_map(|(task, cpus, memory, priority, zone, avoid, roams)| Event::Want {
        task,
        cpus,
        memory,
        priority,
        zone,
        avoid,
        roams,
    });
    let beat = (0..3usize, 0..4i64, any::<bool>(), proptest::collection::vec(0..12usize, 0..4));
    let status = (0..3usize, 0..4i64, 0..12usize, 1..3i64, any::<bool>());
    prop_oneof![
        6 => want,
        1 => (0..12usize).prop_map(|task| Event::Unwant { task }),
        4 => beat.prop_map(|(agent, session, registering, live)| Event::Beat { agent, session, registering, live }),
        6 => status.prop_map(|(agent, session, task, seq, ended)| Event::Status { agent, session, task, seq, ended }),
        1 => (0..3usize, 0..4i64).prop_map(|(agent, session)| Event::Expire { agent, session }),
        2 => (0..4000i64).prop_map(|ms| Event::Wait { ms }),
    ]
}

fn name(task: usize) -> String {
    format!("t{task}.1")
}

fn total(agent: usize) -> Resources {
    size(TOTALS[agent], TOTALS[agent])
}

/// The session that is known, or one of its neighbours: most events should concern the open one.
fn counter(rig: &Rig, of: usize, choice: i64) -> i64 {
    let known = rig.allocator.agents().find(|(found, _)| **found == agent(AGENTS[of])).map_or(0, |(_, row)| row.session.counter);
    known + [0, 0, 1, -1][choice as usize]
}

fn happen(rig: &mut Rig, event: Event) {
    let input = match event {
        Event::Wait { ms } => {
            rig.wait_and_tick(ms);
            return nothing_waits_in_vain(rig);
        }
        Event::Want { task: n, cpus, memory, priority, zone, avoid, roams } => {
            let constraints = zone.map(|a| format!("zone == {}", if a { "a" } else { "b" })).into_iter().collect();
            let avoid = avoid.then(|| agent(AGENTS[n % 3]));
            Input::TaskWanted { spec: TaskSpec { priority, constraints, avoid, may_decline: roams, ..task(&name(n), size(cpus, memory)) } }
        }
        Event::Unwant { task } => Input::TaskUnwanted { attempt: id(&name(task)), hop: 0, reason: "cancelled".into() },
        Event::Beat { agent, session, registering, live } => {
            let live: Vec<String> = live.into_iter().map(name).collect();
            let live: Vec<&str> = live.iter().map(String::as_str).collect();
            let beat = heartbeat(AGENTS[agent], counter(rig, agent, session), total(agent), &live);
            Input::HeartbeatArrived { heartbeat: Heartbeat { registering, ..beat } }
        }
        Event::Status { agent, session, task, seq, ended } => {
            status(AGENTS[agent], counter(rig, agent, session), &name(task), seq, ended.then_some(EndKind::Succeeded))
        }
        Event::Expire { agent: n, session: choice } => {
            let session = session(counter(rig, n, choice));
            Input::ShellObserved { observation: Observation::LeaseExpired { agent: agent(AGENTS[n]), session, silent_ms: 1 } }
        }
    };
    rig.input(&input);
    nothing_waits_in_vain(rig);
}

/// What waits fits nowhere, and what has a place has it in an open session.
fn nothing_waits_in_vain(rig: &Rig) {
    let rows: Vec<_> = rig.allocator.tasks().map(|(_, row)| row.clone()).collect();
    let agents = orrery_allocator::place::candidates(rig.allocator.agents(), rows.iter());
    let orders: std::collections::BTreeSet<i64> = rows.iter().map(|row| row.order).collect();
    assert_eq!(orders.len(), rows.len(), "arrivals are counted");
    for row in &rows {
        match &row.place {
            None => {
                assert_eq!(row.state(), TaskState::Waiting);
                let for_long = rig.at.since_ms(row.wanted_at) >= 10_000;
                assert!(!(for_long && row.spec.may_decline), "{} should be handed back", row.spec.attempt);
                assert!(!orrery_allocator::place::reasons(&agents, &row.spec).is_empty(), "{} fits", row.spec.attempt);
            }
            Some(place) => {
                let open =
                    rig.allocator.agents().any(|(a, agent)| *a == place.agent && agent.lost.is_none() && agent.session == place.session);
                assert!(open && !place.adrift, "{} is nowhere", row.spec.attempt);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_books_balance(events in proptest::collection::vec(event(), 1..80)) {
        let mut rig = Rig::new();
        for event in events {
            happen(&mut rig, event);
        }
    }
}
