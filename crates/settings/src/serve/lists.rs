//! Tables that may be there several times. They stand in the file alone: no flag could say as much.

use std::path::{Path, PathBuf};

use super::value::{FileOrAddress, Raw, References, Value};

/// What is known of a key of such a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) key: &'static str,
    pub(super) required: bool,
    pub(super) default: &'static str,
    pub(super) doc: &'static str,
}

/// One of several tables of the same name.
pub(super) trait Listed: Default {
    /// Between `[[` and `]]`.
    const TABLE: &'static str;
    /// What it is about, for the documentation.
    const ABOUT: &'static str;
    const KEYS: &'static [Key];

    /// Sets a key that is one of [`Self::KEYS`]. Relative paths are below `directory`.
    fn set(&mut self, key: &str, raw: &Raw, directory: &Path) -> Result<(), String>;

    /// Each key as it is written in a file, if it is set.
    fn written(&self) -> Vec<(&'static str, Option<String>)>;
}

macro_rules! listed {
    ($(#[$doc:meta])* $name:ident, $table:literal, $about:literal {
        $($field:ident: $type:ty, $key:literal, $required:literal, $default:literal, $key_doc:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $key_doc] #[doc = "."] pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                // That each default is a value is tested.
                Self { $($field: <$type as Value>::from_text($default).unwrap_or_default(),)+ }
            }
        }

        impl Listed for $name {
            const TABLE: &'static str = $table;
            const ABOUT: &'static str = $about;
            const KEYS: &'static [Key] =
                &[$(Key { key: $key, required: $required, default: $default, doc: $key_doc },)+];

            fn set(&mut self, key: &str, raw: &Raw, directory: &Path) -> Result<(), String> {
                match key {
                    $($key => {
                        let mut value = <$type as Value>::from_raw(raw)?;
                        value.place(directory);
                        self.$field = value;
                    })+
                    _ => return Err("expected nothing: there is no such key".to_owned()),
                }
                Ok(())
            }

            fn written(&self) -> Vec<(&'static str, Option<String>)> {
                vec![$(($key, self.$field.toml()),)+]
            }
        }
    };
}

listed! {
    /// What is different for some repositories.
    RepositorySettings, "repositories",
    "What is different for some repositories. The first table that means a repository counts" {
        name: String, "name", true, "", "The repositories: a name, or a pattern as in a policy, `mirror/**`";
        references: References, "references", true, "strict", "As `references` at the top of the file";
    }
}

listed! {
    /// Somebody whose tokens (JWT) say who one is.
    IssuerSettings, "issuers",
    "Somebody whose tokens (JWT) say who one is; whom it vouches for is called `name:subject` in the policy" {
        name: Option<String>, "name", false, "", "What its identities and groups begin with. Without it: the host of `issuer`";
        issuer: String, "issuer", true, "", "What its tokens say as `iss`, to the letter";
        jwks: FileOrAddress, "jwks", true, "", "Its public keys, as JWK set: a file, or an `https://` address";
        audience: Vec<String>, "audience", true, "", "What its tokens say as `aud`: one of this list";
        name_claim: String, "name-claim", false, "sub", "The claim that says who somebody is; a JSON pointer if it begins with `/`";
        groups_claim: Option<String>, "groups-claim", false, "", "The claim that says what they belong to, as `name-claim`. Without it groups are not read";
    }
}

listed! {
    /// Somebody who is told what was written.
    WebhookSettings, "webhooks",
    "Somebody who is told what was written, by a `POST` for each event" {
        url: Option<String>, "url", false, "", "Where to post; only to public addresses and with TLS, unless `webhook-allow` says otherwise. This or `url-file` is needed";
        url_file: Option<PathBuf>, "url-file", false, "", "A file with the URL, where that is a secret";
        secret_file: Option<PathBuf>, "secret-file", false, "", "A file with the secret that signs what is posted. Without it nothing is signed";
        events: Vec<String>, "events", false, "", "Only these: `manifest-pushed`, `tag-moved`, `tag-deleted`, `manifest-deleted`. Without it all";
        repositories: Vec<String>, "repositories", false, "", "Only these repositories: names, or patterns as in a policy. Without it all";
    }
}

/// Names of all such tables.
pub(super) const TABLES: &[&str] = &[RepositorySettings::TABLE, IssuerSettings::TABLE, WebhookSettings::TABLE];
