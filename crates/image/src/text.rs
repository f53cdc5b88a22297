//! Text from elsewhere on its way into an error message: bounded, and harmless to a terminal.

use std::fmt;

/// Most characters of a foreign text in one message.
const SHOWN: usize = 160;
/// Most characters of what a person typed: more than any name has, and as many as a screen holds.
const TYPED: usize = 512;

/// Shows a foreign text: control characters, bidirectional overrides and the like escaped, the rest cut off.
///
/// Quotes stay as they are: Docker's texts are compared to the letter.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_most(f, self.0, SHOWN)
    }
}

/// As [`Shown`] and hardly ever cut off: for what a person typed.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_most(f, self.0, TYPED)
    }
}

fn write_most(f: &mut fmt::Formatter<'_>, text: &str, most: usize) -> fmt::Result {
    for (count, c) in text.chars().enumerate() {
        if count == most {
            return f.write_str("…");
        }
        write_escaped(f, c)?;
    }
    Ok(())
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    use fmt::Write as _;
    match c {
        '"' | '\'' | '\\' => f.write_char(c),
        c => write!(f, "{}", c.escape_debug()),
    }
}

/// [`Shown`] as a string.
pub(crate) fn shown(text: &str) -> String {
    Shown(text).to_string()
}

/// Go's `encoding/json` takes a key for a field's name when the two are equal but for case, in Unicode's simple
/// folding: `ſ` is an `s` to it and the Kelvin sign a `k`.
pub(crate) fn fold(key: &str) -> String {
    key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_typed_has_an_end_far_beyond_a_name() {
        let name = "A".repeat(TYPED);
        assert_eq!(Escaped(&name).to_string(), name);
        assert_eq!(Escaped(&format!("{name}\u{1b}")).to_string(), format!("{name}…"));
    }

    #[test]
    fn control_characters_and_overrides_are_escaped_and_quotes_are_not() {
        assert_eq!(shown("it's \"a\" \u{1b}[31m\n\u{202e}b\\"), "it's \"a\" \\u{1b}[31m\\n\\u{202e}b\\");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shown(&"x".repeat(1 << 20)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn folds_as_go_does() {
        for key in ["manifests", "Manifests", "MANIFESTS", "manife\u{17f}ts"] {
            assert_eq!(fold(key), "manifests", "{key}");
        }
        assert_eq!(fold("\u{212a}ey"), "key");
        assert_ne!(fold("manifest"), "manifests");
    }
}
