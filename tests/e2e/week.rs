//! The auditor's ten questions, as `docs/audit.md` has them, about a demonstration cluster's week that nobody runs any more.

use orrery_tests::{Server, binary};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The week, made by the simulator as people make it.
fn make(folder: &Path) -> PathBuf {
    let week = folder.join("week");
    let mut command = Command::new(binary().with_file_name("orrery-sim"));
    let done = command.arg("--week").arg(&week).stdin(Stdio::null()).output().expect("the simulator is built with the workspace");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.starts_with("2026-10-26T00:00:00Z to 2026-11-02T00:00:00Z: "), "{said}");
    week
}

/// A command of the documentation, and the excerpt of its answer below it.
struct Asked {
    command: String,
    excerpt: Vec<String>,
}

/// What the documentation asks, and what it says that the answers are.
fn documented() -> Vec<Asked> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.md")).unwrap();
    let (_, questions) = page.split_once("**1. ").unwrap();
    let (questions, _) = questions.split_once("\n## ").unwrap();
    let mut asked: Vec<Asked> = Vec::new();
    for block in questions.split("```").skip(1).step_by(2) {
        for line in block.lines().skip(1) {
            match (line.strip_prefix("$ orrery "), asked.last_mut()) {
                (Some(command), _) => asked.push(Asked { command: command.to_owned(), excerpt: Vec::new() }),
                (None, Some(last)) => last.excerpt.push(line.trim().to_owned()),
                (None, None) => panic!("an answer without a question: {line}"),
            }
        }
    }
    asked
}

/// True if a line of the answer is the excerpt's, in which `…` stands for what was left out.
fn tells(answer: &str, excerpt: &str) -> bool {
    answer.lines().any(|line| {
        let mut rest = Some(line.trim());
        for part in excerpt.split('…') {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
        }
        rest.is_some()
    })
}

/// A word of a command with our folders: the week's, and one for the auditor's own files.
fn ours(word: &str, folder: &Path) -> String {
    match word {
        "KEY" | "KEY.pub" | "ANCHORS" => folder.join(word).display().to_string(),
        word => word.replace("WEEK", &folder.join("week").display().to_string()),
    }
}

#[test]
fn ten_questions_about_a_week_are_answered_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::over_copy(&make(folder.path()));
    let asked = documented();
    assert!(asked.len() >= 10, "{} commands", asked.len());
    let mut unanswered = Vec::new();
    for Asked { command, excerpt } in &asked {
        let words: Vec<String> = command.split(' ').map(|word| ours(word, folder.path())).collect();
        let (code, told, errors) = server.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let missing: Vec<&String> = excerpt.iter().filter(|line| !tells(&told, line)).collect();
        if code != 0 || !missing.is_empty() {
            unanswered.push(format!("$ orrery {command}\n{code}, without {missing:#?}:\n{told}{errors}"));
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
