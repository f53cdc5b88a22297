//! JSON with the places of its elements, and with the complaints of Go's `encoding/json`.
//!
//! `config.json` belongs to Docker and to its user: an edit may touch one element and no other byte, so an edit needs
//! spans, which no value tree has. And what Docker says of a broken file is what people search for, so the words are
//! Go's.

use std::fmt;
use std::ops::Range;

/// Deeper than any configuration, shallow enough for the stack.
const DEPTH: usize = 128;

/// What kind of value an element is; `Display` is Go's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        })
    }
}

/// An element: what it is, where it stands, and for an object what is in it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
    pub(crate) members: Vec<Member>,
}

/// A key and its value. Keys that occur twice are two members.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    /// With its quotes.
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Node {
    /// The text of a string; `None` for anything else.
    pub(crate) fn text(&self, json: &[u8]) -> Option<String> {
        (self.kind == Kind::String).then(|| unquote(&json[self.span.start + 1..self.span.end - 1]))
    }

    /// The members whose key is `name` in any case, as Go matches them, in order.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Member> {
        self.members.iter().filter(move |member| member.key.eq_ignore_ascii_case(name))
    }
}

/// Why a text is not JSON, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyntaxError {
    /// It stops in the middle.
    End,
    /// A byte that cannot stand there.
    Byte(u8, String),
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (byte, context) = match self {
            Self::End => return f.write_str("unexpected EOF"),
            Self::Byte(byte, context) => (*byte, context),
        };
        f.write_str("invalid character '")?;
        // Go takes the byte for a code point of its own.
        match byte {
            b'\'' => f.write_str("\\'")?,
            b'\\' => f.write_str("\\\\")?,
            0x07 => f.write_str("\\a")?,
            0x08 => f.write_str("\\b")?,
            b'\t' => f.write_str("\\t")?,
            b'\n' => f.write_str("\\n")?,
            0x0b => f.write_str("\\v")?,
            0x0c => f.write_str("\\f")?,
            b'\r' => f.write_str("\\r")?,
            0x00..0x20 | 0x7f => write!(f, "\\x{byte:02x}")?,
            0x80..=0xa0 | 0xad => write!(f, "\\u{byte:04x}")?,
            _ => write!(f, "{}", char::from(byte))?,
        }
        write!(f, "' {context}")
    }
}

/// Reads the first value of a text and says where the rest begins. `None`: there is nothing but white space.
pub(crate) fn parse(json: &[u8]) -> Result<Option<(Node, usize)>, SyntaxError> {
    let mut scanner = Scanner { json, at: 0 };
    scanner.skip_space();
    if scanner.at == json.len() {
        return Ok(None);
    }
    let node = scanner.value(0)?;
    Ok(Some((node, scanner.at)))
}

struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn skip_space(&mut self) {
        while self.json.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn next(&self) -> Result<u8, SyntaxError> {
        self.json.get(self.at).copied().ok_or(SyntaxError::End)
    }

    fn next_after_space(&mut self) -> Result<u8, SyntaxError> {
        self.skip_space();
        self.next()
    }

    fn wrong<T>(&self, context: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError::Byte(self.next()?, context.to_owned()))
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let first = self.next_after_space()?;
        let start = self.at;
        let mut members = Vec::new();
        let kind = match first {
            b'{' | b'[' if depth == DEPTH => return self.wrong("exceeded max depth"),
            b'{' => {
                members = self.members(depth)?;
                Kind::Object
            }
            b'[' => {
                self.elements(depth)?;
                Kind::Array
            }
            b'"' => {
                self.string()?;
                Kind::String
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                Kind::Number
            }
            b't' => self.literal("true", Kind::Bool)?,
            b'f' => self.literal("false", Kind::Bool)?,
            b'n' => self.literal("null", Kind::Null)?,
            _ => return self.wrong("looking for beginning of value"),
        };
        Ok(Node { kind, span: start..self.at, members })
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member>, SyntaxError> {
        let mut members = Vec::new();
        self.at += 1;
        if self.next_after_space()? == b'}' {
            self.at += 1;
            return Ok(members);
        }
        loop {
            if self.next_after_space()? != b'"' {
                return self.wrong("looking for beginning of object key string");
            }
            let start = self.at;
            self.string()?;
            let key_span = start..self.at;
            if self.next_after_space()? != b':' {
                return self.wrong("after object key");
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            let key = unquote(&self.json[key_span.start + 1..key_span.end - 1]);
            members.push(Member { key, key_span, value });
            match self.next_after_space()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(members);
                }
                _ => return self.wrong("after object key:value pair"),
            }
        }
    }

    fn elements(&mut self, depth: usize) -> Result<(), SyntaxError> {
        self.at += 1;
        if self.next_after_space()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            match self.next_after_space()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.wrong("after array element"),
            }
        }
    }

    fn string(&mut self) -> Result<(), SyntaxError> {
        self.at += 1;
        loop {
            match self.next()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.next()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.next()?.is_ascii_hexdigit() {
                                    return self.wrong("in \\u hexadecimal character escape");
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.wrong("in string escape code"),
                    }
                }
                0..0x20 => return self.wrong("in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        if self.json[self.at] == b'-' {
            self.at += 1;
        }
        match self.next()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return self.wrong("in numeric literal"),
        }
        if self.json.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.next()?.is_ascii_digit() {
                return self.wrong("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.json.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.next()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.next()?.is_ascii_digit() {
                return self.wrong("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.json.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<Kind, SyntaxError> {
        for expected in word.bytes() {
            if self.next()? != expected {
                return self.wrong(&format!("in literal {word} (expecting '{}')", char::from(expected)));
            }
            self.at += 1;
        }
        Ok(kind)
    }
}

/// Resolves the escapes of a string that has been scanned. What is not Unicode becomes U+FFFD, as in Go.
fn unquote(raw: &[u8]) -> String {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw).into_owned();
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&escape, tail)) = rest.split_first() else { break };
        rest = tail;
        match escape {
            b'b' => bytes.push(0x08),
            b'f' => bytes.push(0x0c),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'u' => {
                let first = take_hex(&mut rest);
                let c = match first {
                    0xd800..0xdc00 => {
                        let mut ahead = rest;
                        match ahead.strip_prefix(b"\\u") {
                            Some(tail) => {
                                ahead = tail;
                                let second = take_hex(&mut ahead);
                                if (0xdc00..0xe000).contains(&second) {
                                    rest = ahead;
                                    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                                } else {
                                    None
                                }
                            }
                            None => None,
                        }
                    }
                    other => char::from_u32(other),
                };
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Four hexadecimal digits, which the scanner has seen.
fn take_hex(rest: &mut &[u8]) -> u32 {
    let (digits, tail) = rest.split_at(rest.len().min(4));
    *rest = tail;
    digits.iter().fold(0, |value, digit| value * 16 + char::from(*digit).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(json: &[u8]) -> String {
        match parse(json) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    /// Every one of these was put to docker 28.2.2.
    #[test]
    fn complaints_are_those_of_docker() {
        for (json, want) in [
            (&b"{bad"[..], "invalid character 'b' looking for beginning of object key string"),
            (b"{\"auths\":", "unexpected EOF"),
            (b"\"", "unexpected EOF"),
            (b"{\"a\":nul", "unexpected EOF"),
            (b"{\"a\":\"\x01\"}", "invalid character '\\x01' in string literal"),
            (b"{\"a\":\"x\n\"}", "invalid character '\\n' in string literal"),
            (b"{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
            (b"{\"a\":1.}", "invalid character '}' after decimal point in numeric literal"),
            (b"{\"a\":-}", "invalid character '}' in numeric literal"),
            (b"{\"a\":1e}", "invalid character '}' in exponent of numeric literal"),
            (b"{\"a\" 1}", "invalid character '1' after object key"),
            (b"{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            (b"{\"a\":01}", "invalid character '1' after object key:value pair"),
            (b"[1 2]", "invalid character '2' after array element"),
            (b"{\"a\":\"\\q\"}", "invalid character 'q' in string escape code"),
            (b"{\"a\":\"\\u12x\"}", "invalid character 'x' in \\u hexadecimal character escape"),
            (b"{,}", "invalid character ',' looking for beginning of object key string"),
            (b"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            (b"\xef\xbb\xbf{}", "invalid character '\u{ef}' looking for beginning of value"),
            (b"{\"a\":'x'}", "invalid character '\\'' looking for beginning of value"),
            (b"{\"a\":\x7f}", "invalid character '\\x7f' looking for beginning of value"),
            (b"\x85", "invalid character '\\u0085' looking for beginning of value"),
            (b"\0", "invalid character '\\x00' looking for beginning of value"),
        ] {
            assert_eq!(complaint(json), want, "{}", String::from_utf8_lossy(json));
        }
    }

    #[test]
    fn nothing_and_what_follows_the_first_value_are_no_errors() {
        assert!(parse(b" \n").unwrap().is_none());
        for json in ["{\"a\":1}x", "null", "[]", "-0.5e+7", "{\"a\":[1,{\"b\":false}]}\0"] {
            assert_eq!(complaint(json.as_bytes()), "", "{json}");
        }
        assert_eq!(parse(b"{} {}").unwrap().unwrap().1, 2);
    }

    #[test]
    fn depth_is_bounded() {
        let open = b"[".repeat(1 << 20);
        assert_eq!(complaint(&open), "invalid character '[' exceeded max depth");
        let open = b"{\"a\":".repeat(1 << 20);
        assert_eq!(complaint(&open), "invalid character '{' exceeded max depth");
    }

    #[test]
    fn strings_are_unquoted_as_go_does() {
        for (json, want) in [
            (&br#""plain""#[..], "plain"),
            (br#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (br#""\u00e9\ud83d\ude00""#, "é😀"),
            (br#""\ud83dx\udc00""#, "\u{fffd}x\u{fffd}"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (b"\"\xff\"", "\u{fffd}"),
        ] {
            let (node, _) = parse(json).unwrap().unwrap();
            assert_eq!(node.text(json).as_deref(), Some(want));
        }
    }

    #[test]
    fn spans_are_those_of_the_elements() {
        let json = br#" { "a" : [1] , "A":{"b":"c"} } "#;
        let (root, end) = parse(json).unwrap().unwrap();
        assert_eq!((root.kind, root.span.clone(), end), (Kind::Object, 1..json.len() - 1, json.len() - 1));
        let texts: Vec<_> = root.members.iter().map(|m| &json[m.key_span.start..m.value.span.end]).collect();
        assert_eq!(texts, [&br#""a" : [1]"#[..], br#""A":{"b":"c"}"#]);
        assert_eq!(root.named("a").count(), 2);
        assert_eq!(root.members[1].value.members[0].value.text(json).as_deref(), Some("c"));
    }

    #[test]
    fn no_cut_of_a_document_panics() {
        let json = r#"{"auths":{"hé\u00e9":{"auth":"\ud83d\ude00","n":[-1.5e+3,true,null]}}}"#.as_bytes();
        for end in 0..json.len() {
            assert!(parse(&json[..end]).is_err() || end == 0, "{end}");
        }
        for at in 0..json.len() {
            for byte in [0, b'"', b'\\', b'{', b'}', b'u', 0xff] {
                let mut broken = json.to_vec();
                broken[at] = byte;
                let _ = parse(&broken);
            }
        }
    }
}
