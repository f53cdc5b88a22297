//! A JSON text taken apart at its commas, so that one element can change while every other byte stays.
//!
//! Only texts that [`check_json`](crate::check_json) has accepted come here, which is why nothing is checked again; a
//! text that is not JSON gives `None`, never a panic.

use bytes::Bytes;

/// A value: bytes as they are, or an object or array that was opened to change something in it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Raw(Bytes),
    Open(Container),
}

/// An object or an array.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    brackets: [u8; 2],
    /// What stands between the brackets when there are no items.
    blank: Bytes,
    items: Vec<Item>,
}

/// A member of an object or an element of an array, with the blanks that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// From the bracket or comma to the item.
    lead: Bytes,
    key: Option<Key>,
    value: Value,
    /// From the item to the comma or bracket.
    trail: Bytes,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    /// The key as it is spelt, and everything up to the value.
    raw: Bytes,
}

/// How a container is laid out, for items that are added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Before the first item, before each further one, after the last one; a line break and its indentation follow
    /// from `unit` if that is set.
    first: Bytes,
    next: Bytes,
    last: Bytes,
    /// From a key to its value.
    colon: Bytes,
    /// Line break and one step of indentation.
    unit: Option<(&'static str, Bytes)>,
}

impl Value {
    /// The value as an object or array, opened if need be. `None` for any other value.
    pub(crate) fn open(&mut self, bracket: u8) -> Option<&mut Container> {
        if let Self::Raw(raw) = self {
            *self = Self::Open(Container::parse(raw)?);
        }
        match self {
            Self::Open(container) if container.brackets[0] == bracket => Some(container),
            _ => None,
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(bytes) => out.extend_from_slice(bytes),
            Self::Open(container) => container.write(out),
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Open(container) => {
                let mut out = Vec::new();
                container.write(&mut out);
                out.into()
            }
        }
    }
}

impl Container {
    /// Splits the text of an object or an array.
    pub(crate) fn parse(raw: &Bytes) -> Option<Self> {
        let brackets = match raw.first()? {
            b'{' => *b"{}",
            b'[' => *b"[]",
            _ => return None,
        };
        let mut at = 1;
        let mut items = Vec::new();
        loop {
            let lead = blanks(raw, at);
            at += lead.len();
            if items.is_empty() && *raw.get(at)? == brackets[1] {
                return Some(Self { brackets, blank: lead, items });
            }
            let key = if brackets[0] == b'{' {
                let end = skip_value(raw, at)?;
                let colon = end + blanks(raw, end).len();
                let value = colon + 1 + blanks(raw, colon + 1).len();
                let name = serde_json::from_slice(raw.get(at..end)?).ok()?;
                let key = Key { name, raw: raw.slice(at..value.min(raw.len())) };
                at = value;
                Some(key)
            } else {
                None
            };
            let end = skip_value(raw, at)?;
            let value = Value::Raw(raw.slice(at..end));
            let trail = blanks(raw, end);
            at = end + trail.len();
            items.push(Item { lead, key, value, trail });
            match *raw.get(at)? {
                b',' => at += 1,
                bracket if bracket == brackets[1] => return Some(Self { brackets, blank: Bytes::new(), items }),
                _ => return None,
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn value(&self, index: usize) -> Option<&Value> {
        self.items.get(index).map(|item| &item.value)
    }

    pub(crate) fn value_mut(&mut self, index: usize) -> Option<&mut Value> {
        self.items.get_mut(index).map(|item| &mut item.value)
    }

    /// Position of the member `name`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.items.iter().position(|item| item.key.as_ref().is_some_and(|key| key.name == name))
    }

    /// Position for a new member that comes after those of `before` that are there.
    pub(crate) fn after(&self, before: &[&str]) -> usize {
        let known = |item: &Item| item.key.as_ref().is_some_and(|key| before.contains(&key.name.as_str()));
        self.items.iter().rposition(known).map_or(0, |index| index + 1)
    }

    /// Puts in a member (or an element, if `name` is none) with the blanks that its neighbours have.
    pub(crate) fn insert(&mut self, index: usize, name: Option<&str>, value: Value, layout: &Layout, depth: usize) {
        let key = name.map(|name| {
            let mut raw = quoted(name);
            raw.extend_from_slice(&layout.colon);
            Key { name: name.to_owned(), raw: raw.into() }
        });
        let index = index.min(self.items.len());
        let (lead, trail) = if self.items.is_empty() {
            (layout.before(0, depth + 1), layout.after_last(depth))
        } else if index == 0 {
            let lead = self.items[0].lead.clone();
            if let Some(second) = self.items.get(1) {
                self.items[0].lead = second.lead.clone();
            }
            (lead, Bytes::new())
        } else if index == self.items.len() {
            let before = if index > 1 { self.items[index - 2].trail.clone() } else { Bytes::new() };
            let lead = if index > 1 || has_break(&self.items[0].lead) {
                self.items[index - 1].lead.clone()
            } else {
                layout.before(1, depth + 1)
            };
            (lead, std::mem::replace(&mut self.items[index - 1].trail, before))
        } else {
            (self.items[index].lead.clone(), Bytes::new())
        };
        self.items.insert(index, Item { lead, key, value, trail });
    }

    /// Takes an item out; the blanks at the brackets stay.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Value> {
        if index >= self.items.len() {
            return None;
        }
        let removed = self.items.remove(index);
        if let Some(last) = index.checked_sub(1).filter(|_| index == self.items.len()) {
            self.items[last].trail = removed.trail;
        } else if index == 0
            && let Some(first) = self.items.first_mut()
        {
            first.lead = removed.lead;
        }
        Some(removed.value)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.brackets[0]);
        if self.items.is_empty() {
            out.extend_from_slice(&self.blank);
        }
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&item.lead);
            if let Some(key) = &item.key {
                out.extend_from_slice(&key.raw);
            }
            item.value.write(out);
            out.extend_from_slice(&item.trail);
        }
        out.push(self.brackets[1]);
    }

    /// The layout of this object, if it has members to tell it by. `depth` is that of the object itself.
    pub(crate) fn layout(&self, depth: usize) -> Option<Layout> {
        let first = self.items.first()?;
        let key = &first.key.as_ref()?.raw;
        let colon = key.slice(skip_value(key, 0)?..);
        let last = self.items.last().map(|item| item.trail.clone()).unwrap_or_default();
        let unit = first.lead.iter().rposition(|&b| b == b'\n').map(|newline| {
            let indentation = first.lead.slice(newline + 1..);
            let line = if first.lead[..newline].ends_with(b"\r") { "\r\n" } else { "\n" };
            (line, indentation.slice(..indentation.len() / (depth + 1)))
        });
        // Most texts have a blank after the comma if they have one after the colon; a second member knows better.
        let next = match self.items.get(1) {
            Some(second) => second.lead.clone(),
            None if colon.len() > 1 => Bytes::from_static(b" "),
            None => Bytes::new(),
        };
        Some(Layout { first: first.lead.clone(), next, last, colon, unit })
    }
}

