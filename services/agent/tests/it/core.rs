//! The core as tables: inputs on the left, the effects as lines of text.

use crate::cluster::spec;
use crate::rig::id;
use orrery_agent::core::{AgentCore, CommandRecord, CoreConfig, Dropped, Effect, Input, KNOWN_MAX, Node, Now};
use orrery_agent::journal::{Line, Recovered};
use orrery_agent::wire::{Ended, Event, Live, Process, Snapshot};
use orrery_model::id::AgentId;
use orrery_model::messages::{Attribute, Command, End, EndKind, Order, Session, StatusChange};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;

const CELL: i32 = 2;

struct World {
    core: AgentCore,
    boot_ms: i64,
}

impl World {
    fn new(recovered: Recovered) -> Self {
        let config = CoreConfig { boot_id: "boot".into(), lease_ms: 60_000, heartbeat_ms: 5_000, resend_ms: 2_000 };
        Self { core: AgentCore::new(config, node("eu"), recovered), boot_ms: 1_000 }
    }

    /// Registered in session 1, lease armed, at boot time 1 s.
    fn registered() -> Self {
        let mut world = Self::new(fresh());
        world.step(Input::Snapshot(snapshot(&[], &[])));
        world.step(Input::HeartbeatAppended { ok: true });
        world.step(orders(1, 1, vec![Order::Welcome { adopted: Vec::new() }]));
        world
    }

    fn step(&mut self, input: Input) -> Vec<String> {
        let now = Now { wall: Timestamp(0), boot_ms: self.boot_ms };
        let effects = self.core.step(now, input);
        assert!(self.core.next_deadline() > self.boot_ms, "time passes without end: {effects:?}");
        effects.iter().map(line).collect()
    }

    fn at(&mut self, boot_ms: i64, input: Input) -> Vec<String> {
        self.boot_ms = boot_ms;
        self.step(input)
    }

    fn dropped(&self, why: Dropped) -> u64 {
        self.core.dropped().get(&why).copied().unwrap_or(0)
    }
}

fn fresh() -> Recovered {
    Recovered::new(AgentId::parse("me").unwrap(), CELL)
}

fn node(zone: &str) -> Node {
    Node { total: Resources::default(), attributes: vec![Attribute { name: "zone".into(), value: zone.into() }] }
}

fn snapshot(live: &[&str], ended: &[&str]) -> Snapshot {
    let live = live.iter().map(|attempt| Live { attempt: id(attempt), process: Some(process()) }).collect();
    Snapshot { supervisor_pid: 5, live, ended: ended.iter().map(|attempt| over(attempt)).collect(), unable: None }
}

fn process() -> Process {
    Process { pid: 77, started_at: Timestamp(0) }
}

fn over(attempt: &str) -> Ended {
    let (kind, code) = (EndKind::Succeeded, Some(0));
    let end = End { kind, code, signal: None, reason: None, wall_ms: 1, cpu_ms: 1, peak_memory: 1, ended_at: Timestamp(0) };
    Ended { attempt: id(attempt), process: Some(process()), end, sandbox_kept: false }
}

fn session(counter: i64) -> Session {
    Session { counter, boot_id: "boot".into() }
}

/// One record of the allocator of our cell, of this epoch, for this session.
fn orders(epoch: i64, counter: i64, orders: Vec<Order>) -> Input {
    orders_of("beef", epoch, counter, orders)
}

/// The same of an allocator's lineage.
fn orders_of(lineage: &str, epoch: i64, counter: i64, orders: Vec<Order>) -> Input {
    let agent = AgentId::parse("me").unwrap();
    let command = |order| Command { agent: agent.clone(), session: session(counter), order };
    Input::Commands(vec![CommandRecord {
        cell: CELL,
        lineage: lineage.into(),
        epoch,
        commands: orders.into_iter().map(|order| (epoch, command(order))).collect(),
    }])
}

