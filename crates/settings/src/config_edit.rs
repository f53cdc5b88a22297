//! Edits of `config.json` that touch one entry of `auths` and no other byte.
//!
//! The file is Docker's and its user's: it holds fields of other programs, and an order and an indentation that somebody
//! chose. A file that Docker wrote comes out as Docker would have written it.

use std::ops::Range;

use crate::json::{self, Kind, Member, Node};

/// What Docker indents with.
const TAB: &str = "\t";

/// Why a file cannot be edited: in Docker's words, or none of its business.
pub(crate) type EditFault = String;

/// The fields of an entry, in order.
pub(crate) type Fields<'a> = &'a [(&'static str, &'a str)];

/// `json` with `fields` as the entry for `key`, in the place of the one that is there.
pub(crate) fn set_entry(json: &[u8], key: &str, fields: Fields<'_>) -> Result<Vec<u8>, EditFault> {
    let Some((root, _)) = json::parse(json).map_err(|error| error.to_string())? else {
        return Ok(Layout::docker().document(key, fields).into_bytes());
    };
    if root.kind == Kind::Null {
        return Ok(splice(json, root.span, &Layout::docker().document(key, fields)));
    }
    let layout = Layout::of(json, &root)?;
    let Some(auths) = auths_of(&root)? else {
        return Ok(layout.insert(json, &root, 0, 0, "auths", &layout.auths(key, fields)));
    };
    if auths.kind == Kind::Null {
        return Ok(splice(json, auths.span.clone(), &layout.auths(key, fields)));
    }
    let entry = layout.entry(fields);
    if let Some(old) = auths.members.iter().rfind(|member| member.key == key) {
        return Ok(splice(json, old.value.span.clone(), &entry));
    }
    // Docker sorts; a file that somebody sorted otherwise gets it at the end.
    let place = if auths.members.is_sorted_by(|a, b| a.key <= b.key) {
        auths.members.partition_point(|member| member.key.as_str() < key)
    } else {
        auths.members.len()
    };
    Ok(layout.insert(json, auths, 1, place, key, &entry))
}

/// `json` without the entries whose keys are `unwanted`. `None`: there are none.
pub(crate) fn remove_entries(json: &[u8], unwanted: impl Fn(&str) -> bool) -> Result<Option<Vec<u8>>, EditFault> {
    let Some((root, _)) = json::parse(json).map_err(|error| error.to_string())? else { return Ok(None) };
    if root.kind == Kind::Null {
        return Ok(None);
    }
    Layout::of(json, &root)?;
    let Some(auths) = auths_of(&root)? else { return Ok(None) };
    let kept: Vec<usize> = (0..auths.members.len()).filter(|at| !unwanted(&auths.members[*at].key)).collect();
    if kept.len() == auths.members.len() {
        return Ok(None);
    }
    let (Some(first), Some(last)) = (auths.members.first(), auths.members.last()) else { return Ok(None) };
    let mut object = vec![b'{'];
    if let Some(&lead) = kept.first() {
        object.extend_from_slice(&json[auths.span.start + 1..first.key_span.start]);
        for &at in &kept {
            let member = &auths.members[at];
            if at != lead {
                let before = &auths.members[at - 1];
                object.extend_from_slice(&json[before.value.span.end..member.key_span.start]);
            }
            object.extend_from_slice(&json[member.key_span.start..member.value.span.end]);
        }
        object.extend_from_slice(&json[last.value.span.end..auths.span.end - 1]);
    }
    object.push(b'}');
    Ok(Some([&json[..auths.span.start], &object, &json[auths.span.end..]].concat()))
}

/// The keys of the entries, in order.
pub(crate) fn keys(json: &[u8]) -> Vec<String> {
    let Ok(Some((root, _))) = json::parse(json) else { return Vec::new() };
    let Ok(Some(auths)) = auths_of(&root) else { return Vec::new() };
    auths.members.iter().map(|member| member.key.clone()).collect()
}