impl Layout {
    /// No blanks at all.
    pub(crate) fn compact() -> Self {
        let none = Bytes::new();
        Self { first: none.clone(), next: none.clone(), last: none, colon: Bytes::from_static(b":"), unit: None }
    }

    fn before(&self, index: usize, depth: usize) -> Bytes {
        match &self.unit {
            Some(unit) => line(unit, depth),
            None if index == 0 => self.first.clone(),
            None => self.next.clone(),
        }
    }

    fn after_last(&self, depth: usize) -> Bytes {
        self.unit.as_ref().map_or_else(|| self.last.clone(), |unit| line(unit, depth))
    }

    /// Writes a value that stands at `depth`.
    pub(crate) fn render(&self, value: &serde_json::Value, depth: usize) -> Bytes {
        let mut out = Vec::new();
        self.render_into(value, depth, &mut out);
        out.into()
    }

    fn render_into(&self, value: &serde_json::Value, depth: usize, out: &mut Vec<u8>) {
        match value {
            serde_json::Value::Object(members) if !members.is_empty() => {
                out.push(b'{');
                for (index, (name, member)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&self.before(index, depth + 1));
                    out.extend_from_slice(&quoted(name));
                    out.extend_from_slice(&self.colon);
                    self.render_into(member, depth + 1, out);
                }
                out.extend_from_slice(&self.after_last(depth));
                out.push(b'}');
            }
            serde_json::Value::Array(elements) if !elements.is_empty() => {
                out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&self.before(index, depth + 1));
                    self.render_into(element, depth + 1, out);
                }
                out.extend_from_slice(&self.after_last(depth));
                out.push(b']');
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
}

