//! Members: who is refused a shard, and raising the version of the logic.

use crate::counting::{Counting, Input};
use crate::faults::{Fault, FaultyLog};
use crate::fixture::Fixture;
use crate::joins;
use orrery_log::{Bell, Log, clock};
use orrery_model::journal::Observation;
use orrery_model::messages::{ALERT, LogicVersions, Member};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_runtime::membership::{lacking, living, member, raise};
use orrery_runtime::owner::{Commits, Lost, Owner, Setting};
use orrery_runtime::shard::Transaction;
use orrery_runtime::stamp::Now;
use orrery_runtime::store::{RocksStore, Store};
use std::sync::Arc;

/// An owner that gets no further than its first transaction.
struct Nowhere;

impl Commits for Nowhere {
    fn hand_over(&mut self, _: Transaction) -> Result<(), Lost> {
        Ok(())
    }
    fn check(&self) -> Result<(), Lost> {
        Ok(())
    }
    fn journal_end(&self) -> Option<i64> {
        None
    }
}

fn with_versions(oldest: i32, newest: i32) -> Arc<Member> {
    member("m", vec![LogicVersions { service: "trigger".into(), oldest, newest }], "", clock::wall())
}

/// Acquires shard 0 with a wall clock that is off by so much.
fn acquire(fixture: &Fixture, log: &Arc<dyn Log>, member: Arc<Member>, off_ms: i64) -> Result<(), Lost> {
    let setting = Setting { log: Arc::clone(log), cluster: fixture.cluster.clone(), shard: 0, member, generation: 1, suspects: None };
    let began = clock::monotonic();
    let now = || Now { wall: clock::wall().plus_ms(off_ms), monotonic_us: i64::try_from(began.elapsed().as_micros()).expect("short") };
    let open = || RocksStore::open_or_begin(&fixture.store(0)).map(|store| Box::new(store) as Box<dyn Store>);
    Owner::<Counting, Nowhere>::acquire(&setting, "beef", &now, &open, &Arc::new(Bell::default()), |_, _| Nowhere).map(|_| ())
}

#[test]
fn a_member_whose_clock_is_off_does_not_own_and_alerts() {
    let fixture = Fixture::new(1);
    // Over another machine's log, whose append time is another clock's.
    let log = FaultyLog::over(&fixture.log, usize::MAX, Fault::Lost);
    for off_ms in [-60_000, 60_000] {
        let refused = acquire(&fixture, &log, with_versions(1, 2), off_ms);
        assert!(matches!(refused, Err(Lost::ClockOff { off_ms: found }) if (found - off_ms).abs() < 30_000), "{refused:?}");
    }
    let alerts = fixture.read(topics::ALERTS, 0);
    let alert = ALERT.decode(alerts[0].value.as_ref().expect("a value").as_bytes()).expect("an alert");
    assert_eq!((alerts.len(), alert.code.as_str()), (2, "clock_off"));
    assert!(alert.detail.starts_with("member m: the wall clock is -"), "{}", alert.detail);
    acquire(&fixture, &log, with_versions(1, 2), 1_000).expect("a second is within what is allowed");
    acquire(&fixture, &fixture.log, with_versions(1, 2), 60_000).expect("this machine's own log says nothing about its clock");
}

#[test]
fn the_logic_is_raised_by_a_record_and_who_lacks_it_does_not_own() {
    let fixture = Fixture::new(1);
    let shard = fixture.start(0);
    fixture.add(0, &["1"]);
    fixture.wait_total(0, 1);
    for (service, to) in [("allocator", 2), ("trigger", 2), ("trigger", 1)] {
        fixture.log.append(vec![raise(&fixture.cluster, service, to, None)]).expect("appended");
    }
    fixture.wait("the switch", || fixture.head(0).logic_version == 2);
    fixture.add(0, &["2"]);
    fixture.wait_total(0, 3);
    shard.stop();
    let entries = fixture.entries(0);
    let switched = entries.iter().position(|entry| {
        let Input::ShellObserved { observation: Observation::LogicSwitched { from, to, hash_before, hash_after } } = &entry.input else {
            return false;
        };
        (*from, *to) == (1, 2) && hash_before == hash_after && hash_before.len() == 64
    });
    let switched = switched.expect("an entry says so");
    let versions: Vec<i32> = entries.iter().map(|entry| entry.logic_version).collect();
    assert!(versions[..switched].iter().all(|version| *version == 1) && versions[switched..].iter().all(|version| *version == 2));
    let refused = acquire(&fixture, &fixture.log, with_versions(1, 1), 0);
    assert!(matches!(refused, Err(Lost::NoLogic { version: 2, oldest: 1, newest: 1 })), "{refused:?}");
    let shard = fixture.start(0);
    fixture.add(0, &["4"]);
    fixture.wait_total(0, 7);
    shard.stop();
    assert_eq!(fixture.head(0).logic_version, 2, "a restart changes nothing");
    joins::check(&fixture);
}

#[test]
fn members_that_lack_a_version_are_named() {
    let fixture = Fixture::new(1);
    acquire(&fixture, &fixture.log, with_versions(1, 2), 0).expect("acquired");
    let members = living(&*fixture.log, &fixture.cluster, clock::wall()).expect("read");
    assert_eq!(members.iter().map(|member| member.member.as_str()).collect::<Vec<_>>(), ["m"]);
    assert_eq!(lacking(&members, "trigger", 2), Vec::<String>::new());
    assert_eq!((lacking(&members, "trigger", 3), lacking(&members, "allocator", 1)), (vec!["m".to_owned()], vec!["m".to_owned()]));
    let later = Timestamp(clock::wall().0 + 3_600_000_000);
    assert_eq!(living(&*fixture.log, &fixture.cluster, later).expect("read"), [], "nobody has said so for an hour");
}
