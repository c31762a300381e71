//! CEL predicates over events: compiled once, with a bound on what they can cost.
//!
//! Variables: `key` (text or null), `headers` (map of texts), `data` (JSON), `topic`, `partition`, `offset`, `timestamp`
//! (milliseconds since 1970, log-append time), `ce` (attributes of a CloudEvent). The result must be true or false.
//!
//! **The same everywhere.** Maps of the event iterate in the order of their keys (`values.rs`). Maps written in an expression
//! iterate in CEL's random order: where an expression has one, it may not have a macro that iterates. Errors are told without
//! the values, which CEL would print in random order. Numbers with decimals are IEEE doubles, and only compared or computed.
//!
//! **Bounded.** Length, nesting and operators are counted before the parser sees the text. Macros that iterate may be nested
//! twice, never chained (each link could double what it makes), and the work of a predicate on an event is estimated from the
//! sizes of both before it begins: past [`WORK_MAX`] the event is not looked at, and the answer is an error.

pub mod trace;

use crate::event::{EventView, VARIABLES};
use crate::watchers::Guard;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, operators};
use cel::{Context, Env, ExecutionError, IdedExpr, Program, Value};
use orrery_model::job::{Problem, nearest};
use orrery_model::limits::{EXPRESSION_BYTES, INPUT_BYTES};
use std::sync::{Arc, LazyLock};

/// A compiled predicate.
#[derive(Debug)]
pub struct Predicate {
    program: Program,
    cost: Cost,
    guard: Option<Guard>,
}

/// Brackets within brackets.
pub const NESTING_MAX: usize = 32;
/// Operators of one expression, and names behind a dot: each may be one level of recursion, of about
/// 2 KiB: with the nesting less than 1 MiB, half of a thread's stack.
pub const OPERATORS_MAX: usize = 256;
/// Iterating macros within one another.
pub const MACROS_MAX: u32 = 2;
/// Steps of one evaluation, each well below 100 ns: at most about half a second, for the worst of expressions.
pub const WORK_MAX: u128 = 5_000_000;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Predicate {
    /// Compiles the source. The problem's field is `when`.
    pub fn compile(source: &str) -> Result<Self, Problem> {
        if source.len() > EXPRESSION_BYTES {
            return Err(problem(format!("the expression has {} bytes, allowed are {EXPRESSION_BYTES}", source.len())));
        }
        scan(source)?;
        let program = ENV.compile(source).map_err(|e| syntax_problem(source, &e))?;
        let cost = Cost::of(program.expression())?;
        // Where the size of an event may be what fails, every event is to be shown.
        let guard = Guard::of(program.expression()).filter(|_| cost.at_most() <= WORK_MAX);
        Ok(Self { program, cost, guard })
    }

    /// What an event must be like for the predicate to be other than false, where that can be told.
    pub(crate) const fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// True if the event fires. An error is a predicate that fails on this event, such as one that names a field that the event
    /// lacks: the event does not fire.
    pub fn matches(&self, event: &EventView<'_>) -> Result<bool, String> {
        let work = self.cost.on(event);
        if work > WORK_MAX {
            return Err("the event is too large for what the expression does with it".into());
        }
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(event);
        match self.program.execute(&context) {
            Ok(Value::Bool(fires)) => Ok(fires),
            Ok(other) => Err(format!("the result is {}, not true or false", kind(&other))),
            Err(e) => Err(plain(&e)),
        }
    }
}

fn problem(message: impl Into<String>) -> Problem {
    Problem::new("when", message)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) | Value::Struct(_) => "a map",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "a text",
        Value::Null => "null",
        _ => "another value",
    }
}

