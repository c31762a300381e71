//! Which jobs an event of a topic may fire, without evaluating the predicates of all.
//!
//! Most predicates begin with a comparison of one field: `data.kind == "refund" && …`, `data.n >= 10 && data.n < 20`. Such a
//! *guard* is kept by field and value; an event is looked up by its own value of the field. A job that is left out is one whose
//! predicates are certainly false: where the field is missing, or of another type than the guard's, the predicate is evaluated, as
//! it may fail, and failures are told. So what is decided is what evaluating all of them would decide.
//!
//! The idea is that of content-based publish/subscribe: Fabret et al., "Filtering Algorithms and Implementation for Very Fast
//! Publish/Subscribe Systems", SIGMOD 2001 (predicates grouped by an access predicate).

use crate::event::EventView;
use crate::expr::Value;
use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};
use orrery_model::id::JobName;
use std::collections::{BTreeMap, BTreeSet};

/// Names of fields below `data`, outermost first.
type Path = Vec<String>;

/// What must hold for a predicate to be other than false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    path: Path,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Text(String),
    /// From the first to the last, both included.
    Within(i64, i64),
}

impl Guard {
    /// The guard of an expression: its first conditions (of a conjunction), as far as they compare one field with literals. Only the
    /// first ones: where an earlier condition fails on an event, a later one that is false would hide the failure.
    pub(crate) fn of(expression: &IdedExpr) -> Option<Self> {
        let mut conditions = Vec::new();
        flatten(expression, &mut conditions);
        let mut comparisons = conditions.into_iter().map_while(comparison);
        let (path, first) = comparisons.next()?;
        let Test::Within(mut from, mut to) = first else { return Some(Self { path, test: first }) };
        for (other, test) in comparisons {
            let Test::Within(least, most) = test else { break };
            if other != path {
                break;
            }
            (from, to) = (from.max(least), to.min(most));
        }
        Some(Self { path, test: Test::Within(from, to) })
    }
}

/// The operands of a conjunction, in the order in which they are evaluated.
fn flatten<'e>(expression: &'e IdedExpr, conditions: &mut Vec<&'e IdedExpr>) {
    match &expression.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND && call.target.is_none() => {
            call.args.iter().for_each(|operand| flatten(operand, conditions));
        }
        _ => conditions.push(expression),
    }
}

/// `data.a.b OP literal`, or the other way round.
fn comparison(expression: &IdedExpr) -> Option<(Path, Test)> {
    let Expr::Call(call) = &expression.expr else { return None };
    let [left, right] = call.args.as_slice() else { return None };
    let operator = call.func_name.as_str();
    if let (Some(path), Some(literal)) = (field(left), literal(right)) {
        return Some((path, test(operator, literal)?));
    }
    let mirrored = match operator {
        operators::GREATER => operators::LESS,
        operators::GREATER_EQUALS => operators::LESS_EQUALS,
        operators::LESS => operators::GREATER,
        operators::LESS_EQUALS => operators::GREATER_EQUALS,
        same => same,
    };
    Some((field(right)?, test(mirrored, literal(left)?)?))
}

fn test(operator: &str, literal: &LiteralValue) -> Option<Test> {
    let number = match literal {
        LiteralValue::Int(n) => *n.inner(),
        LiteralValue::String(text) if operator == operators::EQUALS => return Some(Test::Text(text.inner().to_owned())),
        _ => return None,
    };
    Some(match operator {
        operators::EQUALS => Test::Within(number, number),
        operators::GREATER => Test::Within(number.checked_add(1)?, i64::MAX),
        operators::GREATER_EQUALS => Test::Within(number, i64::MAX),
        operators::LESS => Test::Within(i64::MIN, number.checked_sub(1)?),
        operators::LESS_EQUALS => Test::Within(i64::MIN, number),
        _ => return None,
    })
}

const fn literal(expression: &IdedExpr) -> Option<&LiteralValue> {
    if let Expr::Literal(value) = &expression.expr { Some(value) } else { None }
}

