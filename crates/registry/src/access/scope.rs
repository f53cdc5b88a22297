//! What a token is asked for, and what it grants (distribution's token specification).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use image::RepositoryName;
use serde::{Deserialize, Serialize};

use crate::access::policy::{Action, Identity, Policy, Rights};

/// Most scopes of one request.
const MOST: usize = 100;

/// One entry of a token's `access`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

/// What is asked for: a resource and actions, for each. `None`: what came is not of the form
/// `type:name:action[,action]`, or is too much.
pub(crate) fn parse<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for text in texts.flat_map(|text| text.split(' ')).filter(|text| !text.is_empty()) {
        // Names may have a colon in them, if they begin with a host.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // A class, as in `repository(plugin)`, narrows what clients show, not what they may do.
        let kind = match kind.split_once('(') {
            None => kind,
            Some((kind, class)) => class.ends_with(')').then_some(kind)?,
        };
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits(kind) || !fits(name) || entries.len() == MOST {
            return None;
        }
        let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        entries.push(Entry { kind: kind.to_owned(), name: name.to_owned(), actions });
    }
    Some(entries)
}

/// Of what is asked for, what the policy allows. To ask for too much is no error.
pub(crate) fn grant(policy: &Policy, identity: &Identity, asked: &[Entry]) -> Vec<Entry> {
    let mut granted: BTreeMap<(&str, &str), BTreeSet<&'static str>> = BTreeMap::new();
    for entry in asked {
        let wants = |action: &str| entry.actions.iter().any(|asked| asked == action || asked == "*");
        match entry.kind.as_str() {
            "repository" => {
                let Ok(name) = RepositoryName::parse(&entry.name) else { continue };
                let rights = policy.rights(identity, &name);
                // Whether a push may move tags is decided when it comes: clients know one word for both.
                let actions = [("pull", Action::Pull), ("push", Action::CreateOnly), ("delete", Action::Delete)];
                let actions = actions.into_iter().filter(|(text, action)| wants(text) && rights.allow(*action));
                granted.entry(("repository", &entry.name)).or_default().extend(actions.map(|(text, _)| text));
            }
            "registry"
                if entry.name == "catalog" && wants("*") && policy.allows_somewhere(identity, Action::Catalogue) =>
            {
                granted.entry(("registry", "catalog")).or_default().insert("*");
            }
            _ => {}
        }
    }
    let entries = granted.into_iter().filter(|(_, actions)| !actions.is_empty());
    entries
        .map(|((kind, name), actions)| Entry {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: actions.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

/// What a token allows, beside what the policy does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted {
    repositories: HashMap<String, Rights>,
    pub(crate) catalogue: bool,
}

impl Granted {
    pub(crate) fn new(entries: &[Entry]) -> Self {
        let mut granted = Self::default();
        for entry in entries {
            if entry.kind == "registry" && entry.name == "catalog" {
                granted.catalogue |= entry.actions.iter().any(|action| action == "*");
            }
            if entry.kind != "repository" {
                continue;
            }
            let rights = granted.repositories.entry(entry.name.clone()).or_default();
            for action in &entry.actions {
                *rights = match action.as_str() {
                    "pull" => rights.with(Action::Pull),
                    "push" => rights.with(Action::Push),
                    "delete" => rights.with(Action::Delete),
                    _ => *rights,
                };
            }
        }
        granted
    }

    pub(crate) fn allow(&self, repository: &RepositoryName, action: Action) -> bool {
        self.repositories.get(repository.as_str()).is_some_and(|rights| rights.allow(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [[rules]]
        identities = ["bob"]
        repositories = ["team/*"]
        actions = ["pull", "create-only", "catalogue"]
        [[rules]]
        identities = ["anonymous"]
        repositories = ["public"]
        actions = ["pull"]
    "#;

    #[test]
    fn granted_is_what_is_asked_for_and_allowed() {
        let policy = Policy::parse(POLICY).unwrap();
        let bob = Identity::named("bob");
        for (identity, asked, want) in [
            (&bob, "repository:team/a:pull", "repository:team/a:pull"),
            (&bob, "repository:team/a:push,pull", "repository:team/a:pull,push"),
            (&bob, "repository:team/a:*", "repository:team/a:pull,push"),
            (&bob, "repository:team/a:delete", ""),
            (&bob, "repository:team/a:pull repository:team/a:push", "repository:team/a:pull,push"),
            (&bob, "repository(plugin):team/a:pull", "repository:team/a:pull"),
            (&bob, "repository:team/a:pull repository:other:pull", "repository:team/a:pull"),
            (&bob, "registry:catalog:*", "registry:catalog:*"),
            (&bob, "registry:other:* aws:x:y repository:team/a:admin", ""),
            (&bob, "repository:host:5000/team/a:pull", ""),
            (&bob, "repository:../team/a:pull", ""),
            (&bob, "repository:TEAM/a:pull", ""),
            (&Identity::Anonymous, "repository:public:pull,push", "repository:public:pull"),
            (&Identity::Anonymous, "registry:catalog:*", ""),
            (&bob, "", ""),
        ] {
            let granted = grant(&policy, identity, &parse([asked].into_iter()).unwrap());
            let texts: Vec<String> =
                granted.iter().map(|e| format!("{}:{}:{}", e.kind, e.name, e.actions.join(","))).collect();
            assert_eq!(texts.join(" "), want, "{asked}");
        }
    }

    #[test]
    fn what_is_no_scope_is_none() {
        for bad in ["pull", "repository:a", ":a:pull", "repository::pull", "repository(x:a:pull", "a\u{7}:b:c"] {
            assert_eq!(parse([bad].into_iter()), None, "{bad}");
        }
        assert_eq!(parse(["repository:a:pull "; 101].into_iter()), None);
    }
}