/// The error without the values it is about: CEL prints maps in random order.
fn plain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no {key:?}"),
        ExecutionError::NoSuchOverload(e) => e.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("there is no variable or function {name}"),
        ExecutionError::UnexpectedType { got, want } => format!("a value is of type {got}, where {want} is wanted"),
        ExecutionError::ValuesNotComparable(..) => "two values cannot be compared".into(),
        ExecutionError::UnsupportedBinaryOperator(name, ..) => format!("the operator {name} does not take these two values"),
        ExecutionError::UnsupportedIndex(..) | ExecutionError::UnsupportedKeyType(_) => "a value cannot be used as an index".into(),
        ExecutionError::IndexOutOfBounds(_) => "an index lies outside its list".into(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "a division by zero".into(),
        ExecutionError::Overflow(name, ..) => format!("the operator {name} overflows"),
        ExecutionError::FunctionError { function, .. } => format!("the function {function} fails"),
        _ => "the expression fails on this event".into(),
    }
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

/// What an expression can cost.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    /// Nodes in all.
    nodes: u128,
    /// Nodes that may look through all of a value: `+` of texts and lists, `in`, `contains`, comparisons of unknown values.
    heavy: u128,
    /// Nested macros that iterate.
    macros: u32,
    /// Longest list or map in the text.
    widest: usize,
    /// A map in the text.
    has_map: bool,
}

/// Bytes of an event that a heavy node gets through in one step.
const HEAVY_STEP_BYTES: u128 = 64;

impl Cost {
    fn of(expression: &IdedExpr) -> Result<Self, Problem> {
        let mut cost = Self::default();
        cost.walk(expression, &mut Vec::new(), 0)?;
        if cost.has_map && cost.macros > 0 {
            let hint = "compare fields by name; maps of the event itself may be iterated over";
            return Err(problem("it iterates and has a map of its own, whose order is random").hint(hint));
        }
        Ok(cost)
    }

    /// Most steps of one evaluation on this event. Data is read only for expressions that iterate.
    fn on(&self, event: &EventView<'_>) -> u128 {
        let widest = if self.macros == 0 { 1 } else { event.widest().max(self.widest).max(1) as u128 };
        let per_round = self.nodes + self.heavy * (event.bytes() as u128).div_ceil(HEAVY_STEP_BYTES);
        widest.saturating_pow(self.macros).saturating_mul(per_round)
    }

    /// Most steps on any event.
    const fn at_most(&self) -> u128 {
        if self.macros > 0 { u128::MAX } else { self.nodes + self.heavy * (INPUT_BYTES as u128).div_ceil(HEAVY_STEP_BYTES) }
    }

    fn walk<'e>(&mut self, node: &'e IdedExpr, scope: &mut Vec<&'e str>, macros: u32) -> Result<(), Problem> {
        self.nodes += 1;
        match &node.expr {
            Expr::Ident(name) => known_variable(name, scope),
            Expr::Select(select) => self.walk(&select.operand, scope, macros),
            Expr::List(list) => {
                self.widest = self.widest.max(list.elements.len());
                list.elements.iter().try_for_each(|item| self.walk(item, scope, macros))
            }
            Expr::Map(map) => {
                self.has_map = true;
                self.widest = self.widest.max(map.entries.len());
                map.entries.iter().try_for_each(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.walk(&entry.key, scope, macros).and_then(|()| self.walk(&entry.value, scope, macros))
                    }
                    EntryExpr::StructField(field) => self.walk(&field.value, scope, macros),
                })
            }
            Expr::Call(call) => self.walk_call(call, scope, macros),
            Expr::Comprehension(comprehension) => self.walk_macro(comprehension, scope, macros),
            Expr::Struct(_) => Err(problem("it makes a message, and there are no message types")),
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn walk_call<'e>(&mut self, call: &'e CallExpr, scope: &mut Vec<&'e str>, macros: u32) -> Result<(), Problem> {
        known_function(&call.func_name)?;
        self.heavy += u128::from(is_heavy(call));
        call.target.iter().map(AsRef::as_ref).chain(&call.args).try_for_each(|part| self.walk(part, scope, macros))
    }

    fn walk_macro<'e>(&mut self, fold: &'e ComprehensionExpr, scope: &mut Vec<&'e str>, macros: u32) -> Result<(), Problem> {
        let before = std::mem::take(&mut self.macros);
        self.walk(&fold.iter_range, scope, macros)?;
        if self.macros > 0 {
            let hint = "put both conditions into one macro: data.items.exists(i, i.open && i.price > 10)";
            return Err(problem("it iterates over what another iteration gives").hint(hint));
        }
        self.macros = before.max(macros + 1);
        if macros + 1 > MACROS_MAX {
            return Err(problem(format!("iterations are nested {} deep, allowed are {MACROS_MAX}", macros + 1)));
        }
        let variables = [Some(&fold.iter_var), fold.iter_var2.as_ref(), Some(&fold.accu_var)];
        let outside = scope.len();
        scope.extend(variables.into_iter().flatten().map(String::as_str));
        for part in [&fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result] {
            self.walk(part, scope, macros + 1)?;
        }
        scope.truncate(outside);
        Ok(())
    }
}

