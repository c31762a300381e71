//! CEL predicates over events: compiled once, evaluated within a budget.
//!
//! Variables: `key` (text or null), `headers` (map of texts), `data` (JSON), `topic`, `partition`, `offset`, `timestamp`
//! (milliseconds since 1970, log-append time), `ce` (attributes of a CloudEvent). The result must be true or false.
//!
//! The parser is the crate `cel`'s; what it reads is lowered to the tree of [`crate::expr`] (`lower.rs`). It is the language of
//! the specification (cel.dev) with the standard macros, and without times, regular expressions and messages. Beyond it, numbers
//! compute across their kinds, as JSON has only one: `data.t + 5 > 25` takes 20.5 as well as 21.
//!
//! **Bounded.** Length, nesting and operators are counted before the parser sees the text: they bound its recursion. What an
//! evaluation costs is counted while it goes on ([`Budget`]).

mod lower;
pub mod trace;

use crate::event::EventView;
use crate::expr::eval::Evaluator;
use crate::expr::{Budget, Node, Value};
use crate::watchers::Guard;
use cel::{Env, IdedExpr, Program};
use orrery_model::job::Problem;
use orrery_model::limits::EXPRESSION_BYTES;
use std::sync::{Arc, LazyLock};

/// A compiled predicate.
#[derive(Debug)]
pub struct Predicate {
    node: Node,
    guard: Option<Guard>,
}

