//! How a predicate came to its result on an event: divided at its outermost `&&` and `||`, each part evaluated alone, with the
//! values of the fields that it names. For people who ask why an event did not match; nothing is decided by it.

use super::{Predicate, behind_text, parse};
use crate::event::{EventView, VARIABLES};
use crate::expr::number::Number;
use crate::expr::{self, Budget};
use cel::IdedExpr;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use orrery_model::job::Problem;
use serde::Serialize;
use serde_json::Value;

/// Characters of a value that are shown.
const VALUE_CHARS: usize = 200;

/// A predicate or a part of it, and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Clause {
    /// As written.
    pub text: String,
    /// True or false; none if it failed.
    pub result: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How the parts are joined: `all` or `any`; none if it has no parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// The fields that it names; empty where its parts tell them.
    pub values: Vec<Named>,
    /// Its parts, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Clause>,
}

/// How parts are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// `&&`
    All,
    /// `||`
    Any,
}

/// A field of the event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    /// As an expression has it: `data.amount`.
    pub name: String,
    /// Its value, shortened; none if the event has no such field.
    pub value: Option<Value>,
}

impl Clause {
    /// The smallest parts that kept the event from matching, in order; empty if it matches.
    pub fn failing(&self) -> Vec<&Self> {
        if self.result == Some(true) {
            return Vec::new();
        }
        let parts: Vec<&Self> = self.parts.iter().flat_map(Self::failing).collect();
        if parts.is_empty() { vec![self] } else { parts }
    }

    /// In one line: the text, what it came to, and the values.
    pub fn in_words(&self) -> String {
        let result = match (&self.error, self.result) {
            (Some(error), _) => format!("fails, {error}"),
            (None, Some(result)) => format!("is {result}"),
            (None, None) => "has no result".to_owned(),
        };
        let value = |named: &Named| match &named.value {
            Some(value) => format!("{} = {value}", named.name),
            None => format!("there is no {}", named.name),
        };
        let values = self.values.iter().map(value).collect::<Vec<_>>().join(", ");
        if values.is_empty() { format!("{} {result}", self.text) } else { format!("{} {result}: {values}", self.text) }
    }
}

/// Evaluates a predicate on an event part by part; refused if it does not compile.
pub fn trace(source: &str, event: &EventView<'_>) -> Result<Clause, Problem> {
    trace_within(source, event, &mut Budget::default())
}

/// Parts cost what the whole does: what is left of its budget pays for them, and where that does not last, it stays whole.
fn trace_within(source: &str, event: &EventView<'_>, budget: &mut Budget) -> Result<Clause, Problem> {
    let program = parse(source)?;
    let predicate = Predicate::of(program.expression())?;
    let (result, error) = match predicate.matches(event, budget) {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error)),
    };
    let text = source.trim().to_owned();
    let parts = if budget.is_exhausted() { None } else { split(source) };
    // Each part is smaller than the whole: the recursion ends within the limits of nesting. One that would not stand alone is none.
    let traced = parts.and_then(|(join, parts)| {
        let parts = parts.into_iter().map(|part| trace_within(part, event, budget).ok()).collect::<Option<Vec<_>>>()?;
        (!budget.is_exhausted()).then_some((join, parts))
    });
    let Some((join, parts)) = traced else {
        let values = fields(program.expression()).into_iter().map(|path| path.named(event)).collect();
        return Ok(Clause { text, result, error, join: None, values, parts: Vec::new() });
    };
    Ok(Clause { text, result, error, join: Some(join), values: Vec::new(), parts })
}

/// The operands of the outermost `||`, else of the outermost `&&`; none if there is neither.
fn split(source: &str) -> Option<(Join, Vec<&str>)> {
    let source = unwrapped(source.trim());
    let marks = outermost(source)?;
    let join = if marks.iter().any(|(_, join)| *join == Join::Any) { Join::Any } else { Join::All };
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in marks.iter().filter(|(_, found)| *found == join) {
        parts.push(source[from..*at].trim());
        from = at + 2;
    }
    parts.push(source[from..].trim());
    (parts.len() > 1).then_some((join, parts))
}

/// Where `&&` and `||` stand outside of brackets and texts; none where a conditional or a comment binds otherwise.
fn outermost(source: &str) -> Option<Vec<(usize, Join)>> {
    let bytes = source.as_bytes();
    let (mut depth, mut i) = (0usize, 0);
    let mut found = Vec::new();
    while let Some(byte) = bytes.get(i) {
        match byte {
            b'"' | b'\'' => i = behind_text(bytes, i) - 1,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'?' if depth == 0 => return None,
            b'/' if bytes.get(i + 1) == Some(&b'/') => return None,
            b'&' | b'|' if depth == 0 && bytes.get(i + 1) == Some(byte) => {
                found.push((i, if *byte == b'&' { Join::All } else { Join::Any }));
                i += 1;
            }
            _ => {}
        }
        i += 1;
    }
    Some(found)
}

