//! Where messages go: each to the partition of the shard or cell that it is for.

use orrery_model::decider::Message;
use orrery_model::id::{AttemptId, JobName};
use orrery_model::journal::Shards;
use orrery_model::messages::{EndedRun, Forward, ForwardBody, Origin, RunState, TaskMessage};
use orrery_runtime::messages::{Cluster, Outbox, Sender};
use orrery_runtime::restore::acquired_observation;

fn cluster() -> Cluster {
    Cluster { trigger_shards: 4, cells: 3, ..Cluster::single() }
}

#[test]
fn tasks_go_to_their_cell_and_forwards_to_their_shard() {
    let cluster = cluster();
    let mut outbox = Outbox::new(&cluster);
    let sender = Sender { service: "trigger", shard: 3, lineage: "beef".into(), epoch: 1 };
    let attempt = AttemptId::parse("run.1").expect("an id");
    let run = attempt.split().expect("run and number").0;
    let job = JobName::parse("default/a").expect("a name");
    for (index, cell) in [2, 0, 2].into_iter().enumerate() {
        let unwanted = TaskMessage::TaskUnwanted { cell, attempt: attempt.clone(), hop: 0, reason: "r".into() };
        outbox.add(&sender, 7, index as i32, Message::Task(Box::new(unwanted)));
    }
    let ended = EndedRun { job, run, root: "time:x".into(), nominal: None, state: RunState::Succeeded };
    let origin = Origin { topic: "ends".into(), partition: 3, generation: 0, offset: 1 };
    let forward = Forward { to: 1, origin, body: ForwardBody::EndForwarded { ended } };
    outbox.add(&sender, 7, 3, Message::Forward(Box::new(forward)));
    let records = outbox.into_records(&sender);
    let told = records.iter().map(|record| {
        let id = record.headers[0].1.text().unwrap_or_default();
        format!("{}/{} {id}", record.topic, record.partition)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["orrery.forwards/1 trigger/3/beef/1/7/3", "orrery.tasks/0 trigger/3/beef/1/7/1", "orrery.tasks/2 trigger/3/beef/1/7/0"]
    );
}

#[test]
fn an_owner_is_told_which_shard_it_has() {
    let orrery_model::journal::Observation::Acquired { shards, epoch: 5, .. } = acquired_observation(cluster().shards(2), 5, "m", 1, 0)
    else {
        panic!("another observation");
    };
    assert_eq!(shards, Shards { shard: 2, trigger_shards: 4, cells: 3 });
}
