//! One agent's data folder on two machines: a clone runs nothing that the other one runs, and both say so.

use crate::user_topics::Watched;
use orrery_agent::journal::{Journal, Line, Recovered};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Events at once.
const RUNS: usize = 20;

/// Sends events and waits for their runs; returns how many.
fn send(watched: &mut Watched, name: &str) -> usize {
    let numbers: Vec<String> = (0..RUNS).map(|n| format!("{name}-{n}")).collect();
    numbers.iter().for_each(|number| watched.produce(0, number));
    watched.wait_for(&numbers);
    RUNS
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success());
}

/// The copy as it looks on a machine that was cloned whole: it does not know that it is one.
fn forget_that_it_was_copied(original: &Path, copy: &Path) {
    let (_, known) = Journal::open(&original.join("agent"), 0).expect("the original's journal");
    let (mut journal, _) = Journal::open(&copy.join("agent"), 0).expect("the copy's journal");
    let Recovered { agent: id, cell, counter, boot_id, .. } = known;
    let lines = [Line::Agent { id, cell, home: String::new() }, Line::Session { counter, boot_id }];
    journal.append(&lines, true).expect("appended");
}

#[test]
fn a_cloned_agent_gives_its_name_up_and_runs_nothing_twice() {
    let kafka = crate::broker();
    let mut watched = Watched::begin(&kafka, 1);
    let mut sent = send(&mut watched, "alone");
    watched.cluster.stop("agent");
    let folder = watched.cluster.folder().to_owned();
    copy(&folder.join("agent"), &folder.join("clone"));
    copy(&folder.join("agent"), &folder.join("moved"));
    forget_that_it_was_copied(&folder.join("agent"), &folder.join("clone"));

    for name in ["agent", "clone"] {
        watched.cluster.start(name, "agent", &[]);
    }
    sent += send(&mut watched, "both");
    let Watched { cluster, client, .. } = &mut watched;
    let gives_up = || ["agent", "clone"].into_iter().find(|name| cluster.said(name).contains("is run twice"));
    client.wait("the end of one of them", |_| gives_up().is_some());
    let name = gives_up().expect("it has said so");
    // Started again it is an agent of its own; and so is a copy that sees that it lies elsewhere, from the start.
    watched.cluster.kill(name);
    watched.cluster.start(name, "agent", &[]);
    watched.cluster.start("moved", "agent", &[]);
    sent += send(&mut watched, "three");
    let (code, log, errors) = watched.cluster.cli(&["audit", "log", "--service", "allocator"]);
    assert!(code == 0 && log.contains("agent_refused") && log.contains("is run twice"), "{log}{errors}");
    let joined = log.lines().filter(|line| line.contains(" agent_joined ")).filter_map(|line| line.split(" agent=").nth(1));
    let names: BTreeSet<&str> = joined.filter_map(|rest| rest.split_whitespace().next()).collect();
    assert_eq!(names.len(), 3, "{log}");
    watched.check(sent);
}
