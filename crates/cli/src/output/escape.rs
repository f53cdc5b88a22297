//! Text from elsewhere must not drive the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces what a terminal would act upon (control characters, reordering marks) by its spelling: `\u{1b}`. Line
/// feeds and tabs stay, because messages have several lines.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_all(text, acts_on_terminal)
}

/// As [`escape`], with line feeds and tabs escaped too: for what must stay in its line.
pub(crate) fn escape_line(text: &str) -> Cow<'_, str> {
    escape_all(text, |c| acts_on_terminal(c) || c.is_control())
}

/// As [`escape`], for a JSON text, which says the same afterwards: what JSON leaves as it is stands only in its strings.
pub(crate) fn escape_json(text: &str) -> Cow<'_, str> {
    // None of them is beyond the first plane, so one escape says it.
    escape_with(text, acts_on_terminal, |escaped, c| {
        // Writing to a `String` cannot fail.
        let _ = write!(escaped, "\\u{:04x}", u32::from(c));
    })
}

fn escape_all(text: &str, wanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    escape_with(text, wanted, |escaped, c| escaped.extend(c.escape_unicode()))
}

fn escape_with(text: &str, wanted: impl Fn(char) -> bool, push: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.chars().any(&wanted) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if wanted(c) {
            push(&mut escaped, c);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters of C0 and C1, and the marks that reorder what stands around them (the trick of "Trojan Source").
fn acts_on_terminal(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_spelt_out() {
        assert_eq!(escape("a\u{1b}[31mred\r\u{7f}\u{9b}2J"), "a\\u{1b}[31mred\\u{d}\\u{7f}\\u{9b}2J");
        assert_eq!(escape("abc\u{202e}txt"), "abc\\u{202e}txt");
    }

    #[test]
    fn json_says_the_same_when_it_is_escaped() {
        let text = serde_json::to_string_pretty(&["a\u{9b}2J\u{202e}b", "\u{1b}"]).unwrap();
        let escaped = escape_json(&text);
        assert!(escaped.contains("a\\u009b2J\\u202eb"), "{escaped}");
        let (one, other): (Vec<String>, Vec<String>) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(&escaped).unwrap());
        assert_eq!(one, other);
    }

    #[test]
    fn what_must_stay_in_its_line_does() {
        assert_eq!(escape_line("a\n\tb"), "a\\u{a}\\u{9}b");
    }

    #[test]
    fn plain_text_is_not_touched() {
        let text = "zwei Zeilen:\n\tä → ü";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
    }
}
