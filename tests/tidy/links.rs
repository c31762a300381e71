//! Links of Markdown files to files of the repository.

use crate::source::Finding;
use std::path::{Component, Path, PathBuf};

/// Links to files that `exists` does not know; it is given paths from the root.
pub(crate) fn check(files: &[(String, String)], exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in files {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        for (line, target) in links(text) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && normal(&folder.join(path)).is_none_or(|path| !exists(&path)) {
                let what = format!("the link to {target} leads nowhere");
                findings.push(Finding { file: file.clone(), line, what, remedy: "correct the path, which is relative to this file" });
            }
        }
    }
    findings
}

/// Line and target of every inline link outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        for (at, part) in line.match_indices("](").map(|(at, open)| (at, &line[at + open.len()..])) {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            if let Some((target, _)) = part.split_once(')').filter(|_| !fenced && !in_code) {
                found.push((number + 1, target.split(' ').next().unwrap_or_default()));
            }
        }
    }
    found
}

/// The path without `.` and `..`; none if it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir if out.pop() => {}
            _ => return None,
        }
    }
    Some(out)
}

#[test]
fn a_link_to_nowhere_is_found() {
    let text = "[a](b.md#c) [d](../gone.md)\n`[x](y)` [top](#top) [w](https://example.org/)\n```\n[x](y)\n```\n[out](../../../etc) [t](b.md \"title\")\n";
    let files = [("services/adr/a.md".to_owned(), text.to_owned())];
    let found: Vec<String> = check(&files, &|path| path == Path::new("services/adr/b.md")).iter().map(Finding::to_string).collect();
    assert_eq!(
        found,
        [
            "  services/adr/a.md:1: the link to ../gone.md leads nowhere; correct the path, which is relative to this file",
            "  services/adr/a.md:6: the link to ../../../etc leads nowhere; correct the path, which is relative to this file"
        ]
    );
}
