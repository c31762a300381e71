//! The sources of the pure crates: no clock, chance, environment, thread, unordered map or float outside tests.
//!
//! This is about words, so that it can be read in a minute; clippy's disallowed methods and the dependency trees are the other
//! two nets.

use crate::source::{Finding, Source};

/// Sources that must be deterministic.
const PURE: [&str; 3] = ["services/model/src/", "services/trigger/src/", "services/allocator/src/"];

const TIME: &str = "time is an argument: take a Timestamp";
const ORDER: &str = "use a BTreeMap or BTreeSet, or say in tests/tidy/purity.rs why its order can never be seen";
const FLOAT: &str = "count in integers of a small unit, or say in tests/tidy/purity.rs why no decision depends on it";
const CHANCE: &str = "derive seeds from seq, or take them as an argument";
const OUTSIDE: &str = "what comes from outside is an input, which the shell records";

/// Words, each with what to do instead.
const FORBIDDEN: [(&str, &str); 16] = [
    ("std::time", TIME),
    ("Instant::now", TIME),
    ("SystemTime", TIME),
    ("Utc::now", TIME),
    ("Local::now", TIME),
    ("std::env", OUTSIDE),
    ("std::thread", OUTSIDE),
    ("std::net", OUTSIDE),
    ("std::process", OUTSIDE),
    ("rand", CHANCE),
    ("getrandom", CHANCE),
    ("RandomState", CHANCE),
    ("HashMap", ORDER),
    ("HashSet", ORDER),
    ("f32", FLOAT),
    ("f64", FLOAT),
];

/// A word that a file may say.
pub(crate) struct Allowance {
    file: &'static str,
    word: &'static str,
    reason: &'static str,
}

const REFUSED: &str = "serde's trait names it in the signature of the function that refuses it";
const DOUBLE: &str = "numbers of an event with decimals are IEEE doubles, compared or computed the same everywhere";
const AVRO: &str = "apache-avro's trait wants the set of names already described as an argument; it is passed on, never iterated";

/// Every exception. One that is not needed any more is a finding, so that the list stays true.
pub(crate) const ALLOWED: [Allowance; 8] = [
    Allowance { file: "services/model/src/codec.rs", word: "HashSet", reason: AVRO },
    Allowance { file: "services/model/src/payload.rs", word: "HashSet", reason: AVRO },
    Allowance { file: "services/model/src/words.rs", word: "HashSet", reason: AVRO },
    Allowance { file: "services/model/src/avro/write.rs", word: "f32", reason: REFUSED },
    Allowance { file: "services/model/src/avro/write.rs", word: "f64", reason: REFUSED },
    Allowance {
        file: "services/model/src/resources.rs",
        word: "f64",
        reason: "a document's decimal is turned into the text that was written, and parsed as an integer",
    },
    Allowance { file: "services/trigger/src/expr/number.rs", word: "f64", reason: DOUBLE },
    Allowance { file: "services/trigger/src/expr/json.rs", word: "f64", reason: "serde's trait gives numbers with decimals as such" },
];

/// Forbidden words outside tests that nobody allowed, and allowances that nobody uses.
pub(crate) fn check(sources: &[Source], allowed: &[Allowance]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; allowed.len()];
    for source in sources.iter().filter(|source| PURE.iter().any(|folder| source.path.starts_with(folder))) {
        for (word, remedy) in FORBIDDEN {
            for at in Source::find(&source.code, word).filter(|at| !source.is_test(*at) && !is_span(&source.code[*at..])) {
                match allowed.iter().position(|allowance| allowance.file == source.path && allowance.word == word) {
                    Some(allowance) => used[allowance] = true,
                    None => findings.push(Finding {
                        file: source.path.clone(),
                        line: source.line(at),
                        what: format!("a pure crate names {word}"),
                        remedy,
                    }),
                }
            }
        }
    }
    let idle = allowed.iter().zip(used).filter(|(_, used)| !used);
    findings.extend(idle.map(|(Allowance { file, word, reason }, _)| Finding {
        file: (*file).into(),
        line: 1,
        what: format!("{word} is allowed here, because {reason}, and not named any more"),
        remedy: "take the line out of tests/tidy/purity.rs",
    }));
    findings
}

/// A span of time is data; only the clocks of `std::time` are not.
fn is_span(code: &str) -> bool {
    code.starts_with("std::time::Duration")
}

#[test]
fn impure_words_are_found() {
    let lines = |path: &str, text: &str, allowed: &[Allowance]| {
        check(&[Source::new(path, text)], allowed).iter().map(|finding| finding.line).collect::<Vec<_>>()
    };
    let text = "use std::time::{Duration, Instant};\nuse std::time::Duration;\n// HashMap\nlet a: HashMap<u8, f64>;\n#[cfg(test)]\nmod tests {\n    use std::env;\n}\n";
    assert_eq!(lines("services/allocator/src/lib.rs", text, &[]), [1, 4, 4]);
    assert!(lines("services/runtime/src/lib.rs", text, &[]).is_empty());
    assert!(lines("services/allocator/tests/it.rs", text, &[]).is_empty());
    let allowed = |word| [Allowance { file: "services/model/src/a.rs", word, reason: "of a test" }];
    assert!(lines("services/model/src/a.rs", "struct A(f32);\n", &allowed("f32")).is_empty());
    assert_eq!(lines("services/model/src/a.rs", "struct A;\n", &allowed("f32")), [1], "an allowance that nobody uses");
    for (word, _) in FORBIDDEN {
        assert_eq!(lines("services/trigger/src/a.rs", &format!("\n{word}::x\n"), &[]), [2], "{word}");
    }
}
