//! Statuses, cancels and tombstones, and how records are read.

use crate::rig::{Rig, heartbeat, id, lines, size, status, task};
use expect_test::expect;
use orrery_allocator::{Allocator, Input};
use orrery_model::decider::{Decider, InputTopic};
use orrery_model::messages::{EndKind, HEARTBEAT, Heartbeat, Item, Packed, STATUS, StatusBatch, TASKS, TaskMessage};
use orrery_model::payload::Payload;
use orrery_model::record::Record;
use orrery_model::resources::{MilliCpus, Resources};
use orrery_model::time::Timestamp;

#[test]
fn statuses_are_taken_once_and_acknowledged_again() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(2, 2), &[]);
    rig.want(task("t1.1", size(1, 1)));
    let told = [
        rig.runs("a1", 1, "t1.1"),
        rig.runs("a1", 1, "t1.1"),
        rig.ends("a1", 1, "t1.1"),
        rig.ends("a1", 1, "t1.1"),
        rig.runs("a1", 1, "other.1"),
        rig.runs("a1", 0, "other.1"),
        rig.runs("b1", 1, "other.1"),
    ];
    expect![[r#"
        taken t1.1 1 → acknowledge 1 #1, is running
        again t1.1 1 → acknowledge 1 #1
        taken t1.1 2 → acknowledge 2 #1, is succeeded
        again t1.1 2 → acknowledge 2 #1
        again other.1 1 → acknowledge 1 #1, kill #1

"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn an_end_without_a_start_is_taken() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(2, 2), &[]);
    rig.want(task("t1.1", size(1, 1)));
    rig.want(task("t2.1", size(1, 1)));
    expect!["taken t1.1 1 → acknowledge 1 #1, is not_started"].assert_eq(&lines(&rig.input(&status(
        "a1",
        1,
        "t1.1",
        1,
        Some(EndKind::NotStarted),
    ))));
    expect!["taken t2.1 2 → acknowledge 2 #1, is lost"].assert_eq(&lines(&rig.input(&status("a1", 1, "t2.1", 2, Some(EndKind::Lost)))));
    assert_eq!(rig.allocator.tasks().count(), 0);
}

#[test]
fn repeated_acknowledgements_are_bounded_and_all_come_in_the_end() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(2, 2), &[]);
    let mut open: Vec<String> = (0..250).map(crate::rig::run).collect();
    let mut rounds = 0;
    while !open.is_empty() {
        open.retain(|attempt| rig.ends("a1", 1, attempt).is_empty());
        rounds += 1;
        rig.wait(2_000);
    }
    assert_eq!(rounds, 3);
}

