//! From CEL's syntax tree to the one that is evaluated: names, functions and macros are checked here, once.

use super::problem;
use crate::event::VARIABLES;
use crate::expr::{Fold, Function, Missing, Node, Operator, Value};
use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, MapExpr, operators};
use orrery_model::job::{Problem, nearest};
use std::sync::Arc;

/// Names of types, as `type(…)` gives them.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

const FUNCTIONS: [(&str, Function, usize); 12] = [
    ("bool", Function::Bool, 1),
    ("bytes", Function::Bytes, 1),
    ("contains", Function::Contains, 2),
    ("double", Function::Double, 1),
    ("dyn", Function::Same, 1),
    ("endsWith", Function::EndsWith, 2),
    ("int", Function::Int, 1),
    ("size", Function::Size, 1),
    ("startsWith", Function::StartsWith, 2),
    ("string", Function::Text, 1),
    ("type", Function::TypeOf, 1),
    ("uint", Function::Uint, 1),
];

const OPERATORS: [(&str, Operator); 12] = [
    (operators::ADD, Operator::Add),
    (operators::SUBSTRACT, Operator::Subtract),
    (operators::MULTIPLY, Operator::Multiply),
    (operators::DIVIDE, Operator::Divide),
    (operators::MODULO, Operator::Remainder),
    (operators::EQUALS, Operator::Equal),
    (operators::NOT_EQUALS, Operator::NotEqual),
    (operators::LESS, Operator::Less),
    (operators::LESS_EQUALS, Operator::LessEqual),
    (operators::GREATER, Operator::Greater),
    (operators::GREATER_EQUALS, Operator::GreaterEqual),
    (operators::IN, Operator::In),
];

/// The expression, or what it names that there is not.
pub(super) fn lower(expression: &IdedExpr) -> Result<Node, Problem> {
    Lowering { scope: Vec::new() }.node(expression)
}

struct Lowering<'e> {
    /// Variables of the macros around, each at its place.
    scope: Vec<&'e str>,
}

