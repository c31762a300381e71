//! Expressions that users write, evaluated within a budget.
//!
//! Two languages are read by their libraries' parsers, CEL ([`crate::predicate`]) and Jinja ([`crate::template`]), and lowered to
//! one small tree, [`Node`]. One evaluator ([`eval`]) serves both, over one kind of [`Value`]. So there is one place that knows
//! what a step costs, and one order of everything: nothing here depends on a hash, an address or a clock ([ADR 0012]).
//!
//! **Bounded.** Each node, and each 64 bytes that are looked through or made, is a step of the [`Budget`]; each byte that is made is
//! taken from it too. At the budget's end the evaluation fails. Nothing that is made is given back before, so the budget bounds what
//! is in memory at once.
//!
//! [ADR 0012]: ../../../adr/0012-one-evaluator-with-a-budget.md

pub(crate) mod budget;
pub(crate) mod eval;
mod functions;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod value;

pub use budget::{Budget, Exhausted, MEMORY_MAX, WORK_MAX};
pub use number::Number;
pub use value::Value;

use std::sync::Arc;

/// An expression, ready to be evaluated.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Constant(Value),
    /// What the surroundings give a name, by its place among the names of the language.
    Variable(usize),
    /// A variable of a [`Fold`], by its place among those that are in scope.
    Local(usize),
    Field(Box<Node>, Arc<str>, Missing),
    /// True if the map has the field.
    Has(Box<Node>, Arc<str>),
    Item(Box<(Node, Node)>, Missing),
    Slice(Box<[Node; 3]>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// True or false of operands that are true or false; where one operand decides, a failure of the other does not count.
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Not(Box<Node>),
    /// As a script has it: the operand that decides, whatever its type.
    AndThen(Box<(Node, Node)>),
    OrElse(Box<(Node, Node)>),
    /// True of zero, of nothing, and of what is empty.
    Falsy(Box<Node>),
    If(Box<[Node; 3]>),
    Negate(Box<Node>),
    Binary(Operator, Box<(Node, Node)>),
    Call(Function, Vec<Node>),
    Fold(Box<Fold>),
    /// A list that only this place holds, a [`Node::Local`], with one more item.
    Push(usize, Box<Node>),
    /// False only if the operand is: a failure is none.
    NotStrictlyFalse(Box<Node>),
}

/// What a field or an item is that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Fails,
    Undefined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// To the next whole number below.
    DivideDown,
    /// With the sign of the number that is divided.
    Remainder,
    /// With the sign of the divisor.
    Modulo,
    /// Two texts, whatever the operands are.
    Concatenate,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Operator {
    /// As people write it.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::DivideDown => "//",
            Self::Remainder | Self::Modulo => "%",
            Self::Concatenate => "~",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Text,
    Int,
    Uint,
    Double,
    Bool,
    Bytes,
    TypeOf,
    Same,
    Default,
    Defined,
    IsNone,
    Lower,
    Upper,
    Trim,
    Replace,
    Join,
    ToJson,
    ParseInt,
    ParseFloat,
    Round,
    First,
    Last,
}

/// Goes through a list, or the keys of a map, and carries a value along.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    /// What the carried value begins with.
    pub(crate) begin: Node,
    /// While this is true.
    pub(crate) goes_on: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
    /// Place of the item; the carried value is the next one.
    pub(crate) slot: usize,
}
