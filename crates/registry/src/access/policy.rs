//! Who may do what: rules, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use image::RepositoryName;

use crate::access::glob::Glob;

/// Whoever is known to nobody, as a policy file spells it.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// Whoever is known, as a policy file spells it.
pub(crate) const EVERYBODY_KNOWN: &str = "*";

/// Stands between who vouches for somebody and what they are called there. No name of this registry's own has it.
pub(crate) const VOUCHED: char = ':';

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// Somebody whom this registry knows, and who has shown that this is their name.
    Named(Arc<str>),
    /// Somebody for whom an issuer of tokens or a certificate authority vouches.
    External(Arc<External>),
}

/// Somebody for whom another vouches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct External {
    name: Arc<str>,
    groups: BTreeSet<Box<str>>,
}

impl External {
    /// `source` vouches for `name`. What it says is put under its own name, so that it cannot name anybody whom this
    /// registry or another source knows.
    pub(crate) fn new(source: &str, name: &str, groups: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let within = |name: &str| format!("{source}{VOUCHED}{name}");
        let groups = groups.into_iter().map(|group| within(group.as_ref()).into());
        Self { name: within(name).into(), groups: groups.collect() }
    }

    /// As it was before: in a token of this registry's own.
    pub(crate) fn again(name: &str, groups: BTreeSet<Box<str>>) -> Self {
        Self { name: name.into(), groups }
    }

    /// `source:name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the source says that they belong to, each `source:group`.
    pub fn groups(&self) -> &BTreeSet<Box<str>> {
        &self.groups
    }

    /// Who vouches.
    pub(crate) fn source(&self) -> &str {
        self.name.split(VOUCHED).next().unwrap_or_default()
    }
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
            Self::External(external) => Some(&external.name),
        }
    }

    /// The name, to be kept.
    pub(crate) fn shared_name(&self) -> Option<Arc<str>> {
        match self {
            Self::Anonymous => None,
            Self::Named(name) => Some(name.clone()),
            Self::External(external) => Some(external.name.clone()),
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

/// Some of all identities.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Members {
    names: BTreeSet<String>,
    /// Beginnings of names for which others vouch: `source:` or more of it.
    beginnings: Vec<String>,
}

impl Members {
    /// `name`, `source:name`, or `source:beginning*`.
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let mut members = Self::default();
        for text in texts {
            match text.strip_suffix('*').filter(|beginning| beginning.contains(VOUCHED)) {
                Some(beginning) => members.beginnings.push(beginning.to_owned()),
                None => _ = members.names.insert(text),
            }
        }
        members
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.beginnings.is_empty()
    }

    fn have(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Anonymous => self.names.contains(ANONYMOUS),
            Identity::Named(name) => self.names.contains(&**name),
            Identity::External(external) => {
                let name = external.name();
                self.names.contains(name) || self.beginnings.iter().any(|beginning| name.starts_with(&**beginning))
            }
        }
    }
}

/// These, for those: rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) identities: Members,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) repositories: Vec<Glob>,
    pub(crate) rights: Rights,
}

/// Rules that add up. What none allows is forbidden.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    pub(crate) groups: BTreeMap<String, Members>,
    pub(crate) rules: Vec<Rule>,
}

impl Policy {
    /// Nobody may do anything.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whoever this registry knows may do everything, others nothing: what users without a policy file mean. For whom
    /// others vouch is for a policy file to say.
    pub fn known_may_do_everything() -> Self {
        let rule = Rule {
            identities: Members::new([EVERYBODY_KNOWN.to_owned()]),
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
        self.rules.iter().filter(move |rule| {
            let vouched = |group: &String| match identity {
                Identity::External(external) => external.groups.contains(group.as_str()),
                _ => false,
            };
            let member = |group: &String| self.groups.get(group).is_some_and(|members| members.have(identity));
            let everybody = matches!(identity, Identity::Named(_)) && rule.identities.names.contains(EVERYBODY_KNOWN);
            let by_group = |group| !matches!(identity, Identity::Anonymous) && (member(group) || vouched(group));
            everybody || rule.identities.have(identity) || rule.groups.iter().any(by_group)
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
    fn who_is_vouched_for_is_nobody_else() {
        let policy = Policy::parse(
            r#"
            [groups]
            makers = ["bob", "hub:repo:team/*"]
            [[rules]]
            identities = ["bob", "*", "anonymous"]
            repositories = ["own"]
            actions = ["admin"]
            [[rules]]
            identities = ["hub:alice"]
            repositories = ["one"]
            actions = ["pull"]
            [[rules]]
            identities = ["hub:*"]
            repositories = ["all"]
            actions = ["pull"]
            [[rules]]
            groups = ["hub:admins", "makers"]
            repositories = ["group"]
            actions = ["push"]
            "#,
        )
        .unwrap();
        let external =
            |source, name, groups: &[&str]| Identity::External(Arc::new(External::new(source, name, groups)));
        for (identity, want) in [
            (external("hub", "alice", &[]), &["one", "all"][..]),
            (external("hub", "bob", &[]), &["all"]),
            (external("hub", "*", &["*", "makers", "anonymous"]), &["all"]),
            (external("hub", "anonymous", &["admins"]), &["all", "group"]),
            (external("hub", "repo:team/app", &[]), &["all", "group"]),
            (external("hub", "repo:teams/app", &[]), &["all"]),
            (external("other", "alice", &["admins", "hub:admins", "makers"]), &[]),
            (external("other", "hub:alice", &[]), &[]),
            (external("hubs", "alice", &["admins"]), &[]),
            (Identity::named("bob"), &["own", "group"]),
            (Identity::named("makers"), &["own"]),
            (Identity::Anonymous, &["own"]),
        ] {
            let may = |name: &&str| !policy.rights(&identity, &name.parse().unwrap()).is_empty();
            let got: Vec<&str> = ["own", "one", "all", "group"].into_iter().filter(may).collect();
            assert_eq!(got, want, "{identity:?}");
        }
        let everything = Policy::known_may_do_everything();
        assert!(!everything.knows(&external("hub", "alice", &["*"])));
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
