//! What expressions may call: CEL's functions, and the filters and tests of templates.

use super::eval::{Evaluated, Evaluator, Fault, failed};
use super::json::Writer;
use super::number::Number;
use super::value::Value;
use super::{Function, Node};

/// Decimals that a number may be rounded to.
const DECIMALS_MAX: usize = 30;

pub(crate) fn call(run: &mut Evaluator<'_>, function: Function, arguments: &[Node]) -> Evaluated {
    let first = arguments.first().expect("lowering refuses calls without arguments");
    match function {
        Function::Defined => return Ok(Value::Bool(!matches!(looked_for(run, first)?, Value::Undefined))),
        Function::Default => return default(run, first, &arguments[1..]),
        _ => {}
    }
    let value = run.value(first)?;
    let further = arguments[1..].iter().map(|argument| run.value(argument)).collect::<Result<Vec<_>, _>>()?;
    match function {
        Function::Size => size(run, &value),
        Function::Contains | Function::StartsWith | Function::EndsWith => within(run, function, &value, &further),
        Function::Text => text(run, value),
        Function::Int | Function::Uint => whole(run, function, &value),
        Function::Double => double(run, &value),
        Function::Bool => truth(&value),
        Function::Bytes => match value {
            Value::Text(text) => {
                run.budget.take(text.len())?;
                Ok(Value::Bytes(text.as_bytes().into()))
            }
            Value::Bytes(_) => Ok(value),
            other => Err(refused("bytes", &other)),
        },
        Function::TypeOf => Ok(Value::Type(value.type_name())),
        Function::Same | Function::Default | Function::Defined => Ok(value),
        Function::IsNone => Ok(Value::Bool(matches!(value, Value::Null))),
        Function::Lower => changed(run, &value, str::to_lowercase),
        Function::Upper => changed(run, &value, str::to_uppercase),
        Function::Trim => changed(run, &value, |text| text.trim().to_owned()),
        Function::Replace => replace(run, &value, &further),
        Function::Join => join(run, &value, further.first()),
        Function::ToJson => {
            let mut out = Writer::new(run.budget);
            out.json(&value)?;
            Ok(Value::Text(out.text.into()))
        }
        Function::ParseInt => parsed(run, &value, further.first(), |number| number.truncated().and_then(Number::from_i128)),
        Function::ParseFloat => parsed(run, &value, further.first(), |number| Some(Number::Double(number.double()))),
        Function::Round => round(&value, further.first()),
        Function::First => end(run, &value, true),
        Function::Last => end(run, &value, false),
    }
}

fn refused(name: &str, value: &Value) -> Fault {
    failed(format!("{name} does not take {}", value.kind()))
}

/// The value, or [`Value::Undefined`] where any part of what names it is not there.
fn looked_for(run: &mut Evaluator<'_>, node: &Node) -> Evaluated {
    match run.eval(node) {
        Err(Fault::NotThere(_)) => Ok(Value::Undefined),
        found => found,
    }
}

fn default(run: &mut Evaluator<'_>, value: &Node, further: &[Node]) -> Evaluated {
    let found = looked_for(run, value)?;
    let also_falsy = further.get(1).map(|node| run.value(node)).transpose()?.is_some_and(|value| value.is_true());
    match found {
        Value::Undefined => {}
        found if also_falsy && !found.is_true() => {}
        found => return Ok(found),
    }
    further.first().map_or_else(|| Ok(Value::text("")), |node| run.value(node))
}

