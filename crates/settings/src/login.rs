//! Keeping and forgetting credentials.

use std::path::PathBuf;

use image::RegistryHost;

use crate::auths::{encode_auth, matches};
use crate::config_edit::{keys, remove_entries, set_entry};
use crate::config_write::{Access, EditLock, replace};
use crate::credential_helper::{Helper, HelperFailure, TOKEN_USER, program};
use crate::credential_store::CredentialStore;
use crate::credentials::{CredentialError, Credentials, server_key};
use crate::docker_config::{ReadFault, read};
use crate::secret::Secret;
use crate::shown::Shown;

/// Where a login was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In a credential helper, by the helper's program name.
    Helper(String),
    /// In a file, readable by its owner alone but not encrypted.
    File(PathBuf),
}

impl CredentialStore {
    /// Keeps a user name and a password for `host`: in the helper that is configured for it, else in `config.json`.
    /// Whether the registry likes them is for the caller to find out before.
    pub fn login(&self, host: &RegistryHost, username: &str, password: &Secret) -> Result<Stored, CredentialError> {
        let credentials = Credentials::Basic { username: username.to_owned(), password: password.clone() };
        self.store(host, &credentials)
    }

    /// Keeps `credentials` for `host`; keeping nobody is a logout.
    pub fn store(&self, host: &RegistryHost, credentials: &Credentials) -> Result<Stored, CredentialError> {
        check(credentials)?;
        if credentials.is_anonymous() {
            self.logout(host)?;
            return Ok(Stored::File(self.config_path.clone()));
        }
        let key = server_key(host);
        let helper = match credentials {
            // No helper can keep one: the protocol has no word for it.
            Credentials::RegistryToken(_) => None,
            _ => self.helpers(host).into_iter().next(),
        };
        let stored = if let Some(name) = helper {
            let (username, secret) = match credentials {
                Credentials::Basic { username, password } => (username.as_str(), password),
                Credentials::IdentityToken(token) | Credentials::RegistryToken(token) => (TOKEN_USER, token),
                Credentials::Anonymous => ("", &Secret::default()),
            };
            let stored = Helper::new(&name, &self.environment, self.limit).store(key, username, secret);
            stored.map_err(|source| helper_error("store", host, &name, source))?;
            // As Docker does: the host is named in the file, the secret is not.
            self.edit(Access::AsBefore, |json| set_entry(json, key, &[]).map(Some))?;
            Stored::Helper(program(&name))
        } else {
            let (field, secret) = match credentials {
                Credentials::Basic { username, password } => ("auth", encode_auth(username, password)),
                Credentials::IdentityToken(token) => ("identitytoken", token.clone()),
                Credentials::RegistryToken(token) => ("registrytoken", token.clone()),
                Credentials::Anonymous => ("auth", Secret::default()),
            };
            self.edit(Access::Owner, |json| set_entry(json, key, &[(field, secret.reveal())]).map(Some))?;
            Stored::File(self.config_path.clone())
        };
        self.reload();
        self.warn_of_others(host, "takes precedence over this login");
        Ok(stored)
    }

    /// Forgets the credentials for `host` in every spelling, in its helper and in `config.json`. `false`: there were
    /// none. What other places still know is a warning.
    pub fn logout(&self, host: &RegistryHost) -> Result<bool, CredentialError> {
        let key = server_key(host);
        let mut known = false;
        let mut failed = None;
        for name in self.helpers(host) {
            let helper = Helper::new(&name, &self.environment, self.limit);
            // Not every helper can list; then there is the one key to try.
            let listed = helper.list().ok();
            let mut servers: Vec<String> =
                listed.iter().flatten().filter(|server| *server == key || matches(server, host)).cloned().collect();
            let is_known = listed.is_none() || !servers.is_empty();
            if !servers.iter().any(|server| server == key) {
                servers.push(key.to_owned());
            }
            for server in servers {
                match helper.erase(&server) {
                    Ok(erased) => known |= erased && is_known,
                    // A key that it does not list is no loss if it cannot be erased.
                    Err(_) if !is_known => {}
                    Err(source) => failed = Some(helper_error("erase", host, &name, source)),
                }
            }
        }
        let edited = self.edit(Access::AsBefore, |json| {
            let spelled = keys(json).into_iter().any(|name| name == key || matches(&name, host));
            known |= spelled;
            if spelled { remove_entries(json, |name| name == key || matches(name, host)) } else { Ok(None) }
        });
        self.reload();
        // The file has been seen to even if the helper failed: as much as possible is forgotten.
        edited?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.warn_of_others(host, "still has credentials for it");
        if let Some(path) = self.auth_file_with(host) {
            self.warn(format!(
                "warning: `{}` still has credentials for `{host}`; `podman logout` or `skopeo logout` removes them",
                Shown(&path.display().to_string())
            ));
        }
        Ok(known)
    }

