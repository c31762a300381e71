//! Licences and sources of everything that is compiled in, by deny.toml's list.

use crate::crates::{list, text};
use crate::source::Finding;
use serde_json::Value;

/// The licences that deny.toml allows.
pub(crate) fn allowed(deny: &str) -> Vec<String> {
    let from = deny.split_once("\nallow = [").map_or("", |(_, rest)| rest);
    let lines = from.lines().take_while(|line| !line.starts_with(']'));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// Packages none of whose choices of licences is allowed in full.
pub(crate) fn check(metadata: &Value, allowed: &[String]) -> Vec<Finding> {
    let packages = list(metadata, "packages").iter();
    let refused = packages.filter(|package| !is_allowed(text(package, "license"), allowed));
    refused
        .map(|package| {
            finding(
                package,
                format!("licence {:?} is not allowed", text(package, "license")),
                "use another crate, or allow it in deny.toml with a reason",
            )
        })
        .collect()
}

/// Packages that come from elsewhere than the workspace and one registry.
pub(crate) fn sources(metadata: &Value) -> Vec<Finding> {
    let packages = list(metadata, "packages");
    let registry =
        packages.iter().map(|package| text(package, "source")).find(|source| source.starts_with("registry+")).unwrap_or_default();
    let foreign = packages.iter().filter(|package| ![registry, ""].contains(&text(package, "source")));
    foreign
        .map(|package| {
            finding(package, format!("it comes from {}", text(package, "source")), "use a released crate of the default registry")
        })
        .collect()
}

fn finding(package: &Value, what: String, remedy: &'static str) -> Finding {
    Finding { file: format!("Cargo.lock ({} {})", text(package, "name"), text(package, "version")), line: 1, what, remedy }
}

/// An SPDX expression: OR (or the old `/`) binds less than AND, WITH belongs to its licence.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut answer = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        answer |= all_of(words, allowed);
    }
    answer
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut answer = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        answer &= one(words, allowed);
    }
    answer
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => {
            let answer = any_of(words, allowed);
            words.next_if_eq(&")").is_some() && answer
        }
        Some(name) => {
            let exception = words.next_if_eq(&"WITH").and_then(|_| words.next());
            let name = exception.map_or_else(|| name.to_owned(), |exception| format!("{name} WITH {exception}"));
            allowed.contains(&name)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn some() -> Vec<String> {
        allowed("[licenses]\n# why\nallow = [\n    \"MIT\",   # a\n    \"Zlib\",\n]\ndeny = [\n    \"GPL-3.0\",\n]\n")
    }

    #[test]
    fn expressions() {
        assert_eq!(some(), ["MIT", "Zlib"]);
        for good in
            ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND Zlib", "(MIT OR GPL-3.0) AND Zlib", "X WITH Y OR MIT", "X AND Y OR MIT"]
        {
            assert!(is_allowed(good, &some()), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH Y", "(MIT", "MIT)", "Zlib AND (GPL-3.0 OR X)", "MIT Zlib"] {
            assert!(!is_allowed(bad, &some()), "{bad}");
        }
    }

    #[test]
    fn a_licence_or_source_that_nobody_allowed_is_found() {
        let package = |licence: Value, source: Value| json!({"name": "a", "version": "1.0.0", "license": licence, "source": source});
        let found = |package| check(&json!({"packages": [package]}), &some()).len();
        assert_eq!(found(package(json!("MIT"), json!(null))), 0);
        assert_eq!(found(package(json!("AGPL-3.0-only"), json!(null))), 1);
        assert_eq!(found(package(json!(null), json!(null))), 1, "no licence at all");
        let from = |source: &str| package(json!("MIT"), json!(source));
        assert!(sources(&json!({"packages": [from("registry+a"), from("registry+a"), package(json!("MIT"), json!(null))]})).is_empty());
        assert_eq!(sources(&json!({"packages": [from("registry+a"), from("registry+b"), from("git+c")]})).len(), 2);
    }
}
