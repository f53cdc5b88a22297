//! A settings file: TOML, of which every key is known.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::catalogue::{SETTINGS, Setting};
use super::error::Place;
use super::lists::{IssuerSettings, Key, Listed, RepositorySettings, TABLES, WebhookSettings};
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

/// A file that was understood.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    pub(super) repositories: Vec<RepositorySettings>,
    pub(super) issuers: Vec<IssuerSettings>,
    pub(super) webhooks: Vec<WebhookSettings>,
}

/// Reads all of a file. Relative paths in tables that may be there several times are below `directory`.
pub(super) fn read(text: &str, directory: &Path) -> Result<Contents, Wrong> {
    let document = DeTable::parse(text).map_err(|error| Wrong {
        place: Place::at(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    let mut contents = Contents::default();
    let entries = &mut contents.entries;
    for (key, value) in document.get_ref() {
        let place = Place::at(text, key.span().start);
        let name: &str = key.get_ref();
        match name {
            RepositorySettings::TABLE => contents.repositories = list(text, value.get_ref(), place, directory)?,
            IssuerSettings::TABLE => contents.issuers = list(text, value.get_ref(), place, directory)?,
            WebhookSettings::TABLE => contents.webhooks = list(text, value.get_ref(), place, directory)?,
            _ => {}
        }
        if TABLES.contains(&name) {
            continue;
        }
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
    Ok(contents)
}

/// Reads all tables of one name.
fn list<T: Listed>(text: &str, value: &DeValue<'_>, place: Place, directory: &Path) -> Result<Vec<T>, Wrong> {
    let expected = || Wrong { place, reason: format!("expected tables that begin with `[[{}]]`", T::TABLE) };
    let DeValue::Array(values) = value else { return Err(expected()) };
    let mut list = Vec::new();
    for value in values {
        let DeValue::Table(table) = value.get_ref() else { return Err(expected()) };
        let start = Place::at(text, value.span().start);
        let mut made = T::default();
        for (key, value) in table {
            let place = Place::at(text, key.span().start);
            let name: &str = key.get_ref();
            let known = || T::KEYS.iter().map(|key| key.key);
            if !known().any(|known| known == name) {
                let meant = nearest(name, known()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let reason = format!("unknown key `{}` in `[[{}]]`{meant}", Shown(name), T::TABLE);
                return Err(Wrong { place, reason });
            }
            made.set(name, &raw(value.get_ref()), directory).map_err(|reason| Wrong { place, reason })?;
        }
        let missing = T::KEYS.iter().find(|key| key.required && !table.keys().any(|name| name.get_ref() == key.key));
        if let Some(Key { key, .. }) = missing {
            return Err(Wrong { place: start, reason: format!("`[[{}]]` needs `{key}`", T::TABLE) });
        }
        list.push(made);
    }
    Ok(list)
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
    let lists = TABLES.iter().filter(|_| table.is_empty()).copied();
    let elsewhere = SETTINGS.iter().find(|setting| setting.flag == key || setting.key == key);
    let meant = if let Some(setting) = elsewhere {
        format!("; there is {}", place(setting))
    } else if let Some(near) = nearest(key, here.chain(tables).chain(lists).filter(|name| !name.is_empty())) {
        format!("; did you mean `{near}`?")
    } else {
        String::new()
    };
    match table {
        "" => format!("unknown key `{shown}`{meant}"),
        table => format!("unknown key `{shown}` in `[{table}]`{meant}"),
    }
}
