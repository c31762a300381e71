//! From Jinja's syntax tree to the one that is evaluated: one part of an argument after the other, plain text or expression.

use super::ROOTS;
use crate::expr::number::Number;
use crate::expr::{Function, Missing, Node, Operator, Value};
use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use orrery_model::job::nearest;

/// What is wrong with a template, and what to do.
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { why: why.into(), hint: None })
}

/// Filters, with the least and the most that stands in their brackets.
const FILTERS: [(&str, Function, usize, usize); 13] = [
    ("default", Function::Default, 0, 2),
    ("first", Function::First, 0, 0),
    ("float", Function::ParseFloat, 0, 1),
    ("int", Function::ParseInt, 0, 1),
    ("join", Function::Join, 0, 1),
    ("last", Function::Last, 0, 0),
    ("length", Function::Size, 0, 0),
    ("lower", Function::Lower, 0, 0),
    ("replace", Function::Replace, 2, 2),
    ("round", Function::Round, 0, 1),
    ("tojson", Function::ToJson, 0, 0),
    ("trim", Function::Trim, 0, 0),
    ("upper", Function::Upper, 0, 0),
];

const TESTS: [(&str, Function); 2] = [("defined", Function::Defined), ("none", Function::IsNone)];

/// The parts of an argument, in order.
pub(super) fn parts(template: &Stmt<'_>) -> Result<Vec<Node>, Refused> {
    let Stmt::Template(template) = template else { return refused("it is no template") };
    let part = |statement: &Stmt<'_>| match statement {
        Stmt::EmitRaw(raw) => Ok(Node::Constant(Value::text(raw.raw))),
        Stmt::EmitExpr(emit) => node(&emit.expr),
        _ => refused("beside {{ … }}, no statement is taken"),
    };
    template.children.iter().map(part).collect()
}

fn node(expression: &Expr<'_>) -> Result<Node, Refused> {
    Ok(match expression {
        Expr::Const(constant) => Node::Constant(value(&constant.value)?),
        Expr::Var(variable) => variable_of(variable.id)?,
        Expr::GetAttr(field) => Node::Field(Box::new(node(&field.expr)?), field.name.into(), Missing::Undefined),
        Expr::GetItem(item) => Node::Item(Box::new((node(&item.expr)?, node(&item.subscript_expr)?)), Missing::Undefined),
        Expr::Slice(slice) => {
            if slice.step.is_some() {
                return refused("a part of a list is taken without steps");
            }
            let bound = |bound: &Option<Expr<'_>>| bound.as_ref().map_or(Ok(Node::Constant(Value::Null)), node);
            Node::Slice(Box::new([node(&slice.expr)?, bound(&slice.start)?, bound(&slice.stop)?]))
        }
        Expr::List(list) => Node::List(nodes(&list.items)?),
        Expr::Tuple(tuple) => Node::List(nodes(&tuple.items)?),
        Expr::Map(map) => Node::Map(nodes(&map.keys)?.into_iter().zip(nodes(&map.values)?).collect()),
        Expr::UnaryOp(unary) => match unary.op {
            UnaryOpKind::Not => Node::Falsy(Box::new(node(&unary.expr)?)),
            UnaryOpKind::Neg => Node::Negate(Box::new(node(&unary.expr)?)),
        },
        Expr::BinOp(binary) => binary_of(binary.op, node(&binary.left)?, node(&binary.right)?)?,
        Expr::Compare(compare) => chain(compare)?,
        Expr::IfExpr(choice) => {
            let condition = Node::Not(Box::new(Node::Falsy(Box::new(node(&choice.test_expr)?))));
            let other = choice.false_expr.as_ref().map_or(Ok(Node::Constant(Value::text(""))), node)?;
            Node::If(Box::new([condition, node(&choice.true_expr)?, other]))
        }
        Expr::Filter(filter) => filtered(filter)?,
        Expr::Test(test) => tested(test)?,
        Expr::Call(_) => return refused("there are no functions, only filters: event.data.id | upper"),
    })
}

