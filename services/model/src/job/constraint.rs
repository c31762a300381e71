//! Constraints on an agent's attributes.
//!
//! ```text
//! zone == eu-1          the attribute is there and has this value
//! zone != us            the attribute has another value, or is not there
//! rack in (a, b)        the attribute is there and has one of these values; the parentheses may be left out
//! hostname like web-*   the attribute is there and fits: * stands for any characters (also none), ? for exactly one
//! ```
//!
//! Values are compared exactly, upper and lower case differ. A value may stand in quotes; it holds none itself.

use crate::messages::Attribute;
use std::fmt;

/// One constraint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    /// Name of the attribute.
    pub attribute: String,
    /// What its value must be.
    pub test: Test,
}

/// What an attribute's value must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// `==`: this.
    Is(String),
    /// `!=`: anything but this, or absent.
    IsNot(String),
    /// `in`: one of these, in the order written.
    In(Vec<String>),
    /// `like`: fits this pattern of `*` and `?`.
    Like(String),
}

/// Why a text is not a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a constraint: {why}")]
pub struct ConstraintError {
    /// The refused text.
    pub text: String,
    /// What is wrong and what to write.
    pub why: String,
}

impl Constraint {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        parse(text).map_err(|why| ConstraintError { text: text.chars().take(200).collect(), why })
    }

    /// True if the attributes satisfy it. Where an attribute is named twice, the first one counts.
    pub fn matches(&self, attributes: &[Attribute]) -> bool {
        let value = attributes.iter().find(|a| a.name == self.attribute).map(|a| a.value.as_str());
        match (&self.test, value) {
            (Test::Is(wanted), Some(value)) => value == wanted,
            (Test::IsNot(unwanted), Some(value)) => value != unwanted,
            (Test::In(wanted), Some(value)) => wanted.iter().any(|w| w == value),
            (Test::Like(pattern), Some(value)) => fits(pattern, value),
            (Test::IsNot(_), None) => true,
            (Test::Is(_) | Test::In(_) | Test::Like(_), None) => false,
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Test::Is(value) => write!(f, "{} == {value}", self.attribute),
            Test::IsNot(value) => write!(f, "{} != {value}", self.attribute),
            Test::In(values) => write!(f, "{} in ({})", self.attribute, values.join(", ")),
            Test::Like(pattern) => write!(f, "{} like {pattern}", self.attribute),
        }
    }
}

fn parse(text: &str) -> Result<Constraint, String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))).unwrap_or(text.len());
    let (attribute, rest) = (&text[..end], text[end..].trim_start());
    if attribute.is_empty() {
        return Err("it does not begin with the name of an attribute; write for example zone == eu-1".into());
    }
    let test = if let Some(value) = rest.strip_prefix("==") {
        Test::Is(one_value(value)?)
    } else if let Some(value) = rest.strip_prefix("!=") {
        Test::IsNot(one_value(value)?)
    } else if let Some(values) = word(rest, "in") {
        Test::In(several_values(values)?)
    } else if let Some(pattern) = word(rest, "like") {
        Test::Like(one_value(pattern)?)
    } else if let Some(value) = rest.strip_prefix('=') {
        return Err(format!("a single = compares nothing; write {attribute} == {}", value.trim()));
    } else {
        return Err(format!("behind {attribute} stands none of ==, !=, in, like; write for example {attribute} == eu-1"));
    };
    Ok(Constraint { attribute: attribute.to_owned(), test })
}

/// What follows the operator, if the text begins with it as a whole word.
fn word<'t>(text: &'t str, operator: &str) -> Option<&'t str> {
    text.strip_prefix(operator).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '(']))
}

fn one_value(text: &str) -> Result<String, String> {
    let text = text.trim();
    let inner = ['"', '\''].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(text);
    if inner.trim().is_empty() {
        return Err("there is no value behind the operator".into());
    }
    if inner.trim() != inner || inner.chars().any(|c| c.is_control() || matches!(c, '"' | '\'')) {
        return Err(format!("the value {inner:?} holds quotes, control characters or blanks at its ends, as no attribute does"));
    }
    if inner.starts_with('=') {
        return Err("there is one = too many; write ==".into());
    }
    Ok(inner.to_owned())
}

