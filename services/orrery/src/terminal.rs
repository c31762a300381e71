//! What is printed. Texts of users (a reason, a cause, a message) reach a person's terminal, and must not steer it: `print!`, `println!`
//! and `eprintln!` of this crate write control characters as JSON does. Tables, whose colours are such characters, are printed by
//! `output::print_table`, which does so with their cells. A task's output (`run logs`) is what the task wrote.

/// A text without what steers a terminal: `\u001b` for an escape, likewise for what changes the direction of writing. Lines and tabs stay.
pub(crate) fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { cleaned.push_str(&format!("\\u{:04x}", u32::from(c))) } else { cleaned.push(c) }
    }
    cleaned.into()
}

fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t'))
}

macro_rules! println {
    () => { ::std::println!() };
    ($($text:tt)*) => { ::std::println!("{}", $crate::terminal::clean(&::std::format!($($text)*))) };
}

macro_rules! print {
    ($($text:tt)*) => { ::std::print!("{}", $crate::terminal::clean(&::std::format!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { ::std::eprintln!("{}", $crate::terminal::clean(&::std::format!($($text)*))) };
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(clean("plain\n\ttext, é, 漢"), "plain\n\ttext, é, 漢");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b\rc\u{9b}31m"), "a\\u001b]0;title\\u0007b\\u000dc\\u009b31m");
        assert_eq!(clean("\u{202e}abc"), "\\u202eabc");
        let json = serde_json::json!({"reason": "\u{1b}[2J\u{9b}"}).to_string();
        let read: serde_json::Value = serde_json::from_str(&clean(&json)).expect("it stays JSON");
        assert_eq!(read["reason"], "\u{1b}[2J\u{9b}");
    }
}