/// The value of `auths`; the last one, as Docker has it.
fn auths_of(root: &Node) -> Result<Option<&Node>, EditFault> {
    let Some(Member { value, .. }) = root.named("auths").next_back() else { return Ok(None) };
    match value.kind {
        Kind::Object | Kind::Null => Ok(Some(value)),
        kind => Err(format!("`auths` is of type {kind}, not an object")),
    }
}

fn splice(json: &[u8], place: Range<usize>, text: &str) -> Vec<u8> {
    [&json[..place.start], text.as_bytes(), &json[place.end..]].concat()
}

/// How the file is laid out.
struct Layout {
    /// One step of indentation; `None` for a file on one line.
    unit: Option<String>,
    /// What stands between a colon and a value.
    gap: String,
}

impl Layout {
    fn docker() -> Self {
        Self { unit: Some(TAB.to_owned()), gap: " ".to_owned() }
    }

    fn of(json: &[u8], root: &Node) -> Result<Self, EditFault> {
        if root.kind != Kind::Object {
            return Err(format!("the file is of type {}, not an object", root.kind));
        }
        let Some(first) = root.members.first() else { return Ok(Self::docker()) };
        let lead = String::from_utf8_lossy(&json[root.span.start + 1..first.key_span.start]);
        let unit = lead.rsplit_once('\n').map(|(_, unit)| unit.to_owned());
        let colon = String::from_utf8_lossy(&json[first.key_span.end..first.value.span.start]);
        let gap = colon.split_once(':').map_or("", |(_, gap)| gap);
        // A value on a line of its own is nobody's habit.
        Ok(Self { unit, gap: if gap.contains('\n') { " ".to_owned() } else { gap.to_owned() } })
    }

    /// A line end and `depth` steps, or nothing.
    fn line(&self, depth: usize) -> String {
        self.unit.as_ref().map(|unit| format!("\n{}", unit.repeat(depth))).unwrap_or_default()
    }

    fn object(&self, depth: usize, members: &[(&str, String)]) -> String {
        if members.is_empty() {
            return "{}".to_owned();
        }
        let inner = self.line(depth + 1);
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{inner}{}:{}{value}", quoted(key), self.gap)).collect();
        format!("{{{}{}}}", members.join(","), self.line(depth))
    }

    fn entry(&self, fields: Fields<'_>) -> String {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, quoted(value))).collect();
        self.object(2, &fields)
    }

    fn auths(&self, key: &str, fields: Fields<'_>) -> String {
        self.object(1, &[(key, self.entry(fields))])
    }

    fn document(&self, key: &str, fields: Fields<'_>) -> String {
        self.object(0, &[("auths", self.auths(key, fields))])
    }

    /// Puts a member into `object`, which stands `depth` steps in, before its member number `place`.
    fn insert(&self, json: &[u8], object: &Node, depth: usize, place: usize, key: &str, value: &str) -> Vec<u8> {
        let member = format!("{}:{}{value}", quoted(key), self.gap);
        let Some(first) = object.members.first() else {
            let text = format!("{{{}{member}{}}}", self.line(depth + 1), self.line(depth));
            return splice(json, object.span.clone(), &text);
        };
        let lead = String::from_utf8_lossy(&json[object.span.start + 1..first.key_span.start]);
        if let Some(next) = object.members.get(place) {
            let at = next.key_span.start;
            splice(json, at..at, &format!("{member},{lead}"))
        } else {
            let at = object.members.last().map_or(object.span.end - 1, |last| last.value.span.end);
            splice(json, at..at, &format!(",{lead}{member}"))
        }
    }
}

