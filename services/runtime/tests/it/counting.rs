//! A decider that adds up the numbers it reads, and tells every one of them to the cell.

use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::decider::{Decider, Decoded, InputTopic, Lease, Lookup, Message, Poison};
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::journal::{EntryBatch, Observation};
use orrery_model::messages::{OUTCOMES, Session, StartPosition, TaskMessage};
use orrery_model::record::Record;
use orrery_model::table::{Rows, Table};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// The input that makes the decider panic while [`PANICKING`].
pub(crate) const PANIC: i64 = 666;
/// Whether [`PANIC`] panics; one test owns it.
pub(crate) static PANICKING: AtomicBool = AtomicBool::new(false);
/// The input that always makes it panic.
pub(crate) const POISON: i64 = 667;
/// How often it did.
pub(crate) static PANICS: AtomicU32 = AtomicU32::new(0);
/// Numbers from here on are kept, each in a row of its own.
pub(crate) const KEPT: i64 = 1_000_000;
/// Table of the sums.
pub(crate) const SUMS: u8 = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub(crate) enum Input {
    /// Add this; 0 changes nothing, hundreds want a tick, and those from [`KEPT`] on are kept.
    Add {
        n: i64,
    },
    /// Where the shell stands in `jobs`.
    Asked {
        read: Vec<StartPosition>,
    },
    /// The agent's lease runs for so long from now on.
    Renewed {
        lease_ms: i64,
    },
    Tick {},
    ShellObserved {
        observation: Observation,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub(crate) enum Decision {
    Added { n: i64, total: i64 },
    Answered { generation: i64 },
    Expired {},
    Ticked {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
pub(crate) struct Sum {
    pub(crate) value: i64,
}

fn codec<T: AvroSchema + Serialize + DeserializeOwned>() -> Codec<T> {
    Codec::new(&serde_json::to_string(&T::get_schema()).expect("a schema is JSON"))
}
static JOURNAL: LazyLock<Codec<EntryBatch<Input, Decision>>> = LazyLock::new(codec);
pub(crate) static SUM_ROW: LazyLock<Codec<Sum>> = LazyLock::new(codec);

pub(crate) struct Counting {
    sums: Table<String, Sum>,
}

impl Default for Counting {
    fn default() -> Self {
        Self { sums: Table::new(SUMS, &SUM_ROW) }
    }
}

impl Counting {
    pub(crate) fn sum(&self, name: &str) -> i64 {
        self.sums.get(&name.to_owned()).map_or(0, |sum| sum.value)
    }

    fn set(&mut self, name: &str, value: i64) {
        self.sums.insert(name.to_owned(), Sum { value });
    }

    fn decide(&mut self, at: Timestamp, decision: Decision, out: &mut Vec<Decision>) {
        self.apply(at, &decision);
        out.push(decision);
    }
}

impl Decider for Counting {
    const SERVICE: &'static str = "trigger";
    const LOGIC_VERSIONS: RangeInclusive<i32> = 1..=2;
    type Input = Input;
    type Decision = Decision;

    fn journal() -> &'static Codec<EntryBatch<Input, Decision>> {
        &JOURNAL
    }
    fn inputs() -> &'static [&'static str] {
        &[topics::JOBS, topics::OUTCOMES, topics::HEARTBEATS]
    }
    fn inputs_of_others() -> &'static [&'static str] {
        &[topics::CATALOG]
    }
    /// A number as text on `jobs` and `catalog`; on `outcomes` the hop is the number; on `heartbeats` the number is a lease in milliseconds.
    fn decode(topic: InputTopic<'_>, record: &Record) -> Result<Vec<Decoded<Input>>, Poison> {
        let poison = |reason: String| Poison { stage: "decode", reason };
        let value = record.value.as_ref().ok_or_else(|| poison("no value".into()))?;
        if topic.name == topics::OUTCOMES {
            let packed = OUTCOMES.decode(value.as_bytes()).map_err(|e| poison(e.to_string()))?;
            let decoded = |item: orrery_model::messages::Item<orrery_model::messages::Outcome>| Decoded {
                place: Some((item.seq, item.index)),
                input: Input::Add { n: item.body.hop.into() },
            };
            return Ok(packed.items.into_iter().map(decoded).collect());
        }
        match value.text() {
            Some("ends") => Ok(vec![Decoded::plain(Input::Asked { read: Vec::new() })]),
            Some("nothing") => Ok(Vec::new()),
            text => {
                let n = text.and_then(|text| text.parse().ok()).ok_or_else(|| poison("not a number".into()))?;
                let renewed = topic.name == topics::HEARTBEATS;
                Ok(vec![Decoded::plain(if renewed { Input::Renewed { lease_ms: n } } else { Input::Add { n } })])
            }
        }
    }
    fn tick() -> Input {
        Input::Tick {}
    }
    fn observed(observation: Observation) -> Input {
        Input::ShellObserved { observation }
    }

    fn handle(&mut self, at: Timestamp, input: &Input, out: &mut Vec<Decision>) {
        match input {
            Input::Add { n: PANIC } if PANICKING.load(SeqCst) => {
                PANICS.fetch_add(1, SeqCst);
                panic!("planted");
            }
            Input::Add { n: POISON } => panic!("planted, for good"),
            Input::ShellObserved { observation: Observation::LeaseExpired { .. } } => self.decide(at, Decision::Expired {}, out),
            Input::Add { n: 0 } | Input::Renewed { .. } | Input::ShellObserved { .. } => {}
            Input::Add { n } => self.decide(at, Decision::Added { n: *n, total: self.sum("total") + n }, out),
            Input::Asked { read } => {
                let generation = read.iter().map(|at| at.generation).max().unwrap_or(-1);
                self.decide(at, Decision::Answered { generation }, out);
            }
            Input::Tick {} => self.decide(at, Decision::Ticked {}, out),
        }
    }
    fn apply(&mut self, at: Timestamp, decision: &Decision) {
        match decision {
            Decision::Added { n, total } => {
                self.set("total", *total);
                if *n >= KEPT {
                    self.set(&n.to_string(), *n);
                }
                if n % 100 == 0 {
                    self.set("due", at.0);
                }
            }
            Decision::Answered { .. } => {}
            Decision::Expired {} => self.set("expired", self.sum("expired") + 1),
            Decision::Ticked {} => {
                self.set("ticks", self.sum("ticks") + 1);
                self.sums.remove(&"due".to_owned());
            }
        }
    }
    fn messages(_: Timestamp, decision: &Decision, out: &mut Vec<Message>) {
        let Decision::Added { n, .. } = decision else { return };
        let attempt = AttemptId::parse(&format!("run.{n}")).expect("an id");
        out.push(Message::Task(Box::new(TaskMessage::TaskUnwanted { cell: 0, attempt, hop: 0, reason: n.to_string() })));
    }
    fn next_deadline(&self) -> Option<Timestamp> {
        self.sums.get(&"due".to_owned()).map(|due| Timestamp(due.value))
    }
    fn tables(&mut self) -> Vec<&mut dyn Rows> {
        vec![&mut self.sums]
    }
    fn loaded(&mut self) {}
    fn lookups(input: &Input) -> Vec<Lookup> {
        let jobs = || Lookup { topic: format!("{}{}", topics::DEFAULT_PREFIX, topics::JOBS), start: None };
        if matches!(input, Input::Asked { .. }) { vec![jobs()] } else { Vec::new() }
    }
    fn looked_up(input: &mut Input, _: Vec<StartPosition>, read: Vec<StartPosition>) {
        *input = Input::Asked { read };
    }
    fn renews(input: &Input) -> Option<Lease> {
        let Input::Renewed { lease_ms } = input else { return None };
        let session = Session { counter: 1, boot_id: "b".into() };
        Some(Lease { agent: AgentId::parse("a1").expect("an id"), session, lease_ms: *lease_ms })
    }
    fn observation(input: &Input) -> Option<&Observation> {
        if let Input::ShellObserved { observation } = input { Some(observation) } else { None }
    }
}
