//! Text from elsewhere must not drive the terminal.

use std::borrow::Cow;

/// Replaces what a terminal would act upon (control characters, reordering marks) by its spelling: `\u{1b}`. Line
/// feeds and tabs stay, because messages have several lines.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts_on_terminal(c) {
            escaped.extend(c.escape_unicode());
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
    fn plain_text_is_not_touched() {
        let text = "zwei Zeilen:\n\tä → ü";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
    }
}