fn nodes(expressions: &[Expr<'_>]) -> Result<Vec<Node>, Refused> {
    expressions.iter().map(node).collect()
}

fn variable_of(name: &str) -> Result<Node, Refused> {
    if let Some(place) = ROOTS.iter().position(|root| *root == name) {
        return Ok(Node::Variable(place));
    }
    let known = ROOTS.join(", ");
    let hint = nearest(name, ROOTS.into_iter())
        .map_or_else(|| format!("known are {known}; fields of the event are event.data.{name}"), |known| format!("did you mean {known}?"));
    Err(Refused { why: format!("there is no {name}"), hint: Some(hint) })
}

fn binary_of(operator: BinOpKind, left: Node, right: Node) -> Result<Node, Refused> {
    let operator = match operator {
        BinOpKind::ScAnd => return Ok(Node::AndThen(Box::new((left, right)))),
        BinOpKind::ScOr => return Ok(Node::OrElse(Box::new((left, right)))),
        // Here a quotient has decimals.
        BinOpKind::Div => {
            let left = Node::Call(Function::Double, vec![left]);
            return Ok(Node::Binary(Operator::Divide, Box::new((left, right))));
        }
        BinOpKind::Eq => Operator::Equal,
        BinOpKind::Ne => Operator::NotEqual,
        BinOpKind::Lt => Operator::Less,
        BinOpKind::Lte => Operator::LessEqual,
        BinOpKind::Gt => Operator::Greater,
        BinOpKind::Gte => Operator::GreaterEqual,
        BinOpKind::Add => Operator::Add,
        BinOpKind::Sub => Operator::Subtract,
        BinOpKind::Mul => Operator::Multiply,
        BinOpKind::FloorDiv => Operator::DivideDown,
        BinOpKind::Rem => Operator::Modulo,
        BinOpKind::Concat => Operator::Concatenate,
        BinOpKind::In => Operator::In,
        BinOpKind::Pow => return refused("** is not taken"),
    };
    Ok(Node::Binary(operator, Box::new((left, right))))
}

/// `a < b < c`: each pair holds.
fn chain(compare: &ast::Compare<'_>) -> Result<Node, Refused> {
    let mut left = node(&compare.expr)?;
    let mut all: Option<Node> = None;
    for step in &compare.ops {
        let right = node(&step.expr)?;
        let (operator, negated) = match step.op {
            CompareOpKind::Eq => (Operator::Equal, false),
            CompareOpKind::Ne => (Operator::NotEqual, false),
            CompareOpKind::Lt => (Operator::Less, false),
            CompareOpKind::Lte => (Operator::LessEqual, false),
            CompareOpKind::Gt => (Operator::Greater, false),
            CompareOpKind::Gte => (Operator::GreaterEqual, false),
            CompareOpKind::In => (Operator::In, false),
            CompareOpKind::NotIn => (Operator::In, true),
        };
        let pair = Node::Binary(operator, Box::new((left, right.clone())));
        let pair = if negated { Node::Not(Box::new(pair)) } else { pair };
        all = Some(match all {
            Some(before) => Node::And(Box::new((before, pair))),
            None => pair,
        });
        left = right;
    }
    Ok(all.unwrap_or(left))
}

fn filtered(filter: &ast::Filter<'_>) -> Result<Node, Refused> {
    let Some((name, function, least, most)) = FILTERS.iter().find(|(name, ..)| *name == filter.name) else {
        let known = || FILTERS.iter().map(|(name, ..)| *name);
        let hint = match nearest(filter.name, known()) {
            Some(known) => format!("did you mean {known}?"),
            None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        };
        return Err(Refused { why: format!("there is no filter {}", filter.name), hint: Some(hint) });
    };
    let Some(of) = &filter.expr else { return refused("a filter stands behind what it changes") };
    if !(*least..=*most).contains(&filter.args.len()) {
        return refused(format!("the filter {name} takes {least} to {most} values in brackets, and has {}", filter.args.len()));
    }
    let mut arguments = vec![node(of)?];
    for argument in &filter.args {
        match argument {
            CallArg::Pos(expression) => arguments.push(node(expression)?),
            _ => return refused(format!("the values of the filter {name} have no names")),
        }
    }
    Ok(Node::Call(*function, arguments))
}

fn tested(test: &ast::Test<'_>) -> Result<Node, Refused> {
    match TESTS.iter().find(|(name, _)| *name == test.name) {
        Some((_, function)) if test.args.is_empty() => Ok(Node::Call(*function, vec![node(&test.expr)?])),
        Some((name, _)) => refused(format!("the test {name} takes no values")),
        None => Err(Refused { why: format!("there is no test {}", test.name), hint: Some("known are defined, none".to_owned()) }),
    }
}

fn value(constant: &minijinja::Value) -> Result<Value, Refused> {
    use minijinja::value::ValueKind;
    Ok(match constant.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(constant.is_true()),
        ValueKind::String => Value::text(constant.as_str().unwrap_or_default()),
        ValueKind::Number => match (i64::try_from(constant.clone()), u64::try_from(constant.clone())) {
            (Ok(n), _) if constant.is_integer() => Value::int(n),
            (_, Ok(n)) if constant.is_integer() => Value::Number(Number::Uint(n)),
            _ => match constant.to_string().parse() {
                Ok(n) => Value::Number(Number::Double(n)),
                Err(_) => return refused(format!("{constant} is no number")),
            },
        },
        _ => return refused("it has a value of an unknown kind"),
    })
}