impl<'e> Lowering<'e> {
    fn node(&mut self, node: &'e IdedExpr) -> Result<Node, Problem> {
        match &node.expr {
            Expr::Literal(literal) => Ok(Node::Constant(constant(literal))),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                let operand = Box::new(self.node(&select.operand)?);
                let field: Arc<str> = select.field.as_str().into();
                Ok(if select.test { Node::Has(operand, field) } else { Node::Field(operand, field, Missing::Fails) })
            }
            Expr::List(list) if list.optional_indices.is_empty() => Ok(Node::List(self.nodes(&list.elements)?)),
            Expr::Map(map) => self.map(map),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(fold) => self.fold(fold),
            Expr::Struct(_) => Err(problem("it makes a message, and there are no message types")),
            Expr::List(_) | Expr::Unspecified => Err(problem("it has an optional part, which is not taken")),
        }
    }

    fn nodes(&mut self, nodes: &'e [IdedExpr]) -> Result<Vec<Node>, Problem> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    fn name(&self, name: &str) -> Result<Node, Problem> {
        if let Some(slot) = self.scope.iter().rposition(|known| *known == name) {
            return Ok(Node::Local(slot));
        }
        if let Some(place) = VARIABLES.iter().position(|known| *known == name) {
            return Ok(Node::Variable(place));
        }
        if let Some(name) = TYPES.into_iter().find(|known| *known == name) {
            return Ok(Node::Constant(Value::Type(name)));
        }
        let hint = match nearest(name, VARIABLES.into_iter()) {
            Some(known) => format!("did you mean {known}?"),
            None => format!("known are {}; fields of the event are data.{name}", VARIABLES.join(", ")),
        };
        Err(problem(format!("there is no variable {name}")).hint(hint))
    }

    fn map(&mut self, map: &'e MapExpr) -> Result<Node, Problem> {
        let entry = |lowering: &mut Self, entry: &'e EntryExpr| match entry {
            EntryExpr::MapEntry(entry) if !entry.optional => Ok((lowering.node(&entry.key)?, lowering.node(&entry.value)?)),
            _ => Err(problem("it has an optional part, which is not taken")),
        };
        map.entries.iter().map(|found| entry(self, &found.expr)).collect::<Result<_, _>>().map(Node::Map)
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<Node, Problem> {
        let operands: Vec<&'e IdedExpr> = call.target.iter().map(AsRef::as_ref).chain(&call.args).collect();
        if let Some(push) = self.push(call)? {
            return Ok(push);
        }
        let mut nodes = operands.into_iter().map(|operand| self.node(operand)).collect::<Result<Vec<_>, _>>()?;
        let count = nodes.len();
        let mut two = || nodes.drain(..2).collect::<Vec<_>>().try_into().map(|[a, b]: [Node; 2]| Box::new((a, b)));
        let name = call.func_name.as_str();
        match (name, count) {
            (operators::LOGICAL_AND, 2) => return two().map(Node::And).map_err(|_| arity(name)),
            (operators::LOGICAL_OR, 2) => return two().map(Node::Or).map_err(|_| arity(name)),
            (operators::INDEX, 2) => return two().map(|parts| Node::Item(parts, Missing::Fails)).map_err(|_| arity(name)),
            (operators::CONDITIONAL, 3) => {
                return nodes.try_into().map(|parts| Node::If(Box::new(parts))).map_err(|_| arity(name));
            }
            (operators::LOGICAL_NOT | operators::NEGATE | operators::NOT_STRICTLY_FALSE, 1) => {
                let operand = Box::new(nodes.remove(0));
                return Ok(match name {
                    operators::LOGICAL_NOT => Node::Not(operand),
                    operators::NEGATE => Node::Negate(operand),
                    _ => Node::NotStrictlyFalse(operand),
                });
            }
            _ => {}
        }
        if let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| *known == name) {
            return if count == 2 { two().map(|parts| Node::Binary(*operator, parts)).map_err(|_| arity(name)) } else { Err(arity(name)) };
        }
        match FUNCTIONS.iter().find(|(known, ..)| *known == name) {
            Some((_, function, wanted)) if *wanted == count => Ok(Node::Call(*function, nodes)),
            Some(_) => Err(arity(name)),
            None => Err(unknown_function(name)),
        }
    }

    /// What `map` and `filter` do with each item: their list has one holder, and is not copied for it.
    fn push(&mut self, call: &'e CallExpr) -> Result<Option<Node>, Problem> {
        let [IdedExpr { expr: Expr::Ident(name), .. }, IdedExpr { expr: Expr::List(list), .. }] = call.args.as_slice() else {
            return Ok(None);
        };
        let slot = self.scope.iter().rposition(|known| *known == name.as_str());
        match (slot, list.elements.as_slice()) {
            (Some(slot), [item]) if call.func_name == operators::ADD && name.starts_with('@') => {
                Ok(Some(Node::Push(slot, Box::new(self.node(item)?))))
            }
            _ => Ok(None),
        }
    }

    fn fold(&mut self, fold: &'e ComprehensionExpr) -> Result<Node, Problem> {
        if fold.iter_var2.is_some() {
            return Err(problem("it iterates with two variables, and one is taken").hint("take the value by its key: data[k]"));
        }
        let (range, begin) = (self.node(&fold.iter_range)?, self.node(&fold.accu_init)?);
        let slot = self.scope.len();
        self.scope.extend([fold.iter_var.as_str(), fold.accu_var.as_str()]);
        let mut part = |node: &'e IdedExpr| self.node(node);
        let parts = (part(&fold.loop_cond), part(&fold.loop_step), part(&fold.result));
        self.scope.truncate(slot);
        Ok(Node::Fold(Box::new(Fold { range, begin, goes_on: parts.0?, step: parts.1?, result: parts.2?, slot })))
    }
}

fn constant(literal: &LiteralValue) -> Value {
    use crate::expr::number::Number;
    match literal {
        LiteralValue::Boolean(b) => Value::Bool(*b.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.inner().into()),
        LiteralValue::Double(n) => Value::Number(Number::Double(*n.inner())),
        LiteralValue::Int(n) => Value::int(*n.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => Value::text(text.inner()),
        LiteralValue::UInt(n) => Value::Number(Number::Uint(*n.inner())),
    }
}

fn arity(name: &str) -> Problem {
    problem(format!("{name} is called with another number of values than it takes"))
}

fn unknown_function(name: &str) -> Problem {
    let known = || FUNCTIONS.iter().map(|(name, ..)| *name);
    let hint = match name {
        "matches" => "write contains, startsWith or endsWith; there are no regular expressions".to_owned(),
        "timestamp" | "duration" => "timestamp is a number of milliseconds since 1970; compare times as texts or numbers".to_owned(),
        _ => nearest(name, known().chain(["has", "all", "exists", "exists_one", "filter", "map"]))
            .map_or_else(|| format!("known are {}", known().collect::<Vec<_>>().join(", ")), |known| format!("did you mean {known}?")),
    };
    problem(format!("there is no function {name}")).hint(hint)
}
