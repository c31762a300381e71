//! The auditor's ten questions, as `docs/audit.md` has them, about a demonstration cluster's week that nobody runs any more.

use orrery_tests::{Server, binary};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// For each command of each question: what its answer must say.
const TELLING: [&[&[&str]]; 10] = [
    &[&[" 0 divergences"]],
    &[&[], &["0 divergences"], &["anchored entries stand as they were signed", " 0 divergences"]],
    &[
        &["attempt 1 exited with 1", "the next attempt is due at 2026-10-28T02:25:0", "after 2 attempts", "✓ SUCCEEDED"],
        &["attempt 1 was lost", "agent-0-0", "after 2 attempts", "✓ SUCCEEDED"],
    ],
    &[
        &[
            "Nothing fired around 2026-10-30T10:00:00Z: the nearest event orders/1/33 did not count",
            "data.amount > 250 is false: data.amount = 180",
            "✓ data.kind == 'sale'",
            "version 2 was in force, taken at 2026-10-29T09:30:00",
            "by bob",
        ],
        &["Event orders/1/9 has fired shop/receipt", "✓ SUCCEEDED"],
    ],
    &[&["1 wait", "NEVER_FITS", "analytics/retrain"]],
    &[
        &["\"principal\":\"alice\"", "\"principal\":\"bob\"", "data.amount > 100", "data.amount > 250"],
        &["document.triggers", "data.amount > 100", "data.amount > 250"],
    ],
    &[&["\"principal\":\"dana\"", "run_job", "billing/invoices"]],
    &[&["agent agent-0-0 was silent for"], &["agent-0-0 of cell 0 LOST as of 2026-10-30T14:00:00Z", "of silence"]],
    &[&["RECORDED", "the first difference, at 2026-10-26T01:4"], &["RECORDED", "jobs that wait less", "archive/sweep"]],
    &[&["2026-11-02T00:00:00Z to 2026-11-03T00:00:00Z", "warehouse/extract", "warehouse/load"]],
];

/// The week, made by the simulator as people make it.
fn make(folder: &Path) -> PathBuf {
    let week = folder.join("week");
    let mut command = Command::new(binary().with_file_name("orrery-sim"));
    let done = command.arg("--week").arg(&week).stdin(Stdio::null()).output().expect("the simulator is built with the workspace");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.starts_with("2026-10-26T00:00:00Z to 2026-11-02T00:00:00Z: "), "{said}");
    week
}

/// The commands of the documentation, question by question.
fn documented() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.md")).unwrap();
    let (_, questions) = page.split_once("## Ten questions").unwrap();
    let (questions, _) = questions.split_once("\n## ").unwrap();
    let commands = |text: &str| text.lines().filter_map(|line| line.strip_prefix("$ orrery ")).map(str::to_owned).collect::<Vec<_>>();
    questions.split("\n**").skip(1).map(commands).collect()
}

/// A word of a command with our folders: the week's, and one for the auditor's own files.
fn ours(word: &str, folder: &Path) -> String {
    match word {
        "KEY" | "KEY.pub" | "ANCHORS" => folder.join(word).display().to_string(),
        word => word.replace("WEEK", &folder.join("week").display().to_string()),
    }
}

#[test]
fn ten_questions_about_a_week_are_answered_by_the_documented_commands() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::over_copy(&make(folder.path()));
    let questions = documented();
    assert_eq!(questions.len(), TELLING.len());
    let mut unanswered = Vec::new();
    for (commands, telling) in questions.iter().zip(TELLING) {
        assert_eq!(commands.len(), telling.len(), "{commands:?}");
        for (command, telling) in commands.iter().zip(telling) {
            let words: Vec<String> = command.split(' ').map(|word| ours(word, folder.path())).collect();
            let (code, told, errors) = server.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let missing: Vec<&&str> = telling.iter().filter(|words| !told.contains(**words)).collect();
            if code != 0 || !missing.is_empty() {
                unanswered.push(format!("$ orrery {command}\n{code}, without {missing:?}:\n{told}{errors}"));
            }
        }
    }
    assert!(unanswered.is_empty(), "{}", unanswered.join("\n\n"));
    // What is shown is over: nothing can be added to it.
    let refused = server.post("/api/v1/jobs/ops/rotate/run", "");
    assert!(refused.status == 503 && refused.body["detail"].as_str().unwrap().contains("read-only"), "{refused:?}");
}

#[test]
fn a_folder_without_a_log_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nothing");
    let done =
        Command::new(binary()).arg("--data-dir").arg(&missing).args(["serve", "gateway", "--listen", "127.0.0.1:0"]).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && errors.contains("name a data folder with --data-dir"), "{errors}");
    assert!(!missing.exists(), "it was made");
}
