//! Crates: their order, and what the pure ones may not have in their trees.

use crate::source::{Finding, root};
use serde_json::Value;
use std::process::Command;

/// A crate may use only crates before it; the tests may use all.
const ORDER: [&str; 11] = [
    "orrery-model",
    "orrery-trigger",
    "orrery-allocator",
    "orrery-log",
    "orrery-runtime",
    "orrery-agent",
    "orrery-audit",
    "orrery-gateway",
    "orrery-sim",
    "orrery",
    "orrery-tests",
];
/// Deciders and what they are made of: of our crates they use the first only.
pub(crate) const PURE: [&str; 3] = ["orrery-model", "orrery-trigger", "orrery-allocator"];

/// What no pure crate may depend on, even indirectly.
const BANNED: [&str; 8] = ["tokio", "mio", "rdkafka", "rdkafka-sys", "rocksdb", "librocksdb-sys", "rand", "getrandom"];
/// Features that give chrono and jiff a clock.
const CLOCKS: [&str; 3] = ["chrono feature \"clock\"", "chrono feature \"now\"", "jiff feature \"std\""];

/// A banned crate that is there only because of another one, which does not use it for us.
pub(crate) struct Excuse {
    banned: &'static str,
    /// It may stand below this crate.
    below: &'static str,
}

/// apache-avro 0.22 depends on `rand` without a feature to leave it out. It draws the sync marker of object container files with
/// it, which we never write: our records are single objects, and their readers and writers draw nothing.
pub(crate) const EXCUSED: [Excuse; 2] =
    [Excuse { banned: "rand", below: "apache-avro" }, Excuse { banned: "getrandom", below: "apache-avro" }];

/// What cargo prints; without a network, and without changing the lock file.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).args(["--offline", "--locked"]).current_dir(root()).output();
    let output = output.expect("cargo starts");
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

/// Everything about the packages for this machine's platform: others need not be on it.
pub(crate) fn metadata() -> Value {
    let text = cargo(&["metadata", "--format-version", "1", "--filter-platform", "host-tuple"]);
    serde_json::from_str(&text).expect("cargo metadata prints JSON")
}

/// The dependency tree, each line with its depth, nothing left out.
pub(crate) fn tree(package: &str) -> String {
    cargo(&["tree", "-e", "normal", "--prefix", "depth", "--no-dedupe", "-p", package])
}

/// The same with features.
pub(crate) fn features(package: &str) -> String {
    cargo(&["tree", "-e", "normal,features", "--prefix", "none", "-p", package])
}

/// Crates whose manifest does not take the workspace's lints.
pub(crate) fn without_lints(manifests: &[(String, String)]) -> Vec<Finding> {
    let crates = manifests.iter().filter(|(path, text)| path.ends_with("/Cargo.toml") && text.contains("[package]"));
    let careless = crates.filter(|(_, text)| !text.contains("[lints]\nworkspace = true"));
    let finding = |(path, _): &(String, String)| Finding {
        file: path.clone(),
        line: 1,
        what: "the crate does not take the workspace's lints".into(),
        remedy: "add [lints] with workspace = true",
    };
    careless.map(finding).collect()
}

/// Crates that use a crate below them, or that have no place in the order.
pub(crate) fn out_of_order(metadata: &Value) -> Vec<Finding> {
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut findings = Vec::new();
    for package in ours(metadata) {
        let name = text(package, "name");
        let mut find = |what: String, remedy| findings.push(Finding { file: format!("{name}/Cargo.toml"), line: 1, what, remedy });
        let Some(own) = rank(name) else {
            find(format!("{name} has no place in the order of crates"), "give it one in tests/tidy/crates.rs and in the design");
            continue;
        };
        for used in list(package, "dependencies").iter().map(|dependency| text(dependency, "name")).filter(|used| is_ours(used)) {
            if rank(used).is_none_or(|used| used >= own) {
                find(format!("{name} uses {used}, which is not above it"), "turn the dependency round, or move what is shared up");
            } else if PURE.contains(&name) && used != ORDER[0] {
                find(format!("{name} uses {used}, and deciders share orrery-model only"), "move what is shared there");
            }
        }
    }
    findings
}

