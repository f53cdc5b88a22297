//! JSON as Go's `encoding/json` writes it.
//!
//! `docker manifest` is a Go program: what it prints, stores and pushes has the indentation and the escapes of that
//! package. Digests depend on them, so they are reproduced here to the byte. Everything works on texts that have been
//! parsed before, so there is no error to report: a text that is not JSON comes out as some other text.

/// Indents a JSON text: every element on a line of its own, `unit` once per level. Keys keep their order and numbers
/// their spelling; nothing is escaped anew. Space before the value is dropped and space after it is kept, as Go does.
pub(crate) fn indent(json: &[u8], unit: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + json.len() / 2);
    let mut depth = 0_usize;
    // A bracket was written, and whether something follows it on a line of its own is not known yet.
    let mut pending = false;
    let new_line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        for _ in 0..depth {
            out.extend_from_slice(unit.as_bytes());
        }
    };
    let end = json.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    for token in Tokens(&json[..end]) {
        let closes = matches!(token, b"}" | b"]");
        if pending && !closes {
            depth += 1;
            new_line(&mut out, depth);
        }
        match token {
            b"{" | b"[" => out.extend_from_slice(token),
            b"," => {
                out.push(b',');
                new_line(&mut out, depth);
            }
            b":" => out.extend_from_slice(b": "),
            b"}" | b"]" => {
                if !pending {
                    depth = depth.saturating_sub(1);
                    new_line(&mut out, depth);
                }
                out.extend_from_slice(token);
            }
            literal => out.extend_from_slice(literal),
        }
        pending = matches!(token, b"{" | b"[");
    }
    out.extend_from_slice(&json[end..]);
    out
}

/// Drops all space between tokens, and escapes what Go escapes for the sake of HTML: `<`, `>`, `&`, U+2028, U+2029.
pub(crate) fn compact_escaped(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    for token in Tokens(json) {
        let mut rest = token;
        while let Some((&byte, tail)) = rest.split_first() {
            match (byte, tail) {
                (b'<' | b'>' | b'&', _) => push_escape(&mut out, u16::from(byte)),
                (0xe2, [0x80, last @ (0xa8 | 0xa9), ..]) => {
                    push_escape(&mut out, 0x2000 | u16::from(last & 0x3f));
                    rest = &tail[2..];
                    continue;
                }
                _ => out.push(byte),
            }
            rest = tail;
        }
    }
    out
}

/// How deep arrays and objects are nested.
pub(crate) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in Tokens(json) {
        match token {
            b"{" | b"[" => depth += 1,
            b"}" | b"]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Writes a text as a JSON string, with quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut utf8 = [0; 4];
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => push_escape(out, character as u16),
            _ => out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    out.push(b'"');
}

fn push_escape(out: &mut Vec<u8>, unit: u16) {
    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
}

/// Writes one object, field by field.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes the key and hands out the place for the value.
    pub(crate) fn field(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        push_string(self.out, key);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        push_string(self.field(key), value);
    }

    /// As [`Object::text`], left out if empty: Go's `omitempty`.
    pub(crate) fn text_unless_empty(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.field(key).extend_from_slice(value.to_string().as_bytes());
    }

    /// An array of strings, left out if empty.
    pub(crate) fn texts_unless_empty<S: AsRef<str>>(&mut self, key: &str, values: &[S]) {
        if !values.is_empty() {
            push_array(self.field(key), values, |out, value| push_string(out, value.as_ref()));
        }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes an array.
pub(crate) fn push_array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

/// The tokens of a JSON text: brackets, commas, colons, strings with their quotes, other literals. No space.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !is_space(*byte))?;
        let text = &self.0[start..];
        let length = match text[0] {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => string_length(text),
            _ => text.iter().position(|&byte| is_space(byte) || b"{}[],:\"".contains(&byte)).unwrap_or(text.len()),
        };
        let (token, rest) = text.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

fn string_length(text: &[u8]) -> usize {
    let mut i = 1;
    while i < text.len() {
        match text[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indented(json: &str) -> String {
        String::from_utf8(indent(json.as_bytes(), "\t")).unwrap()
    }

    #[test]
    fn indent_keeps_order_numbers_and_empty_brackets() {
        assert_eq!(
            indented(r#"{ "b":1.50e1,"a":[ ],"c":{ },"d":[1,{"x":null}]}"#),
            "{\n\t\"b\": 1.50e1,\n\t\"a\": [],\n\t\"c\": {},\n\t\"d\": [\n\t\t1,\n\t\t{\n\t\t\t\"x\": null\n\t\t}\n\t]\n}"
        );
        assert_eq!(indented("[]"), "[]");
        assert_eq!(indented("7"), "7");
    }

    #[test]
    fn indent_leaves_strings_alone() {
        assert_eq!(indented(r#"{"a{[,:":"\"}\\","b":"<>&"}"#), "{\n\t\"a{[,:\": \"\\\"}\\\\\",\n\t\"b\": \"<>&\"\n}");
    }

    #[test]
    fn indent_drops_leading_and_keeps_trailing_space() {
        assert_eq!(indented(" \n{}\n \n"), "{}\n \n");
    }

    #[test]
    fn compact_escapes_for_html() {
        let json = "{ \"a\" : \"<b>&\u{2028}\u{2029}\u{2027}é \\\" x\" ,\r\n\t\"n\": 1.0 }\n";
        assert_eq!(
            String::from_utf8(compact_escaped(json.as_bytes())).unwrap(),
            "{\"a\":\"\\u003cb\\u003e\\u0026\\u2028\\u2029\u{2027}é \\\" x\",\"n\":1.0}"
        );
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = Vec::new();
        push_string(&mut out, "\u{8}\u{c}\n\r\t\u{1}\u{7f}\"\\/<é\u{2029}");
        assert_eq!(String::from_utf8(out).unwrap(), "\"\\b\\f\\n\\r\\t\\u0001\u{7f}\\\"\\\\/\\u003cé\\u2029\"");
    }

    #[test]
    fn texts_that_are_not_json_do_no_harm() {
        for text in ["", "\"", "\"\\", "]]]", "}{", "a\"b"] {
            indent(text.as_bytes(), "   ");
            compact_escaped(text.as_bytes());
        }
    }
}
