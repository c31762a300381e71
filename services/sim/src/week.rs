//! A demonstration cluster's week, from Monday 2026-10-26 on, for those who want to ask a past: eight jobs, three agents, what three
//! people did, and what went wrong. Everything that decides is the production's own; nothing but what is written here goes wrong,
//! and each time the same bytes come of it. `docs/audit.md` asks its ten questions about it.

use crate::export::export;
use crate::machine::wall;
use crate::plan::{Fault, MINUTE, Plan, SECOND};
use crate::script::{Act, Program, Script};
use crate::world::World;
use crate::world::load::PARTITIONS;
use orrery_agent::core::Node as Offer;
use orrery_model::time::Timestamp;
use orrery_model::topics::Compaction;
use orrery_runtime::snapshots::SnapshotSetting;
use serde_json::{Map, Value, json};
use std::path::Path;

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const TUESDAY: i64 = 1;
const WEDNESDAY: i64 = 2;
const THURSDAY: i64 = 3;
const FRIDAY: i64 = 4;
const DAYS: i64 = 7;
/// The simulator's zero is the Sunday before.
const BEGINS: i64 = DAY;
const ENDS: i64 = BEGINS + DAYS * DAY;
const SEED: u64 = 20_261_026;

/// The agent whose machine is cut off on Friday, with the weekly report on it.
const CUT_OFF: usize = 0;
/// What orders amount to, in turns: at ten o'clock on Tuesday and on Friday it is the same.
const AMOUNTS: [i64; 6] = [120, 40, 300, 90, 180, 260];
/// Orders of one day, one each half hour from eight o'clock on.
const ORDERS: i64 = 24;
/// One order in so many is a refund.
const REFUND: i64 = 7;
/// An order fires the receipt above this amount; bob raises it on Thursday.
const LIMITS: [i64; 2] = [100, 250];

/// What came of it.
#[derive(Debug)]
pub struct Week {
    /// First moment.
    pub from: Timestamp,
    /// The moment behind the last.
    pub until: Timestamp,
    /// Records that were written.
    pub records: u64,
    /// Processes that were started.
    pub starts: usize,
}

/// Lets the week happen and writes it to a folder: `log`, as a server has it; the definitions in force at the end and the agents, as
/// `orrery simulate` takes them; and the same agents with one more.
pub fn make(folder: &Path) -> Result<Week, String> {
    if folder.join("log").exists() {
        return Err(format!("{} holds a log already; name a folder that is not there", folder.display()));
    }
    std::fs::create_dir_all(folder).map_err(|why| format!("{} cannot be made: {why}", folder.display()))?;
    let mut world = World::new(plan());
    world.run();
    if let Some(why) = world.history().stopped.first() {
        return Err(format!("a shard stopped: {why}"));
    }
    export(&world.log, folder).map_err(|why| why.to_string())?;
    let mut agents: Vec<Value> = world.agents().iter().map(|(name, offer)| agent(name, offer)).collect();
    write(folder, "jobs.json", &jobs(LIMITS[1]))?;
    write(folder, "agents.json", &agents)?;
    agents.push(json!({"agent": "agent-3-0", "cpus": "4", "memory": "8GiB", "disk": "10GiB", "attributes": {"zone": "z1"}}));
    write(folder, "one-more.json", &agents)?;
    Ok(Week { from: wall(BEGINS), until: wall(ENDS), records: world.records(), starts: world.history().starts.len() })
}

/// The week before it happens.
pub fn plan() -> Plan {
    Plan {
        seed: SEED,
        trigger_shards: 1,
        cells: 1,
        members: 1,
        agents: 3,
        one_machine: false,
        begins: BEGINS,
        faults_until: ENDS,
        ends: ENDS,
        dead_after: 6 * SECOND,
        event_every: HOUR,
        raise_logic_at: None,
        compaction: Compaction::default(),
        clean_every: 30 * MINUTE,
        snapshots: SnapshotSetting::default(),
        faults: vec![(on(FRIDAY, 13, 40), Fault::Cut(CUT_OFF, 3 * HOUR))],
        script: Some(Script { acts: acts(), programs: programs() }),
    }
}

const fn on(day: i64, hour: i64, minute: i64) -> i64 {
    BEGINS + day * DAY + hour * HOUR + minute * MINUTE
}

