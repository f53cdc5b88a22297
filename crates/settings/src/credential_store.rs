//! The credentials of this user, from wherever they are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use image::{RegistryHost, RepositoryName};

use crate::auth_file::AuthFiles;
use crate::auths::Auths;
use crate::credential_helper::{self, Answer, Helper};
use crate::credentials::{CredentialError, Credentials, server_key};
use crate::docker_config::{self, DockerConfig, parse_auth_variable};
use crate::environment::{EnvVar, Environment};
use crate::shown::Shown;

/// Name of the file in Docker's configuration directory.
const CONFIG_FILE: &str = "config.json";

/// The credentials of this user. Cheap to ask again: a helper runs once per host, however many ask at the same time.
///
/// Asked in this order: what [`CredentialStore::with`] was told, `DOCKER_AUTH_CONFIG`, the helper of `config.json`,
/// `auths` of `config.json`, `auth.json` of the containers tools. See the crate's documentation for the whole of it.
#[derive(Debug)]
pub struct CredentialStore {
    pub(crate) environment: Environment,
    pub(crate) config_path: PathBuf,
    pub(crate) limit: Duration,
    fixed: BTreeMap<RegistryHost, Credentials>,
    variable: Auths,
    config: Mutex<Arc<DockerConfig>>,
    files: AuthFiles,
    /// What helpers said, by helper and server.
    answers: Mutex<BTreeMap<(String, String), Slot>>,
    warnings: Mutex<Warnings>,
}

/// What a helper said of a server, once it has said it; `None` inside if it does not work.
type Slot = Arc<OnceLock<Option<Answer>>>;

#[derive(Debug, Default)]
struct Warnings {
    all: Vec<String>,
    told: usize,
}