/// True unless the call's cost is small whatever its operands are.
fn is_heavy(call: &CallExpr) -> bool {
    let small = |arg: &IdedExpr| matches!(&arg.expr, Expr::Literal(_)) || matches!(&arg.expr, Expr::Ident(name) if name.starts_with('@'));
    match call.func_name.as_str() {
        operators::CONDITIONAL | operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => false,
        operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO | operators::NEGATE => false,
        operators::INDEX | operators::NOT_STRICTLY_FALSE | "size" | "type" | "dyn" => false,
        operators::EQUALS
        | operators::NOT_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS => !call.args.iter().any(small),
        operators::ADD => !call.args.iter().any(|arg| matches!(&arg.expr, Expr::Ident(name) if name.starts_with('@'))),
        _ => true,
    }
}

const FUNCTIONS: [&str; 12] =
    ["bool", "bytes", "contains", "double", "dyn", "endsWith", "int", "size", "startsWith", "string", "type", "uint"];

fn known_function(name: &str) -> Result<(), Problem> {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || FUNCTIONS.contains(&name) {
        return Ok(());
    }
    let hint = match name {
        "matches" => "write contains, startsWith or endsWith; there are no regular expressions".to_owned(),
        "timestamp" | "duration" => "timestamp is a number of milliseconds since 1970; compare times as texts or numbers".to_owned(),
        _ => nearest(name, FUNCTIONS.into_iter().chain(["has", "all", "exists", "exists_one", "filter", "map"]))
            .map_or_else(|| format!("known are {}", FUNCTIONS.join(", ")), |known| format!("did you mean {known}?")),
    };
    Err(problem(format!("there is no function {name}")).hint(hint))
}

