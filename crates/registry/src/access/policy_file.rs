//! The policy as a person writes it.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::access::glob::Glob;
use crate::access::policy::{Action, Members, Policy, Rights, Rule, VOUCHED};

/// What is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is no TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Where, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A word that means nothing here.
    #[error("{place}: unknown {what} `{word}`{}", suggestion(.word, .known))]
    Unknown {
        /// Where it stands.
        place: String,
        /// What it would be.
        what: &'static str,
        /// The word.
        word: String,
        /// What it could have been.
        known: Vec<String>,
    },
    /// Something is missing, or is of another kind.
    #[error("{place}: {reason}")]
    Wrong {
        /// Where.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

fn suggestion(word: &str, known: &[String]) -> String {
    let near = known.iter().map(|known| (strsim::jaro_winkler(word, known), known));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, known)) if likeness > 0.75 => format!("; did you mean `{known}`?"),
        _ if known.is_empty() => String::new(),
        _ => {
            let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("; there are {}", known.join(", "))
        }
    }
}

fn unknown<'a>(place: &str, what: &'static str, word: &str, known: impl IntoIterator<Item = &'a str>) -> PolicyError {
    let known = known.into_iter().map(str::to_owned).collect();
    PolicyError::Unknown { place: place.to_owned(), what, word: word.escape_debug().to_string(), known }
}

fn wrong(place: &str, reason: impl Into<String>) -> PolicyError {
    PolicyError::Wrong { place: place.to_owned(), reason: reason.into() }
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing that is not understood: a rule is never left out.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..start].split(|byte| *byte == b'\n').count();
            PolicyError::Syntax { line, reason: error.message().to_owned() }
        })?;
        let mut policy = Self::default();
        only(&table, "the policy", &["groups", "rules"])?;
        match table.get("groups") {
            None => {}
            Some(Value::Table(groups)) => {
                for (name, members) in groups {
                    let place = format!("group `{}`", name.escape_debug());
                    if name.contains(VOUCHED) {
                        return Err(wrong(
                            &place,
                            "has a `:` in its name: who is in such a group is for its issuer to say",
                        ));
                    }
                    policy.groups.insert(name.clone(), Members::new(texts(members, &place)?));
                }
            }
            Some(_) => return Err(wrong("`groups`", "must be a table of lists of names")),
        }
        let rules = match table.get("rules") {
            None => &Vec::new(),
            Some(Value::Array(rules)) => rules,
            Some(_) => return Err(wrong("`rules`", "must be a list: each begins with `[[rules]]`")),
        };
        for (number, value) in rules.iter().enumerate() {
            let place = format!("rule {}", number + 1);
            let Value::Table(table) = value else { return Err(wrong(&place, "must be a table")) };
            let rule = rule(table, &place, &policy)?;
            policy.rules.push(rule);
        }
        Ok(policy)
    }
}

fn rule(table: &Table, place: &str, policy: &Policy) -> Result<Rule, PolicyError> {
    only(table, place, &["identities", "groups", "repositories", "actions"])?;
    let list = |key: &str| match table.get(key) {
        None => Ok(Vec::new()),
        Some(value) => texts(value, &format!("{place}: `{key}`")),
    };
    let identities = Members::new(list("identities")?);
    let groups: BTreeSet<String> = list("groups")?.into_iter().collect();
    for group in &groups {
        // Those of issuers are known to them only.
        if !group.contains(VOUCHED) && !policy.groups.contains_key(group) {
            return Err(unknown(place, "group", group, policy.groups.keys().map(String::as_str)));
        }
    }
    if identities.is_empty() && groups.is_empty() {
        return Err(wrong(place, "is about nobody: it needs `identities` or `groups`"));
    }
    let mut repositories = Vec::new();
    for text in list("repositories")? {
        repositories.push(Glob::parse(&text).ok_or_else(|| {
            wrong(
                place,
                format!(
                    "no repository name matches `{}`: names have lower-case letters, digits, `.`, `_`, `-` and `/`; \
                     `*` stands for any of them but `/`, `**` for any",
                    text.escape_debug()
                ),
            )
        })?);
    }
    if repositories.is_empty() {
        return Err(wrong(place, "is about no repository: it needs `repositories`, as in `[\"team/**\"]`"));
    }
    let mut rights = Rights::default();
    for text in list("actions")? {
        match Action::ALL.iter().find(|(name, _)| *name == text) {
            Some((_, action)) => rights = rights.with(*action),
            None => return Err(unknown(place, "action", &text, Action::ALL.iter().map(|(name, _)| *name))),
        }
    }
    if rights.is_empty() {
        return Err(wrong(place, "allows nothing: it needs `actions`, as in `[\"pull\"]`"));
    }
    Ok(Rule { identities, groups, repositories, rights })
}

