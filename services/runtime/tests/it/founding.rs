//! The numbers of a cluster are fixed when it is made (§4.3).

use orrery_log::Log;
use orrery_log::embedded::EmbeddedLog;
use orrery_model::topics::TOPICS;
use orrery_runtime::founding::{FoundingError, found, numbers};
use orrery_runtime::messages::Cluster;
use std::sync::Arc;

#[test]
fn a_cluster_keeps_the_numbers_that_it_was_made_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Cluster { trigger_shards: 16, cells: 4, ..Cluster::single() };
    {
        let log: Arc<dyn Log> = EmbeddedLog::open(folder.path()).expect("a log");
        for topic in TOPICS {
            log.ensure_topic(&made.topic(topic.name), made.partitions(topic.partitions), topic.cleanup).expect("a topic");
        }
        assert_eq!(numbers(&log, &made).expect("read"), None);
        found(&log, &made).expect("nobody has made it before");
    }
    let log: Arc<dyn Log> = EmbeddedLog::open(folder.path()).expect("the same log");
    found(&log, &made).expect("the same numbers");
    let refused = found(&log, &Cluster { cells: 5, ..made.clone() }).expect_err("other numbers");
    assert!(matches!(refused, FoundingError::Differs { field: "cells", made: 4, set: 5 }), "{refused:?}");
    let told = refused.to_string();
    assert!(told.starts_with("this cluster was made with cells = 4, and this member is set to 5; the number is fixed"), "{told}");
    assert!(found(&log, &Cluster { trigger_shards: 1, ..made.clone() }).is_err());
    let apart = Cluster { prefix: "apart.".into(), ..Cluster::single() };
    log.ensure_topic(&apart.topic("catalog"), 1, orrery_model::topics::Cleanup::Compact).expect("a topic");
    found(&log, &apart).expect("another prefix is another cluster");
}

#[test]
fn members_that_make_a_cluster_at_one_moment_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn Log> = EmbeddedLog::open(folder.path()).expect("a log");
    let cluster = |trigger_shards| Cluster { trigger_shards, ..Cluster::single() };
    log.ensure_topic(&cluster(1).topic("catalog"), 1, orrery_model::topics::Cleanup::Compact).expect("a topic");
    let answers: Vec<bool> = std::thread::scope(|scope| {
        let members: Vec<_> = (1..=4).map(|shards| (log.clone(), cluster(shards))).collect();
        let threads: Vec<_> = members.into_iter().map(|(log, cluster)| scope.spawn(move || found(&log, &cluster).is_ok())).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let made = numbers(&log, &cluster(1)).expect("read").expect("it was made").trigger_shards;
    assert_eq!(answers, [1, 2, 3, 4].map(|shards| shards == made), "one of them made it, and the others were refused");
}
