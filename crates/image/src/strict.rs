//! A strict look at JSON before anything is believed: one value, bounded depth and length, no duplicate keys.
//!
//! Two parsers that disagree about a document are an attack (CVE-2021-41190 and its relatives), so a document in which
//! they could disagree is refused.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::text::{Shown, fold, shown};

/// Bounds for one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes.
    pub length: usize,
    /// Most nested arrays and objects.
    pub depth: usize,
    /// Most descriptors in one array (`manifests`, `layers`).
    pub descriptors: usize,
}

impl Default for Limits {
    /// 4 MiB (what the distribution specification asks every registry to take), 64 levels, 10 000 descriptors.
    fn default() -> Self {
        Self { length: 4 << 20, depth: 64, descriptors: 10_000 }
    }
}

/// Why a JSON text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StrictError {
    /// Longer than [`Limits::length`].
    #[error("{length} bytes long, more than the limit of {limit}")]
    TooLong {
        /// Length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON, nested too deep, a key twice, or a key that some parsers would take for another.
    #[error("{0}")]
    Json(String),
}

impl StrictError {
    /// Go's words for a text that ends too early: they are what people search for.
    pub(crate) fn from_json(error: &serde_json::Error) -> Self {
        if error.is_eof() {
            Self::Json("unexpected end of JSON input".to_owned())
        } else {
            Self::Json(shown_json(error))
        }
    }
}

/// The text of a parser's error, with what it quotes from the document bounded.
pub(crate) fn shown_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&position) {
        Some(start) => format!("{}{position}", Shown(start)),
        None => shown(&text),
    }
}

/// Checks that `bytes` is one JSON value within `limits`, with no object that has a key twice.
pub fn check_json(bytes: &[u8], limits: Limits) -> Result<(), StrictError> {
    check(bytes, limits, Place::Free)
}

/// As [`check_json`], and no key of an index, manifest, descriptor or platform may differ from a known field's name by
/// case alone, because parsers that ignore case would read it as that field.
pub(crate) fn check_document(bytes: &[u8], limits: Limits) -> Result<(), StrictError> {
    check(bytes, limits, Place::Document)
}

fn check(bytes: &[u8], limits: Limits, place: Place) -> Result<(), StrictError> {
    if bytes.len() > limits.length {
        return Err(StrictError::TooLong { length: bytes.len(), limit: limits.length });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk { left: limits.depth, limits, place }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| StrictError::from_json(&error))
}

/// Which of the specification's objects the walk stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Index or manifest.
    Document,
    /// An array of descriptors.
    Descriptors,
    Descriptor,
    Platform,
    /// Anything else: no key has a meaning here.
    Free,
}

impl Place {
    /// Known fields, folded and as they are spelt.
    fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Document => &[
                ("schemaversion", "schemaVersion"),
                ("mediatype", "mediaType"),
                ("artifacttype", "artifactType"),
                ("manifests", "manifests"),
                ("config", "config"),
                ("layers", "layers"),
                ("subject", "subject"),
                ("annotations", "annotations"),
            ],
            Self::Descriptor => &[
                ("mediatype", "mediaType"),
                ("digest", "digest"),
                ("size", "size"),
                ("urls", "urls"),
                ("annotations", "annotations"),
                ("data", "data"),
                ("artifacttype", "artifactType"),
                ("platform", "platform"),
            ],
            Self::Platform => &[
                ("architecture", "architecture"),
                ("os", "os"),
                ("os.version", "os.version"),
                ("os.features", "os.features"),
                ("variant", "variant"),
            ],
            Self::Descriptors | Self::Free => &[],
        }
    }

    /// Where the value of `key` stands.
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Document, "manifests" | "layers") => Self::Descriptors,
            (Self::Document, "config" | "subject") => Self::Descriptor,
            (Self::Descriptor, "platform") => Self::Platform,
            _ => Self::Free,
        }
    }
}

#[derive(Clone, Copy)]
struct Walk {
    left: usize,
    limits: Limits,
    place: Place,
}