#[test]
fn an_agent_that_is_run_twice_ends_everything_and_gives_its_name_up() {
    let mut world = World::registered();
    world.step(orders(1, 1, vec![launch("a.1")]));
    let renounce = Order::Renounce { reason: "run twice".into() };
    assert_eq!(world.step(orders(1, 1, vec![renounce])), ["journal synced: renounced: run twice", "kill a.1: run twice"]);
    assert_eq!(world.core.renounced(), Some("run twice"));
    assert_eq!(world.at(100_000, Input::Tick), NOTHING);
}

fn launch(attempt: &str) -> Order {
    Order::Launch { spec: spec(attempt, &["true"]) }
}

fn ended(attempt: &str) -> Input {
    Input::Supervisor(vec![Event::Ended(over(attempt))])
}

fn started(attempt: &str) -> Input {
    Input::Supervisor(vec![Event::Started { attempt: id(attempt), process: process() }])
}

fn acknowledge(attempt: &str, seq: i64) -> Order {
    Order::Acknowledge { attempt: id(attempt), seq }
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Journal { lines, sync } => {
            let words = lines.iter().map(|line| match line {
                Line::Agent { id, .. } => format!("agent {id}"),
                Line::Session { counter, .. } => format!("session {counter}"),
                Line::Launched { attempt } => format!("launched {attempt}"),
                Line::Ended(ended) => format!("ended {} {}", ended.attempt, ended.end.kind),
                Line::Forgotten { attempt } => format!("forgotten {attempt}"),
                Line::Returned { attempt } => format!("returned {attempt}"),
                Line::Renounced { reason } => format!("renounced: {reason}"),
            });
            format!("journal{} {}", if *sync { " synced:" } else { ":" }, words.collect::<Vec<_>>().join(", "))
        }
        Effect::Start(tasks) => {
            format!("start {}", tasks.iter().map(|t| format!("{}#{}", t.attempt, t.fence)).collect::<Vec<_>>().join(" "))
        }
        Effect::Kill { attempt, reason } => format!("kill {attempt}: {reason}"),
        Effect::Lease { until_boot_ms } => format!("lease {until_boot_ms}"),
        Effect::Forget(attempts) => format!("forget {attempts:?}"),
        Effect::Heartbeat(h) => {
            let zone = h.attributes.iter().map(|attribute| attribute.value.as_str()).collect::<Vec<_>>().join("; ");
            format!("heartbeat {}{} {zone} {:?}", h.session.counter, if h.registering { " registering" } else { "" }, h.live)
        }
        Effect::Status(updates) => {
            let words = updates.iter().map(|status| match &status.change {
                StatusChange::TaskRunning { pid, .. } => format!("{}/{} running {pid}", status.attempt, status.seq),
                StatusChange::TaskEnded { end } => format!("{}/{} {}", status.attempt, status.seq, end.kind),
            });
            format!("status {}: {}", updates[0].session.counter, words.collect::<Vec<_>>().join(", "))
        }
        Effect::Finished(attempt) => format!("finished {attempt}"),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_session_is_durable_before_it_is_announced_and_repeated_until_it_is_welcomed() {
    let mut world = World::new(fresh());
    assert_eq!(world.step(Input::Tick), NOTHING, "nothing before the supervisor is there");
    assert_eq!(world.step(Input::Snapshot(snapshot(&[], &[]))), ["journal synced: session 1", "heartbeat 1 registering eu []"]);
    assert_eq!(world.at(1_010, Input::HeartbeatAppended { ok: true }), ["lease 61000"], "counted from before the send");
    assert_eq!(world.at(1_999, Input::Tick), NOTHING);
    assert_eq!(world.at(2_000, Input::Tick), ["heartbeat 1 registering eu []"]);
    assert_eq!(world.at(2_005, Input::HeartbeatAppended { ok: true }), ["lease 62000"]);
    assert_eq!(world.at(2_100, orders(1, 1, vec![Order::Welcome { adopted: Vec::new() }])), NOTHING);
    assert_eq!(world.at(7_099, Input::Tick), NOTHING);
    assert_eq!(world.at(7_100, Input::Tick), ["heartbeat 1 eu []"]);
    assert_eq!(world.at(7_101, Input::HeartbeatAppended { ok: false }), NOTHING, "a refused heartbeat renews nothing");
    assert_eq!(world.at(8_101, Input::Tick), ["heartbeat 1 eu []"]);
}

#[test]
fn a_changed_node_is_announced_at_once() {
    let mut world = World::registered();
    assert_eq!(world.step(Input::Node(node("eu"))), NOTHING);
    assert_eq!(world.step(Input::Node(node("us"))), ["heartbeat 1 us []"]);
}

#[test]
fn a_welcome_read_before_its_heartbeat_came_back_arms_the_lease_before_the_start() {
    let mut world = World::new(fresh());
    world.step(Input::Snapshot(snapshot(&[], &[])));
    let both = orders(1, 1, vec![Order::Welcome { adopted: Vec::new() }, launch("a.1")]);
    assert_eq!(world.at(1_002, both), ["lease 61000", "journal synced: launched a.1", "start a.1#1"]);
    assert_eq!(world.at(1_003, Input::HeartbeatAppended { ok: true }), NOTHING);
}

#[test]
fn a_launch_is_journalled_started_told_and_forgotten() {
    let mut world = World::registered();
    let batch = orders(3, 1, vec![launch("a.1"), launch("b.1")]);
    assert_eq!(world.step(batch), ["journal synced: launched a.1, launched b.1", "start a.1#3 b.1#3"]);
    assert_eq!(world.step(started("a.1")), ["status 1: a.1/1 running 77"]);
    assert_eq!(world.step(ended("a.1")), ["journal: ended a.1 succeeded"], "one status record is under way at a time");
    assert_eq!(world.step(Input::StatusAppended { ok: true }), ["status 1: a.1/2 succeeded"]);
    assert_eq!(world.step(Input::StatusAppended { ok: true }), NOTHING);
    assert_eq!(world.step(orders(3, 1, vec![acknowledge("a.1", 1)])), NOTHING);
    assert_eq!(world.step(orders(3, 1, vec![acknowledge("a.1", 2)])), ["journal: forgotten a.1", "forget [a.1]"]);
    // An allocator that has lost that end launches it again: it is not run, and not left without an answer.
    assert_eq!(world.step(orders(3, 1, vec![launch("a.1")])), ["status 1: a.1/2 lost"]);
    assert_eq!(world.dropped(Dropped::LaunchForgotten), 1);
    assert_eq!(world.step(orders(3, 1, vec![acknowledge("a.1", 2)])), NOTHING);
    assert_eq!(world.step(orders(3, 1, vec![launch("a.1")])), NOTHING, "one status record is under way at a time");
    assert_eq!(world.step(Input::StatusAppended { ok: true }), ["status 1: a.1/2 lost"]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let mut world = World::registered();
    world.step(orders(1, 1, vec![launch("a.1")]));
    world.step(Input::Supervisor(vec![Event::Started { attempt: id("a.1"), process: process() }, Event::Ended(over("a.1"))]));
    assert_eq!(world.step(Input::StatusAppended { ok: true }), NOTHING);
    assert_eq!(world.at(2_999, Input::Tick), NOTHING);
    assert_eq!(world.at(3_000, Input::Tick), ["status 1: a.1/1 running 77, a.1/2 succeeded"]);
    assert_eq!(world.at(3_001, Input::StatusAppended { ok: false }), NOTHING, "a refusal is not repeated at once");
    assert_eq!(world.at(4_001, orders(1, 1, vec![acknowledge("a.1", 1)])), ["status 1: a.1/2 succeeded"]);
    world.step(Input::StatusAppended { ok: true });
    assert_eq!(world.at(4_002, orders(1, 1, vec![launch("a.1")])), ["status 1: a.1/2 succeeded"], "a known launch is answered");
}

#[test]
fn void_commands_are_dropped_and_counted() {
    let mut world = World::registered();
    let foreign = |cell, agent: &str| {
        let agent = AgentId::parse(agent).unwrap();
        let commands = vec![Command { agent, session: session(1), order: launch("x.1") }];
        Input::Commands(vec![CommandRecord {
            cell,
            lineage: "beef".into(),
            epoch: 9,
            commands: commands.into_iter().map(|command| (7, command)).collect(),
        }])
    };
    world.step(orders(5, 1, Vec::new()));
    let table = [
        (orders(4, 1, vec![launch("x.1")]), Some(Dropped::OldEpoch)),
        (orders(5, 0, vec![launch("x.1")]), Some(Dropped::OtherSession)),
        (orders(5, 2, vec![launch("x.1")]), Some(Dropped::OtherSession)),
        (orders(5, 1, vec![Order::Welcome { adopted: Vec::new() }]), Some(Dropped::WelcomedAlready)),
        (orders(5, 1, vec![Order::Kill { attempt: id("x.1"), reason: String::new() }]), Some(Dropped::KillUnknown)),
        (foreign(CELL + 1, "me"), Some(Dropped::OtherCell)),
        (foreign(CELL, "you"), None),
        (orders(5, 1, vec![launch("x.1")]), Some(Dropped::OldEpoch)),
    ];
    for (input, why) in table {
        let before = why.map(|why| world.dropped(why));
        assert_eq!(world.step(input.clone()), NOTHING, "{input:?}");
        assert_eq!(why.map(|why| world.dropped(why)), before.map(|n| n + 1), "{input:?}");
    }
}

#[test]
fn an_allocator_whose_log_was_salvaged_is_obeyed_from_its_earlier_epoch_on() {
    let mut world = World::registered();
    world.step(orders_of("beef", 9, 1, Vec::new()));
    let launched = ["journal synced: launched a.1", "start a.1#4"];
    assert_eq!(world.step(orders_of("cafe", 4, 1, vec![launch("a.1")])), launched);
    assert_eq!(world.step(orders_of("cafe", 3, 1, vec![launch("b.1")])), NOTHING);
    assert_eq!(world.dropped(Dropped::OldEpoch), 1);
}

#[test]
fn a_launch_before_the_welcome_is_void() {
    let mut world = World::new(fresh());
    world.step(Input::Snapshot(snapshot(&[], &[])));
    assert_eq!(world.step(orders(1, 1, vec![launch("a.1")])), NOTHING);
    assert_eq!(world.dropped(Dropped::NotWelcomed), 1);
}

/// Found by the simulator (seed 56): an agent whose way to the log was cut read an old welcome when it came back, counted its lease
/// from a heartbeat that had never arrived, and started launches that the allocator had long given to others.
#[test]
fn a_welcome_that_is_read_late_renews_nothing() {
    let mut world = World::new(fresh());
    world.step(Input::Snapshot(snapshot(&[], &[])));
    world.at(1_900, Input::HeartbeatAppended { ok: false });
    for second in 1..70 {
        world.at(1_900 + second * 1_000, Input::Tick);
        world.at(1_900 + second * 1_000, Input::HeartbeatAppended { ok: false });
    }
    world.at(71_900, Input::Tick);
    let both = orders(1, 1, vec![Order::Welcome { adopted: Vec::new() }, launch("a.1")]);
    assert_eq!(world.at(71_901, both), NOTHING, "the session that it answers has ended, as its lease would have");
}

#[test]
fn a_lease_that_runs_out_ends_the_session() {
    let mut world = World::registered();
    world.step(orders(1, 1, vec![launch("a.1")]));
    let mut sent = 0;
    for second in 2..61 {
        sent += world.at(second * 1_000, Input::Tick).len();
        world.step(Input::HeartbeatAppended { ok: false });
    }
    assert!(sent > 10, "heartbeats go on");
    assert_eq!(world.at(61_000, Input::Tick), ["journal synced: session 2", "heartbeat 2 registering eu [a.1]"]);
    assert_eq!(world.step(orders(1, 1, vec![launch("b.1")])), NOTHING);
    assert_eq!(world.dropped(Dropped::OtherSession), 1);
}

#[test]
fn a_late_acknowledgement_of_an_older_session_s_heartbeat_renews_nothing() {
    let mut world = World::registered();
    assert_eq!(world.at(6_000, Input::Tick), ["heartbeat 1 eu []"]);
    assert_eq!(world.at(6_001, orders(1, 1, vec![Order::Register { reason: "silent".into() }])), ["journal synced: session 2"]);
    assert_eq!(world.at(6_002, Input::HeartbeatAppended { ok: true }), ["heartbeat 2 registering eu []"]);
    assert_eq!(world.at(6_003, Input::HeartbeatAppended { ok: true }), ["lease 66002"]);
}

#[test]
fn a_session_that_nobody_answers_is_over_when_its_lease_would_be() {
    let mut world = World::new(fresh());
    world.step(Input::Snapshot(snapshot(&[], &[])));
    assert_eq!(world.at(60_999, Input::Tick), NOTHING, "the first heartbeat is still under way");
    assert_eq!(world.at(61_000, Input::Tick), ["journal synced: session 2"]);
    world.at(100_000, Input::HeartbeatAppended { ok: true });
    let late = orders(1, 1, vec![Order::Welcome { adopted: Vec::new() }, launch("a.1")]);
    assert_eq!(world.at(100_001, late), NOTHING, "the allocator has declared it lost long ago");
}

#[test]
fn a_welcome_extends_the_lease_from_the_first_heartbeat_of_its_session() {
    let mut world = World::new(fresh());
    world.step(Input::Snapshot(snapshot(&[], &[])));
    world.at(2_000, Input::HeartbeatAppended { ok: false });
    assert_eq!(world.at(50_000, Input::Tick), ["heartbeat 1 registering eu []"]);
    assert_eq!(world.at(50_001, orders(1, 1, vec![Order::Welcome { adopted: Vec::new() }])), ["lease 61000"]);
    assert_eq!(world.at(50_002, Input::HeartbeatAppended { ok: true }), ["lease 110000"]);
}

#[test]
fn a_new_life_adopts_ends_and_gives_back() {
    let mut recovered = fresh();
    (recovered.counter, recovered.boot_id) = (7, "boot".into());
    recovered.attempts = ["alive.1", "done.1", "never.1", "old.1"].map(|attempt| (id(attempt), None)).into();
    recovered.attempts.insert(id("old.1"), Some(over("old.1")));
    recovered.forgotten = [id("past.1")].into();
    let mut world = World::new(recovered);
    let effects = world.step(Input::Snapshot(snapshot(&["alive.1", "stranger.1"], &["done.1", "past.1", "old.1"])));
    let expected = [
        "kill stranger.1: this agent does not know it",
        "journal: ended done.1 succeeded",
        "forget [past.1]",
        "journal: returned never.1",
        "journal synced: session 8",
        "heartbeat 8 registering eu [alive.1, done.1, old.1]",
    ];
    assert_eq!(effects, expected);
    let effects = world.step(orders(1, 8, vec![Order::Welcome { adopted: vec![id("done.1"), id("old.1")] }]));
    let status = "status 8: done.1/1 running 77, done.1/2 succeeded, alive.1/1 running 77, old.1/1 running 77, old.1/2 succeeded";
    assert_eq!(effects, ["lease 61000", "kill alive.1: the allocator did not adopt it", status]);
    assert_eq!(world.step(ended("stranger.1")), ["forget [stranger.1]"]);
}

#[test]
fn a_restart_of_the_machine_loses_what_ran() {
    let mut recovered = fresh();
    (recovered.counter, recovered.boot_id) = (7, "an earlier boot".into());
    recovered.attempts = [(id("a.1"), None)].into();
    let mut world = World::new(recovered);
    world.step(Input::Snapshot(snapshot(&[], &[])));
    let effects = world.step(orders(1, 8, vec![Order::Welcome { adopted: vec![id("a.1")] }]));
    assert_eq!(effects, ["lease 61000", "status 8: a.1/2 lost"], "2: a former life may have told 1");
}

#[test]
fn a_new_supervisor_gets_the_lease_and_tells_what_was_lost() {
    let mut world = World::registered();
    world.step(orders(1, 1, vec![launch("a.1"), launch("b.1")]));
    world.step(started("a.1"));
    world.step(started("b.1"));
    world.step(Input::StatusAppended { ok: true });
    world.step(Input::StatusAppended { ok: true });
    let effects = world.step(Input::Snapshot(snapshot(&[], &["a.1"])));
    let expected = [
        "journal: ended a.1 succeeded",
        "journal: ended b.1 lost",
        "lease 61000",
        "status 1: a.1/1 running 77, a.1/2 succeeded, b.1/1 running 77, b.1/2 lost",
    ];
    assert_eq!(effects, expected);
}

#[test]
fn what_certainly_never_started_is_given_back_and_may_be_launched_again() {
    let mut world = World::registered();
    world.step(orders(1, 1, vec![launch("a.1"), launch("b.1")]));
    world.step(started("a.1"));
    world.step(Input::StatusAppended { ok: true });
    let effects = world.step(Input::Snapshot(snapshot(&["a.1"], &[])));
    let expected = ["journal: returned b.1", "lease 61000", "journal synced: session 2", "heartbeat 2 registering eu [a.1]"];
    assert_eq!(effects, expected);
    world.step(Input::HeartbeatAppended { ok: true });
    let effects = world.step(orders(1, 2, vec![Order::Welcome { adopted: vec![id("a.1")] }, launch("b.1")]));
    assert_eq!(effects, ["journal synced: launched b.1", "start b.1#1", "status 2: a.1/1 running 77"]);
    // A supervisor that cannot start it says the same; of one that runs it is not believed.
    let returned = Input::Supervisor(vec![Event::Returned { attempts: vec![id("a.1"), id("b.1"), id("unknown.1")] }]);
    assert_eq!(world.step(returned), ["journal: returned b.1", "journal synced: session 3", "heartbeat 3 registering eu [a.1]"]);
}

#[test]
fn an_agent_that_can_start_nothing_says_so_at_once_and_offers_nothing() {
    let mut world = World::registered();
    let unable = |reason: Option<&str>| Input::Supervisor(vec![Event::Unable { reason: reason.map(str::to_owned) }]);
    assert_eq!(world.step(unable(Some("no processes"))), ["heartbeat 1 eu; no processes []"]);
    world.step(Input::HeartbeatAppended { ok: true });
    assert_eq!(world.step(Input::Supervisor(vec![Event::Pong { unable: Some("no processes".into()) }])), NOTHING);
    assert_eq!(world.step(Input::SupervisorSilent("it is stopped".into())), ["heartbeat 1 eu; it is stopped []"]);
    world.step(Input::HeartbeatAppended { ok: true });
    assert_eq!(world.step(Input::Supervisor(vec![Event::Pong { unable: None }])), ["heartbeat 1 eu []"]);
}

#[test]
fn lost_commands_are_made_up_for_by_a_new_session() {
    let mut world = World::registered();
    assert_eq!(world.step(Input::CommandsLost), ["journal synced: session 2", "heartbeat 2 registering eu []"]);
}

#[test]
fn a_full_agent_says_so() {
    let mut world = World::registered();
    let many = (0..KNOWN_MAX).map(|n| launch(&format!("run.{n}"))).collect();
    let effects = world.step(orders(1, 1, many));
    assert_eq!(effects.len(), 1 + KNOWN_MAX / 32, "one sync, and starts by the frame");
    assert_eq!(world.step(orders(1, 1, vec![launch("one.1")])), ["status 1: one.1/1 not_started"]);
    world.step(Input::StatusAppended { ok: true });
    assert_eq!(world.step(orders(1, 1, vec![acknowledge("one.1", 1)])), NOTHING);
}

#[test]
fn a_kill_reaches_the_living_and_an_ended_one_is_told_again() {
    let mut world = World::registered();
    world.step(orders(1, 1, vec![launch("a.1")]));
    let kill = || orders(1, 1, vec![Order::Kill { attempt: id("a.1"), reason: "cancelled".into() }]);
    assert_eq!(world.step(kill()), ["kill a.1: cancelled"]);
    world.step(ended("a.1"));
    world.step(Input::StatusAppended { ok: true });
    assert_eq!(world.step(kill()), ["status 1: a.1/1 running 77, a.1/2 succeeded"]);
}
