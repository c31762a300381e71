//! What every file says, and what none may say.

use crate::source::{Finding, Source};

/// Modules without a description.
pub(crate) fn undocumented(sources: &[Source]) -> Vec<Finding> {
    let modules = sources.iter().filter(|source| source.is_module() && !source.text.starts_with("//!"));
    let finding = |source: &Source| Finding {
        file: source.path.clone(),
        line: 1,
        what: "the module does not say what it is for".into(),
        remedy: "begin it with //! and its contract",
    };
    modules.map(finding).collect()
}

/// Work that was put off.
pub(crate) fn left_open(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for word in ["TODO", "FIXME", "unimplemented!", "todo!"] {
            findings.extend(Source::find(&source.prose, word).map(|at| Finding {
                file: source.path.clone(),
                line: source.line(at),
                what: format!("it says {word}"),
                remedy: "do it, or file an issue and say here what holds today",
            }));
        }
    }
    findings
}

#[test]
fn a_module_without_a_description_is_found() {
    let source = |path: &str, text: &str| Source::new(path, text);
    let found = undocumented(&[
        source("a/src/lib.rs", "//! A.\n"),
        source("a/src/main.rs", "// A.\nfn main() {}\n"),
        source("a/tests/it.rs", "fn f() {}\n"),
        source("a/examples/e.rs", "fn main() {}\n"),
    ]);
    assert_eq!(found.iter().map(|finding| finding.file.as_str()).collect::<Vec<_>>(), ["a/src/main.rs"]);
}

#[test]
fn work_put_off_is_found() {
    let text =
        "//! A.\n// TODO: b\nfn c() { todo!() }\n/* FIXME */ fn d() { unimplemented!(\"\") }\nconst E: &str = \"TODO\"; fn todo() {}\n";
    let mut lines: Vec<usize> = left_open(&[Source::new("a/src/lib.rs", text)]).iter().map(|finding| finding.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 4]);
}
