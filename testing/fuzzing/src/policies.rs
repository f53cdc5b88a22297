//! What decides who may do what.

use image::RepositoryName;
use registry::{Action, Identities, Identity, Policy};

use crate::assert_plain;

/// Policy files, htpasswd files, lists of tokens.
pub(crate) fn policies(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            let long = format!("{}/{}", "a".repeat(120), "a-".repeat(60) + "a");
            for name in ["app", "team/app", "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/b", &long] {
                let repository = RepositoryName::parse(name).expect("a name");
                for identity in [Identity::Anonymous, Identity::named("bob")] {
                    let rights = policy.rights(&identity, &repository);
                    // Who may do all may do each.
                    for action in [Action::Pull, Action::Push, Action::CreateOnly, Action::Delete, Action::Catalogue] {
                        assert!(!rights.allow(Action::Admin) || rights.allow(action));
                        assert!(!rights.allow(action) || policy.knows(&identity));
                    }
                }
            }
        }
        Err(error) => assert_plain(&error),
    }
    for (htpasswd, tokens) in [(text, ""), ("", text)] {
        match Identities::parse(htpasswd, tokens) {
            // A name and a hash, at least.
            Ok(identities) => assert!(identities.is_empty() || text.contains(':')),
            Err(error) => assert_plain(&error),
        }
    }
}
