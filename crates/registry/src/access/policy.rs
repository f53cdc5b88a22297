//! Who may do what: rules, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use image::RepositoryName;

use crate::access::glob::Glob;

/// Whoever is known to nobody, as a policy file spells it.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// Whoever is known, as a policy file spells it.
pub(crate) const EVERYBODY_KNOWN: &str = "*";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// Somebody who has shown that this is their name.
    Named(Arc<str>),
}

impl Identity {
    /// Somebody known.
    pub fn named(name: &str) -> Self {
        Self::Named(name.into())
    }

    /// The name; `None` for anonymous.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Named(name) => Some(name),
        }
    }
}

/// What can be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// Read it.
    Pull = 1,
    /// Write to it, and move its tags.
    Push = 2,
    /// Write to it, and set tags that are not there yet: none that is there is moved.
    CreateOnly = 4,
    /// Delete from it.
    Delete = 8,
    /// See it in the list of repositories; [`Action::Pull`] is needed beside it.
    Catalogue = 16,
    /// Everything.
    Admin = 32,
}

impl Action {
    /// All of them, as a policy file spells them.
    pub const ALL: [(&'static str, Self); 6] = [
        ("pull", Self::Pull),
        ("push", Self::Push),
        ("create-only", Self::CreateOnly),
        ("delete", Self::Delete),
        ("catalogue", Self::Catalogue),
        ("admin", Self::Admin),
    ];
}

/// A set of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// Adds an action.
    #[must_use]
    pub fn with(self, action: Action) -> Self {
        Self(self.0 | action as u8)
    }

    /// Whether an action is allowed: itself, or as a part of a larger one.
    pub fn allow(self, action: Action) -> bool {
        let has = |action: Action| self.0 & action as u8 != 0;
        has(action) || has(Action::Admin) || (action == Action::CreateOnly && has(Action::Push))
    }

    /// Whether nothing is allowed.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// These, for those: rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) identities: BTreeSet<String>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) repositories: Vec<Glob>,
    pub(crate) rights: Rights,
}

/// Rules that add up. What none allows is forbidden.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    pub(crate) groups: BTreeMap<String, BTreeSet<String>>,
    pub(crate) rules: Vec<Rule>,
}

impl Policy {
    /// Nobody may do anything.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whoever is known may do everything, anonymous nothing: what users without a policy file mean.
    pub fn known_may_do_everything() -> Self {
        let rule = Rule {
            identities: BTreeSet::from([EVERYBODY_KNOWN.to_owned()]),
            groups: BTreeSet::new(),
            repositories: Glob::parse("**").into_iter().collect(),
            rights: Rights::default().with(Action::Admin),
        };
        Self { groups: BTreeMap::new(), rules: vec![rule] }
    }

    /// What an identity may do with a repository.
    pub fn rights(&self, identity: &Identity, repository: &RepositoryName) -> Rights {
        self.rules_of(identity)
            .filter(|rule| rule.repositories.iter().any(|glob| glob.matches(repository)))
            .fold(Rights::default(), |rights, rule| rights.and(rule.rights))
    }

    /// Whether an identity may do something with any repository at all.
    pub fn allows_somewhere(&self, identity: &Identity, action: Action) -> bool {
        self.rules_of(identity).any(|rule| rule.rights.allow(action))
    }

    /// Whether any rule is about an identity.
    pub fn knows(&self, identity: &Identity) -> bool {
        self.rules_of(identity).next().is_some()
    }

    fn rules_of<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| match identity {
            Identity::Anonymous => rule.identities.contains(ANONYMOUS),
            Identity::Named(name) => {
                rule.identities.contains(&**name)
                    || rule.identities.contains(EVERYBODY_KNOWN)
                    || rule
                        .groups
                        .iter()
                        .any(|group| self.groups.get(group).is_some_and(|members| members.contains(&**name)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [groups]
        builders = ["ci", "bob"]
        nobody = []

        [[rules]]
        identities = ["anonymous", "*"]
        repositories = ["public/**"]
        actions = ["pull", "catalogue"]

        [[rules]]
        groups = ["builders"]
        repositories = ["team/*", "cache"]
        actions = ["pull", "create-only"]

        [[rules]]
        identities = ["bob"]
        repositories = ["team/app"]
        actions = ["push", "delete"]

        [[rules]]
        identities = ["root"]
        repositories = ["**"]
        actions = ["admin"]

        [[rules]]
        groups = ["nobody"]
        repositories = ["**"]
        actions = ["admin"]
    "#;

    #[test]
    fn rules_add_up_and_what_none_allows_is_forbidden() {
        use Action::{Admin, Catalogue, CreateOnly, Delete, Pull, Push};
        let policy = Policy::parse(FILE).unwrap();
        let all = [Pull, Push, CreateOnly, Delete, Catalogue, Admin];
        for (who, repository, want) in [
            (None, "public/a/b", &[Pull, Catalogue][..]),
            (None, "team/app", &[]),
            (None, "public", &[]),
            (Some("alice"), "public/a", &[Pull, Catalogue]),
            (Some("alice"), "team/app", &[]),
            (Some("ci"), "team/app", &[Pull, CreateOnly]),
            (Some("ci"), "cache", &[Pull, CreateOnly]),
            (Some("ci"), "team/app/deep", &[]),
            (Some("bob"), "team/app", &[Pull, CreateOnly, Push, Delete]),
            (Some("bob"), "team/other", &[Pull, CreateOnly]),
            (Some("root"), "anything/at/all", &all),
            (Some("builders"), "team/app", &[]),
        ] {
            let identity = who.map_or(Identity::Anonymous, Identity::named);
            let rights = policy.rights(&identity, &repository.parse().unwrap());
            let got: Vec<Action> = all.into_iter().filter(|action| rights.allow(*action)).collect();
            let want: Vec<Action> = all.into_iter().filter(|action| want.contains(action)).collect();
            assert_eq!(got, want, "{who:?} {repository}");
        }
        assert!(policy.allows_somewhere(&Identity::Anonymous, Catalogue));
        assert!(!policy.allows_somewhere(&Identity::Anonymous, Push));
    }

    #[test]
    fn a_user_who_is_called_anonymous_is_not_anonymous() {
        let policy =
            Policy::parse("[[rules]]\nidentities = [\"anonymous\"]\nrepositories = [\"**\"]\nactions = [\"pull\"]")
                .unwrap();
        assert!(policy.knows(&Identity::Anonymous));
        assert!(!policy.knows(&Identity::named("bob")));
    }

    #[test]
    fn without_a_file_the_known_may_do_everything_and_others_nothing() {
        let policy = Policy::known_may_do_everything();
        let name = "a/b".parse().unwrap();
        assert!(policy.rights(&Identity::named("x"), &name).allow(Action::Delete));
        assert!(policy.rights(&Identity::Anonymous, &name).is_empty());
        assert!(Policy::nothing().rights(&Identity::named("x"), &name).is_empty());
    }
}