    /// The helpers for `host`, the one to store in first.
    fn helpers(&self, host: &RegistryHost) -> Vec<String> {
        let helpers = self.config().helpers(host);
        helpers.aliases.into_iter().chain(helpers.configured).collect()
    }

    fn warn_of_others(&self, host: &RegistryHost, what: &str) {
        if self.is_in_variable(host) {
            self.warn(format!("warning: `DOCKER_AUTH_CONFIG` is set for `{host}` and {what}"));
        }
    }

    /// Reads `config.json`, edits it, and writes it back if there is an edit.
    fn edit(
        &self,
        access: Access,
        edit: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, String>,
    ) -> Result<(), CredentialError> {
        let path = &self.config_path;
        let file_error = |action| move |source| CredentialError::File { action, path: path.clone(), source };
        let malformed = |fault| CredentialError::Malformed { path: path.clone(), fault };
        let _lock = EditLock::take(path).map_err(file_error("make the directory of"))?;
        let before = match read(path) {
            Ok(before) => before.unwrap_or_default(),
            Err(ReadFault::Open(source) | ReadFault::Read(source)) => return Err(file_error("read")(source)),
            Err(fault @ ReadFault::TooLong) => return Err(malformed(fault.to_string())),
        };
        match edit(&before).map_err(malformed)? {
            Some(after) if after != before => replace(path, &after, access).map_err(file_error("write")),
            _ => Ok(()),
        }
    }
}

fn helper_error(action: &'static str, host: &RegistryHost, name: &str, source: HelperFailure) -> CredentialError {
    CredentialError::Helper { action, host: host.clone(), program: program(name), source }
}

