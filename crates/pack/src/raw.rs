//! A JSON object of which only some members are touched: the others keep their bytes and their places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

/// Members in document order, values as they were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawObject {
    members: Vec<(String, Box<RawValue>)>,
}

impl RawObject {
    /// The value of a member. Names match without regard to case, because they do for Docker and containerd; an exact
    /// match is preferred.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        let exact = self.members.iter().find(|(member, _)| member == name);
        let found = exact.or_else(|| self.members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| &**value).filter(|value| value.get() != "null")
    }

    /// Reads a member; `None` if it is missing or `null`.
    pub(crate) fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.get(name).map(|value| serde_json::from_str(value.get())).transpose()
    }

    /// Sets a member in its place, or at the end. Other spellings of its name are removed: two parsers shall not see
    /// two values.
    pub(crate) fn set<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), serde_json::Error> {
        let value = serde_json::value::to_raw_value(value)?;
        let position = self.members.iter().position(|(member, _)| member.eq_ignore_ascii_case(name));
        match position {
            Some(position) => {
                self.members[position] = (name.to_owned(), value);
                let mut index = 0;
                self.members.retain(|(member, _)| {
                    index += 1;
                    index <= position + 1 || !member.eq_ignore_ascii_case(name)
                });
            }
            None => self.members.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Takes a member away, in all spellings.
    pub(crate) fn remove(&mut self, name: &str) {
        self.members.retain(|(member, _)| !member.eq_ignore_ascii_case(name));
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawObject { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> RawObject {
        serde_json::from_str(text).unwrap()
    }

    fn text(object: &RawObject) -> String {
        serde_json::to_string(object).unwrap()
    }

    #[test]
    fn what_is_not_touched_keeps_its_bytes_and_place() {
        let mut it = object(r#"{"z":1.50,"a":{"big":123456789012345678901234567890,"a\u0041":[1, 2]},"m":"x"}"#);
        it.set("m", &"y").unwrap();
        it.set("new", &[1]).unwrap();
        assert_eq!(
            text(&it),
            r#"{"z":1.50,"a":{"big":123456789012345678901234567890,"a\u0041":[1, 2]},"m":"y","new":[1]}"#
        );
    }

    #[test]
    fn a_name_in_two_spellings_is_one_name() {
        let mut it = object(r#"{"cmd":["a"],"x":1,"Cmd":["b"],"CMD":null}"#);
        assert_eq!(it.read::<Vec<String>>("Cmd").unwrap().unwrap(), ["b"]);
        it.set("Cmd", &["c"]).unwrap();
        assert_eq!(text(&it), r#"{"Cmd":["c"],"x":1}"#);
        it.remove("CMD");
        assert_eq!(text(&it), r#"{"x":1}"#);
    }

    #[test]
    fn null_is_nothing() {
        assert_eq!(object(r#"{"Env":null}"#).read::<Vec<String>>("Env").unwrap(), None);
    }
}
