//! Cron expressions: read into numbers, walked on the wall clock.
//!
//! The fields are read here, in the words of their dialect, and handed on as plain numbers: `croner` finds the times that they name,
//! and describes them. Ranges may wrap (`FRI-MON`, `22-2`). Days counted from the end of a month (`L-3`, `LW`, `L-2W`) are chosen here
//! among the days that `croner` finds, which does not have them.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Weekday};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use orrery_model::job::{Dialect, Problem};
use orrery_model::time::parse_span_ms;
use std::collections::BTreeSet;

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    cron: Cron,
    days: Option<MonthDays>,
    /// The minute or the hour begins with `*`.
    pub real_time: bool,
    /// What is probably not meant.
    pub warning: Option<String>,
}

/// Longest cron expression.
const CRON_BYTES: usize = 1_000;
/// Slots later than this are none: beyond it the calendar's arithmetic would end.
const LAST_YEAR: i32 = 4_999;

impl Expression {
    pub(super) fn read(text: &str, dialect: Dialect) -> Result<Self, Problem> {
        let (name, example) = match dialect {
            Dialect::Unix => {
                ("unix", "write minute, hour, day of month, month, day of week: \"0 2 * * *\"; for seconds set dialect: quartz")
            }
            Dialect::Quartz => ("quartz", "write second, minute, hour, day of month, month, day of week: \"0 0 2 * * ?\""),
        };
        read(text.trim(), dialect).map_err(|why| {
            let hint = foreign(text.trim()).unwrap_or_else(|| example.to_owned());
            Problem::new("cron", format!("{text:?} is not a cron expression of the {name} dialect ({why})")).hint(hint)
        })
    }

    /// The next wall clock time that the expression names, from `wall` on or behind it.
    pub(super) fn next(&self, wall: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        let (mut from, mut inclusive) = (wall, inclusive);
        loop {
            let next = self.cron.find_next_occurrence(&from, inclusive).ok().filter(|next| next.year() <= LAST_YEAR)?;
            if self.days.as_ref().is_none_or(|days| days.has(next.date())) {
                return Some(next);
            }
            (from, inclusive) = (next.date().succ_opt()?.and_time(NaiveTime::MIN), true);
        }
    }

    /// The expression in English.
    pub(super) fn describe(&self) -> String {
        let told = |cron: &Cron| cron.describe().trim_end_matches('.').to_owned();
        let Some(days) = &self.days else { return told(&self.cron) };
        let mut fields: Vec<&str> = self.cron.as_str().split(' ').collect();
        fields[DAY] = "*";
        let any_day = parser().parse(&fields.join(" ")).expect("it was read with numbers in the place of the star");
        format!("{}, on {}", told(&any_day), days.describe())
    }
}

/// A field: its name, its bounds, and words for its numbers, from the least on.
struct Field {
    name: &'static str,
    least: u16,
    most: u16,
    words: &'static [&'static str],
    /// The next larger unit and the milliseconds of one step, where fields are clocks.
    within: Option<(&'static str, i64)>,
}

const fn clock(name: &'static str, most: u16, within: &'static str, ms: i64) -> Field {
    Field { name, least: 0, most, words: &[], within: Some((within, ms)) }
}
const fn date(name: &'static str, least: u16, most: u16, words: &'static [&'static str]) -> Field {
    Field { name, least, most, words, within: None }
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// The fields of `quartz`. Those of `unix` begin with the minute and end with a weekday of its own.
const FIELDS: [Field; 7] = [
    clock("second", 59, "minute", 1_000),
    clock("minute", 59, "hour", 60_000),
    clock("hour", 23, "day", 3_600_000),
    date("day of month", 1, 31, &[]),
    date("month", 1, 12, MONTHS),
    date("day of week", 1, 7, WEEKDAYS),
    date("year", 1970, 2099, &[]),
];
const UNIX_WEEKDAY: Field = date("day of week", 0, 7, WEEKDAYS);
/// Places in [`FIELDS`].
const MINUTE: usize = 1;
const DAY: usize = 3;
const WEEKDAY: usize = 5;
const YEAR: usize = 6;

/// Reads what is handed on: seconds first, Sunday is 0.
fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Required).year(Year::Optional).build()
}

