//! Scopes of tokens (distribution's token specification, "Requesting a Token").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use image::RepositoryName;

/// Most scopes that are put into one token request, so that its URL stays short enough for any server.
const MOST: usize = 24;

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Read and delete.
    Delete,
}

impl Access {
    fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
            Self::Delete => &["pull", "delete"],
        }
    }
}

/// A set of scopes: for each resource (`repository:library/debian`) the actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ScopeSet(BTreeMap<String, BTreeSet<String>>);

impl ScopeSet {
    pub(crate) fn repository(name: &RepositoryName, access: Access) -> Self {
        let mut set = Self::default();
        set.add_repository(name, access);
        set
    }

    pub(crate) fn catalog() -> Self {
        Self(BTreeMap::from([("registry:catalog".to_owned(), BTreeSet::from(["*".to_owned()]))]))
    }

    pub(crate) fn add_repository(&mut self, name: &RepositoryName, access: Access) {
        let actions = self.0.entry(format!("repository:{name}")).or_default();
        actions.extend(access.actions().iter().map(|&action| action.to_owned()));
    }

    /// Reads the `scope` of a challenge: scopes separated by spaces, each `type:name:action[,action]`. What is not of
    /// that form is left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut set = Self::default();
        for scope in text.split_ascii_whitespace().take(MOST) {
            let Some((resource, actions)) = scope.rsplit_once(':') else { continue };
            if !resource.contains(':') || resource.len() > 512 || !scope.bytes().all(|b| b.is_ascii_graphic()) {
                continue;
            }
            let set = set.0.entry(resource.to_owned()).or_default();
            set.extend(actions.split(',').filter(|action| !action.is_empty()).take(8).map(str::to_owned));
        }
        set.0.retain(|_, actions| !actions.is_empty());
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything in `other` is in here too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(resource, wanted)| {
            self.0.get(resource).is_some_and(|actions| actions.contains("*") || wanted.is_subset(actions))
        })
    }

    /// Adds as much of `other` as one token request takes.
    pub(crate) fn extend_bounded(&mut self, other: &Self) {
        for (resource, actions) in &other.0 {
            if self.0.contains_key(resource) || self.0.len() < MOST {
                self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
            }
        }
    }

    /// Whether anything beyond reading is in here.
    pub(crate) fn writes(&self) -> bool {
        self.0.iter().any(|(resource, actions)| {
            resource.starts_with("repository:") && actions.iter().any(|action| action != "pull")
        })
    }

    /// One text for each resource. `pull` stands before `push`, as everybody writes it: some servers compare texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(resource, actions)| {
                let rank = |action: &str| match action {
                    "pull" => 0,
                    "push" => 1,
                    _ => 2,
                };
                let mut actions: Vec<&str> = actions.iter().map(String::as_str).collect();
                actions.sort_by_key(|action| (rank(action), *action));
                format!("{resource}:{}", actions.join(","))
            })
            .collect()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn source_and_target_make_one_set() {
        let mut set = ScopeSet::repository(&name("dst"), Access::Push);
        set.add_repository(&name("src"), Access::Pull);
        assert_eq!(set.to_string(), "repository:dst:pull,push repository:src:pull");
        assert!(set.covers(&ScopeSet::repository(&name("src"), Access::Pull)));
        assert!(set.covers(&ScopeSet::repository(&name("dst"), Access::Pull)));
        assert!(!set.covers(&ScopeSet::repository(&name("src"), Access::Push)));
        assert!(!set.covers(&ScopeSet::repository(&name("dst"), Access::Delete)));
        assert!(set.writes());
        assert!(!ScopeSet::catalog().writes());
    }

    #[test]
    fn a_challenge_s_scope_is_read_and_nothing_odd_gets_in() {
        let set = ScopeSet::parse("repository:a/b:push,pull repository(plugin):c:pull registry:catalog:*");
        assert_eq!(set.texts(), ["registry:catalog:*", "repository(plugin):c:pull", "repository:a/b:pull,push"]);
        assert!(ScopeSet::parse("").is_empty());
        assert!(ScopeSet::parse("pull repository:x: :::: a\u{7}:b:c").covers(&ScopeSet::default()));
        assert_eq!(ScopeSet::parse("repository:h:5000/x:pull").texts(), ["repository:h:5000/x:pull"]);
    }

    #[test]
    fn a_token_request_does_not_grow_without_bound() {
        let mut all = ScopeSet::default();
        for n in 0..100 {
            all.add_repository(&name(&format!("r{n}")), Access::Pull);
        }
        let mut set = ScopeSet::repository(&name("wanted"), Access::Push);
        set.extend_bounded(&all);
        assert_eq!(set.texts().len(), MOST);
        assert!(set.covers(&ScopeSet::repository(&name("wanted"), Access::Push)));
    }
}
