//! Error bodies (distribution-spec, "Error Codes").

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::escape;

/// Most errors that are kept of one body.
const MOST: usize = 32;

/// One error of an error body. The texts are escaped: they can be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCode {
    /// `MANIFEST_UNKNOWN`, `DENIED`, …; as the registry spelt it.
    pub code: String,
    /// For people; may be empty.
    pub message: String,
    /// Whether there is a `detail` that is not `null`. `{}` and `""` count.
    pub has_detail: bool,
}

impl fmt::Display for RegistryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (_, true) => f.write_str(&self.code),
            (true, false) => f.write_str(&self.message),
            (false, false) => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

#[derive(Deserialize)]
struct Body {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    detail: Value,
}

/// Reads the errors of a body; none if it is not an error body.
pub(crate) fn parse(body: &[u8]) -> Vec<RegistryCode> {
    let Ok(Body { errors }) = serde_json::from_slice(body) else { return Vec::new() };
    errors
        .into_iter()
        .take(MOST)
        .map(|entry| RegistryCode {
            code: text(&entry.code),
            message: text(&entry.message),
            has_detail: !entry.detail.is_null(),
        })
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape::line(text),
        other => escape::line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_needs_to_know_is_kept() {
        let codes = parse(
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}},
                           {"code":"NAME_UNKNOWN","detail":null},{"message":5}]}"#,
        );
        assert_eq!(codes.len(), 3);
        assert!(codes[0].has_detail);
        assert_eq!(codes[0].to_string(), "MANIFEST_UNKNOWN: manifest unknown");
        assert!(!codes[1].has_detail);
        assert_eq!(codes[1].to_string(), "NAME_UNKNOWN");
        assert_eq!(codes[2].to_string(), "5");
    }

    #[test]
    fn other_bodies_have_no_codes() {
        for body in ["", "<html>", "{}", "[]", r#"{"errors":null}"#, r#"{"errors":{}}"#, r#"{"details":"hm"}"#] {
            assert!(parse(body.as_bytes()).is_empty(), "{body}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_empty());
    }

    #[test]
    fn control_characters_are_escaped() {
        let codes = parse(br#"{"errors":[{"code":"\u001b[2J","message":"a\r\nb"}]}"#);
        assert_eq!(codes[0].to_string(), "\\u{1b}[2J: a\\u{d}\\u{a}b");
    }
}