fn field(expression: &IdedExpr) -> Option<Path> {
    let Expr::Select(select) = &expression.expr else { return None };
    if select.test {
        return None;
    }
    let mut path = match &select.operand.expr {
        Expr::Ident(name) if name == "data" => Path::new(),
        _ => field(&select.operand)?,
    };
    path.push(select.field.clone());
    Some(path)
}

/// The jobs that watch a topic.
#[derive(Default)]
pub(crate) struct Watchers {
    jobs: BTreeSet<JobName>,
    /// Those that every event must be shown to.
    unguarded: BTreeSet<JobName>,
    guarded: BTreeMap<Path, Guarded>,
}

/// The guards of one field.
#[derive(Default)]
struct Guarded {
    texts: BTreeMap<String, BTreeSet<JobName>>,
    /// By value, where only one is let through.
    numbers: BTreeMap<i64, BTreeSet<JobName>>,
    /// By the first value, with the last.
    ranges: BTreeMap<i64, BTreeSet<(i64, JobName)>>,
}

impl Watchers {
    /// All of them.
    pub(crate) const fn jobs(&self) -> &BTreeSet<JobName> {
        &self.jobs
    }

    /// Adds a job with one trigger of this topic; one call for each.
    pub(crate) fn insert(&mut self, job: &JobName, guard: Option<&Guard>) {
        self.jobs.insert(job.clone());
        let Some(Guard { path, test }) = guard else {
            self.unguarded.insert(job.clone());
            return;
        };
        let guarded = self.guarded.entry(path.clone()).or_default();
        match test {
            Test::Text(text) => drop(guarded.texts.entry(text.clone()).or_default().insert(job.clone())),
            Test::Within(one, same) if one == same => drop(guarded.numbers.entry(*one).or_default().insert(job.clone())),
            Test::Within(from, to) => drop(guarded.ranges.entry(*from).or_default().insert((*to, job.clone()))),
        }
    }

    /// Takes one trigger of a job out, as it was added.
    pub(crate) fn remove(&mut self, job: &JobName, guard: Option<&Guard>) {
        self.jobs.remove(job);
        let Some(Guard { path, test }) = guard else {
            self.unguarded.remove(job);
            return;
        };
        let Some(guarded) = self.guarded.get_mut(path) else { return };
        match test {
            Test::Text(text) => remove(&mut guarded.texts, text, job),
            Test::Within(one, same) if one == same => remove(&mut guarded.numbers, one, job),
            Test::Within(from, to) => remove(&mut guarded.ranges, from, &(*to, job.clone())),
        }
        if guarded.texts.is_empty() && guarded.numbers.is_empty() && guarded.ranges.is_empty() {
            self.guarded.remove(path);
        }
    }

    /// The jobs to show an event to, from one on, in order.
    pub(crate) fn candidates(&self, event: &EventView<'_>, from: Option<&JobName>) -> BTreeSet<JobName> {
        let mut found: BTreeSet<&JobName> = self.unguarded.iter().collect();
        for (path, guarded) in &self.guarded {
            let value = path.iter().try_fold(event.data(), |value, name| value.get(name));
            guarded.add(value, &mut found);
        }
        found.into_iter().filter(|job| from.is_none_or(|from| *job >= from)).cloned().collect()
    }
}

impl Guarded {
    fn add<'a>(&'a self, value: Option<&Value>, found: &mut BTreeSet<&'a JobName>) {
        let text = value.and_then(Value::as_str);
        let number = value.and_then(Value::as_i64);
        match text {
            Some(text) => found.extend(self.texts.get(text).into_iter().flatten()),
            None => found.extend(self.texts.values().flatten()),
        }
        match number {
            Some(number) => {
                found.extend(self.numbers.get(&number).into_iter().flatten());
                let begun = self.ranges.range(..=number).flat_map(|(_, ranges)| ranges);
                found.extend(begun.filter(|(to, _)| *to >= number).map(|(_, job)| job));
            }
            None => {
                found.extend(self.numbers.values().flatten());
                found.extend(self.ranges.values().flatten().map(|(_, job)| job));
            }
        }
    }
}