/// Nothing that a lock here protects is left half-done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CredentialStore {
    /// Reads `config.json` in `docker_config_dir` and what `environment` names. What is broken becomes a warning.
    pub fn new(environment: &Environment, docker_config_dir: impl AsRef<Path>) -> Self {
        let config_path = docker_config_dir.as_ref().join(CONFIG_FILE);
        let mut warnings = Warnings::default();
        let (mut config, fault) = docker_config::load(&config_path);
        warnings.all.extend(fault);
        let limit = credential_helper::TIMEOUT;
        use_default_helper(&mut config, environment, limit);
        let variable = environment.get(EnvVar::DockerAuthConfig).map(parse_auth_variable);
        let variable = variable.unwrap_or_else(|| Ok(Auths::default())).unwrap_or_else(|fault| {
            // Docker writes two spaces.
            warnings.all.push(format!("Failed to create credential store from DOCKER_AUTH_CONFIG:  {fault}"));
            Auths::default()
        });
        Self {
            environment: environment.clone(),
            config_path,
            limit,
            fixed: BTreeMap::new(),
            variable,
            config: Mutex::new(Arc::new(config)),
            files: AuthFiles::new(environment),
            answers: Mutex::default(),
            warnings: Mutex::new(warnings),
        }
    }

    /// A store that knows nobody: every lookup is anonymous.
    pub fn empty() -> Self {
        Self {
            environment: Environment::default(),
            config_path: PathBuf::new(),
            limit: credential_helper::TIMEOUT,
            fixed: BTreeMap::new(),
            variable: Auths::default(),
            config: Mutex::default(),
            files: AuthFiles::default(),
            answers: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// How long a credential helper may take; 30 seconds unless set.
    #[must_use]
    pub fn helper_timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Answers `credentials` for `host` whatever the files and helpers say.
    #[must_use]
    pub fn with(mut self, host: RegistryHost, credentials: Credentials) -> Self {
        self.fixed.insert(host, credentials);
        self
    }

    /// The credentials for `host`. Blocks while a helper runs, so not for a reactor's thread.
    ///
    /// Helpers and files that do not work are warnings, not errors: as Docker does, the next place is asked.
    pub fn lookup(&self, host: &RegistryHost) -> Result<Credentials, CredentialError> {
        self.find(host, None)
    }

    /// The credentials for one repository of `host`: the same as [`CredentialStore::lookup`] except where a containers
    /// `auth.json` has an entry for the repository. Blocks while a helper runs.
    pub fn lookup_repository(
        &self,
        host: &RegistryHost,
        repository: &RepositoryName,
    ) -> Result<Credentials, CredentialError> {
        self.find(host, Some(repository))
    }

    /// The key of a containers `auth.json` under which `repository` has credentials of its own, so that
    /// [`CredentialStore::lookup_repository`] may know more than [`CredentialStore::lookup`]. Runs no helper.
    pub fn own_key(&self, host: &RegistryHost, repository: &RepositoryName) -> Option<String> {
        let known_before = self.fixed.contains_key(host)
            || !self.variable.find(host).is_anonymous()
            || !self.config().auths.find(host).is_anonymous();
        if known_before {
            return None;
        }
        let files = self.files.read(|warning| self.warn(warning));
        files.iter().find_map(|file| file.config.auths.repository_key(host, repository)).map(str::to_owned)
    }

    /// What has been found broken since the last call, each once, as lines for stderr.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = locked(&self.warnings);
        let fresh = warnings.all[warnings.told..].to_vec();
        warnings.told = warnings.all.len();
        fresh
    }

    fn find(&self, host: &RegistryHost, repository: Option<&RepositoryName>) -> Result<Credentials, CredentialError> {
        let found = self.find_unchecked(host, repository);
        match &found {
            Credentials::IdentityToken(token) | Credentials::RegistryToken(token)
                if token.reveal().contains(char::is_control) =>
            {
                Err(CredentialError::ControlCharacter { host: host.clone() })
            }
            _ => Ok(found),
        }
    }

    fn find_unchecked(&self, host: &RegistryHost, repository: Option<&RepositoryName>) -> Credentials {
        if let Some(fixed) = self.fixed.get(host) {
            return fixed.clone();
        }
        let found = self.variable.find(host);
        if !found.is_anonymous() {
            return found;
        }
        let found = self.find_in(&self.config(), host, &self.config_path, |config| config.auths.find(host));
        if !found.is_anonymous() {
            return found;
        }
        for file in self.files.read(|warning| self.warn(warning)) {
            let found =
                self.find_in(&file.config, host, &file.path, |config| config.auths.find_repository(host, repository));
            if !found.is_anonymous() {
                return found;
            }
        }
        Credentials::Anonymous
    }

    /// Asks the helpers of one file, then its `auths`.
    fn find_in(
        &self,
        config: &DockerConfig,
        host: &RegistryHost,
        path: &Path,
        in_auths: impl Fn(&DockerConfig) -> Credentials,
    ) -> Credentials {
        let written = in_auths(config);
        // Docker takes these from the file even where there is a helper.
        if matches!(written, Credentials::RegistryToken(_)) {
            return written;
        }
        let helpers = config.helpers(host);
        let origin = || {
            if config.is_default_store {
                "the default of this platform".to_owned()
            } else {
                format!("which `{}` names for `{host}`", Shown(&path.display().to_string()))
            }
        };
        for alias in &helpers.aliases {
            if let Some(Answer::Known(username, secret)) = self.ask(alias, host, origin) {
                let found = credentials(username, secret);
                if !found.is_anonymous() {
                    return found;
                }
            }
        }
        match helpers.configured.and_then(|name| self.ask(&name, host, origin)) {
            Some(Answer::Known(username, secret)) => credentials(username, secret),
            // It works and knows nothing: what stands in the file is older than the helper.
            Some(Answer::NotFound) => Credentials::Anonymous,
            None => written,
        }
    }

    /// What a helper knows. `None`: it does not work, and that has been told.
    fn ask(&self, name: &str, host: &RegistryHost, origin: impl Fn() -> String) -> Option<Answer> {
        let server = server_key(host);
        let slot = Arc::clone(locked(&self.answers).entry((name.to_owned(), server.to_owned())).or_default());
        // Whoever comes second waits here for the first one's answer. The map is not locked meanwhile.
        slot.get_or_init(|| match Helper::new(name, &self.environment, self.limit).get(server) {
            Ok(answer) => Some(answer),
            Err(failure) => {
                let why = match std::error::Error::source(&failure) {
                    Some(source) => format!("{failure}: {source}"),
                    None => failure.to_string(),
                };
                self.warn(format!(
                    "warning: credential helper `{}`, {}: {why}",
                    Shown(&credential_helper::program(name)),
                    origin()
                ));
                None
            }
        })
        .clone()
    }

    pub(crate) fn warn(&self, warning: String) {
        let mut warnings = locked(&self.warnings);
        if !warnings.all.contains(&warning) {
            warnings.all.push(warning);
        }
    }

    pub(crate) fn config(&self) -> Arc<DockerConfig> {
        Arc::clone(&locked(&self.config))
    }

    /// Whether `DOCKER_AUTH_CONFIG` knows `host`, so that no login or logout makes a difference.
    pub(crate) fn is_in_variable(&self, host: &RegistryHost) -> bool {
        !self.variable.find(host).is_anonymous()
    }

    /// The `auth.json` that still knows `host`, if one does.
    pub(crate) fn auth_file_with(&self, host: &RegistryHost) -> Option<PathBuf> {
        let files = self.files.read(|warning| self.warn(warning));
        let file = files.iter().find(|file| !file.config.auths.find_repository(host, None).is_anonymous());
        file.map(|file| file.path.clone())
    }

    /// Forgets what has been read and answered: it has just been changed.
    pub(crate) fn reload(&self) {
        let (mut config, _) = docker_config::load(&self.config_path);
        use_default_helper(&mut config, &self.environment, self.limit);
        *locked(&self.config) = Arc::new(config);
        locked(&self.answers).clear();
    }
}