fn read(text: &str, dialect: Dialect) -> Result<Expression, String> {
    if text.len() > CRON_BYTES || !text.is_ascii() {
        return Err("it is too long, or holds other characters than ASCII".into());
    }
    let upper = spelt_out(text, dialect).to_ascii_uppercase();
    let mut parts: Vec<&str> = upper.split_whitespace().collect();
    match (dialect, parts.len()) {
        (Dialect::Unix, 5) => parts.insert(0, "0"),
        (Dialect::Quartz, 6 | 7) => {}
        (Dialect::Unix, n) => return Err(format!("5 fields are wanted, not {n}")),
        (Dialect::Quartz, n) => return Err(format!("6 or 7 fields are wanted, not {n}")),
    }
    let (mut fields, mut days, mut warning) = (Vec::new(), None, None);
    for (place, part) in parts.iter().enumerate() {
        let field = if place == WEEKDAY && dialect == Dialect::Unix { &UNIX_WEEKDAY } else { &FIELDS[place] };
        fields.push(match place {
            _ if *part == "*" || (*part == "?" && [DAY, WEEKDAY].contains(&place)) => "*".to_owned(),
            DAY => {
                let read = MonthDays::read(field, part, dialect)?;
                let handed_on = read.handed_on();
                days = Some(read).filter(MonthDays::is_beyond_croner);
                handed_on
            }
            WEEKDAY => weekdays(field, part, dialect)?,
            _ => {
                warning = warning.or_else(|| uneven(field, part));
                plain(field, part, dialect)?
            }
        });
    }
    if days.is_some() && fields[WEEKDAY] != "*" {
        return Err(format!("{} cannot be joined with a day of week; write * or ? for that", parts[DAY]));
    }
    let cron = parser().parse(&fields.join(" ")).map_err(|why| why.to_string().trim_end_matches('.').to_owned())?;
    let real_time = parts[MINUTE..DAY].iter().any(|part| part.starts_with('*'));
    Ok(Expression { cron, days, real_time, warning })
}

/// The five fields that a nickname stands for.
fn spelt_out(text: &str, dialect: Dialect) -> String {
    let fields = match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * SUN",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return text.to_owned(),
    };
    if dialect == Dialect::Quartz { format!("0 {fields}") } else { fields.to_owned() }
}

/// A field of numbers alone. A step over the whole of it stays one where it is even, so that it is described as such.
fn plain(field: &Field, part: &str, dialect: Dialect) -> Result<String, String> {
    let numbers = list(part).map(|item| numbers(field, item, dialect)).collect::<Result<Vec<_>, _>>()?;
    let numbers: BTreeSet<u16> = numbers.into_iter().flatten().collect();
    let size = field.most - field.least + 1;
    let over_all = part.split_once('/').filter(|(range, _)| *range == "*" || (dialect == Dialect::Quartz && ["", "0"].contains(range)));
    Ok(match over_all.and_then(|(_, step)| step.parse::<u16>().ok()) {
        Some(step) if field.name != FIELDS[YEAR].name && size.is_multiple_of(step) => format!("*/{step}"),
        _ => joined(&numbers),
    })
}

fn list(part: &str) -> impl Iterator<Item = &str> {
    part.split(',')
}

fn joined(numbers: &BTreeSet<u16>) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// What one item of a list names: a number, a range that may wrap, the whole field, each with a step.
fn numbers(field: &Field, item: &str, dialect: Dialect) -> Result<BTreeSet<u16>, String> {
    // Sunday is also 7 in `unix`: the week has seven days all the same.
    let most = if field.name == UNIX_WEEKDAY.name { field.least + 6 } else { field.most };
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => {
            let step = step.parse::<usize>().ok().filter(|step| *step > 0);
            (range, Some(step.ok_or_else(|| format!("{item} has no step, which is a number above 0"))?))
        }
        None => (item, None),
    };
    let (first, last) = match (range, step, range.split_once('-')) {
        ("*", ..) => (field.least, most),
        ("", Some(_), _) if dialect == Dialect::Quartz => (field.least, most),
        (_, _, Some((first, last))) => (number(field, first)?, number(field, last)?),
        (single, None, None) => (number(field, single)?, number(field, single)?),
        (single, Some(_), None) if dialect == Dialect::Quartz => (number(field, single)?, most),
        (single, Some(_), None) => return Err(format!("in {item} a step follows a single number; write {single}-{most}/… or */…")),
    };
    let numbers: Vec<u16> = match first <= last {
        true => (first..=last).collect(),
        false if field.name == FIELDS[YEAR].name => return Err(format!("{item} goes back in time")),
        // From the week's second Sunday one goes on with Monday.
        false => (first..=most).chain(field.least..=last).collect(),
    };
    Ok(numbers.into_iter().step_by(step.unwrap_or(1)).collect())
}

