//! A strict look at JSON before anything is believed: one value, bounded depth and length, no duplicate keys.
//!
//! Two parsers that disagree about a document are an attack (CVE-2021-41190 and its relatives), so a document in which
//! they could disagree is refused.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Bounds for one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes.
    pub length: usize,
    /// Most nested arrays and objects.
    pub depth: usize,
}

impl Default for Limits {
    /// 4 MiB (what the distribution specification asks every registry to take) and 64 levels.
    fn default() -> Self {
        Self { length: 4 << 20, depth: 64 }
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
    /// Not JSON, nested too deep, or a key twice in one object.
    #[error("{0}")]
    Json(String),
}

/// Checks that `bytes` is one JSON value within `limits`, with no object that has a key twice.
pub fn check_json(bytes: &[u8], limits: Limits) -> Result<(), StrictError> {
    if bytes.len() > limits.length {
        return Err(StrictError::TooLong { length: bytes.len(), limit: limits.length });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk { left: limits.depth, limit: limits.depth }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| StrictError::Json(error.to_string()))
}

#[derive(Clone, Copy)]
struct Walk {
    left: usize,
    limit: usize,
}

impl Walk {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {} levels", self.limit))),
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
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!("duplicate key {key:?}")));
            }
            map.next_value_seed(inner)?;
            seen.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), StrictError> {
        check_json(text.as_bytes(), Limits { length: 1000, depth: 3 })
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
            check_json(&[b' '; 11], Limits { length: 10, depth: 3 }),
            Err(StrictError::TooLong { length: 11, limit: 10 })
        );
    }
}