/// What people and the shop send, in order of time.
fn acts() -> Vec<(i64, Act)> {
    let define = |job: Value| (on(0, 0, 1), Act::Define { by: "alice", job });
    let mut acts: Vec<(i64, Act)> = jobs(LIMITS[0]).into_iter().map(define).collect();
    acts.push((on(TUESDAY, 15, 20), Act::Run { by: "dana", job: "billing/invoices" }));
    acts.push((on(THURSDAY, 9, 30), Act::Define { by: "bob", job: receipt(LIMITS[1]) }));
    acts.extend((0..DAYS * ORDERS).map(order));
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// The orders go round the topic's partitions: the n-th stands in partition n % 3 at offset n / 3.
fn order(n: i64) -> (i64, Act) {
    let of = |count: usize| usize::try_from(n).unwrap_or(0) % count;
    let kind = if n % REFUND == REFUND - 1 { "refund" } else { "sale" };
    let partition = u32::try_from(of(PARTITIONS as usize)).unwrap_or(0);
    let data = json!({"order": 1_000 + n, "amount": AMOUNTS[of(AMOUNTS.len())], "kind": kind});
    (on(n / ORDERS, 8, n % ORDERS * 30), Act::Event { partition, data })
}

/// Sends a receipt for each sale above the limit.
fn receipt(limit: i64) -> Value {
    let when = format!("data.amount > {limit} && data.kind == 'sale'");
    let triggers = json!([{"event": "orders", "when": when}]);
    json!({"name": "shop/receipt", "command": ["receipt"], "triggers": triggers, "concurrency": "allow"})
}

/// All jobs: between one and two o'clock there are more sweeps than agents that are large enough, and invoices go first.
fn jobs(limit: i64) -> Vec<Value> {
    let needs = |cpus: &str, memory: &str| json!({"cpus": cpus, "memory": memory});
    let cron = |expression: &str| json!([{"cron": expression}]);
    vec![
        json!({"name": "ops/rotate", "command": ["rotate"], "triggers": cron("30 * * * *")}),
        json!({
            "name": "archive/sweep", "command": ["sweep"], "triggers": cron("0,5,10 1 * * *"), "concurrency": "allow", "priority": 10,
            "resources": needs("3", "512MiB"),
        }),
        json!({
            "name": "billing/invoices", "command": ["invoices"], "triggers": cron("15 1 * * *"), "priority": 90,
            "resources": needs("3", "512MiB"),
        }),
        json!({
            "name": "warehouse/extract", "command": ["extract"], "triggers": cron("0 2 * * *"), "resources": needs("1", "512MiB"),
            "retries": {"max": 2, "backoff": "5m"}, "timeout": "1h",
        }),
        json!({"name": "warehouse/load", "command": ["load"], "triggers": [{"after": ["warehouse/extract"]}]}),
        json!({
            "name": "reports/weekly", "command": ["weekly"], "triggers": cron("0 13 * * 5"), "resources": needs("1500m", "1GiB"),
        }),
        json!({"name": "analytics/retrain", "command": ["retrain"], "triggers": cron("0 9 * * 6"), "resources": needs("16", "1GiB")}),
        receipt(limit),
    ]
}

fn programs() -> Vec<Program> {
    let program = |name, runs_us| Program { name, runs_us, fails: None };
    vec![
        program("rotate", 30 * SECOND),
        program("sweep", 40 * MINUTE),
        program("invoices", 10 * MINUTE),
        Program { fails: Some((on(WEDNESDAY, 0, 0), on(THURSDAY, 0, 0))), ..program("extract", 20 * MINUTE) },
        program("load", 10 * MINUTE),
        program("weekly", 90 * MINUTE),
        program("receipt", 5 * SECOND),
    ]
}

fn agent(name: &str, Offer { total, attributes }: &Offer) -> Value {
    let attributes: Map<String, Value> = attributes.iter().map(|one| (one.name.clone(), one.value.clone().into())).collect();
    json!({"agent": name, "cpus": total.cpus, "memory": total.memory, "disk": total.disk, "attributes": attributes})
}

/// A list, for people one item a line.
fn write(folder: &Path, name: &str, items: &[Value]) -> Result<(), String> {
    let lines: Vec<String> = items.iter().map(Value::to_string).collect();
    let path = folder.join(name);
    std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).map_err(|why| format!("{} cannot be written: {why}", path.display()))
}
