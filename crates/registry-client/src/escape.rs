//! Text that others wrote, made safe to show.

/// Most characters that are kept of one text.
const LONGEST: usize = 2000;
/// Most characters of one text that stand in an error.
const SHORT: usize = 200;

/// `text` in one line: control characters and characters that turn the direction of writing are shown as escapes.
pub(crate) fn line(text: &str) -> String {
    escape(text, LONGEST, |_| false)
}

/// As [`line()`], and no longer than a person reads: for errors.
pub(crate) fn short(text: &str) -> String {
    escape(text, SHORT, |_| false)
}

/// As [`line()`], but line ends and tabs stay: for bodies of several lines.
pub(crate) fn lines(text: &str) -> String {
    escape(text, LONGEST, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, longest: usize, keep: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len().min(longest));
    for (count, c) in text.chars().enumerate() {
        if count == longest {
            safe.push('…');
            break;
        }
        if (c.is_control() && !keep(c)) || turns_direction(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Characters that make a terminal show a text in another order than it is written in, or not at all.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_do_not_get_through() {
        assert_eq!(line("a\u{1b}[31mred\r\nb"), "a\\u{1b}[31mred\\u{d}\\u{a}b");
        assert_eq!(line("\u{9b}31m\u{202e}abc"), "\\u{9b}31m\\u{202e}abc");
        assert_eq!(lines("a\n\tb\r\u{7}"), "a\n\tb\\u{d}\\u{7}");
        assert_eq!(line("grüße"), "grüße");
    }

    #[test]
    fn long_texts_are_cut() {
        let text = line(&"x".repeat(LONGEST * 2));
        assert_eq!(text.chars().count(), LONGEST + 1);
        assert!(text.ends_with('…'));
        assert_eq!(short(&text).chars().count(), SHORT + 1);
    }
}