/// What could not be read back as it was, or not be sent.
fn check(credentials: &Credentials) -> Result<(), CredentialError> {
    match credentials {
        Credentials::Basic { username, .. } if username.is_empty() => Err(CredentialError::Username("is empty")),
        Credentials::Basic { username, .. } if username.contains(':') => {
            Err(CredentialError::Username("has a colon in it, which Basic authentication does not allow"))
        }
        Credentials::Basic { username, .. } if username.contains(char::is_control) => {
            Err(CredentialError::Username("has a control character in it"))
        }
        Credentials::Basic { password: secret, .. }
        | Credentials::IdentityToken(secret)
        | Credentials::RegistryToken(secret)
            if secret.is_empty() =>
        {
            Err(CredentialError::EmptyPassword)
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::credential_helper::tests::Helpers;
    use crate::environment::Environment;

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    /// A keychain in files; it lists its keys if `listing`.
    fn keychain(helpers: &Helpers, listing: bool) {
        let list = if listing {
            "ls $DIR/chain | sed 's/.*/\"&\":\"u\"/' | paste -sd, | sed 's/.*/{&}/' | tr _ /"
        } else {
            "exit 1"
        };
        fs::create_dir_all(helpers.path().join("chain")).unwrap();
        helpers.add(
            "x",
            &format!(
                r#"name() {{ tr / _; }}
                case $1 in
                store) read -r entry; server=$(printf '%s' "$entry" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf '%s' "$entry" > "$DIR/chain/$(echo $server | name)" ;;
                get) cat "$DIR/chain/$(name)" 2> /dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;
                erase) rm "$DIR/chain/$(name)" 2> /dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;
                list) {list} ;;
                esac"#
            ),
        );
    }

    fn store_at(helpers: &Helpers, config: &str, variables: &[(&str, &str)]) -> CredentialStore {
        if !config.is_empty() {
            fs::write(helpers.path().join("config.json"), config).unwrap();
        }
        CredentialStore::new(&helpers.environment(variables), helpers.path())
    }

    #[test]
    fn into_a_file_of_ones_own_and_out_again() {
        let helpers = Helpers::new();
        let store = store_at(&helpers, "", &[]);
        let path = helpers.path().join("config.json");
        assert_eq!(store.login(&host("h:5000"), "u", &"p".into()).unwrap(), Stored::File(path.clone()));
        assert_eq!(
            helpers.read("config.json"),
            "{\n\t\"auths\": {\n\t\t\"h:5000\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let want = Credentials::Basic { username: "u".to_owned(), password: "p".into() };
        assert_eq!(store.lookup(&host("h:5000")).unwrap(), want);

        store.login(&host("docker.io"), "u", &"p".into()).unwrap();
        assert!(helpers.read("config.json").contains("\"https://index.docker.io/v1/\": {"));
        assert!(store.logout(&host("docker.io")).unwrap());
        assert!(store.logout(&host("h:5000")).unwrap());
        assert!(!store.logout(&host("h:5000")).unwrap());
        assert_eq!(helpers.read("config.json"), "{\n\t\"auths\": {}\n}");
        assert!(store.lookup(&host("h:5000")).unwrap().is_anonymous());
        assert_eq!(fs::read_dir(helpers.path()).unwrap().count(), 1, "nothing stays behind");
    }

    #[test]
    fn tokens_are_kept_as_tokens() {
        let helpers = Helpers::new();
        let store = store_at(&helpers, "", &[]);
        for credentials in [Credentials::IdentityToken("i<".into()), Credentials::RegistryToken("r".into())] {
            store.store(&host("h"), &credentials).unwrap();
            assert_eq!(store.lookup(&host("h")).unwrap(), credentials);
        }
        store.store(&host("h"), &Credentials::Anonymous).unwrap();
        assert!(store.lookup(&host("h")).unwrap().is_anonymous());
    }

    #[test]
    fn every_spelling_goes_at_logout() {
        let helpers = Helpers::new();
        let config = "{\"auths\":{\"h\":{},\"https://h/v1/\":{\"auth\":\"dTpw\"},\"h/repo\":{},\"hh\":{\"auth\":\"dTpw\"}},\"n\":1.0}";
        let store = store_at(&helpers, config, &[]);
        assert!(store.logout(&host("h")).unwrap());
        assert_eq!(helpers.read("config.json"), "{\"auths\":{\"hh\":{\"auth\":\"dTpw\"}},\"n\":1.0}");
        assert!(!store.lookup(&host("hh")).unwrap().is_anonymous());
    }

    #[test]
    fn into_a_helper_and_out_again() {
        for listing in [true, false] {
            let helpers = Helpers::new();
            keychain(&helpers, listing);
            let store = store_at(&helpers, "{\n\t\"credsStore\": \"x\"\n}", &[]);
            // Asked before, so that the answer is known and has to be forgotten.
            assert!(store.lookup(&host("h:5000")).unwrap().is_anonymous());
            let stored = store.login(&host("h:5000"), "u", &"p\"q".into()).unwrap();
            assert_eq!(stored, Stored::Helper("docker-credential-x".to_owned()));
            assert_eq!(
                helpers.read("config.json"),
                "{\n\t\"auths\": {\n\t\t\"h:5000\": {}\n\t},\n\t\"credsStore\": \"x\"\n}"
            );
            let want = Credentials::Basic { username: "u".to_owned(), password: "p\"q".into() };
            assert_eq!(store.lookup(&host("h:5000")).unwrap(), want);
            store.store(&host("h:5000"), &Credentials::IdentityToken("i".into())).unwrap();
            assert_eq!(store.lookup(&host("h:5000")).unwrap(), Credentials::IdentityToken("i".into()));
            assert!(store.logout(&host("h:5000")).unwrap());
            assert_eq!(helpers.read("config.json"), "{\n\t\"auths\": {},\n\t\"credsStore\": \"x\"\n}");
            assert!(store.lookup(&host("h:5000")).unwrap().is_anonymous());
            assert!(!store.logout(&host("h:5000")).unwrap());
        }
    }

    #[test]
    fn what_other_programs_spelled_otherwise_goes_from_a_helper_too() {
        let helpers = Helpers::new();
        keychain(&helpers, true);
        let store = store_at(&helpers, "{\"credsStore\":\"x\"}", &[]);
        fs::write(helpers.path().join("chain/https:__h"), "{}").unwrap();
        fs::write(helpers.path().join("chain/other"), "{}").unwrap();
        assert!(store.logout(&host("h")).unwrap());
        let left: Vec<_> =
            fs::read_dir(helpers.path().join("chain")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
    }

    #[test]
    fn a_helper_that_does_not_work_keeps_nothing_in_the_file() {
        let helpers = Helpers::new();
        let store = store_at(&helpers, "{\"credsStore\":\"x\"}", &[]);
        let error = store.login(&host("h"), "u", &"hunter2".into()).unwrap_err();
        assert_eq!(error.to_string(), "store credentials for `h` with the credential helper `docker-credential-x`");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "not found in `PATH`");
        assert!(error.hint().unwrap().starts_with("install `docker-credential-x`"));
        assert_eq!(helpers.read("config.json"), "{\"credsStore\":\"x\"}");

        helpers.add("x", "echo no; exit 1");
        let store = store_at(&helpers, "{\"credsStore\":\"x\",\"auths\":{\"h\":{}}}", &[]);
        let error = store.logout(&host("h")).unwrap_err();
        assert_eq!(error.to_string(), "erase credentials for `h` with the credential helper `docker-credential-x`");
        assert_eq!(helpers.read("config.json"), "{\"credsStore\":\"x\",\"auths\":{}}", "the file forgets all the same");
    }

    #[test]
    fn a_broken_config_is_not_overwritten() {
        for (config, want) in [
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            ("[]", "the file is of type array, not an object"),
        ] {
            let helpers = Helpers::new();
            let store = store_at(&helpers, config, &[]);
            let error = store.login(&host("h"), "u", &"p".into()).unwrap_err();
            let path = helpers.path().join("config.json").display().to_string();
            assert_eq!(error.to_string(), format!("edit `{path}`: {want}"));
            assert_eq!(error.hint().unwrap(), format!("mend `{path}`, or move it away"));
            assert_eq!(helpers.read("config.json"), config);
        }
    }

    #[test]
    fn what_cannot_be_read_back_is_refused() {
        let store = CredentialStore::new(&Environment::default(), "/nowhere");
        for (username, password, want) in [
            ("", "p", "the user name is empty"),
            ("a:b", "p", "the user name has a colon in it, which Basic authentication does not allow"),
            ("a\n", "p", "the user name has a control character in it"),
            ("u", "", "the password is empty"),
        ] {
            let error = store.login(&host("h"), username, &password.into()).unwrap_err();
            assert_eq!(error.to_string(), format!("keep the login: {want}"));
        }
    }

    #[test]
    fn what_a_logout_does_not_reach_is_told() {
        let helpers = Helpers::new();
        let auth = helpers.path().join("auth.json");
        fs::write(&auth, "{\"auths\":{\"h\":{\"auth\":\"dTpw\"}}}").unwrap();
        let auth = auth.display().to_string();
        let variables =
            [("REGISTRY_AUTH_FILE", auth.as_str()), ("DOCKER_AUTH_CONFIG", "{\"auths\":{\"h\":{\"auth\":\"dTpw\"}}}")];
        let store = store_at(&helpers, "", &variables);
        assert!(!store.logout(&host("h")).unwrap());
        assert_eq!(
            store.warnings(),
            [
                "warning: `DOCKER_AUTH_CONFIG` is set for `h` and still has credentials for it".to_owned(),
                format!(
                    "warning: `{auth}` still has credentials for `h`; `podman logout` or `skopeo logout` removes them"
                ),
            ]
        );
        store.login(&host("h"), "u", &"p".into()).unwrap();
        assert_eq!(
            store.warnings(),
            ["warning: `DOCKER_AUTH_CONFIG` is set for `h` and takes precedence over this login"]
        );
    }

    #[test]
    fn logins_at_the_same_time_all_count() {
        let helpers = Helpers::new();
        std::thread::scope(|scope| {
            for at in 0..8 {
                let helpers = &helpers;
                scope.spawn(move || {
                    // As separate processes: each with a store of its own.
                    store_at(helpers, "", &[]).login(&host(&format!("h{at}")), "u", &"p".into()).unwrap();
                });
            }
        });
        let text = helpers.read("config.json");
        for at in 0..8 {
            assert!(text.contains(&format!("\"h{at}\"")), "{text}");
        }
    }
}
