//! The evaluator: walks an expression, pays for each step, and gives a value or says why there is none.

use super::budget::{Budget, Exhausted};
use super::number::{self, Number, Undefined};
use super::value::{ITEM_BYTES, Value};
use super::{Fold, Missing, Node, Operator, functions, json};
use std::cmp::Ordering;
use std::sync::Arc;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The expression does not fit the values: in words.
    Failed(String),
    /// What a template names is not there: its name.
    NotThere(String),
    /// It would cost too much.
    Exhausted(Exhausted),
}

impl From<Exhausted> for Fault {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::NotThere(name) => write!(f, "there is no {name}"),
            Self::Exhausted(exhausted) => exhausted.fmt(f),
        }
    }
}

pub(crate) type Evaluated = Result<Value, Fault>;

pub(crate) fn failed(why: impl Into<String>) -> Fault {
    Fault::Failed(why.into())
}

/// Characters of a key that are told in an error.
const SHOWN_CHARS: usize = 60;

/// One evaluation.
pub(crate) struct Evaluator<'e> {
    /// The value of a name.
    pub(crate) variables: &'e dyn Fn(usize) -> Value,
    pub(crate) budget: &'e mut Budget,
    /// Variables of folds. One may be a failure that a later operand makes good: `false && …`.
    locals: Vec<Evaluated>,
}

impl<'e> Evaluator<'e> {
    pub(crate) fn new(variables: &'e dyn Fn(usize) -> Value, budget: &'e mut Budget) -> Self {
        Self { variables, budget, locals: Vec::new() }
    }

    /// The value, which is there.
    pub(crate) fn value(&mut self, node: &Node) -> Evaluated {
        match self.eval(node)? {
            Value::Undefined => Err(Fault::NotThere(described(node))),
            value => Ok(value),
        }
    }

