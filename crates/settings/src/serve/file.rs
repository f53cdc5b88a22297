//! A settings file: TOML, of which every key is known.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::catalogue::{SETTINGS, Setting};
use super::error::Place;
use super::value::Raw;
use crate::shown::Shown;

/// A key of the file with its value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) flag: &'static str,
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) reason: String,
}

/// Reads all of a file.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Wrong> {
    let document = DeTable::parse(text).map_err(|error| Wrong {
        place: Place::at(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    for (key, value) in document.get_ref() {
        let place = Place::at(text, key.span().start);
        let name: &str = key.get_ref();
        let is_table = SETTINGS.iter().any(|setting| !setting.table.is_empty() && setting.table == name);
        match value.get_ref() {
            DeValue::Table(inner) if is_table => {
                for (key, value) in inner {
                    let place = Place::at(text, key.span().start);
                    entries.push(entry(name, key.get_ref(), value, place)?);
                }
            }
            _ if is_table => return Err(Wrong { place, reason: format!("expected the table `[{name}]`") }),
            _ => entries.push(entry("", name, value, place)?),
        }
    }
    Ok(entries)
}

fn entry(table: &str, key: &str, value: &Spanned<DeValue<'_>>, place: Place) -> Result<Entry, Wrong> {
    match SETTINGS.iter().find(|setting| setting.table == table && setting.key == key) {
        Some(setting) => Ok(Entry { flag: setting.flag, raw: raw(value.get_ref()), place }),
        None => Err(Wrong { place, reason: unknown(table, key) }),
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("a number that large"),
        },
        DeValue::Array(values) => {
            let texts: Option<Vec<String>> =
                values.iter().map(|value| value.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Raw::Other("a list of something else"), Raw::Texts)
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// How alike two words must be for one to be what was meant by the other.
const ALIKE: f64 = 0.8;

/// What was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = known.into_iter().map(|known| (strsim::jaro_winkler(word, known), known));
    likeness.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, known)| known)
}

/// Says that a key is unknown, and what was probably meant.
fn unknown(table: &str, key: &str) -> String {
    let shown = Shown(key);
    let place = |setting: &Setting| match setting.table {
        "" => format!("`{}` at the top of the file", setting.key),
        table => format!("`{}` in `[{table}]`", setting.key),
    };
    let here = SETTINGS.iter().filter(|setting| setting.table == table).map(|setting| setting.key);
    let tables = SETTINGS.iter().filter(|_| table.is_empty()).map(|setting| setting.table);
    let elsewhere = SETTINGS.iter().find(|setting| setting.flag == key || setting.key == key);
    let meant = if let Some(setting) = elsewhere {
        format!("; there is {}", place(setting))
    } else if let Some(near) = nearest(key, here.chain(tables).filter(|name| !name.is_empty())) {
        format!("; did you mean `{near}`?")
    } else {
        String::new()
    };
    match table {
        "" => format!("unknown key `{shown}`{meant}"),
        table => format!("unknown key `{shown}` in `[{table}]`{meant}"),
    }
}