impl Walk {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {} levels", self.limits.depth))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let descriptors = self.place == Place::Descriptors;
        let place = if descriptors { Place::Descriptor } else { Place::Free };
        let inner = Self { place, ..self.deeper()? };
        let mut count = 0;
        while seq.next_element_seed(inner)?.is_some() {
            count += 1;
            if descriptors && count > self.limits.descriptors {
                let limit = self.limits.descriptors;
                return Err(serde::de::Error::custom(format_args!("more than {limit} descriptors in one array")));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let fields = self.place.fields();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!("duplicate key \"{}\"", Shown(&key))));
            }
            if !fields.is_empty() && !fields.iter().any(|&(_, name)| name == key) {
                let folded = fold(&key);
                if let Some((_, name)) = fields.iter().find(|&&(field, _)| field == folded) {
                    let key = Shown(&key);
                    return Err(serde::de::Error::custom(format_args!(
                        "ambiguous key \"{key}\": parsers that ignore case take it for \"{name}\""
                    )));
                }
            }
            map.next_value_seed(Self { place: self.place.below(&key), ..inner })?;
            seen.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), StrictError> {
        check_json(text.as_bytes(), Limits { length: 1000, depth: 3, ..Limits::default() })
    }

    #[test]
    fn accepts_every_kind_of_value() {
        check(r#"{"a":[1,-2,1.50,1e9,"x",true,null],"b":{"c":{}}}"#).unwrap();
    }

    #[test]
    fn refuses_duplicate_keys_even_when_escaped() {
        assert!(check(r#"{"a":1,"\u0061":2}"#).unwrap_err().to_string().contains("duplicate key \"a\""));
        assert!(check(r#"{"x":{"a":1,"a":1}}"#).is_err());
        check(r#"[{"a":1},{"a":1}]"#).unwrap();
    }

    #[test]
    fn refuses_depth_length_and_garbage() {
        assert!(check("[[[[]]]]").unwrap_err().to_string().contains("nested deeper than 3 levels"));
        check("[[[]]]").unwrap();
        for bad in ["", "{", "{} {}", "nul", "\"\u{1}\"", "[1,]"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_json(&[b' '; 11], Limits { length: 10, ..Limits::default() }),
            Err(StrictError::TooLong { length: 11, limit: 10 })
        );
    }

    #[test]
    fn a_text_that_ends_too_early_is_said_in_gos_words() {
        for text in ["", "{", "[1", "\"x"] {
            assert_eq!(check(text).unwrap_err().to_string(), "unexpected end of JSON input", "{text}");
        }
    }

    #[test]
    fn a_hostile_key_does_not_fill_the_message() {
        let key = format!("\u{1b}[2J{}", "k".repeat(400));
        let quoted = serde_json::to_string(&key).unwrap();
        let error = check(&format!("{{{quoted}:1,{quoted}:2}}")).unwrap_err().to_string();
        assert!(error.len() < 300 && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn case_is_a_matter_of_known_fields_only() {
        let check = |text: &str| check_document(text.as_bytes(), Limits::default());
        check(r#"{"annotations":{"Size":"1","size":"2"},"vendor":{"Digest":1,"digest":2},"X":1,"x":2}"#).unwrap();
        for (bad, name) in [
            (r#"{"Manifests":[]}"#, "manifests"),
            (r#"{"manifests":[],"MANIFESTS":[]}"#, "manifests"),
            ("{\"manife\u{17f}ts\":[]}", "manifests"),
            (r#"{"manifests":[{"Digest":"x"}]}"#, "digest"),
            (r#"{"config":{"SIZE":1}}"#, "size"),
            (r#"{"subject":{"mediatype":1}}"#, "mediaType"),
            (r#"{"manifests":[{"platform":{"OS":"linux"}}]}"#, "os"),
            (r#"{"layers":[{},{"Urls":[]}]}"#, "urls"),
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.starts_with("ambiguous key") && error.contains(&format!("\"{name}\"")), "{bad}: {error}");
        }
    }

    #[test]
    fn descriptors_are_counted() {
        let limits = Limits { descriptors: 3, ..Limits::default() };
        check_document(br#"{"manifests":[{},{},{}],"layers":[{},{},{}],"x":[1,2,3,4]}"#, limits).unwrap();
        let error = check_document(br#"{"manifests":[{},{},{},{}]}"#, limits).unwrap_err();
        assert!(error.to_string().starts_with("more than 3 descriptors in one array"), "{error}");
    }
}
