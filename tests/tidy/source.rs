//! Files as the checks see them: relative path, text, and the text without literals and comments.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Something untidy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}:{}: {}; {}", self.file, self.line, self.what, self.remedy)
    }
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").to_owned()
}

/// Relative path and text of every file with this extension, by path; neither build output nor hidden folders.
pub(crate) fn read(root: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("folders of the repository can be read") {
            let path = entry.expect("entries of the repository can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let relative = path.strip_prefix(root).expect("it is below the root");
                found.push((relative.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// A Rust file.
pub(crate) struct Source {
    /// Relative to the workspace.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Literals and comments blanked; lines and columns stay.
    pub(crate) code: String,
    /// Literals blanked.
    pub(crate) prose: String,
    /// Bytes of `#[cfg(test)]` items.
    tests: Vec<Range<usize>>,
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
    pub(crate) in_test: bool,
}

impl Source {
    /// A file of this text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text, true);
        let tests = test_items(&code);
        Self { path: path.to_owned(), text: text.to_owned(), prose: blank(text, false), code, tests }
    }

    /// Every Rust file of the workspace.
    pub(crate) fn all(root: &Path) -> Vec<Self> {
        read(root, "rs").iter().map(|(path, text)| Self::new(path, text)).collect()
    }

    /// True for the sources of a crate, false for tests, examples and benches.
    pub(crate) fn is_module(&self) -> bool {
        self.path.split('/').any(|part| part == "src") && !self.path.ends_with("/tests.rs")
    }

    /// True in a test file or a `#[cfg(test)]` item.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        !self.is_module() || self.tests.iter().any(|item| item.contains(&at))
    }

    /// One-based line of a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Where the word (or path) stands by itself in `within`, which is `code` or `prose`.
    pub(crate) fn find<'s>(within: &'s str, word: &'s str) -> impl Iterator<Item = usize> + 's {
        let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let bytes = within.as_bytes();
        within.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            !is_word(before) && (word.ends_with('!') || !is_word(bytes.get(at + word.len())))
        })
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let declared = Self::find(&self.code, "fn").filter_map(|at| {
            let name: String = self.code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let end = block(self.code.as_bytes(), at)?.end;
            let (line, last) = (self.line(at), self.line(end));
            (!name.is_empty()).then(|| Function { name, line, lines: last - line + 1, in_test: self.is_test(at) })
        });
        declared.collect()
    }
}

/// The block that follows, up to its closing brace; none if a semicolon comes first.
fn block(code: &[u8], from: usize) -> Option<Range<usize>> {
    let (mut nested, mut braces) = (0_i32, 0_i32);
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b';' if nested == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(from..at);
                }
            }
            _ => {}
        }
    }
    None
}

fn test_items(code: &str) -> Vec<Range<usize>> {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let attributes = code.match_indices(ATTRIBUTE).map(|(at, _)| at);
    attributes.filter_map(|at| block(code.as_bytes(), at + ATTRIBUTE.len()).map(|item| at..item.end)).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text with literals, and comments if asked, replaced by blanks.
fn blank(text: &str, comments_too: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (length, kind) = token(&bytes[at..]);
        let end = (at + length).min(bytes.len());
        if kind == Kind::Literal || kind == Kind::Comment && comments_too {
            out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Length and kind of what comes next.
fn token(rest: &[u8]) -> (usize, Kind) {
    let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    match rest {
        [b'/', b'/', ..] => (rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()), Kind::Comment),
        [b'/', b'*', ..] => (block_comment(rest), Kind::Comment),
        [b'"', ..] => (quoted(rest, b'"'), Kind::Literal),
        [b'\'', b'\\', ..] => (quoted(rest, b'\''), Kind::Literal),
        [b'\'', ..] => match (2..=5).find(|end| rest.get(*end) == Some(&b'\'')) {
            Some(end) if std::str::from_utf8(&rest[1..end]).is_ok_and(|inside| inside.chars().count() == 1) => (end + 1, Kind::Literal),
            _ => (1, Kind::Code),
        },
        _ if [&b"r"[..], b"br", b"cr"].contains(&&rest[..word]) => raw_string(rest, word),
        _ => (word.max(1), Kind::Code),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// A raw string behind its `prefix`, or the prefix as code if none follows.
fn raw_string(rest: &[u8], prefix: usize) -> (usize, Kind) {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return (prefix, Kind::Code);
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let begin = prefix + hashes + 1;
    let length = rest[begin..].windows(end.len()).position(|window| window == end);
    (length.map_or(rest.len(), |length| begin + length + end.len()), Kind::Literal)
}

#[test]
fn every_file_of_the_repository_is_read() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    for path in ["a/src/lib.rs", "b.rs", "b.md", "target/c.rs", ".git/d.rs", "ui/node_modules/e.rs"] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it is below the folder")).expect("folders can be made");
        std::fs::write(path, "fn f() {}\n").expect("files can be written");
    }
    let found: Vec<String> = Source::all(folder.path()).into_iter().map(|source| source.path).collect();
    assert_eq!(found, ["a/src/lib.rs", "b.rs"]);
}

#[test]
fn literals_and_comments_are_told_from_code() {
    let text = "a /* } /* { */ */ b // {\n'{' '\\'' <'a> \"{\\\"}\" r#\"\"{\"# r#fn b\"}\" 'é' c";
    let code = blank(text, true);
    assert_eq!(code.len(), text.len());
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "<'a>", "r#fn", "b", "c"]);
    assert!(blank(text, false).contains("// {"));
}

#[test]
fn functions_are_measured() {
    let text = "trait T {\n    fn a(&self);\n}\nfn b(f: fn(u8) -> [u8; 2]) {\n    let s = \"}\";\n}\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
    let found = Source::new("services/x/src/lib.rs", text).functions();
    let function = |name: &str, line, lines, in_test| Function { name: name.into(), line, lines, in_test };
    assert_eq!(found, [function("b", 4, 3, false), function("c", 9, 1, true)]);
}