/// Without the brackets around all of it.
fn unwrapped(source: &str) -> &str {
    let bytes = source.as_bytes();
    if bytes.first() != Some(&b'(') {
        return source;
    }
    let (mut depth, mut i) = (0usize, 0);
    while let Some(byte) = bytes.get(i) {
        match byte {
            b'"' | b'\'' => i = behind_text(bytes, i) - 1,
            b'(' => depth += 1,
            b')' if depth == 1 => return if i + 1 == bytes.len() { unwrapped(source[1..i].trim()) } else { source },
            b')' => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    source
}

/// A field: a variable, and what is taken of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    root: &'static str,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    At(usize),
}

impl Path {
    fn named(&self, event: &EventView<'_>) -> Named {
        let place = VARIABLES.iter().position(|known| *known == self.root);
        let value = place.and_then(|place| self.steps.iter().try_fold(event.value(place), |value, step| step.of(value)));
        Named { name: self.text(), value: value.map(told) }
    }

    fn text(&self) -> String {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let step = |step: &Step| match step {
            Step::Name(name) if plain(name) => format!(".{name}"),
            Step::Name(name) => format!("[{name:?}]"),
            Step::At(place) => format!("[{place}]"),
        };
        format!("{}{}", self.root, self.steps.iter().map(step).collect::<String>())
    }
}

impl Step {
    fn of<'v>(&self, value: &'v expr::Value) -> Option<&'v expr::Value> {
        match (self, value) {
            (Self::Name(name), value) => value.get(name),
            (Self::At(place), expr::Value::List(items)) => items.get(*place),
            (Self::At(_), _) => None,
        }
    }
}

/// The value, shortened.
fn told(value: &expr::Value) -> Value {
    let text = match value {
        expr::Value::Number(Number::Int(n)) => return (*n).into(),
        expr::Value::Number(Number::Uint(n)) => return (*n).into(),
        expr::Value::Number(Number::Double(n)) => return (*n).into(),
        expr::Value::Bool(b) => return (*b).into(),
        expr::Value::Null | expr::Value::Undefined => return Value::Null,
        expr::Value::Text(text) => text.to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => Value::String(format!("{}…", &text[..end])),
        None if matches!(value, expr::Value::Text(_) | expr::Value::Number(_)) => Value::String(text),
        None => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// The fields of the event that an expression names, each once, in order.
fn fields(expression: &IdedExpr) -> Vec<Path> {
    let mut found = Vec::new();
    collect(expression, &mut Vec::new(), &mut found);
    let mut once: Vec<Path> = Vec::new();
    for path in found {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    once
}

fn collect<'e>(node: &'e IdedExpr, scope: &mut Vec<&'e str>, found: &mut Vec<Path>) {
    if let Some(path) = path(node, scope) {
        return found.push(path);
    }
    match &node.expr {
        Expr::Select(select) => collect(&select.operand, scope, found),
        Expr::List(list) => list.elements.iter().for_each(|item| collect(item, scope, found)),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    collect(&entry.key, scope, found);
                    collect(&entry.value, scope, found);
                }
            }
        }
        Expr::Call(call) => {
            call.target.iter().map(AsRef::as_ref).chain(&call.args).for_each(|part| collect(part, scope, found));
        }
        Expr::Comprehension(fold) => collect_macro(fold, scope, found),
        _ => {}
    }
}

/// Variables of a macro hide those of the event.
fn collect_macro<'e>(fold: &'e ComprehensionExpr, scope: &mut Vec<&'e str>, found: &mut Vec<Path>) {
    collect(&fold.iter_range, scope, found);
    let outside = scope.len();
    scope.extend([Some(&fold.iter_var), fold.iter_var2.as_ref(), Some(&fold.accu_var)].into_iter().flatten().map(String::as_str));
    for part in [&fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result] {
        collect(part, scope, found);
    }
    scope.truncate(outside);
}

fn path(node: &IdedExpr, scope: &[&str]) -> Option<Path> {
    let further = |operand: &IdedExpr, step: Step| {
        let mut before = path(operand, scope)?;
        before.steps.push(step);
        Some(before)
    };
    match &node.expr {
        Expr::Ident(name) if !scope.contains(&name.as_str()) => {
            let root = VARIABLES.into_iter().find(|known| known == name)?;
            Some(Path { root, steps: Vec::new() })
        }
        Expr::Select(select) => further(&select.operand, Step::Name(select.field.clone())),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [operand, index] = call.args.as_slice() else { return None };
            let step = match &index.expr {
                Expr::Literal(LiteralValue::String(name)) => Step::Name(name.inner().to_owned()),
                Expr::Literal(LiteralValue::Int(place)) => Step::At(usize::try_from(*place.inner()).ok()?),
                _ => return None,
            };
            further(operand, step)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