/// Where a file says nothing of credentials, Docker uses the platform's keychain if its helper is there.
fn use_default_helper(config: &mut DockerConfig, environment: &Environment, limit: Duration) {
    if !config.is_silent() {
        return;
    }
    let name = if cfg!(target_os = "macos") {
        "osxkeychain"
    } else if cfg!(windows) {
        "wincred"
    } else if credential_helper::is_in_path("pass", environment) {
        "pass"
    } else {
        "secretservice"
    };
    if Helper::new(name, environment, limit).exists() {
        config.set_default_store(name);
    }
}

/// What a helper's answer means.
fn credentials(username: String, secret: crate::Secret) -> Credentials {
    if secret.is_empty() || username.is_empty() {
        Credentials::Anonymous
    } else if username == credential_helper::TOKEN_USER {
        Credentials::IdentityToken(secret)
    } else {
        Credentials::Basic { username, password: secret }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;
    use crate::credential_helper::tests::Helpers;

    /// A home with a `config.json`, helpers and variables.
    struct Place {
        helpers: Helpers,
        variables: Vec<(String, String)>,
    }

    impl Place {
        fn new(config: &str) -> Self {
            let helpers = Helpers::new();
            if !config.is_empty() {
                fs::write(helpers.path().join(CONFIG_FILE), config).unwrap();
            }
            Self { helpers, variables: Vec::new() }
        }

        fn helper(self, name: &str, script: &str) -> Self {
            self.helpers.add(name, script);
            self
        }

        fn variable(mut self, name: &str, value: &str) -> Self {
            self.variables.push((name.to_owned(), value.to_owned()));
            self
        }

        fn auth_json(self, text: &str) -> Self {
            let path = self.helpers.path().join("auth.json");
            fs::write(&path, text).unwrap();
            self.variable("REGISTRY_AUTH_FILE", &path.display().to_string())
        }

        fn store(&self) -> CredentialStore {
            let variables: Vec<_> = self.variables.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            CredentialStore::new(&self.helpers.environment(&variables), self.helpers.path())
        }

        /// What is found, and what is told with the place's name taken out.
        fn look(&self, name: &str) -> (String, Vec<String>) {
            let store = self.store();
            let found = show(&store.lookup(&host(name)).unwrap());
            let path = self.helpers.path().display().to_string();
            (found, store.warnings().iter().map(|line| line.replace(&path, "~")).collect())
        }
    }

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    fn show(credentials: &Credentials) -> String {
        match credentials {
            Credentials::Anonymous => "-".to_owned(),
            Credentials::Basic { username, password } => format!("{username}:{}", password.reveal()),
            Credentials::IdentityToken(token) => format!("identity {}", token.reveal()),
            Credentials::RegistryToken(token) => format!("registry {}", token.reveal()),
        }
    }

    fn quiet(found: &str) -> (String, Vec<String>) {
        (found.to_owned(), Vec::new())
    }

    const FILE: &str = r#""auths":{"h":{"auth":"ZmlsZTpw"}}"#; // file:p
    const SAYS: &str = r#"echo "{\"Username\":\"helper\",\"Secret\":\"$(cat)\"}""#;
    const KNOWS_NOTHING: &str = "echo credentials not found in native keychain; exit 1";

    #[test]
    fn helper_beats_store_beats_auths() {
        let all = format!(r#"{{"credsStore":"store","credHelpers":{{"h":"own"}},{FILE}}}"#);
        let place = Place::new(&all).helper("store", SAYS).helper("own", &SAYS.replace("helper", "own"));
        assert_eq!(place.look("h"), quiet("own:h"));
        assert_eq!(place.look("i:5000"), quiet("helper:i:5000"));
        assert_eq!(place.look("docker.io"), quiet("helper:https://index.docker.io/v1/"));
        assert_eq!(Place::new(&format!("{{{FILE}}}")).look("h"), quiet("file:p"));
        assert_eq!(Place::new(&format!("{{{FILE}}}")).look("i"), quiet("-"));
        assert_eq!(Place::new("").look("h"), quiet("-"));
    }

    #[test]
    fn a_helper_that_knows_nothing_is_believed() {
        let place = Place::new(&format!(r#"{{"credsStore":"x",{FILE}}}"#)).helper("x", KNOWS_NOTHING);
        assert_eq!(place.look("h"), quiet("-"));
        let place = Place::new(&format!(r#"{{"credsStore":"x",{FILE}}}"#)).helper("x", "echo '{}'");
        assert_eq!(place.look("h"), quiet("-"));
    }

    #[test]
    fn a_helper_that_does_not_work_is_told_and_auths_count() {
        let place = Place::new(&format!(r#"{{"credsStore":"x",{FILE}}}"#));
        let said = |why: &str| {
            vec![format!(
                "warning: credential helper `docker-credential-x`, which `~/config.json` names for `h`: {why}"
            )]
        };
        assert_eq!(place.look("h"), ("file:p".to_owned(), said("not found in `PATH`")));
        let place = place.helper("x", "echo locked; exit 2");
        assert_eq!(place.look("h"), ("file:p".to_owned(), said("ended with exit status: 2: locked")));
        let place = Place::new(r#"{"credHelpers":{"h":"../evil"}}"#);
        let (found, told) = place.look("h");
        assert_eq!(found, "-");
        assert!(
            told[0]
                .ends_with("`docker-credential-../evil`, which `~/config.json` names for `h`: not a name of a program"),
            "{told:?}"
        );
    }

    #[test]
    fn tokens() {
        let place =
            Place::new(r#"{"credsStore":"x"}"#).helper("x", r#"echo '{"Username":"<token>","Secret":"refresh"}'"#);
        assert_eq!(place.look("h"), quiet("identity refresh"));
        let place = Place::new(r#"{"credsStore":"x","auths":{"h":{"registrytoken":"r"}}}"#).helper("x", SAYS);
        assert_eq!(place.look("h"), quiet("registry r"));
    }

    #[test]
    fn a_token_that_would_break_a_header_is_refused() {
        let place = Place::new(r#"{"auths":{"h":{"registrytoken":"r\r\nX-Evil: 1"}}}"#);
        let error = place.store().lookup(&host("h")).unwrap_err();
        assert_eq!(error.to_string(), "use the token for `h`: it has a control character in it");
        assert_eq!(error.hint().unwrap(), "log in to `h` again");
    }

    #[test]
    fn the_variable_comes_first_and_falls_back_per_host() {
        let value = r#"{"auths":{"h":{"auth":"ZW52OnA="}}}"#; // env:p
        let place = Place::new(r#"{"credsStore":"x"}"#).helper("x", SAYS).variable("DOCKER_AUTH_CONFIG", value);
        assert_eq!(place.look("h"), quiet("env:p"));
        assert_eq!(place.look("i"), quiet("helper:i"));
        let broken = Place::new(&format!("{{{FILE}}}")).variable("DOCKER_AUTH_CONFIG", "{bad");
        let warning = "Failed to create credential store from DOCKER_AUTH_CONFIG:  invalid character 'b' looking for \
                       beginning of object key string";
        assert_eq!(broken.look("h"), ("file:p".to_owned(), vec![warning.to_owned()]));
    }

    #[test]
    fn a_broken_config_is_told_in_dockers_words_and_nobody_is_logged_in() {
        let (found, told) = Place::new("{bad").look("h");
        assert_eq!(found, "-");
        assert_eq!(
            told,
            ["WARNING: Error parsing config file (~/config.json): invalid character 'b' looking for beginning of \
              object key string"]
        );
    }

    #[test]
    fn another_name_of_the_hub_is_asked_first_and_not_believed() {
        let config = r#"{"credsStore":"store","credHelpers":{"docker.io":"alias"}}"#;
        let place = Place::new(config).helper("store", SAYS).helper("alias", &SAYS.replace("helper", "alias"));
        assert_eq!(place.look("docker.io"), quiet("alias:https://index.docker.io/v1/"));
        let place = Place::new(config).helper("store", SAYS).helper("alias", KNOWS_NOTHING);
        assert_eq!(place.look("docker.io"), quiet("helper:https://index.docker.io/v1/"));
    }

    #[test]
    fn auth_json_is_asked_last() {
        let auth = r#"{"auths":{"h":{"auth":"cG9kOnA="},"h/team/app":{"auth":"YXBwOnA="},"i":{"auth":"cG9kOnA="}}}"#;
        let place = Place::new(&format!("{{{FILE}}}")).auth_json(auth);
        assert_eq!(place.look("h"), quiet("file:p"));
        assert_eq!(place.look("i"), quiet("pod:p"));
        let place = Place::new("").auth_json(auth);
        let store = place.store();
        let repository = RepositoryName::parse("team/app").unwrap();
        assert_eq!(show(&store.lookup_repository(&host("h"), &repository).unwrap()), "app:p");
        assert_eq!(show(&store.lookup(&host("h")).unwrap()), "pod:p");
        // It may name helpers too.
        let place = Place::new("").auth_json(r#"{"credHelpers":{"h":"x"}}"#).helper("x", SAYS);
        assert_eq!(place.look("h"), quiet("helper:h"));
    }

    #[test]
    fn a_silent_config_uses_the_keychain_of_the_platform() {
        let name = if cfg!(target_os = "macos") { "osxkeychain" } else { "secretservice" };
        assert_eq!(Place::new(r#"{"psFormat":"x"}"#).helper(name, SAYS).look("h"), quiet("helper:h"));
        assert_eq!(Place::new(r#"{"auths":{"i":{}}}"#).helper(name, SAYS).look("h"), quiet("-"));
        let (found, told) = Place::new("").helper(name, "exit 1").look("h");
        assert_eq!(found, "-");
        assert!(told[0].contains(", the default of this platform: ended with"), "{told:?}");
    }

    #[test]
    fn a_helper_runs_once_however_many_ask_at_once() {
        let place = Place::new(r#"{"credsStore":"x"}"#)
            .helper("x", r#"echo run >> $DIR/runs; sleep 0.2; echo '{"Username":"u","Secret":"p"}'"#);
        let store = place.store();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(show(&store.lookup(&host("h")).unwrap()), "u:p"));
            }
        });
        assert_eq!(place.helpers.read("runs"), "run\n");
        store.lookup(&host("i")).unwrap();
        store.lookup(&host("i")).unwrap();
        assert_eq!(place.helpers.read("runs"), "run\nrun\n");
    }

    #[test]
    fn a_helper_that_fails_runs_once_and_is_told_once() {
        let place = Place::new(r#"{"credsStore":"x"}"#).helper("x", "echo run >> $DIR/runs; exit 1");
        let store = place.store();
        for _ in 0..3 {
            assert!(store.lookup(&host("h")).unwrap().is_anonymous());
        }
        assert_eq!(place.helpers.read("runs"), "run\n");
        assert_eq!(store.warnings().len(), 1);
        assert!(store.warnings().is_empty(), "told already");
    }

    #[test]
    fn what_the_caller_sets_wins() {
        let set = Credentials::RegistryToken("t".into());
        let store = Place::new(&format!("{{{FILE}}}")).store().with(host("h"), set.clone());
        assert_eq!(store.lookup(&host("h")).unwrap(), set);
        assert!(CredentialStore::empty().lookup(&host("h")).unwrap().is_anonymous());
    }

    #[test]
    fn nothing_that_is_printed_of_a_store_holds_a_secret() {
        let place = Place::new(r#"{"auths":{"h":{"auth":"dTpodW50ZXIy"},"i":{"identitytoken":"hunter2"}}}"#)
            .variable("DOCKER_AUTH_CONFIG", r#"{"auths":{"j":{"auth":"dTpodW50ZXIy"}}}"#);
        let store = place.store();
        let found = store.lookup(&host("h")).unwrap();
        assert_eq!(show(&found), "u:hunter2");
        let printed = format!("{store:?}{found:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("dTpodW50ZXIy"), "{printed}");
    }
}