fn number(field: &Field, text: &str) -> Result<u16, String> {
    let Field { name, least, most, words, .. } = field;
    if let Some(place) = words.iter().position(|word| *word == text) {
        return Ok(least + u16::try_from(place).expect("there are twelve at most"));
    }
    if let Some(word) = words.iter().find(|word| text.starts_with(**word)) {
        return Err(format!("{text} is no {name}; its word is {word}"));
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    digits.filter(|n| (*least..=*most).contains(n)).ok_or_else(|| match text {
        "" => format!("a {name} is lacking"),
        _ => format!("{text} is no {name}, which is {least} to {most}"),
    })
}

/// Weekdays, with Sunday as 0: numbers, the last one of a month (`5L`), and the n-th (`5#2`).
fn weekdays(field: &Field, part: &str, dialect: Dialect) -> Result<String, String> {
    let (and, part) = part.strip_prefix('+').map_or(("", part), |part| ("+", part));
    let each = |weekdays: &str, suffix: &str| {
        let sunday_is_0: BTreeSet<u16> = numbers(field, weekdays, dialect)?.into_iter().map(|n| (n + 7 - field.least) % 7).collect();
        Ok::<_, String>(sunday_is_0.iter().map(|n| format!("{n}{suffix}")).collect::<Vec<_>>().join(","))
    };
    let mut items = Vec::new();
    for item in list(part) {
        items.push(match (item, item.strip_suffix('L'), item.split_once('#')) {
            ("L", ..) if dialect == Dialect::Quartz => "6".to_owned(),
            ("L", ..) => return Err("L wants a weekday before it: 5L is a month's last Friday".into()),
            (_, Some(weekdays), _) => each(weekdays, "L")?,
            (_, _, Some((weekdays, nth))) if ["1", "2", "3", "4", "5"].contains(&nth) => each(weekdays, &format!("#{nth}"))?,
            (_, _, Some(_)) => return Err(format!("{item} is not the 1st to 5th of a weekday")),
            _ => each(item, "")?,
        });
    }
    Ok(format!("{and}{}", items.join(",")))
}

/// Days of a month.
#[derive(Debug)]
struct MonthDays {
    numbers: BTreeSet<u16>,
    others: Vec<OtherDay>,
}

#[derive(Debug)]
enum OtherDay {
    /// `15W`: the weekday nearest to a day.
    Nearest(u16),
    /// `L`, `L-3`, `LW`, `L-3W`: so many days before the last one, or the weekday nearest to that.
    FromEnd { before: u16, weekday: bool },
}

impl MonthDays {
    fn read(field: &Field, part: &str, dialect: Dialect) -> Result<Self, String> {
        let mut days = Self { numbers: BTreeSet::new(), others: Vec::new() };
        for item in list(part) {
            let (day, weekday) = item.strip_suffix('W').map_or((item, false), |day| (day, true));
            match day.strip_prefix('L') {
                Some("") => days.others.push(OtherDay::FromEnd { before: 0, weekday }),
                Some(before) => {
                    let before = before.strip_prefix('-').and_then(|n| n.parse().ok()).filter(|n| *n <= 30);
                    let before = before.ok_or_else(|| format!("{item} is not the last day, nor up to 30 days before it"))?;
                    days.others.push(OtherDay::FromEnd { before, weekday });
                }
                None if weekday => days.others.push(OtherDay::Nearest(number(field, day)?)),
                None => days.numbers.extend(numbers(field, item, dialect)?),
            }
        }
        Ok(days)
    }

    fn is_beyond_croner(&self) -> bool {
        self.others.iter().any(|day| matches!(day, OtherDay::FromEnd { before, weekday } if *before > 0 || *weekday))
    }

    /// The field as `croner` is given it: where it does not have these days, all that may be among them.
    fn handed_on(&self) -> String {
        if self.is_beyond_croner() {
            return "1-31".to_owned();
        }
        let others = self.others.iter().map(|day| match day {
            OtherDay::Nearest(day) => format!("{day}W"),
            OtherDay::FromEnd { .. } => "L".to_owned(),
        });
        self.numbers.iter().map(u16::to_string).chain(others).collect::<Vec<_>>().join(",")
    }

    fn has(&self, date: NaiveDate) -> bool {
        let (day, length) = (date.day(), u32::from(date.num_days_in_month()));
        let is_nearest = |wanted: u32| {
            let weekday = date.with_day(wanted).map(|wanted| wanted.weekday());
            let nearest = match weekday {
                Some(Weekday::Sat) if wanted > 1 => wanted - 1,
                Some(Weekday::Sat) => wanted + 2,
                Some(Weekday::Sun) if wanted < length => wanted + 1,
                Some(Weekday::Sun) => wanted - 2,
                _ => wanted,
            };
            weekday.is_some() && nearest == day
        };
        let is_meant = |other: &OtherDay| match *other {
            OtherDay::Nearest(wanted) => is_nearest(wanted.into()),
            OtherDay::FromEnd { before, weekday } => {
                length.checked_sub(before.into()).is_some_and(|wanted| if weekday { is_nearest(wanted) } else { wanted == day })
            }
        };
        self.numbers.iter().any(|number| u32::from(*number) == day) || self.others.iter().any(is_meant)
    }

    fn describe(&self) -> String {
        let numbers = self.numbers.iter().map(|day| format!("day {day}"));
        let others = self.others.iter().map(|day| match day {
            OtherDay::Nearest(day) => format!("the weekday nearest day {day}"),
            OtherDay::FromEnd { before: 0, weekday: false } => "the last day of the month".into(),
            OtherDay::FromEnd { before: 0, weekday: true } => "the last weekday of the month".into(),
            OtherDay::FromEnd { before, weekday } => {
                let days = if *before == 1 { "day" } else { "days" };
                let nearest = if *weekday { "the weekday nearest " } else { "" };
                format!("{nearest}{before} {days} before the last day of the month")
            }
        });
        numbers.chain(others).collect::<Vec<_>>().join(" and ")
    }
}

/// A step that does not divide its field: the field begins anew before the step is over.
fn uneven(field: &Field, part: &str) -> Option<String> {
    let (unit, ms) = field.within?;
    let step: u16 = part.strip_prefix("*/")?.parse().ok().filter(|step| *step > 0 && !(field.most + 1).is_multiple_of(*step))?;
    let (name, named) = (field.name, joined(&(0..=field.most).step_by(step.into()).collect()));
    let period = period(i64::from(step) * ms);
    Some(format!("{part} begins anew with each {unit} and names {name} {named}; for every {step} {name}s write interval: R//{period}"))
}

/// What other schedulers take, and what it is here.
fn foreign(text: &str) -> Option<String> {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if let Some(zone) = first.strip_prefix("CRON_TZ=").or_else(|| first.strip_prefix("TZ=")) {
        return Some(format!("write the zone beside it: cron: {:?}, zone: {zone}", rest.trim()));
    }
    if let Some(inner) = text.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')')) {
        return Some(format!("write what is in the brackets with its second in front: cron: \"0 {inner}\", dialect: quartz"));
    }
    match first.to_ascii_lowercase().as_str() {
        "@every" => {
            let example = || "for example R//PT5M".to_owned();
            let interval = parse_span_ms(rest).ok().filter(|ms| *ms > 0).map_or_else(example, |ms| format!("R//{}", period(ms)));
            Some(format!("write it as interval: {interval}"))
        }
        "@reboot" => Some("nothing here follows the start of a machine; leave that to systemd, which may send an event".into()),
        _ => None,
    }
}

/// `PT1H30M`.
fn period(ms: i64) -> String {
    let (hours, minutes, seconds, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    let part = |n: i64, unit: &str| if n == 0 { String::new() } else { format!("{n}{unit}") };
    let seconds = if ms == 0 { part(seconds, "S") } else { format!("{seconds}.{ms:03}S") };
    format!("PT{}{}{seconds}", part(hours, "H"), part(minutes, "M"))
}
