//! Tidiness is a test: sizes, documentation, purity, crate order, licences, links.
//!
//! Each check is a function of what it is given and returns findings. The tests of this file give it the repository; the tests
//! beside each check plant a violation and see it found.

mod crates;
mod licences;
mod links;
mod purity;
mod sizes;
mod source;
mod words;

use source::{Finding, Source, root};

/// Fails with every finding: file, line, what is wrong, what to do.
fn none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn files_and_functions_are_small() {
    let sources = Source::all(&root());
    println!("{}", sizes::percentiles(&sources));
    none(&sizes::check(&sources, sizes::LIMITS));
}

#[test]
fn every_module_says_what_it_is_for() {
    none(&words::undocumented(&Source::all(&root())));
}

#[test]
fn nothing_is_left_to_be_done() {
    none(&words::left_open(&Source::all(&root())));
}

#[test]
fn every_crate_opts_into_the_lints() {
    none(&crates::without_lints(&source::read(&root(), "toml")));
}

#[test]
fn crates_use_only_crates_above_them() {
    none(&crates::out_of_order(&crates::metadata()));
}

#[test]
fn deciders_have_no_clock_io_or_chance_in_their_trees() {
    for name in crates::PURE {
        none(&crates::impure(name, &crates::tree(name), &crates::EXCUSED));
        none(&crates::clocks(name, &crates::features(name)));
    }
}

#[test]
fn deciders_name_no_clock_chance_environment_or_unordered_map() {
    none(&purity::check(&Source::all(&root()), &purity::ALLOWED));
}

#[test]
fn dependencies_have_licences_and_sources_that_we_allow() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    none(&licences::check(&crates::metadata(), &licences::allowed(&deny)));
    none(&licences::sources(&crates::metadata()));
}

#[test]
fn links_lead_somewhere() {
    let root = root();
    none(&links::check(&source::read(&root, "md"), &|path| root.join(path).exists()));
}