/// A JSON string. Go escapes more than it must; so do we, for the sake of equal files.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a `String` does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(json: &str, key: &str) -> String {
        String::from_utf8(set_entry(json.as_bytes(), key, &[("auth", "dTpw")]).unwrap()).unwrap()
    }

    fn remove(json: &str, keys: &[&str]) -> Option<String> {
        remove_entries(json.as_bytes(), |key| keys.contains(&key))
            .unwrap()
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_new_file_is_laid_out_as_docker_does() {
        let want = "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}";
        for json in ["", " \n", "null", "{}", "{\"auths\":{}}", "{\n\t\"auths\": {}\n}", "{ }", "{\"auths\": null}"] {
            let got = set(json, "h");
            if json.starts_with("{\"") {
                assert!(!got.contains('\n'), "{json}: {got}");
            } else {
                assert_eq!(got.trim(), want, "{json}");
            }
        }
        let mark = set_entry(b"", "h", &[]).unwrap();
        assert_eq!(String::from_utf8(mark).unwrap(), "{\n\t\"auths\": {\n\t\t\"h\": {}\n\t}\n}");
    }

    #[test]
    fn entries_are_put_in_order_and_everything_else_stays() {
        for (json, want) in [
            (
                "{\n\t\"auths\": {\n\t\t\"a\": {},\n\t\t\"z\": {}\n\t},\n\t\"x\": 1.0e5\n}",
                "{\n\t\"auths\": {\n\t\t\"a\": {},\n\t\t\"h\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t},\n\t\t\"z\": \
                 {}\n\t},\n\t\"x\": 1.0e5\n}",
            ),
            (
                "{\n\t\"auths\": {\n\t\t\"a\": {}\n\t}\n}\n",
                "{\n\t\"auths\": {\n\t\t\"a\": {},\n\t\t\"h\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}\n",
            ),
            // Not sorted: at the end. Two spaces: two spaces.
            (
                "{\n  \"x\": [1,2],\n  \"auths\": {\n    \"z\": {},\n    \"a\": {}\n  }\n}",
                "{\n  \"x\": [1,2],\n  \"auths\": {\n    \"z\": {},\n    \"a\": {},\n    \"h\": {\n      \"auth\": \
                 \"dTpw\"\n    }\n  }\n}",
            ),
            ("{\"auths\":{\"a\":{}},\"x\":1}", "{\"auths\":{\"a\":{},\"h\":{\"auth\":\"dTpw\"}},\"x\":1}"),
            ("{\"x\":1}", "{\"auths\":{\"h\":{\"auth\":\"dTpw\"}},\"x\":1}"),
            ("{ \"x\": 1 }", "{ \"auths\": {\"h\": {\"auth\": \"dTpw\"}}, \"x\": 1 }"),
            (
                "{\n\t\"x\": 1\n}",
                "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t},\n\t\"x\": 1\n}",
            ),
            (
                "{\r\n    \"Auths\": {\r\n        \"h\" : {\"auth\":\"b2xk\",\"email\":\"e\"}\r\n    }\r\n}",
                "{\r\n    \"Auths\": {\r\n        \"h\" : {\n            \"auth\": \"dTpw\"\n        }\r\n    }\r\n}",
            ),
        ] {
            assert_eq!(set(json, "h"), want, "{json}");
        }
    }

    #[test]
    fn entries_go_and_everything_else_stays() {
        let json =
            "{\n\t\"auths\": {\n\t\t\"a\": {},\n\t\t\"b\": {\"auth\": \"x\"} ,\n\t\t\"c\": {}\n\t},\n\t\"x\": 1\n}";
        for (keys, want) in [
            (&["a"][..], "{\n\t\"auths\": {\n\t\t\"b\": {\"auth\": \"x\"} ,\n\t\t\"c\": {}\n\t},\n\t\"x\": 1\n}"),
            (&["b"], "{\n\t\"auths\": {\n\t\t\"a\": {} ,\n\t\t\"c\": {}\n\t},\n\t\"x\": 1\n}"),
            (&["c"], "{\n\t\"auths\": {\n\t\t\"a\": {},\n\t\t\"b\": {\"auth\": \"x\"}\n\t},\n\t\"x\": 1\n}"),
            (&["a", "c"], "{\n\t\"auths\": {\n\t\t\"b\": {\"auth\": \"x\"}\n\t},\n\t\"x\": 1\n}"),
            (&["a", "b", "c"], "{\n\t\"auths\": {},\n\t\"x\": 1\n}"),
        ] {
            assert_eq!(remove(json, keys).as_deref(), Some(want), "{keys:?}");
        }
        assert_eq!(remove(json, &["d"]), None);
        assert_eq!(remove("{}", &["a"]), None);
        assert_eq!(remove("", &["a"]), None);
        assert_eq!(keys(json.as_bytes()), ["a", "b", "c"]);
    }

    #[test]
    fn a_broken_file_is_not_touched() {
        for (json, want) in [
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            ("[]", "the file is of type array, not an object"),
            ("{\"auths\":7}", "`auths` is of type number, not an object"),
        ] {
            assert_eq!(set_entry(json.as_bytes(), "h", &[]).unwrap_err(), want);
            assert_eq!(remove_entries(json.as_bytes(), |_| true).unwrap_err(), want);
        }
    }

    #[test]
    fn what_is_set_can_be_removed_again_to_the_byte() {
        let json = "{\n  \"auths\": {\n    \"a\": {\"x\":[ ]},\n    \"z\": {}\n  },\n  \"n\": 1e999\n}\n";
        let with = set(json, "h\"<\u{e9}");
        assert!(with.contains("\"h\\\"\\u003cé\""), "{with}");
        assert_eq!(remove(&with, &["h\"<\u{e9}"]).as_deref(), Some(json));
    }

    /// serde_json is the judge: it shares no code with the scanner and the editor.
    mod against_another_parser {
        use proptest::prelude::*;
        use serde_json::{Map, Value, json};

        use super::*;

        fn value() -> impl Strategy<Value = Value> {
            let leaf = prop_oneof![
                Just(Value::Null),
                any::<bool>().prop_map(Value::from),
                any::<i64>().prop_map(Value::from),
                any::<String>().prop_map(Value::from),
            ];
            leaf.prop_recursive(4, 24, 4, |inner| {
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                    prop::collection::vec((any::<String>(), inner), 0..4)
                        .prop_map(|members| Value::Object(members.into_iter().collect())),
                ]
            })
        }

        fn config() -> impl Strategy<Value = (Value, bool)> {
            let other = prop::collection::vec(("[a-z]{1,3}x", value()), 0..3);
            let auths = prop::option::of(prop::collection::vec(("[a-z]{1,3}", value()), 0..4));
            (other, auths, any::<bool>()).prop_map(|(other, auths, pretty)| {
                let mut config: Map<String, Value> = other.into_iter().collect();
                if let Some(auths) = auths {
                    config.insert("auths".to_owned(), Value::Object(auths.into_iter().collect()));
                }
                (Value::Object(config), pretty)
            })
        }

        proptest! {
            #[test]
            fn one_entry_changes_and_nothing_else((config, pretty) in config(), key in "[a-z]{1,3}") {
                let text = if pretty { serde_json::to_vec_pretty(&config) } else { serde_json::to_vec(&config) }.unwrap();
                let with = set_entry(&text, &key, &[("auth", "dTpw")]).unwrap();
                let mut want = config.clone();
                want["auths"][&key] = json!({"auth": "dTpw"});
                prop_assert_eq!(serde_json::from_slice::<Value>(&with).unwrap(), want.clone());

                let without = remove_entries(&with, |name| name == key).unwrap().unwrap();
                want["auths"].as_object_mut().unwrap().shift_remove(&key);
                prop_assert_eq!(serde_json::from_slice::<Value>(&without).unwrap(), want);
                let entries = config.get("auths").and_then(Value::as_object);
                if entries.is_some_and(|entries| !entries.is_empty() && !entries.contains_key(&key)) {
                    prop_assert_eq!(without, text);
                }
            }

            #[test]
            fn the_same_texts_are_json(value in value(), at in any::<prop::sample::Index>(), byte in 0_u8..0x80) {
                let mut text = serde_json::to_vec(&value).unwrap();
                let at = at.index(text.len());
                text[at] = byte;
                // A half of a surrogate pair and bytes that are no text are fine with Go; other parsers differ there.
                prop_assume!(std::str::from_utf8(&text).is_ok() && !text.windows(2).any(|pair| pair == b"\\u"));
                let ours = json::parse(&text).is_ok_and(|found| {
                    found.is_some_and(|(_, end)| text[end..].iter().all(|byte| b" \t\r\n".contains(byte)))
                });
                let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
                prop_assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}
