//! The log on Kafka keeps the promises that every log keeps.

use orrery_log::kafka::{KafkaConfig, KafkaLog};
use orrery_log::{Log, TopicPartition};

use orrery_model::record::NewRecord;
use orrery_model::topics::Cleanup;
use std::sync::Arc;

#[test]
fn the_log_on_kafka_conforms() {
    let kafka = crate::broker();
    let log: Arc<dyn Log> = KafkaLog::open(KafkaConfig::new(&kafka.bootstrap(), "conformance.")).expect("settings are right");
    orrery_log::conformance::run(&|| Arc::clone(&log));
}

#[test]
fn a_topic_that_others_made_again_is_read_from_its_start() {
    let kafka = crate::broker();
    let open = || KafkaLog::open(KafkaConfig::new(&kafka.bootstrap(), "recreated.")).unwrap();
    let (ours, others) = (open(), open());
    let append = |log: &KafkaLog, value: &str| {
        let value = Some(value.as_bytes().into());
        log.append(vec![NewRecord { topic: "recreated".into(), value, ..NewRecord::default() }]).unwrap();
    };
    others.ensure_topic("recreated", 1, Cleanup::Forever).unwrap();
    let before = ours.topic("recreated").unwrap().unwrap();
    let at = TopicPartition::new("recreated", 0);
    (0..5).for_each(|_| append(&ours, "before"));
    // A read answers with what has come so far; what is known to be there is waited for by the next one.
    let mut from = 0;
    while from < 5 {
        from = ours.read(&at, from, 1 << 20).unwrap().next;
    }
    others.delete_topic("recreated").unwrap();
    others.ensure_topic("recreated", 1, Cleanup::Forever).unwrap();
    append(&others, "after");
    // Neither what was fetched of the old one counts, nor how far it went.
    let after = ours.topic("recreated").unwrap().unwrap();
    assert_ne!(before.id, after.id);
    assert_eq!(ours.end_offset(&at).unwrap(), 1);
    let read = ours.read(&at, 0, 1 << 20).unwrap();
    assert_eq!(read.records.iter().map(|record| record.value.as_ref().unwrap().text().unwrap()).collect::<Vec<_>>(), ["after"]);
}
