//! Small pieces of Go's library whose exact words end up in docker's messages: `strconv` and `encoding/csv`.

use std::fmt::Write as _;

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

/// `strconv.Quote`: a Go string literal.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if c == '"' { quoted.push_str("\\\"") } else { push_escaped(&mut quoted, c) }
    }
    quoted.push('"');
    quoted
}

/// `strconv.QuoteRune`: a Go character literal.
pub(crate) fn quote_char(c: char) -> String {
    let mut quoted = String::from("'");
    if c == '\'' {
        quoted.push_str("\\'");
    } else {
        push_escaped(&mut quoted, c);
    }
    quoted.push('\'');
    quoted
}

fn push_escaped(quoted: &mut String, c: char) {
    match c {
        '\\' => quoted.push_str("\\\\"),
        '\u{7}' => quoted.push_str("\\a"),
        '\u{8}' => quoted.push_str("\\b"),
        '\u{c}' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\u{b}' => quoted.push_str("\\v"),
        c if is_printable(c) => quoted.push(c),
        // Writing to a `String` cannot fail.
        c if u32::from(c) < 0x80 => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
        c if u32::from(c) > 0xffff => drop(write!(quoted, "\\U{:08x}", u32::from(c))),
        c => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
    }
}

/// Near enough to `unicode.IsPrint`: what Rust's own escaping leaves alone. Combining marks differ, and stay readable.
fn is_printable(c: char) -> bool {
    c == '\'' || c == '"' || c.escape_debug().count() == 1
}

/// One record of `encoding/csv`, as pflag reads the value of a list flag. An empty text is an empty list.
///
/// Docker drops what follows a first line; here a second line is refused, because nothing is dropped silently.
pub(crate) fn split_commas(text: &str) -> Result<Vec<String>, String> {
    let error = |column: usize, what: &str| format!("parse error on line 1, column {column}: {what}");
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            let mut field = String::new();
            let mut start = at + 1;
            loop {
                let Some(length) = text[start..].find('"') else {
                    return Err(error(text.len() + 1, "extraneous or missing \" in quoted-field"));
                };
                field.push_str(&text[start..start + length]);
                at = start + length;
                if bytes.get(at + 1) != Some(&b'"') {
                    break;
                }
                field.push('"');
                start = at + 2;
            }
            fields.push(field);
            at += 1;
            match bytes.get(at) {
                None => return Ok(fields),
                Some(b',') => at += 1,
                Some(_) => return Err(error(at, "extraneous or missing \" in quoted-field")),
            }
        } else {
            let end = text[at..].find(',').map_or(text.len(), |length| at + length);
            let field = &text[at..end];
            if let Some(quote) = field.find('"') {
                return Err(error(at + quote + 1, "bare \" in non-quoted-field"));
            }
            if let Some(line_feed) = field.find('\n') {
                return Err(error(at + line_feed + 1, "a second line"));
            }
            fields.push(field.to_owned());
            if end == text.len() {
                return Ok(fields);
            }
            at = end + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quote("a\"\u{1}b\\é'\u{202e}\u{1f600}"), "\"a\\\"\\x01b\\\\é'\\u202e\u{1f600}\"");
        assert_eq!(quote_char('\''), "'\\''");
        assert_eq!(quote_char('"'), "'\"'");
    }

    #[test]
    fn csv_fields() {
        for (text, want) in [
            ("", Ok(vec![])),
            ("a", Ok(vec!["a"])),
            ("a,b,,", Ok(vec!["a", "b", "", ""])),
            ("a,\"b c\",d", Ok(vec!["a", "b c", "d"])),
            ("\"a,b\"\"c\"", Ok(vec!["a,b\"c"])),
            ("\"a\"", Ok(vec!["a"])),
            ("\"a\",", Ok(vec!["a", ""])),
            ("a\"b", Err("parse error on line 1, column 2: bare \" in non-quoted-field")),
            ("\"a,b", Err("parse error on line 1, column 5: extraneous or missing \" in quoted-field")),
            ("\"a\"b", Err("parse error on line 1, column 3: extraneous or missing \" in quoted-field")),
            ("a\nb", Err("parse error on line 1, column 2: a second line")),
        ] {
            let want = want.map(|fields| fields.into_iter().map(str::to_owned).collect()).map_err(str::to_owned);
            assert_eq!(split_commas(text), want, "{text:?}");
        }
    }
}
