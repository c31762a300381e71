//! Members announce themselves, and learn from the log's append time how far their wall clocks are off (§7.1).
//!
//! `at` follows the owner's wall clock. With one that is an hour ahead, schedules would fire an hour early, and every later owner
//! would go on from there, as time never goes back. So who is far off does not own.

use crate::owner::Lost;
use crate::stamp::Now;
use crate::{messages::Cluster, owner::Setting};
use orrery_log::{Log, LogError, TopicPartition, pieces};
use orrery_model::decider::Decider;
use orrery_model::id::Principal;
use orrery_model::messages::{ADMIN, ALERT, AdminChange, AdminRecord, Alert, LogicVersions, MEMBER, Member};
use orrery_model::payload::Payload;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::NewRecord;
use orrery_model::time::Timestamp;
use orrery_model::topics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A wall clock that is further off the log's append time does not own (§7.1).
pub const CLOCK_OFF_MOST_MS: i64 = 2_000;
/// Between two announcements: so long may a clock that jumps go unseen. `at` moves at double speed meanwhile, no faster.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(60);

/// A member of this binary, with what it has compiled in.
pub fn member(name: &str, logic: Vec<LogicVersions>, tz_version: &str, started: Timestamp) -> Arc<Member> {
    let (binary, tz_version) = (env!("CARGO_PKG_VERSION").into(), tz_version.into());
    Arc::new(Member { member: name.into(), binary, logic, tz_version, started })
}

/// The versions of a decider's logic that are compiled in.
pub fn logic_of<D: Decider>() -> LogicVersions {
    LogicVersions { service: D::SERVICE.into(), oldest: *D::LOGIC_VERSIONS.start(), newest: *D::LOGIC_VERSIONS.end() }
}

/// Members that have announced themselves within this time are alive: three announcements may be lost.
const ALIVE_MS: i64 = 4 * 60_000;

/// The members that live at this time, as they last announced themselves, by name.
pub fn living(log: &dyn Log, cluster: &Cluster, now: Timestamp) -> Result<Vec<Member>, LogError> {
    let at = TopicPartition::new(&cluster.topic(topics::MEMBERS), 0);
    let mut found: BTreeMap<String, Member> = BTreeMap::new();
    let (from, end) = (log.offset_at(&at, now.plus_ms(-ALIVE_MS))?, log.end_offset(&at)?);
    for piece in pieces(log, &at, from, end) {
        let piece = piece?;
        let read = piece.iter().filter_map(|record| MEMBER.decode(record.value.as_ref()?.as_bytes()).ok());
        found.extend(read.map(|member| (member.member.clone(), member)));
    }
    Ok(found.into_values().collect())
}

/// The names of those members that do not have this version of a service's logic: while there are any, it is not raised (§9.5).
pub fn lacking(members: &[Member], service: &str, version: i32) -> Vec<String> {
    let has = |member: &&Member| member.logic.iter().any(|logic| logic.service == service && logic.has(version));
    members.iter().filter(|member| !has(member)).map(|member| member.member.clone()).collect()
}

/// The record that raises the version of a service's logic.
pub fn raise(cluster: &Cluster, service: &str, to: i32, principal: Option<Principal>) -> NewRecord {
    admin_record(cluster, service, AdminChange::LogicRaised { service: service.into(), to }, principal)
}

/// A change of the cluster's state that concerns a service.
pub(crate) fn admin_record(cluster: &Cluster, service: &str, change: AdminChange, principal: Option<Principal>) -> NewRecord {
    record(cluster, topics::ADMIN, service, ADMIN.encode(&AdminRecord { change, principal }))
}

/// All changes of the cluster's state, in order; what cannot be read is none.
pub fn admin_records(log: &dyn Log, cluster: &Cluster) -> Result<Vec<AdminRecord>, LogError> {
    let at = TopicPartition::new(&cluster.topic(topics::ADMIN), 0);
    let mut found = Vec::new();
    for piece in pieces(log, &at, log.start_offset(&at)?, log.end_offset(&at)?) {
        found.extend(piece?.into_iter().filter_map(|record| ADMIN.decode(record.value?.as_bytes()).ok()));
    }
    Ok(found)
}

