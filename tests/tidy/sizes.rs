//! Files and functions that one can read at a glance.

use crate::source::{Finding, Function, Source};

/// Largest sizes, in lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) file: usize,
    pub(crate) function: usize,
    /// Functions of tests: tables of cases are data.
    pub(crate) test_function: usize,
}

/// What this repository allows.
pub(crate) const LIMITS: Limits = Limits { file: 500, function: 60, test_function: 100 };

/// Files and functions over the limits.
pub(crate) fn check(sources: &[Source], limits: Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > limits.file {
            let what = format!("the file has {lines} lines, allowed are {}", limits.file);
            findings.push(Finding {
                file: source.path.clone(),
                line: limits.file + 1,
                what,
                remedy: "divide it by what its parts are about",
            });
        }
        for Function { name, line, lines, in_test } in source.functions() {
            let limit = if in_test { limits.test_function } else { limits.function };
            if lines > limit {
                let what = format!("function {name} has {lines} lines, allowed are {limit}");
                findings.push(Finding { file: source.path.clone(), line, what, remedy: "give its steps names of their own" });
            }
        }
    }
    findings
}

/// p50, p90 and largest of files and of functions outside tests.
pub(crate) fn percentiles(sources: &[Source]) -> String {
    let files = sources.iter().map(|source| source.text.lines().count()).collect();
    let functions = sources.iter().flat_map(Source::functions).filter(|function| !function.in_test);
    format!("lines of files: {}\nlines of functions: {}", shown(files), shown(functions.map(|function| function.lines).collect()))
}

fn shown(mut sizes: Vec<usize>) -> String {
    sizes.sort_unstable();
    let at = |percent: usize| sizes.get(sizes.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
    format!("p50 {}, p90 {}, max {} of {}", at(50), at(90), at(100), sizes.len())
}

#[test]
fn what_is_too_large_is_found() {
    let limits = Limits { file: 6, function: 2, test_function: 3 };
    let found = |path: &str, text: &str| check(&[Source::new(path, text)], limits).iter().map(Finding::to_string).collect::<Vec<_>>();
    assert!(found("a/src/b.rs", "fn f() {\n}\n\n\n\nfn g() {}\n").is_empty());
    let long = "fn f() {\n    1;\n}\n";
    assert_eq!(found("a/src/b.rs", long), ["  a/src/b.rs:1: function f has 3 lines, allowed are 2; give its steps names of their own"]);
    assert!(found("a/tests/b.rs", long).is_empty());
    assert_eq!(found("b.rs", &"\n".repeat(7)), ["  b.rs:7: the file has 7 lines, allowed are 6; divide it by what its parts are about"]);
    assert_eq!(shown((1..=100).collect()), "p50 50, p90 90, max 100 of 100");
}