fn size(run: &mut Evaluator<'_>, value: &Value) -> Evaluated {
    let size = match value {
        Value::Text(text) => {
            run.budget.look(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        other => return Err(refused("size", other)),
    };
    Ok(Value::int(size as i64))
}

fn within(run: &mut Evaluator<'_>, function: Function, value: &Value, further: &[Value]) -> Evaluated {
    let (Value::Text(text), [Value::Text(part)]) = (value, further) else {
        let other = further.first().filter(|_| value.as_str().is_some()).unwrap_or(value);
        return Err(failed(format!("it looks for a text in a text, and {} is none", other.kind())));
    };
    run.budget.look(text.len() + part.len())?;
    Ok(Value::Bool(match function {
        Function::StartsWith => text.starts_with(&**part),
        Function::EndsWith => text.ends_with(&**part),
        _ => text.contains(&**part),
    }))
}

fn text(run: &mut Evaluator<'_>, value: Value) -> Evaluated {
    match value {
        Value::Text(_) => Ok(value),
        Value::Number(Number::Double(n)) => Ok(Value::text(Number::Double(n).to_string().trim_end_matches(".0"))),
        Value::Number(_) | Value::Bool(_) => super::json::texts(&[&value], run.budget),
        Value::Bytes(bytes) => {
            run.budget.take(bytes.len())?;
            std::str::from_utf8(&bytes).map(Value::text).map_err(|_| failed("string does not take bytes that are no UTF-8"))
        }
        other => Err(refused("string", &other)),
    }
}

/// Reading a digit takes as long as looking through eight bytes.
const DIGIT_BYTES: usize = 8;

fn whole(run: &mut Evaluator<'_>, function: Function, value: &Value) -> Evaluated {
    run.budget.look(value.as_str().map_or(0, str::len) * DIGIT_BYTES)?;
    let name = if function == Function::Int { "int" } else { "uint" };
    let number = match value {
        Value::Number(number) => number.truncated(),
        Value::Text(text) => text.parse().ok(),
        other => return Err(refused(name, other)),
    };
    let fits = |n: i128| match function {
        Function::Int => i64::try_from(n).ok().map(Number::Int),
        _ => u64::try_from(n).ok().map(Number::Uint),
    };
    number.and_then(fits).map(Value::Number).ok_or_else(|| failed(format!("the function {name} fails: that is no {name}")))
}

fn double(run: &mut Evaluator<'_>, value: &Value) -> Evaluated {
    run.budget.look(value.as_str().map_or(0, str::len) * DIGIT_BYTES)?;
    match value {
        Value::Number(number) => Ok(Value::Number(Number::Double(number.double()))),
        Value::Text(text) => match text.parse() {
            Ok(n) => Ok(Value::Number(Number::Double(n))),
            Err(_) => Err(failed("the function double fails: the text is no number")),
        },
        other => Err(refused("double", other)),
    }
}

fn truth(value: &Value) -> Evaluated {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::Text(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err(failed("the function bool fails: the text is neither true nor false")),
        },
        other => Err(refused("bool", other)),
    }
}

/// A changed text; a letter may become three times as long.
fn changed(run: &mut Evaluator<'_>, value: &Value, change: fn(&str) -> String) -> Evaluated {
    let Value::Text(text) = super::json::texts(&[value], run.budget)? else { return Ok(value.clone()) };
    run.budget.take(4 * text.len())?;
    Ok(Value::Text(change(&text).into()))
}

fn replace(run: &mut Evaluator<'_>, value: &Value, further: &[Value]) -> Evaluated {
    let (text, [Value::Text(from), Value::Text(to)]) = (super::json::texts(&[value], run.budget)?, further) else {
        return Err(failed("replace takes two texts"));
    };
    let text = text.as_str().unwrap_or_default();
    run.budget.look(text.len())?;
    let grown = text.len().saturating_add(text.matches(&**from).count().saturating_mul(to.len()));
    run.budget.take(grown.saturating_mul(2))?;
    Ok(Value::Text(text.replace(&**from, to).into()))
}

fn join(run: &mut Evaluator<'_>, value: &Value, between: Option<&Value>) -> Evaluated {
    let Value::List(items) = value else { return Err(refused("join", value)) };
    let mut out = Writer::new(run.budget);
    for (i, item) in items.iter().enumerate() {
        if let Some(between) = between.filter(|_| i > 0) {
            out.text(between)?;
        }
        out.text(item)?;
    }
    Ok(Value::Text(out.text.into()))
}

/// The number that a text or number is; where it is none, what was given for that.
fn parsed(run: &mut Evaluator<'_>, value: &Value, otherwise: Option<&Value>, as_wanted: fn(Number) -> Option<Number>) -> Evaluated {
    run.budget.look(value.as_str().map_or(0, str::len) * DIGIT_BYTES)?;
    let number = match value {
        Value::Number(number) => Some(number.clone()),
        Value::Bool(b) => Some(Number::Int((*b).into())),
        Value::Text(text) => match text.trim().parse::<i128>().ok().and_then(Number::from_i128) {
            Some(whole) => Some(whole),
            None => text.trim().parse().ok().map(Number::Double),
        },
        _ => None,
    };
    let found = number.and_then(as_wanted).map(Value::Number);
    found.or_else(|| otherwise.cloned()).ok_or_else(|| failed(format!("{} is not such a number", value.kind())))
}

fn round(value: &Value, decimals: Option<&Value>) -> Evaluated {
    let decimals = decimals.map_or(Some(0), |value| usize::try_from(value.as_i64()?).ok().filter(|n| *n <= DECIMALS_MAX));
    match (value, decimals) {
        (Value::Number(number), Some(decimals)) => Ok(Value::Number(number.rounded(decimals))),
        (Value::Number(_), None) => Err(failed(format!("round takes 0 to {DECIMALS_MAX} decimals"))),
        (other, _) => Err(refused("round", other)),
    }
}

fn end(run: &mut Evaluator<'_>, value: &Value, first: bool) -> Evaluated {
    Ok(match value {
        Value::List(items) => if first { items.first() } else { items.last() }.cloned().unwrap_or(Value::Undefined),
        Value::Text(text) => {
            run.budget.spend(1)?;
            let c = if first { text.chars().next() } else { text.chars().next_back() };
            c.map_or(Value::Undefined, |c| Value::text(c.encode_utf8(&mut [0; 4])))
        }
        other => return Err(refused(if first { "first" } else { "last" }, other)),
    })
}
