//! What really ran: each task appends to a file and fsyncs, whatever the product says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The script of a task that writes to the oracle: at its start, and at its end after `seconds`.
pub fn script(file: &Path, seconds: &str) -> String {
    let append = format!("dd of={} oflag=append conv=notrunc,fsync status=none", file.display());
    format!("echo start $ORRERY_ATTEMPT $ORRERY_CAUSE | {append}; sleep {seconds}; echo end $ORRERY_ATTEMPT $ORRERY_CAUSE | {append}")
}

/// What the file says.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Starts of each attempt.
    pub starts: BTreeMap<String, usize>,
    /// Attempts that came to their end, by cause.
    pub ends: BTreeMap<String, BTreeSet<String>>,
    /// Attempts in the order of their first line, by run.
    order: BTreeMap<String, Vec<(String, bool)>>,
}

impl Oracle {
    /// Reads the file; a line that was cut off by nothing at all is a defect.
    pub fn read(file: &Path) -> Self {
        let mut oracle = Self::default();
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, attempt, cause] = words[..] else { panic!("a line of the oracle: {line:?}") };
            let run = attempt.rsplit_once('.').expect("an attempt is run.number").0;
            oracle.order.entry(run.into()).or_default().push((attempt.into(), what == "end"));
            match what {
                "start" => *oracle.starts.entry(attempt.into()).or_default() += 1,
                "end" => drop(oracle.ends.entry(cause.into()).or_default().insert(attempt.into())),
                other => panic!("{other:?} in the oracle"),
            }
        }
        oracle
    }

    /// Nothing was doubled: no attempt started twice, none begun while another of its run was on its way to its end, none after
    /// an end of its run.
    pub fn check_nothing_doubled(&self) {
        for (attempt, count) in &self.starts {
            assert_eq!(*count, 1, "{attempt} was started {count} times");
        }
        for (run, lines) in &self.order {
            let mut live: Option<&str> = None;
            let mut over = false;
            for (attempt, is_end) in lines {
                assert!(!over, "{attempt} wrote after run {run} had come to its end: {lines:?}");
                if *is_end {
                    assert_eq!(live, Some(attempt.as_str()), "two attempts of run {run} were alive at once: {lines:?}");
                    over = true;
                }
                live = Some(attempt);
            }
        }
    }
}