fn only(table: &Table, place: &str, known: &[&'static str]) -> Result<(), PolicyError> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(unknown(place, "key", key, known.iter().copied())),
    }
}

fn texts(value: &Value, place: &str) -> Result<Vec<String>, PolicyError> {
    let Value::Array(values) = value else { return Err(wrong(place, "must be a list of texts")) };
    values
        .iter()
        .map(|value| match value.as_str() {
            Some("") => Err(wrong(place, "has an empty text")),
            Some(text) => Ok(text.to_owned()),
            None => Err(wrong(place, "must be a list of texts")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused_and_said_where() {
        let rule = |more: &str| format!("[groups]\nteam = [\"a\"]\n[[rules]]\n{more}\n");
        for (text, want) in [
            ("[[rules]\n".to_owned(), "line 1: "),
            ("a = 1\nb = = 2".to_owned(), "line 2: "),
            ("[[rule]]".to_owned(), "the policy: unknown key `rule`; did you mean `rules`?"),
            ("rules = 3".to_owned(), "`rules`: must be a list: each begins with `[[rules]]`"),
            ("groups = 3".to_owned(), "`groups`: must be a table of lists of names"),
            ("[groups]\n\"hub:a\" = []".to_owned(), "group `hub:a`: has a `:` in its name"),
            ("[groups]\na = \"b\"".to_owned(), "group `a`: must be a list of texts"),
            (rule("identitys = [\"a\"]"), "rule 1: unknown key `identitys`; did you mean `identities`?"),
            (rule("repositories = [\"a\"]\nactions = [\"pull\"]"), "rule 1: is about nobody"),
            (rule("identities = [\"a\"]\nactions = [\"pull\"]"), "rule 1: is about no repository"),
            (rule("identities = [\"a\"]\nrepositories = [\"a\"]"), "rule 1: allows nothing"),
            (rule("identities = \"a\""), "rule 1: `identities`: must be a list of texts"),
            (rule("identities = [\"\"]"), "rule 1: `identities`: has an empty text"),
            (
                rule("identities = [\"a\"]\nrepositories = [\"a\"]\nactions = [\"catalog\"]"),
                "rule 1: unknown action `catalog`; did you mean `catalogue`?",
            ),
            (
                rule("identities = [\"a\"]\nrepositories = [\"a\"]\nactions = [\"xyz\"]"),
                "rule 1: unknown action `xyz`; there are `pull`, `push`, `create-only`, `delete`, `catalogue`, `admin`",
            ),
            (rule("groups = [\"teem\"]"), "rule 1: unknown group `teem`; did you mean `team`?"),
            (
                rule("identities = [\"a\"]\nrepositories = [\"Team/*\"]\nactions = [\"pull\"]"),
                "rule 1: no repository name matches `Team/*`",
            ),
        ] {
            let error = Policy::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}\n{error}");
        }
    }

    #[test]
    fn an_empty_file_allows_nothing() {
        assert_eq!(Policy::parse("").unwrap(), Policy::nothing());
    }
}
