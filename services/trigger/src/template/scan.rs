//! How deep an expression is, told from its text: before a parser, which is not bounded in this, makes a tree of it.

/// Operators, filters and names behind a dot that depend on each other, the brackets around them included: each may be a level of
/// recursion, of about 2 KiB.
pub(super) const DEPTH_MAX: usize = 256;

const WORDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];

/// The deepest of an argument's expressions, or a bound on it.
pub(super) fn depth(argument: &str) -> usize {
    let mut deepest = 0;
    let mut rest = argument;
    while let Some((_, expression)) = rest.split_once("{{") {
        let (found, behind) = depth_of_expression(expression);
        deepest = deepest.max(found);
        rest = behind;
    }
    deepest
}

/// The depth, and what stands behind the expression's braces.
fn depth_of_expression(text: &str) -> (usize, &str) {
    let bytes = text.as_bytes();
    // What each open bracket holds so far, since its last comma; and all of it together.
    let (mut open, mut sum, mut deepest) = (vec![0usize], 0usize, 0);
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        if byte == b'}' && open.len() == 1 && bytes.get(i + 1) == Some(&b'}') {
            return (deepest, &text[i + 2..]);
        }
        let word = word_at(bytes, i);
        match byte {
            b'"' | b'\'' => i = behind_text(bytes, i) - 1,
            b'(' | b'[' | b'{' => {
                open.push(1);
                sum += 1;
            }
            b')' | b']' | b'}' if open.len() > 1 => {
                sum -= open.pop().unwrap_or_default();
                count(&mut open, &mut sum);
            }
            b',' => sum -= std::mem::take(open.last_mut().expect("the outermost stays open")),
            b'.' | b'|' | b'~' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' => count(&mut open, &mut sum),
            _ if WORDS.contains(&word) => count(&mut open, &mut sum),
            _ => {}
        }
        deepest = deepest.max(sum);
        i += word.len().max(1);
    }
    (deepest, "")
}

fn count(open: &mut [usize], sum: &mut usize) {
    *open.last_mut().expect("the outermost stays open") += 1;
    *sum += 1;
}

/// The letters that begin here.
fn word_at(bytes: &[u8], at: usize) -> &str {
    let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    std::str::from_utf8(&bytes[at..at + length]).expect("letters are UTF-8")
}

fn behind_text(bytes: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < bytes.len() && bytes[i] != bytes[start] {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

#[test]
fn chains_and_brackets_are_deep_and_lists_are_wide() {
    let of = |expression: &str| depth(&format!("a {{{{ {expression} }}}} b"));
    assert_eq!((of("event"), of("event.data.id"), of("'a.b' ~ \"c|d\" | upper")), (0, 2, 2));
    assert_eq!(of(&vec!["event.data"; 4_000].join(" ~ ")), 7_999);
    assert_eq!(of(&format!("[{}]", vec!["event.data"; 4_000].join(", "))), 2);
    assert_eq!(of(&format!("{}1{}", "(".repeat(300), ")".repeat(300))), 300);
    assert_eq!(of("a and not b or c is none"), 4);
    assert_eq!(depth("{{ a.b }} . . . {{ a.b.c }}"), 2);
    assert_eq!(depth("{{ {'a': {'b': 1}} }} ... {{ x }}"), 2);
}
