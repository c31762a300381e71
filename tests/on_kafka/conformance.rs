//! The log on Kafka keeps the promises that every log keeps.

use orrery_log::Log;
use orrery_log::kafka::{KafkaConfig, KafkaLog};

use std::sync::Arc;

#[test]
fn the_log_on_kafka_conforms() {
    let kafka = crate::broker();
    let log: Arc<dyn Log> = KafkaLog::open(KafkaConfig::new(&kafka.bootstrap(), "conformance.")).expect("settings are right");
    orrery_log::conformance::run(&|| Arc::clone(&log));
}