fn several_values(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let inner = match (text.strip_prefix('('), text.strip_suffix(')')) {
        (Some(open), Some(_)) => &open[..open.len() - 1],
        (None, None) => text,
        _ => return Err("a parenthesis has no partner; write for example rack in (a, b)".into()),
    };
    inner.split(',').map(one_value).collect()
}

/// True if the whole value fits the pattern. Backtracks to the newest `*` only, so it takes at most length × length steps.
fn fits(pattern: &str, value: &str) -> bool {
    let (pattern, value): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
    let (mut p, mut v) = (0, 0);
    let mut star = None;
    while v < value.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, v));
                p += 1;
            }
            Some(c) if *c == '?' || *c == value[v] => (p, v) = (p + 1, v + 1),
            _ => {
                let Some((star_p, star_v)) = star else { return false };
                star = Some((star_p, star_v + 1));
                (p, v) = (star_p + 1, star_v + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn texts_have_one_canonical_form() {
        for (text, canonical) in [
            ("zone == eu-1", "zone == eu-1"),
            ("  zone==eu-1 ", "zone == eu-1"),
            ("zone != \"us\"", "zone != us"),
            ("rack in a,b", "rack in (a, b)"),
            ("rack in (a, 'b')", "rack in (a, b)"),
            ("rack in(a)", "rack in (a)"),
            ("hostname like web-*", "hostname like web-*"),
            ("inside == in x", "inside == in x"),
            ("k8s.io/zone == 1", "k8s.io/zone == 1"),
        ] {
            let parsed = Constraint::parse(text).expect(text);
            assert_eq!(parsed.to_string(), canonical);
            assert_eq!(Constraint::parse(canonical), Ok(parsed), "{canonical} reads back");
        }
    }

    #[test]
    fn agents_match_or_not() {
        let attributes = [("zone", "eu-1"), ("rack", "b"), ("hostname", "web-12.example.org")]
            .map(|(name, value)| Attribute { name: name.into(), value: value.into() });
        for (text, wanted) in [
            ("zone == eu-1", true),
            ("zone == EU-1", false),
            ("zone == eu", false),
            ("zone != eu-1", false),
            ("zone != us", true),
            ("rack in (a, b)", true),
            ("rack in (a, c)", false),
            ("hostname like web-*", true),
            ("hostname like web-?", false),
            ("hostname like web-??.*", true),
            ("hostname like *org", true),
            ("hostname like *.example.*g*", true),
            ("hostname like db*", false),
            ("missing == x", false),
            ("missing in (x)", false),
            ("missing like *", false),
            ("missing != x", true),
        ] {
            assert_eq!(Constraint::parse(text).expect(text).matches(&attributes), wanted, "{text}");
        }
        assert!(!fits(&"*a".repeat(500), &"b".repeat(5000)), "a hostile pattern ends");
    }

    #[test]
    fn refusals_say_what_to_write() {
        let texts =
            ["", "== x", "zone", "zone = eu", "zone === eu", "zone ==", "zone inside a", "rack in (a", "rack in a,,b", "zone == \"a"];
        let refusals: Vec<String> = texts.iter().map(|t| Constraint::parse(t).expect_err(t).to_string()).collect();
        expect![[r#"
            "" is not a constraint: it does not begin with the name of an attribute; write for example zone == eu-1
            "== x" is not a constraint: it does not begin with the name of an attribute; write for example zone == eu-1
            "zone" is not a constraint: behind zone stands none of ==, !=, in, like; write for example zone == eu-1
            "zone = eu" is not a constraint: a single = compares nothing; write zone == eu
            "zone === eu" is not a constraint: there is one = too many; write ==
            "zone ==" is not a constraint: there is no value behind the operator
            "zone inside a" is not a constraint: behind zone stands none of ==, !=, in, like; write for example zone == eu-1
            "rack in (a" is not a constraint: a parenthesis has no partner; write for example rack in (a, b)
            "rack in a,,b" is not a constraint: there is no value behind the operator
            "zone == \"a" is not a constraint: the value "\"a" holds quotes, control characters or blanks at its ends, as no attribute does"#]]
        .assert_eq(&refusals.join("\n"));
    }
}