fn known_variable(name: &str, scope: &[&str]) -> Result<(), Problem> {
    let types = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
    if scope.contains(&name) || VARIABLES.contains(&name) || types.contains(&name) {
        return Ok(());
    }
    let hint = match nearest(name, VARIABLES.into_iter()) {
        Some(known) => format!("did you mean {known}?"),
        None => format!("known are {}; fields of the event are data.{name}", VARIABLES.join(", ")),
    };
    Err(problem(format!("there is no variable {name}")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use expect_test::{Expect, expect};
    use std::time::Duration;

    const ORDER: &str = r#"{"amount": 120.5, "id": "o-1", "big": 18446744073709551615, "paid": true, "none": null,
        "items": [{"sku": "a", "n": 2, "tags": ["x", "y"]}, {"sku": "b", "n": 1, "tags": []}], "address": {"zip": "10115", "city": "Berlin"}}"#;

    fn said(source: &str) -> String {
        let event = event(ORDER, &[("source", "shop"), ("ce-like", "1")]);
        match Predicate::compile(source).map(|p| p.matches(&EventView::new(&event))) {
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
                data.id > 1  →  error: found no matching overload for '_>_' applied to '(string, int)'
                data.address < 1  →  error: found no matching overload for '_<_' applied to '(map, int)'
                data.items[7].n == 1  →  error: an index lies outside its list
                data.amount / 0 > 1.0  →  error: the operator div does not take these two values
                1 / 0 > 1  →  error: a division by zero
                  →  refused: when: it does not compile: line 1, column 1: mismatched input '<EOF>'; write for example data.amount > 100 && key != ""
                data.amount >  →  refused: when: it does not compile: line 1, column 14: mismatched input '<EOF>'; write for example data.amount > 100 && key != ""
                data.amount = 1  →  refused: when: it does not compile: line 1, column 13: token recognition error at: '= '; write for example data.amount > 100 && key != ""
                amuont > 100  →  refused: when: there is no variable amuont; known are key, headers, data, topic, partition, offset, timestamp, ce; fields of the event are data.amuont
                amount > 100  →  refused: when: there is no variable amount; known are key, headers, data, topic, partition, offset, timestamp, ce; fields of the event are data.amount
                matches(key, 'a')  →  refused: when: there is no function matches; write contains, startsWith or endsWith; there are no regular expressions
                data.id.startwith('o')  →  refused: when: there is no function startwith; did you mean startsWith?
                now() > 1  →  refused: when: there is no function now; known are bool, bytes, contains, double, dyn, endsWith, int, size, startsWith, string, type, uint
                {'a': 1}.exists(k, k == 'a')  →  refused: when: it iterates and has a map of its own, whose order is random; compare fields by name; maps of the event itself may be iterated over
                data.items.filter(i, i.n > 1).exists(i, i.sku == 'a')  →  refused: when: it iterates over what another iteration gives; put both conditions into one macro: data.items.exists(i, i.open && i.price > 10)
                data.items.exists(a, data.items.exists(b, data.items.exists(c, c == b)))  →  refused: when: iterations are nested 3 deep, allowed are 2
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
                            let _ = predicate.matches(&EventView::new(&event));
                        }
                    }
                }
            }
        });
        thread.expect("a thread").join().expect("no overflow, no panic");
    }

    #[test]
    fn no_event_takes_the_processor() {
        let numbers = event(&serde_json::Value::from(vec![1; 100_000]).to_string(), &[]);
        let text = event(&format!("{{\"s\": {:?}, \"l\": {}}}", "x".repeat(100_000), serde_json::Value::from(vec![1; 50_000])), &[]);
        for source in [
            "data.all(x, x in data)",
            "data.all(x, data.all(y, x == y))",
            "data.l.map(x, data.s + 'x').size() > 0",
            "data.l.map(x, data).size() > 0",
            "data.l.all(x, data.l == data.l)",
            "data.l.all(x, data.s.contains('yyyyyyyyyyyyyyyyy'))",
            "[data.s].map(x, x + x + x + x).map(x, x + x + x + x).map(x, x + x + x + x).size() > 0",
            "[1,2,3].map(a, data.l.map(b, data.l.map(c, c)))",
            &format!("{}true", "data.s == data.s && ".repeat(100)),
            &format!("data.s{} != ''", " + data.s".repeat(380)),
        ] {
            let Ok(predicate) = Predicate::compile(source) else { continue };
            for event in [&numbers, &text] {
                let begin = cpu_time();
                let _ = predicate.matches(&EventView::new(event));
                let took = cpu_time() - begin;
                assert!(took < Duration::from_secs(20), "{source} took {took:?}");
            }
        }
        assert!(Predicate::compile("data.all(x, x == 1)").expect("valid").matches(&EventView::new(&numbers)).expect("cheap enough"));
    }

    #[expect(clippy::disallowed_methods, reason = "a test measures")]
    fn cpu_time() -> Duration {
        static BEGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
        BEGIN.elapsed()
    }
}