/// Banned crates in the tree of a pure crate.
pub(crate) fn impure(package: &str, tree: &str, excused: &[Excuse]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut way: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (Ok(depth), Some(name)) = (line[..digits].parse(), line[digits..].split(' ').next()) else { continue };
        way.truncate(depth);
        way.push(name);
        let excuse = excused.iter().any(|excuse| excuse.banned == name && way.contains(&excuse.below));
        if BANNED.contains(&name) && !excuse {
            let what = format!("{package} depends on {name}: {}", way.join(" → "));
            let remedy = "leave the feature out that wants it, or move the code to a crate that is not pure";
            findings.push(Finding { file: format!("{package}/Cargo.toml"), line: 1, what, remedy });
        }
    }
    findings
}

/// A clock in the features of a pure crate.
pub(crate) fn clocks(package: &str, features: &str) -> Vec<Finding> {
    let found = CLOCKS.iter().filter(|clock| features.contains(*clock));
    let finding = |clock: &&str| Finding {
        file: format!("{package}/Cargo.toml"),
        line: 1,
        what: format!("{package} switches {clock} on"),
        remedy: "take the dependency that does without its default features: cargo tree -e features -i chrono (or jiff)",
    };
    found.map(finding).collect()
}

/// The workspace's own packages.
fn ours(metadata: &Value) -> impl Iterator<Item = &Value> {
    list(metadata, "packages").iter().filter(|package| package["source"].is_null())
}

fn is_ours(name: &str) -> bool {
    name == "orrery" || name.starts_with("orrery-")
}

/// A text of cargo's JSON.
pub(crate) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// A list of cargo's JSON.
pub(crate) fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_crate_without_lints_is_found() {
        let manifest = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let found = without_lints(&[
            manifest("Cargo.toml", "[workspace]\n"),
            manifest("services/a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n"),
            manifest("services/b/Cargo.toml", "[package]\n[dependencies]\n"),
        ]);
        assert_eq!(found.iter().map(|finding| finding.file.as_str()).collect::<Vec<_>>(), ["services/b/Cargo.toml"]);
    }

    #[test]
    fn a_wrong_direction_is_found() {
        let package = |name: &str, used: &str| json!({"name": name, "source": null, "dependencies": [{"name": used}, {"name": "serde"}]});
        let found = |name: &str, used: &str| out_of_order(&json!({"packages": [package(name, used)]})).len();
        assert_eq!(found("orrery-runtime", "orrery-log"), 0);
        assert_eq!(found("orrery-log", "orrery-runtime"), 1);
        assert_eq!(found("orrery-log", "orrery-log"), 1);
        assert_eq!(found("orrery-allocator", "orrery-trigger"), 1, "deciders do not know each other");
        assert_eq!(found("orrery-gateway", "orrery-unheard-of"), 1);
        assert_eq!(found("orrery-unheard-of", "orrery-model"), 1);
    }

    #[test]
    fn a_banned_crate_is_found_with_its_way() {
        let tree = "0orrery-model v0.1.0\n1apache-avro v0.22.0\n2rand v0.10.3\n3getrandom v0.4.3\n1chrono v0.4.45\n2tokio v1.0.0\n1uuid v1.0.0\n2getrandom v0.4.3\n";
        let found: Vec<String> = impure("orrery-model", tree, &EXCUSED).into_iter().map(|finding| finding.what).collect();
        assert_eq!(
            found,
            [
                "orrery-model depends on tokio: orrery-model → chrono → tokio",
                "orrery-model depends on getrandom: orrery-model → uuid → getrandom"
            ]
        );
        assert_eq!(impure("orrery-model", tree, &[]).len(), 4);
    }

    #[test]
    fn a_clock_is_found() {
        assert!(clocks("orrery-trigger", "chrono feature \"std\"\n").is_empty());
        assert_eq!(clocks("orrery-trigger", "chrono feature \"clock\"\nchrono feature \"now\"\n").len(), 2);
    }

    #[test]
    fn the_trees_are_read() {
        assert!(tree("orrery-trigger").contains("2apache-avro v") && features("orrery-trigger").contains("chrono feature \"std\""));
        assert!(!impure("orrery-log", &tree("orrery-log"), &EXCUSED).is_empty(), "the log has RocksDB");
        assert!(!clocks("", &features("orrery-model").replace("\"std\"", "\"clock\"")).is_empty());
        assert!(ours(&metadata()).count() >= ORDER.len());
    }
}