    /// The value, which may be [`Value::Undefined`].
    pub(crate) fn eval(&mut self, node: &Node) -> Evaluated {
        self.budget.spend(1)?;
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(place) => Ok((self.variables)(*place)),
            Node::Local(slot) => self.locals[*slot].clone(),
            Node::Field(of, name, missing) => self.field(of, name, *missing),
            Node::Has(of, name) => match self.value(of)? {
                map @ Value::Map(_) => Ok(Value::Bool(map.get(name).is_some())),
                other => Err(failed(format!("{} has no fields", other.kind()))),
            },
            Node::Item(parts, missing) => self.item(&parts.0, &parts.1, *missing),
            Node::Slice(parts) => self.slice(parts),
            Node::List(items) => {
                self.budget.take(items.len() * ITEM_BYTES)?;
                Ok(Value::List(Arc::new(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?)))
            }
            Node::Map(entries) => self.map(entries),
            Node::And(parts) => self.decided(parts, false),
            Node::Or(parts) => self.decided(parts, true),
            Node::Not(part) => self.truth(part).map(|truth| Value::Bool(!truth)),
            Node::AndThen(parts) => match self.value(&parts.0)? {
                left if left.is_true() => self.value(&parts.1),
                left => Ok(left),
            },
            Node::OrElse(parts) => match self.value(&parts.0)? {
                left if left.is_true() => Ok(left),
                _ => self.value(&parts.1),
            },
            Node::Falsy(part) => self.value(part).map(|value| Value::Bool(!value.is_true())),
            Node::If(parts) => {
                let [condition, then, other] = &**parts;
                if self.truth(condition)? { self.eval(then) } else { self.eval(other) }
            }
            Node::Negate(part) => match self.value(part)? {
                Value::Number(n) => n.negated().map(Value::Number).map_err(|why| undefined("-", why)),
                other => Err(failed(format!("the operator - does not take {}", other.kind()))),
            },
            Node::Binary(operator, parts) => {
                let (left, right) = (self.value(&parts.0)?, self.value(&parts.1)?);
                self.binary(*operator, left, &right)
            }
            Node::Call(function, arguments) => functions::call(self, *function, arguments),
            Node::Fold(fold) => self.fold(fold),
            Node::Push(slot, item) => self.push(*slot, item),
            Node::NotStrictlyFalse(part) => match self.eval(part) {
                Err(Fault::Exhausted(exhausted)) => Err(exhausted.into()),
                value => Ok(Value::Bool(!matches!(value, Ok(Value::Bool(false))))),
            },
        }
    }

    fn field(&mut self, of: &Node, name: &str, missing: Missing) -> Evaluated {
        match (self.value(of)?, missing) {
            (map @ Value::Map(_), Missing::Fails) => map.get(name).cloned().ok_or_else(|| failed(format!("there is no {:?}", shown(name)))),
            (value, Missing::Undefined) => Ok(value.get(name).cloned().unwrap_or(Value::Undefined)),
            (other, Missing::Fails) => Err(failed(format!("{} has no fields, so there is no {:?}", other.kind(), shown(name)))),
        }
    }

    fn item(&mut self, of: &Node, index: &Node, missing: Missing) -> Evaluated {
        let (value, index) = (self.value(of)?, self.value(index)?);
        match (&value, &index) {
            (Value::List(items), Value::Number(n)) => match place(n, items.len(), missing) {
                Some(at) => Ok(items[at].clone()),
                None if missing == Missing::Undefined => Ok(Value::Undefined),
                None => Err(failed("an index lies outside its list")),
            },
            (Value::Map(_), key) => match value.at_key(key, self.budget)? {
                Some(found) => Ok(found.clone()),
                None if missing == Missing::Undefined => Ok(Value::Undefined),
                None => Err(failed(format!("there is no {}", shown_key(key)))),
            },
            (Value::Text(text), Value::Number(n)) if missing == Missing::Undefined => {
                self.budget.look(text.len())?;
                let at = place(n, text.chars().count(), missing);
                Ok(at.and_then(|at| text.chars().nth(at)).map_or(Value::Undefined, |c| Value::text(c.encode_utf8(&mut [0; 4]))))
            }
            _ => Err(failed(format!("{} cannot be used as an index of {}", index.kind(), value.kind()))),
        }
    }

    /// A part of a text or list, from one place up to another; places below zero count from the end.
    fn slice(&mut self, parts: &[Node; 3]) -> Evaluated {
        let [of, from, to] = parts;
        let (value, from, to) = (self.value(of)?, self.value(from)?, self.value(to)?);
        let bounds = |length: usize| -> Result<std::ops::Range<usize>, Fault> {
            let bound = |at: &Value, otherwise: usize| match at {
                Value::Null => Ok(otherwise),
                Value::Number(Number::Int(n)) if *n < 0 => Ok(length.saturating_sub(usize::try_from(n.unsigned_abs()).unwrap_or(length))),
                Value::Number(Number::Int(n)) => Ok(usize::try_from(*n).unwrap_or(length).min(length)),
                other => Err(failed(format!("{} is no place to divide at", other.kind()))),
            };
            let (from, to) = (bound(&from, 0)?, bound(&to, length)?);
            Ok(from..to.max(from))
        };
        match &value {
            Value::Text(text) => {
                self.budget.take(text.len())?;
                let range = bounds(text.chars().count())?;
                let part: String = text.chars().skip(range.start).take(range.len()).collect();
                Ok(Value::text(&part))
            }
            Value::List(items) => {
                let range = bounds(items.len())?;
                self.budget.take(range.len() * ITEM_BYTES)?;
                Ok(Value::List(Arc::new(items[range].to_vec())))
            }
            other => Err(failed(format!("{} has no parts", other.kind()))),
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Evaluated {
        self.budget.take(4 * entries.len() * ITEM_BYTES)?;
        let mut found = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.value(key)?;
            match &key {
                Value::Bool(_) | Value::Text(_) | Value::Number(Number::Int(_) | Number::Uint(_)) => {}
                // Not every two of them have an order.
                Value::Number(_) => return Err(failed("a number with decimals, or beyond 64 bits, cannot be a key")),
                other => return Err(failed(format!("{} cannot be a key", other.kind()))),
            }
            if let Value::Text(text) = &key {
                self.budget.look(text.len() * entries.len().ilog2() as usize)?;
            }
            found.push((key, self.value(value)?));
        }
        Ok(Value::of_entries(found))
    }

    fn truth(&mut self, node: &Node) -> Result<bool, Fault> {
        match self.value(node)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(failed(format!("{} is not true or false", other.kind()))),
        }
    }

    /// `&&` and `||`, decided by an operand that is `by`. A failure on the left is made good by such an operand on the right.
    fn decided(&mut self, (left, right): &(Node, Node), by: bool) -> Evaluated {
        let left = match self.truth(left) {
            Ok(truth) if truth == by => return Ok(Value::Bool(by)),
            Err(Fault::Exhausted(exhausted)) => return Err(exhausted.into()),
            other => other,
        };
        match (left, self.truth(right)?) {
            (Err(_), right) if right == by => Ok(Value::Bool(by)),
            (left, right) => left.map(|_| Value::Bool(right)),
        }
    }

    fn binary(&mut self, operator: Operator, left: Value, right: &Value) -> Evaluated {
        let refused = |left: &Value| failed(format!("the operator {} does not take {} and {}", operator.sign(), left.kind(), right.kind()));
        let ordered = |found: Option<Ordering>, is: fn(Ordering) -> bool| match (found, &left, right) {
            (Some(order), ..) => Ok(Value::Bool(is(order))),
            // A double that is no number is neither less nor greater.
            (None, Value::Number(_), Value::Number(_)) => Ok(Value::Bool(false)),
            _ => Err(refused(&left)),
        };
        match operator {
            Operator::Equal => Ok(Value::Bool(left.equals(right, self.budget)?)),
            Operator::NotEqual => Ok(Value::Bool(!left.equals(right, self.budget)?)),
            Operator::Less => ordered(left.order(right, self.budget)?, Ordering::is_lt),
            Operator::LessEqual => ordered(left.order(right, self.budget)?, Ordering::is_le),
            Operator::Greater => ordered(left.order(right, self.budget)?, Ordering::is_gt),
            Operator::GreaterEqual => ordered(left.order(right, self.budget)?, Ordering::is_ge),
            Operator::In => right.has(&left, self.budget)?.map(Value::Bool).ok_or_else(|| refused(&left)),
            Operator::Concatenate => json::texts(&[&left, right], self.budget),
            _ => match (left, right) {
                (Value::Number(a), Value::Number(b)) => {
                    self.budget.look(a.bytes() + b.bytes())?;
                    number::compute(operator, &a, b).map(Value::Number).map_err(|why| undefined(operator.sign(), why))
                }
                (left, right) if operator == Operator::Add => self.joined(&left, right).ok_or_else(|| refused(&left))?,
                (left, _) => Err(refused(&left)),
            },
        }
    }

    /// Texts, bytes and lists end to end; none of other values.
    fn joined(&mut self, left: &Value, right: &Value) -> Option<Evaluated> {
        let paid = |budget: &mut Budget, bytes: usize| budget.take(bytes).map_err(Fault::from);
        Some(match (left, right) {
            (Value::Text(a), Value::Text(b)) => {
                paid(self.budget, 2 * (a.len() + b.len())).map(|()| Value::Text([&**a, &**b].concat().into()))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                paid(self.budget, 2 * (a.len() + b.len())).map(|()| Value::Bytes([&**a, &**b].concat().into()))
            }
            (Value::List(a), Value::List(b)) => paid(self.budget, (a.len() + b.len()) * ITEM_BYTES)
                .and_then(|()| self.budget.spend((a.len() + b.len()) as u64).map_err(Fault::from))
                .map(|()| Value::List(Arc::new([&***a, &***b].concat()))),
            _ => return None,
        })
    }

    fn fold(&mut self, fold: &Fold) -> Evaluated {
        let items = match self.value(&fold.range)? {
            Value::List(items) => items,
            Value::Map(entries) => {
                self.budget.take(entries.len() * ITEM_BYTES)?;
                Arc::new(entries.iter().map(|(key, _)| key.clone()).collect())
            }
            other => return Err(failed(format!("{} cannot be iterated over", other.kind()))),
        };
        let begin = self.eval(&fold.begin)?;
        self.locals.truncate(fold.slot);
        self.locals.extend([Ok(Value::Undefined), Ok(begin)]);
        // What one item makes fail, another one may decide all the same.
        let makes_good = matches!(fold.step, Node::And(_) | Node::Or(_));
        for item in items.iter() {
            self.locals.truncate(fold.slot + 2);
            self.locals[fold.slot] = Ok(item.clone());
            if !self.truth(&fold.goes_on)? {
                break;
            }
            let carried = match self.eval(&fold.step) {
                Err(fault @ Fault::Failed(_)) if makes_good => Err(fault),
                other => Ok(other?),
            };
            self.locals[fold.slot + 1] = carried;
        }
        self.locals.truncate(fold.slot + 2);
        let result = self.eval(&fold.result);
        self.locals.truncate(fold.slot);
        result
    }

    fn push(&mut self, slot: usize, item: &Node) -> Evaluated {
        let item = self.value(item)?;
        self.budget.grow(ITEM_BYTES)?;
        match std::mem::replace(&mut self.locals[slot], Ok(Value::Undefined))? {
            Value::List(mut items) => {
                Arc::make_mut(&mut items).push(item);
                Ok(Value::List(items))
            }
            other => Err(failed(format!("the operator + does not take {} and a list", other.kind()))),
        }
    }
}