/// Brackets within brackets.
pub const NESTING_MAX: usize = 32;
/// Operators of one expression, and names behind a dot: each may be one level of recursion, of about
/// 2 KiB: with the nesting less than 1 MiB, half of a thread's stack.
pub const OPERATORS_MAX: usize = 256;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Predicate {
    /// Compiles the source. The problem's field is `when`.
    pub fn compile(source: &str) -> Result<Self, Problem> {
        Self::of(parse(source)?.expression())
    }

    fn of(expression: &IdedExpr) -> Result<Self, Problem> {
        Ok(Self { node: lower::lower(expression)?, guard: Guard::of(expression) })
    }

    /// What an event must be like for the predicate to be other than false, where that can be told.
    pub(crate) const fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// True if the event fires. An error is a predicate that fails on this event, such as one that names a field that the event
    /// lacks, or that would cost more than is left of the budget: the event does not fire.
    pub fn matches(&self, event: &EventView<'_>, budget: &mut Budget) -> Result<bool, String> {
        let variables = |place: usize| event.value(place).clone();
        match Evaluator::new(&variables, budget).value(&self.node) {
            Ok(Value::Bool(fires)) => Ok(fires),
            Ok(other) => Err(format!("the result is {}, not true or false", other.kind())),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

fn parse(source: &str) -> Result<Program, Problem> {
    if source.len() > EXPRESSION_BYTES {
        return Err(problem(format!("the expression has {} bytes, allowed are {EXPRESSION_BYTES}", source.len())));
    }
    scan(source)?;
    ENV.compile(source).map_err(|e| syntax_problem(source, &e))
}

fn problem(message: impl Into<String>) -> Problem {
    Problem::new("when", message)
}

fn syntax_problem(source: &str, errors: &cel::ParseErrors) -> Problem {
    let Some(first) = errors.errors.first() else { return problem(format!("{source:?} is not a CEL expression")) };
    let why: String = first.msg.trim_start_matches("Syntax error: ").chars().take(120).collect();
    let why = why.split_once(" expecting ").map_or(why.as_str(), |(why, _)| why);
    let (line, column) = (first.pos.0.max(1), first.pos.1.max(1));
    problem(format!("it does not compile: line {line}, column {column}: {why}")).hint("write for example data.amount > 100 && key != \"\"")
}

/// Counts nesting and operators before the parser recurses over them; texts in quotes do not count.
fn scan(source: &str) -> Result<(), Problem> {
    let (mut depth, mut deepest, mut operators) = (0usize, 0, 0);
    let bytes = source.as_bytes();
    let mut i = 0;
    while let Some(byte) = bytes.get(i) {
        match byte {
            b'"' | b'\'' => i = behind_text(bytes, i) - 1,
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
                operators += usize::from(*byte != b'(');
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'=' | b'&' | b'|' if i > 0 && matches!(bytes[i - 1], b'=' | b'!' | b'<' | b'>' | b'&' | b'|') => {}
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'?' | b'<' | b'>' | b'=' | b'&' | b'|' => operators += 1,
            b'i' if bytes[i..].starts_with(b"in") && (i == 0 || !bytes[i - 1].is_ascii_alphanumeric()) => operators += 1,
            _ => {}
        }
        i += 1;
    }
    if deepest > NESTING_MAX {
        return Err(problem(format!("brackets are nested {deepest} deep, allowed are {NESTING_MAX}")).hint("write less deeply"));
    }
    if operators > OPERATORS_MAX {
        let hint = "to compare with many values write: data.kind in [\"a\", \"b\"]";
        return Err(problem(format!("it has {operators} operators, allowed are {OPERATORS_MAX}")).hint(hint));
    }
    Ok(())
}

/// The place behind the text in quotes that begins at `start`: single or triple, raw or with escapes.
fn behind_text(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let end: &[u8] = if triple { &[quote; 3] } else { &[quote] };
    let raw = start > 0 && matches!(bytes[start - 1], b'r' | b'R');
    let mut i = start + end.len();
    while i < bytes.len() && !bytes[i..].starts_with(end) {
        i += if bytes[i] == b'\\' && !raw { 2 } else { 1 };
    }
    (i + end.len()).min(bytes.len()).max(start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use expect_test::{Expect, expect};

    const ORDER: &str = r#"{"amount": 120.5, "id": "o-1", "big": 18446744073709551615, "large": 340282366920938463463374607431768211457, "paid": true, "none": null,
        "items": [{"sku": "a", "n": 2, "tags": ["x", "y"]}, {"sku": "b", "n": 1, "tags": []}], "address": {"zip": "10115", "city": "Berlin"}}"#;

    fn said(source: &str) -> String {
        let event = event(ORDER, &[("source", "shop"), ("ce-like", "1")]);
        match Predicate::compile(source).map(|p| p.matches(&EventView::new(&event), &mut Budget::default())) {
            Err(problem) => format!("refused: {problem}"),
            Ok(Err(error)) => format!("error: {error}"),
            Ok(Ok(fires)) => fires.to_string(),
        }
    }

    fn check(sources: &[&str], expected: Expect) {
        expected.assert_eq(&sources.iter().map(|source| format!("{source}  →  {}", said(source))).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn events_match() {
        for source in [
            "true",
            "data.amount > 100 && key != \"\"",
            "data.amount > 100.5 && data.items.size() == 2",
            "data.id == 'o-1' && topic == 'orders.paid' && partition == 3 && offset == 42",
            "timestamp >= 1795226400000",
            "headers.source == 'shop' && headers['ce-like'] == '1' && !has(headers.other)",
            "has(data.address.zip) && !has(data.address.street)",
            "data.none == null && data.paid",
            "data.big == 18446744073709551615u",
            "data.id.startsWith('o-') && data.address.city.contains('erl') && data.id.endsWith('1')",
            "data.items.exists(i, i.sku == 'b' && i.n < 2) && data.items.all(i, i.n > 0)",
            "data.items.exists_one(i, i.n == 2) && data.items.filter(i, i.n > 1).size() == 1",
            "data.items.map(i, i.sku) == ['a', 'b'] && data.items[1].sku == 'b'",
            "data.items.exists(i, i.tags.exists(t, t == 'y'))",
            "'a' in data.items.map(i, i.sku) && 'zip' in data.address && key in ['customer-7', 'x']",
            "data.address == {'city': 'Berlin', 'zip': '10115'} && {'city': 'Berlin', 'zip': '10115'} == data.address",
            "data.address.map(k, k) == ['city', 'zip'] && headers.map(h, h) == ['ce-like', 'source']",
            "data.items[0] == data.items[0] && data.items[0] != data.items[1]",
            "string(data.amount) == '120.5' && int('7') + 1 == 8 && size(key) == 10 && data.id + '!' == 'o-1!'",
            "data.items + [1] != data.items && (data.items + data.items).size() == 4",
            "data.amount + 5 > 125 && data.amount > 120 && data.big > data.amount && data.items.map(i, i.n + 0.5) == [2.5, 1.5]",
            "data.large == data.large && data.large > data.big && string(data.large) == '340282366920938463463374607431768211457'",
            "data.items.filter(i, i.n > 1).map(i, {'of': i.sku}).exists(m, m.of == 'a') && {'a': 1, 'b': 2}.map(k, k) == ['a', 'b']",
            "(data.missing == 1 || data.paid) && !(data.missing == 1 && !data.paid) && !data.items.all(i, i.tags[0] == 'x' && i.n > 1)",
            "size(ce) == 0 && type(data) == map && data.id > 'a' && data.id < 'p'",
        ] {
            assert_eq!(said(source), "true", "{source}");
        }
    }

    #[test]
    fn errors_and_refusals() {
        check(
            &[
                "data.amount",
                "data.missing > 1",
                "data.id > 1",
                "data.address < 1",
                "data.items[7].n == 1",
                "data.amount / 0 > 1.0",
                "1 / 0 > 1",
                "",
                "data.amount >",
                "data.amount = 1",
                "amuont > 100",
                "amount > 100",
                "matches(key, 'a')",
                "data.id.startwith('o')",
                "now() > 1",
                "{'a': 1}.exists(k, k == 'a')",
                "data.items.filter(i, i.n > 1).exists(i, i.sku == 'a')",
                "data.items.exists(a, data.items.exists(b, data.items.exists(c, c == b)))",
                "a.b.c{x: 1}",
            ],
            expect![[r#"
                data.amount  →  error: the result is a number, not true or false
                data.missing > 1  →  error: there is no "missing"
                data.id > 1  →  error: the operator > does not take a text and a number
                data.address < 1  →  error: the operator < does not take a map and a number
                data.items[7].n == 1  →  error: an index lies outside its list
                data.amount / 0 > 1.0  →  error: a division by zero
                1 / 0 > 1  →  error: a division by zero
                  →  refused: when: it does not compile: line 1, column 1: mismatched input '<EOF>'; write for example data.amount > 100 && key != ""
                data.amount >  →  refused: when: it does not compile: line 1, column 14: mismatched input '<EOF>'; write for example data.amount > 100 && key != ""
                data.amount = 1  →  refused: when: it does not compile: line 1, column 13: token recognition error at: '= '; write for example data.amount > 100 && key != ""
                amuont > 100  →  refused: when: there is no variable amuont; known are key, headers, data, topic, partition, offset, timestamp, ce; fields of the event are data.amuont
                amount > 100  →  refused: when: there is no variable amount; known are key, headers, data, topic, partition, offset, timestamp, ce; fields of the event are data.amount
                matches(key, 'a')  →  refused: when: there is no function matches; write contains, startsWith or endsWith; there are no regular expressions
                data.id.startwith('o')  →  refused: when: there is no function startwith; did you mean startsWith?
                now() > 1  →  refused: when: there is no function now; known are bool, bytes, contains, double, dyn, endsWith, int, size, startsWith, string, type, uint
                {'a': 1}.exists(k, k == 'a')  →  true
                data.items.filter(i, i.n > 1).exists(i, i.sku == 'a')  →  true
                data.items.exists(a, data.items.exists(b, data.items.exists(c, c == b)))  →  true
                a.b.c{x: 1}  →  refused: when: it makes a message, and there are no message types"#]],
        );
    }

    #[test]
    fn no_text_takes_the_stack() {
        let forms: [(&str, &str, &str); 18] = [
            ("(", "1", ")"),
            ("(", "", ""),
            ("!", "true", ""),
            ("- ", "1", ""),
            ("-", "1", ""),
            ("[", "", "]"),
            ("[", "", ""),
            ("{1:", "1", "}"),
            ("true?1:", "1", ""),
            ("true?", "1", ":1"),
            ("data", "", ".a"),
            ("data", "", "[0]"),
            ("1", "", "+1"),
            ("true", "", "&&true"),
            ("1", "", " in [1]"),
            ("size(", "1", ")"),
            ("[1].map(x,", "1", ")"),
            ("[1]", "", ".map(x,x)"),
        ];
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let thread = small.spawn(move || {
            let event = event(ORDER, &[]);
            for (open, middle, close) in forms {
                for times in [31, 127, 255, 800, 2_000] {
                    let once = close.starts_with(['.', '[', '+', '&', ' ']) && middle.is_empty() || open == "[1]";
                    let source = format!("{}{middle}{}", open.repeat(if once { 1 } else { times }), close.repeat(times));
                    for source in [format!("{}{source}{}", "[".repeat(30), "]".repeat(30)), source] {
                        if let Ok(predicate) = Predicate::compile(&source) {
                            let _ = predicate.matches(&EventView::new(&event), &mut Budget::default());
                        }
                    }
                }
            }
        });
        thread.expect("a thread").join().expect("no overflow, no panic");
    }
}
