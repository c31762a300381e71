//! Numbers: whole ones are exact however large they are, others IEEE doubles, the same on every machine. They are compared by value
//! across their kinds; where a double is among two operands, the result is one.

use super::Operator;
use std::cmp::Ordering;
use std::sync::Arc;

/// A number.
#[derive(Debug, Clone)]
pub enum Number {
    /// A whole number from -2⁶³ to 2⁶³ - 1.
    Int(i64),
    /// A whole number from 0 to 2⁶⁴ - 1; as JSON has it only beyond [`Number::Int`].
    Uint(u64),
    /// Any other whole number, as it was written: it is kept, compared and printed digit by digit, and computed with as a double.
    Large(Arc<str>),
    /// A number with decimals.
    Double(f64),
}

/// Why two numbers have no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undefined {
    Overflow,
    ByZero,
    /// A remainder of doubles.
    Kind,
}

impl Number {
    pub(crate) fn is_zero(&self) -> bool {
        compare(self, &Self::Int(0)) == Some(Ordering::Equal)
    }

    /// Bytes that computing with it looks through, beyond those of a step.
    pub(crate) fn bytes(&self) -> usize {
        // Reading a digit takes as long as looking through eight bytes.
        if let Self::Large(digits) = self { 8 * digits.len() } else { 0 }
    }

    pub(crate) fn double(&self) -> f64 {
        match self {
            Self::Int(n) => *n as f64,
            Self::Uint(n) => *n as f64,
            Self::Large(digits) => digits.parse().unwrap_or(f64::NAN),
            Self::Double(n) => *n,
        }
    }

    /// A whole number of up to 64 bits.
    const fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(*n as i128),
            Self::Uint(n) => Some(*n as i128),
            Self::Large(_) | Self::Double(_) => None,
        }
    }

    /// The double without what stands behind its point, if it has not too many digits for any whole number that we compute with.
    pub(crate) fn truncated(&self) -> Option<i128> {
        match self.whole() {
            Some(n) => Some(n),
            None => Some(self.double()).filter(|n| n.abs() < 1e30).map(|n| n as i128),
        }
    }

    pub(crate) fn from_i128(n: i128) -> Option<Self> {
        i64::try_from(n).map(Self::Int).or_else(|_| u64::try_from(n).map(Self::Uint)).ok()
    }

    pub(crate) fn negated(&self) -> Result<Self, Undefined> {
        match self.whole() {
            Some(n) => Self::from_i128(-n).ok_or(Undefined::Overflow),
            None => Ok(Self::Double(-self.double())),
        }
    }

    /// Rounded to so many decimals, half to even, as it is written.
    pub(crate) fn rounded(&self, decimals: usize) -> Self {
        match self {
            Self::Double(n) => Self::Double(format!("{n:.decimals$}").parse().unwrap_or(*n)),
            whole => whole.clone(),
        }
    }
}

/// A double, as it is written everywhere: `1.5`, `2.0`, `1e30`.
impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::Uint(n) => n.fmt(f),
            Self::Large(digits) => f.write_str(digits),
            Self::Double(n) => write!(f, "{n:?}"),
        }
    }
}

/// The order of two numbers by value; none if one of them is no number.
pub(crate) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a, b) {
        (Number::Large(a), Number::Large(b)) => Some(by_digits(a, b)),
        (Number::Double(a), Number::Double(b)) => a.partial_cmp(b),
        (Number::Double(_) | Number::Large(_), _) => match b.whole() {
            Some(b) => with_whole(a.double(), b),
            None => a.double().partial_cmp(&b.double()),
        },
        (_, Number::Double(_) | Number::Large(_)) => compare(b, a).map(Ordering::reverse),
        _ => Some(a.whole()?.cmp(&b.whole()?)),
    }
}

/// Exact: a whole number of 64 bits may have no double of its own.
fn with_whole(a: f64, b: i128) -> Option<Ordering> {
    match a.partial_cmp(&(b as f64))? {
        Ordering::Equal => Some((a as i128).cmp(&b)),
        unequal => Some(unequal),
    }
}

fn by_digits(a: &str, b: &str) -> Ordering {
    let size = |a: &str, b: &str| a.len().cmp(&b.len()).then_with(|| a.cmp(b));
    match (a.strip_prefix('-'), b.strip_prefix('-')) {
        (None, None) => size(a, b),
        (Some(a), Some(b)) => size(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

/// What an operator of arithmetic makes of two numbers.
pub(crate) fn compute(operator: Operator, a: &Number, b: &Number) -> Result<Number, Undefined> {
    let divides = matches!(operator, Operator::Divide | Operator::DivideDown | Operator::Remainder | Operator::Modulo);
    if divides && b.whole() == Some(0) {
        return Err(Undefined::ByZero);
    }
    let (Some(x), Some(y)) = (a.whole(), b.whole()) else { return of_doubles(operator, a.double(), b.double()).map(Number::Double) };
    let result = match operator {
        Operator::Add => x + y,
        Operator::Subtract => x - y,
        Operator::Multiply => x.checked_mul(y).ok_or(Undefined::Overflow)?,
        Operator::Divide => x / y,
        Operator::DivideDown => (x - modulo(x, y)) / y,
        Operator::Remainder => x % y,
        Operator::Modulo => modulo(x, y),
        _ => return Err(Undefined::Kind),
    };
    Number::from_i128(result).ok_or(Undefined::Overflow)
}

/// The remainder with the divisor's sign.
const fn modulo(x: i128, y: i128) -> i128 {
    ((x % y) + y) % y
}

fn of_doubles(operator: Operator, a: f64, b: f64) -> Result<f64, Undefined> {
    Ok(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::DivideDown => (a / b).floor(),
        _ => return Err(Undefined::Kind),
    })
}