fn remove<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if map.get_mut(key).is_some_and(|values| values.remove(value) && values.is_empty()) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use crate::expr::Budget;
    use crate::predicate::Predicate;

    const PREDICATES: [&str; 24] = [
        "data.n == 5",
        "5 == data.n",
        "data.n == -5",
        "data.n == 5.0",
        "data.n == 5u",
        "data.n == '5'",
        "data.n >= 5 && data.n < 7",
        "data.n > 4 && 7 > data.n && data.kind == 'a'",
        "data.n <= 9223372036854775807",
        "data.n > 9223372036854775807",
        "data.n < 5 && data.n > 5",
        "data.n >= 5 || data.kind == 'a'",
        "data.n != 5",
        "!(data.n == 5)",
        "data.kind == 'a' && data.n == 5",
        "data.kind == 'a' && data.missing == 1",
        "data.missing == 1 && data.kind == 'b'",
        "data.kind == \"b\" && data.kind == 'a'",
        "has(data.n) && data.n == 5",
        "data.deep.n == 5",
        "data.deep.kind == 'a' && data.n > 1",
        "data['n'] == 5",
        "key == 'k' && data.n == 5",
        "data.l.all(x, x == 1) && data.n == 5",
    ];
    const VALUES: [&str; 16] = [
        r#"{"n": 5, "kind": "a"}"#,
        r#"{"n": 5, "kind": "b", "deep": {"n": 5, "kind": "a"}}"#,
        r#"{"n": 6, "kind": "a", "missing": 1}"#,
        r#"{"n": 7, "deep": {"n": 6}}"#,
        r#"{"n": -5, "deep": 5}"#,
        r#"{"n": 5.0, "kind": 5}"#,
        r#"{"n": 18446744073709551615}"#,
        r#"{"n": 9223372036854775807, "kind": ""}"#,
        r#"{"n": "5", "kind": null}"#,
        r#"{"n": "a"}"#,
        r#"{"n": true, "kind": ["a"]}"#,
        r#"{"n": null}"#,
        r#"{"kind": "a", "l": [1]}"#,
        "[1]",
        "\"a text\"",
        "5",
    ];

    #[test]
    fn who_is_left_out_is_certainly_false() {
        let name = |n: usize| JobName::parse(&format!("many/job-{n:02}")).expect("a name");
        let predicates = PREDICATES.map(|source| Predicate::compile(source).expect(source));
        let mut watchers = Watchers::default();
        predicates.iter().enumerate().for_each(|(n, predicate)| watchers.insert(&name(n), predicate.guard()));
        let mut left_out = 0;
        for value in VALUES {
            let event = event(value, &[]);
            let view = EventView::new(&event);
            let candidates = watchers.candidates(&view, None);
            for (n, predicate) in predicates.iter().enumerate().filter(|(n, _)| !candidates.contains(&name(*n))) {
                assert_eq!(predicate.matches(&view, &mut Budget::default()), Ok(false), "{} on {value}", PREDICATES[n]);
                left_out += 1;
            }
            let behind = watchers.candidates(&view, Some(&name(7)));
            assert_eq!(behind, candidates.into_iter().filter(|job| *job >= name(7)).collect());
        }
        assert_eq!(left_out, 35, "the index is of use");
        predicates.iter().enumerate().for_each(|(n, predicate)| watchers.remove(&name(n), predicate.guard()));
        assert!(watchers.jobs.is_empty() && watchers.unguarded.is_empty() && watchers.guarded.is_empty());
    }

    #[test]
    fn an_event_finds_its_own_among_many() {
        let name = |n: i64| JobName::parse(&format!("many/job-{n:05}")).expect("a name");
        let mut watchers = Watchers::default();
        for n in 0..1_000 {
            let source = if n % 20 == 0 { format!("data.n >= {n}0 && data.n < {n}1") } else { format!("data.n == {n}0") };
            watchers.insert(&name(n), Predicate::compile(&source).expect("valid").guard());
        }
        let found = |n: i64| {
            let event = event(&format!("{{\"n\": {n}}}"), &[]);
            watchers.candidates(&EventView::new(&event), None).into_iter().collect::<Vec<_>>()
        };
        assert_eq!((found(400), found(410), found(415)), (vec![name(40)], vec![name(41)], vec![]));
    }
}