fn undefined(sign: &str, why: Undefined) -> Fault {
    failed(match why {
        Undefined::Overflow => format!("the operator {sign} overflows"),
        Undefined::ByZero => "a division by zero".to_owned(),
        Undefined::Kind => format!("the operator {sign} does not take numbers with decimals"),
    })
}

/// The place in a list of this length; below zero it counts from the end, where that is the language's custom.
fn place(n: &Number, length: usize, missing: Missing) -> Option<usize> {
    let whole = n.truncated()?;
    if number::compare(n, &Number::from_i128(whole)?) != Some(Ordering::Equal) {
        return None;
    }
    let from_start = if whole < 0 && missing == Missing::Undefined { whole + length as i128 } else { whole };
    usize::try_from(from_start).ok().filter(|at| *at < length)
}

fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn shown_key(key: &Value) -> String {
    match key {
        Value::Text(text) => format!("{:?}", shown(text)),
        Value::Number(n) => n.to_string(),
        other => other.kind().to_owned(),
    }
}

/// The name of what is not there, as far as it has one.
fn described(node: &Node) -> String {
    match node {
        Node::Field(of, name, _) => match described(of) {
            of if of.is_empty() => name.to_string(),
            of => format!("{of}.{name}"),
        },
        Node::Item(parts, _) => match &parts.1 {
            Node::Constant(key) => format!("{}[{}]", described(&parts.0), shown_key(key)),
            _ => format!("such item of {}", described(&parts.0)),
        },
        Node::Variable(place) => crate::template::ROOTS.get(*place).copied().unwrap_or_default().to_owned(),
        _ => "such value".to_owned(),
    }
}