fn line((newline, unit): &(&'static str, Bytes), depth: usize) -> Bytes {
    let mut out = newline.as_bytes().to_vec();
    for _ in 0..depth {
        out.extend_from_slice(unit);
    }
    out.into()
}

fn has_break(blanks: &[u8]) -> bool {
    blanks.contains(&b'\n')
}

fn quoted(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

/// The blanks that start at `at`.
pub(crate) fn blanks(raw: &Bytes, at: usize) -> Bytes {
    let rest = raw.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    if count == 0 { Bytes::new() } else { raw.slice(at..at + count) }
}

/// Where the value that starts at `at` ends.
pub(crate) fn skip_value(raw: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = at;
    loop {
        match *raw.get(at)? {
            b'"' => at = skip_string(raw, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let scalar = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.');
                let length = raw[at..].iter().take_while(|b| scalar(b)).count();
                if length == 0 {
                    return None;
                }
                at += length;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn skip_string(raw: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match *raw.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for text in [r#""a\"]b""#, "-1.5e+10", "true", "null", r#"{"a":[1,{"b":"}"}]}"#, "[ ]", "[1 , 2]"] {
            let padded = format!("{text},x");
            assert_eq!(skip_value(padded.as_bytes(), 0), Some(text.len()), "{text}");
        }
        for text in ["", "\"", "\"\\", "{", "[1", "]", ",", "{\"a\":"] {
            assert_eq!(skip_value(text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn what_is_taken_apart_comes_together_again() {
        for text in
            ["{}", "[ \n]", r#"{ "a" : 1 , "b":[ 1,2 ,3 ]}"#, "[\r\n\t{},\r\n\t[]\r\n]", r#"{"\u0061":{"x":"y"}}"#]
        {
            let raw = Bytes::from_static(text.as_bytes());
            let mut value = Value::Raw(raw);
            let bracket = text.as_bytes()[0];
            let container = value.open(bracket).unwrap();
            for index in 0..container.len() {
                let inner = container.value_mut(index).unwrap();
                let _ = inner.open(b'{').is_some() || inner.open(b'[').is_some();
            }
            assert_eq!(value.to_bytes(), text.as_bytes());
        }
        for bad in ["", "{", "[1 2]", r#"{"a" 1}"#, "{1:2}", "1"] {
            assert!(Container::parse(&Bytes::from_static(bad.as_bytes())).is_none(), "{bad}");
        }
    }

    fn edited(text: &'static str, edit: impl FnOnce(&mut Container, &Layout)) -> String {
        let mut container = Container::parse(&Bytes::from_static(text.as_bytes())).unwrap();
        let layout = container.layout(0).unwrap_or_else(Layout::compact);
        edit(&mut container, &layout);
        String::from_utf8(Value::Open(container).to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn new_members_are_laid_out_as_their_neighbours() {
        let one = || Value::Raw(Bytes::from_static(b"1"));
        for (before, at, after) in [
            (r#"{"a":0}"#, 9, r#"{"a":0,"n":1}"#),
            (r#"{"a": 0}"#, 9, r#"{"a": 0, "n": 1}"#),
            (r#"{ "a" : 0 }"#, 9, r#"{ "a" : 0, "n" : 1 }"#),
            (r#"{ "a": 0, "b": 2 }"#, 1, r#"{ "a": 0, "n": 1, "b": 2 }"#),
            (r#"{"a": 0, "b": 2}"#, 0, r#"{"n": 1, "a": 0, "b": 2}"#),
            ("{\n  \"a\": 0\n}", 1, "{\n  \"a\": 0,\n  \"n\": 1\n}"),
            ("{\r\n\t\"a\":0\r\n}", 0, "{\r\n\t\"n\":1,\r\n\t\"a\":0\r\n}"),
            ("{}", 0, r#"{"n":1}"#),
        ] {
            let name = Some("n");
            assert_eq!(edited(before, |object, layout| object.insert(at, name, one(), layout, 0)), after, "{before}");
            let and_back = |object: &mut Container, layout: &Layout| {
                object.insert(at, name, one(), layout, 0);
                object.remove(object.find("n").unwrap()).unwrap();
            };
            assert_eq!(edited(before, and_back), before);
        }
    }

    #[test]
    fn removing_leaves_the_blanks_at_the_brackets() {
        let text = "{\n  \"a\": 0,\n  \"b\": 1,\n  \"c\": 2\n}";
        for (index, want) in [
            (0, "{\n  \"b\": 1,\n  \"c\": 2\n}"),
            (1, "{\n  \"a\": 0,\n  \"c\": 2\n}"),
            (2, "{\n  \"a\": 0,\n  \"b\": 1\n}"),
        ] {
            assert_eq!(edited(text, |object, _| drop(object.remove(index))), want);
        }
        assert_eq!(edited("{ \"a\": 0 }", |object, _| drop(object.remove(0))), "{}");
    }

    #[test]
    fn rendering_follows_the_layout() {
        let value = serde_json::json!({"x": {"y": ["z", 1]}, "e": [], "o": {}});
        let render = |text: &'static str| {
            let layout = Container::parse(&Bytes::from_static(text.as_bytes())).unwrap().layout(0).unwrap();
            String::from_utf8(layout.render(&value, 0).to_vec()).unwrap()
        };
        assert_eq!(render(r#"{"a":1,"b":2}"#), r#"{"x":{"y":["z",1]},"e":[],"o":{}}"#);
        assert_eq!(render(r#"{"a": 1, "b": 2}"#), r#"{"x": {"y": ["z", 1]}, "e": [], "o": {}}"#);
        assert_eq!(
            render("{\n   \"a\": 1\n}"),
            "{\n   \"x\": {\n      \"y\": [\n         \"z\",\n         1\n      ]\n   },\n   \"e\": [],\n   \"o\": {}\n}"
        );
    }
}
