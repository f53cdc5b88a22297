//! Foreign text on its way to a terminal.

use std::fmt;

/// Most characters of one foreign text in a message.
const MOST: usize = 200;

/// Shows a text from a file, a variable or a helper: control characters escaped, quotes as they are, long ends cut.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;

        for (count, c) in self.0.chars().enumerate() {
            if count == MOST {
                return f.write_char('…');
            }
            match c {
                '"' | '\'' | '\\' => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_texts_cut() {
        assert_eq!(Shown("a \"b\"\u{1b}[2J\n").to_string(), "a \"b\"\\u{1b}[2J\\n");
        assert_eq!(Shown(&"x".repeat(1000)).to_string().chars().count(), MOST + 1);
    }
}