#[test]
fn cancels_reach_tasks_wherever_they_are() {
    let mut rig = Rig::new();
    rig.join("a1", 1, size(1, 1), &[]);
    rig.want(task("t1.1", size(1, 1)));
    rig.want(task("t2.1", size(1, 1)));
    let told = [
        rig.unwant("t1.1"),
        rig.unwant("t1.1"),
        rig.unwant("t2.1"),
        rig.unwant("t3.1"),
        rig.unwant("t3.1"),
        rig.want(task("t3.1", size(1, 1))),
        rig.want(task("t3.1", size(1, 1))),
        rig.want(task("t3.1", size(1, 1))),
        lines(&rig.input(&status("a1", 1, "t1.1", 2, Some(EndKind::Killed)))),
    ];
    expect![[r#"
        kill t1.1 on a1 → kill #1

        dropped t2.1 killed: cancelled → is killed
        cancel kept t3.1
    "#]]
    .assert_eq(&(told[..5].join("\n")));
    expect![[r#"
        dropped t3.1 killed: cancelled → is killed
        queued t3.1
            INSUFFICIENT_CPUS ×1: it needs 1 cpus; agent a1 is closest: 0 of 1 free, 1 short
            INSUFFICIENT_MEMORY ×1: it needs 1GiB memory; agent a1 is closest: 0 of 1GiB free, 1GiB short

        taken t1.1 2 → acknowledge 2 #1, is killed
        placed t3.1 on a1 → launch #1, is placed"#]]
    .assert_eq(&told[5..].join("\n"));
}

#[test]
fn tombstones_are_bounded() {
    let mut rig = Rig::new();
    for n in 0..=orrery_allocator::apply::TOMBSTONES_KEPT {
        // Past the rig, whose checks would rebuild ten thousand rows ten thousand times.
        let input = Input::TaskUnwanted { attempt: id(&crate::rig::run(n)), hop: 0, reason: "x".into() };
        rig.allocator.handle(rig.at, &input, &mut Vec::new());
    }
    let mut answer = |n: usize| {
        let mut out = Vec::new();
        rig.allocator.handle(rig.at, &Input::TaskWanted { spec: task(&crate::rig::run(n), size(1, 1)) }, &mut out);
        lines(&out[..1]).split(' ').next().map(str::to_owned)
    };
    assert_eq!(answer(0).as_deref(), Some("queued"), "the oldest is forgotten");
    assert_eq!(answer(1).as_deref(), Some("dropped"));
}

#[test]
fn a_need_beyond_any_machine_is_refused() {
    let mut rig = Rig::new();
    let need = Resources { cpus: MilliCpus(-1), ..size(1, 1) };
    assert!(rig.want(task("t1.1", need)).starts_with("dropped t1.1 not_started"));
}

type Read = Vec<(Option<(i64, i32)>, Input)>;

fn read(topic: &str, value: Vec<u8>) -> Result<Read, String> {
    let value = Some(Payload(value.into()));
    let record = Record { offset: 1, prev: 0, appended: Timestamp(0), key: None, value, headers: Vec::new() };
    let decoded = Allocator::decode(InputTopic { name: topic, ours: true, partition: 0, generation: 0, id: "" }, &record);
    decoded.map(|all| all.into_iter().map(|one| (one.place, one.input)).collect()).map_err(|poison| format!("{} {poison}", poison.stage))
}

#[test]
fn records_are_read_into_inputs() {
    let spec = task("t1.1", size(1, 1));
    let unwanted = TaskMessage::TaskUnwanted { cell: 0, attempt: id("t1.1"), hop: 0, reason: "r".into() };
    let items = vec![
        Item { seq: 7, index: 0, body: TaskMessage::TaskWanted { cell: 0, spec: spec.clone() } },
        Item { seq: 7, index: 1, body: unwanted },
    ];
    let wanted = vec![
        (Some((7, 0)), Input::TaskWanted { spec }),
        (Some((7, 1)), Input::TaskUnwanted { attempt: id("t1.1"), hop: 0, reason: "r".into() }),
    ];
    assert_eq!(read("tasks", TASKS.encode(&Packed { items })), Ok(wanted));
    let beat = heartbeat("a1", 1, size(1, 1), &["t1.1"]);
    assert_eq!(read("heartbeats", HEARTBEAT.encode(&beat)), Ok(vec![(None, Input::HeartbeatArrived { heartbeat: beat.clone() })]));
    let inputs = [status("a1", 1, "t1.1", 1, None), status("a1", 1, "t1.1", 2, Some(EndKind::Failed))];
    let updates = inputs.iter().map(|input| if let Input::StatusArrived { status } = input { status.clone() } else { panic!() }).collect();
    assert_eq!(read("status", STATUS.encode(&StatusBatch { updates })), Ok(inputs.map(|input| (None, input)).to_vec()));
    assert!(read("status", b"junk".to_vec()).unwrap_err().starts_with("decode "));
    assert!(read("jobs", b"junk".to_vec()).unwrap_err().starts_with("decode "));
    let hostile = Heartbeat { lease_ms: i64::MAX, ..beat };
    assert!(read("heartbeats", HEARTBEAT.encode(&hostile)).unwrap_err().starts_with("validate "));
}