/// Announces the member, and refuses it if its clock is off: with an alert, as somebody must set it right.
pub fn announce(setting: &Setting, now: &dyn Fn() -> Now) -> Result<(), Lost> {
    let Setting { log, cluster, member, .. } = setting;
    let before = now();
    let appended = append_and_read(log, cluster, member)?;
    if log.shares_clock() || planted(Bug::ClockUnjudged) {
        return Ok(());
    }
    let off_ms = off_ms(before, now(), appended);
    if off_ms.abs() <= CLOCK_OFF_MOST_MS {
        return Ok(());
    }
    let lost = Lost::ClockOff { off_ms };
    let alert = Alert { job: None, run: None, code: "clock_off".into(), detail: format!("member {}: {lost}", member.member), at: appended };
    log.append(vec![alert_record(cluster, &member.member, &alert)])?;
    Err(lost)
}

/// The record that tells somebody of what is no decision of a shard; its key is what it is about.
pub fn alert_record(cluster: &Cluster, about: &str, alert: &Alert) -> NewRecord {
    record(cluster, topics::ALERTS, about, ALERT.encode(alert))
}

/// Appends an alert on a thread of its own: what it tells of may be why the log takes its time, or cannot be reached.
pub fn append_aside(log: Arc<dyn Log>, alert: NewRecord) {
    let append = move || {
        if let Err(error) = log.append(vec![alert]) {
            tracing::error!(%error, "no alert was written");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("alert".into()).spawn(append) {
        tracing::error!(%error, "no alert is written: there is no thread for it");
    }
}

/// The record by which a member announces itself.
pub fn announcement(cluster: &Cluster, member: &Member) -> NewRecord {
    record(cluster, topics::MEMBERS, &member.member, MEMBER.encode(member))
}

/// The append time of this member's announcement.
fn append_and_read(log: &Arc<dyn Log>, cluster: &Cluster, member: &Member) -> Result<Timestamp, LogError> {
    let offsets = log.append(vec![announcement(cluster, member)])?;
    let at = TopicPartition::new(&cluster.topic(topics::MEMBERS), 0);
    let fetch = log.read(&at, offsets[0], 1)?;
    let own = fetch.records.first().filter(|found| found.offset == offsets[0]);
    own.map(|found| found.appended).ok_or_else(|| LogError::Poisoned { why: format!("{} does not hold what was just appended", at.topic) })
}

/// How far a wall clock is off at least, milliseconds; ahead is positive. The record was appended somewhere between `before` and
/// `after`, so that whatever the round trip can explain counts as right.
pub fn off_ms(before: Now, after: Now, appended: Timestamp) -> i64 {
    let latest = before.wall.0 + (after.monotonic_us - before.monotonic_us).max(0);
    let off_us = (before.wall.0 - appended.0).max(0) + (latest - appended.0).min(0);
    off_us / 1_000
}

fn record(cluster: &Cluster, topic: &str, key: &str, value: Vec<u8>) -> NewRecord {
    let (topic, key, value) = (cluster.topic(topic), Some(key.as_bytes().into()), Some(Payload(value.into())));
    NewRecord { topic, partition: 0, key, value, headers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_explains_what_it_can() {
        let now = |wall, monotonic_us| Now { wall: Timestamp(wall), monotonic_us };
        let (before, after) = (now(10_000_000, 500), now(10_090_000, 90_500));
        let off = |appended| off_ms(before, after, Timestamp(appended));
        assert_eq!([off(10_000_000), off(10_045_000), off(10_090_000)], [0, 0, 0], "within the round trip");
        assert_eq!((off(9_000_000), off(12_090_000)), (1_000, -2_000), "ahead, and behind");
    }
}
