//! `config.json` of Docker, and its kin in `DOCKER_AUTH_CONFIG` and `auth.json`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use image::RegistryHost;

use crate::auths::{self, Auths, decode_auth, wrong_type};
use crate::credentials::server_key;
use crate::json::{self, Kind, Node};
use crate::shown::Shown;

/// No configuration is longer.
const LIMIT: u64 = 4 << 20;

/// What a credential file says about credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct DockerConfig {
    pub(crate) auths: Auths,
    /// `credsStore`; empty where there is none.
    creds_store: String,
    /// `credHelpers`, in its order.
    cred_helpers: Vec<(String, String)>,
    /// Whether the file says anything at all of credentials; where not, Docker looks for a helper by itself.
    says_something: bool,
    /// Whether `credsStore` is this platform's default rather than what the file says.
    pub(crate) is_default_store: bool,
}

/// The helpers to ask for one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Helpers {
    /// Configured under another name of the host: asked first, but Docker would not ask them, so what they do not know
    /// is no answer.
    pub(crate) aliases: Vec<String>,
    /// The one that Docker would ask. Its word is final.
    pub(crate) configured: Option<String>,
}

impl DockerConfig {
    /// Takes what can be used; the complaints come second, in Docker's words.
    pub(crate) fn parse(json: &[u8]) -> (Self, Vec<String>) {
        let mut faults = Vec::new();
        let mut config = Self::default();
        match json::parse(json) {
            Err(error) => faults.push(error.to_string()),
            Ok(None) => {}
            Ok(Some((root, _))) => match root.kind {
                Kind::Null => {}
                Kind::Object => config.take(json, &root, &mut faults),
                kind => {
                    faults.push(format!("json: cannot unmarshal {kind} into Go value of type configfile.ConfigFile"));
                }
            },
        }
        (config, faults)
    }

    fn take(&mut self, json: &[u8], root: &Node, faults: &mut Vec<String>) {
        for member in &root.members {
            let value = &member.value;
            if value.kind == Kind::Null {
                continue;
            }
            match member.key.to_ascii_lowercase().as_str() {
                "auths" => {
                    self.auths.take(json, value, faults);
                    self.says_something |= !value.members.is_empty();
                }
                "credsstore" => match value.text(json) {
                    Some(name) => self.creds_store = name,
                    None => faults.push(wrong_type(value.kind, "ConfigFile.credsStore", "string")),
                },
                "credhelpers" if value.kind == Kind::Object => {
                    for helper in &value.members {
                        match helper.value.text(json) {
                            Some(name) => self.cred_helpers.push((helper.key.clone(), name)),
                            None if helper.value.kind == Kind::Null => {
                                self.cred_helpers.push((helper.key.clone(), String::new()));
                            }
                            None => faults.push(wrong_type(helper.value.kind, "ConfigFile.credHelpers", "string")),
                        }
                    }
                }
                "credhelpers" => {
                    faults.push(wrong_type(value.kind, "ConfigFile.credHelpers", "map[string]string"));
                }
                _ => {}
            }
        }
        self.says_something |= !self.creds_store.is_empty() || !self.cred_helpers.is_empty();
    }

    /// Which helpers to ask for `host`. An empty name under the host's own key means: none, not even `credsStore`.
    pub(crate) fn helpers(&self, host: &RegistryHost) -> Helpers {
        let key = server_key(host);
        if let Some((_, helper)) = self.cred_helpers.iter().rfind(|(known, _)| known == key) {
            return Helpers { aliases: Vec::new(), configured: Some(helper.clone()).filter(|name| !name.is_empty()) };
        }
        Helpers {
            aliases: self
                .cred_helpers
                .iter()
                .filter(|(known, name)| auths::matches(known, host) && !name.is_empty())
                .map(|(_, name)| name.clone())
                .collect(),
            configured: Some(self.creds_store.clone()).filter(|name| !name.is_empty()),
        }
    }

    /// Whether nothing is said of credentials, so that the platform's usual helper may be used.
    pub(crate) fn is_silent(&self) -> bool {
        !self.says_something
    }

    /// Uses `helper` for every host though the file does not say so.
    pub(crate) fn set_default_store(&mut self, helper: &str) {
        helper.clone_into(&mut self.creds_store);
        self.is_default_store = true;
    }
}

/// The value of `DOCKER_AUTH_CONFIG`. Docker takes nothing but `auth` in it, and takes all of it or none.
pub(crate) fn parse_auth_variable(value: &str) -> Result<Auths, String> {
    let json = value.as_bytes();
    let mut auths = Auths::default();
    let Some((root, end)) = json::parse(json).map_err(|error| error.to_string())? else { return Ok(auths) };
    match root.kind {
        Kind::Object | Kind::Null => {}
        kind => return Err(format!("json: cannot unmarshal {kind} into Go value of type configfile.configEnv")),
    }
    let mut found = Vec::new();
    for member in &root.members {
        if !member.key.eq_ignore_ascii_case("auths") {
            return Err(format!("json: unknown field \"{}\"", Shown(&member.key)));
        }
        match member.value.kind {
            Kind::Object | Kind::Null => {}
            kind => return Err(wrong_type(kind, "configEnv.auths", "map[string]configfile.configEnvAuth")),
        }
        for entry in &member.value.members {
            found.push((&entry.key, auth_of(json, &entry.value)?));
        }
    }
    if json[end..].iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err("DOCKER_AUTH_CONFIG does not support more than one JSON object".to_owned());
    }
    for (key, auth) in found {
        if auth.is_empty() {
            return Err(format!("DOCKER_AUTH_CONFIG environment variable is missing key `auth` for {}", Shown(key)));
        }
        let (username, password) = decode_auth(&auth)?;
        auths.insert_basic(key.clone(), username, password);
    }
    Ok(auths)
}

fn auth_of(json: &[u8], entry: &Node) -> Result<String, String> {
    match entry.kind {
        Kind::Object | Kind::Null => {}
        kind => return Err(wrong_type(kind, "configEnv.auths", "configfile.configEnvAuth")),
    }
    let mut auth = String::new();
    for field in &entry.members {
        if !field.key.eq_ignore_ascii_case("auth") {
            return Err(format!("json: unknown field \"{}\"", Shown(&field.key)));
        }
        match field.value.text(json) {
            Some(text) => auth = text,
            None if field.value.kind == Kind::Null => {}
            None => return Err(wrong_type(field.value.kind, "configEnvAuth.auths.auth", "string")),
        }
    }
    Ok(auth)
}

/// How a file could not be read, in Docker's words.
#[derive(Debug)]
pub(crate) enum ReadFault {
    Open(io::Error),
    Read(io::Error),
    TooLong,
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) | Self::Read(error) => f.write_str(&go_io(error)),
            Self::TooLong => f.write_str("longer than 4 MiB"),
        }
    }
}

/// Reads a credential file whole. `None`: there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, ReadFault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadFault::Open(error)),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(ReadFault::Read)?;
    if bytes.len() as u64 > LIMIT { Err(ReadFault::TooLong) } else { Ok(Some(bytes)) }
}

/// What the system said, in Go's words: Rust adds the number and a capital letter.
pub(crate) fn go_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "read-only file system".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            text.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_lowercase() } else { c }).collect()
        }
    }
}

/// Reads and parses `config.json`. The complaints are Docker's lines for stderr, as a whole.
pub(crate) fn load(path: &Path) -> (DockerConfig, Option<String>) {
    let shown = path.display().to_string();
    let shown = Shown(&shown);
    let warning = match read(path) {
        Ok(None) => return (DockerConfig::default(), None),
        Ok(Some(bytes)) => {
            let (config, faults) = DockerConfig::parse(&bytes);
            // Docker stops at the first.
            let warning = faults.first().map(|fault| format!("WARNING: Error parsing config file ({shown}): {fault}"));
            return (config, warning);
        }
        Err(fault @ ReadFault::Open(_)) => format!("WARNING: Error loading config file: open {shown}: {fault}"),
        Err(fault @ ReadFault::Read(_)) => {
            format!("WARNING: Error parsing config file ({shown}): read {shown}: {fault}")
        }
        Err(fault @ ReadFault::TooLong) => format!("WARNING: Error parsing config file ({shown}): {fault}"),
    };
    (DockerConfig::default(), Some(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    fn helpers(json: &str, name: &str) -> (Vec<String>, Option<String>) {
        let (config, faults) = DockerConfig::parse(json.as_bytes());
        assert!(faults.is_empty(), "{faults:?}");
        let found = config.helpers(&host(name));
        (found.aliases, found.configured)
    }

    #[test]
    fn which_helper_is_asked() {
        let own = |name: &str| (Vec::new(), Some(name.to_owned()));
        let none = || (Vec::new(), None);
        for (json, name, want) in [
            ("{}", "h", none()),
            (r#"{"credsStore":"store"}"#, "h", own("store")),
            (r#"{"CREDSSTORE":"store"}"#, "h", own("store")),
            (r#"{"credsStore":"store","credHelpers":{"h":"mine"}}"#, "h", own("mine")),
            (r#"{"credsStore":"store","credHelpers":{"h":"mine"}}"#, "i", own("store")),
            (r#"{"credsStore":"store","credHelpers":{"h":""}}"#, "h", none()),
            (r#"{"credsStore":"store","credHelpers":{"h":null}}"#, "h", none()),
            (r#"{"credHelpers":{"https://index.docker.io/v1/":"hub"}}"#, "docker.io", own("hub")),
            (r#"{"credHelpers":{"docker.io":"hub"}}"#, "docker.io", (vec!["hub".to_owned()], None)),
            (
                r#"{"credsStore":"store","credHelpers":{"https://h/":"mine"}}"#,
                "h",
                (vec!["mine".to_owned()], Some("store".to_owned())),
            ),
        ] {
            assert_eq!(helpers(json, name), want, "{json} {name}");
        }
    }

    /// The words were seen from docker 28.2.2.
    #[test]
    fn wrong_types_are_told_in_dockers_words_and_the_rest_counts() {
        let field = "json: cannot unmarshal number into Go struct field";
        for (json, want) in [
            ("[]", "json: cannot unmarshal array into Go value of type configfile.ConfigFile".to_owned()),
            (r#"{"credsStore":1}"#, format!("{field} ConfigFile.credsStore of type string")),
            (r#"{"credHelpers":1}"#, format!("{field} ConfigFile.credHelpers of type map[string]string")),
            (r#"{"credHelpers":{"a":1}}"#, format!("{field} ConfigFile.credHelpers of type string")),
            (r#"{"auths":1}"#, format!("{field} ConfigFile.auths of type map[string]types.AuthConfig")),
            ("{bad", "invalid character 'b' looking for beginning of object key string".to_owned()),
        ] {
            let (_, faults) = DockerConfig::parse(json.as_bytes());
            assert_eq!(faults, [want], "{json}");
        }
        let (config, faults) = DockerConfig::parse(br#"{"credHelpers":7,"auths":{"h":{"auth":"dTpw"}}}"#);
        assert_eq!(faults.len(), 1);
        assert!(!config.auths.find(&host("h")).is_anonymous());
    }

    #[test]
    fn only_a_file_that_is_silent_about_credentials_lets_a_default_helper_in() {
        for (json, silent) in [
            ("{}", true),
            (r#"{"auths":{}}"#, true),
            (r#"{"auths":{"h":{}}}"#, false),
            (r#"{"credsStore":"x"}"#, false),
            (r#"{"credHelpers":{"h":""}}"#, false),
            (r#"{"psFormat":"x"}"#, true),
        ] {
            assert_eq!(DockerConfig::parse(json.as_bytes()).0.is_silent(), silent, "{json}");
        }
    }

    #[test]
    fn the_variable_is_taken_whole_or_not_at_all() {
        let good = parse_auth_variable(r#"{"auths":{"h":{"auth":"dTpw"}}} "#).unwrap();
        assert!(!good.find(&host("h")).is_anonymous());
        for empty in ["", " ", "null", "{}", r#"{"auths":null}"#] {
            assert!(parse_auth_variable(empty).unwrap().find(&host("h")).is_anonymous(), "{empty}");
        }
        for (value, want) in [
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            (r#"{"auths":{"h":{"auth":"dTpw"}},"credsStore":"x"}"#, "json: unknown field \"credsStore\""),
            (r#"{"auths":{"h":{"username":"x"}}}"#, "json: unknown field \"username\""),
            (r#"{"auths":{"h":{}}}"#, "DOCKER_AUTH_CONFIG environment variable is missing key `auth` for h"),
            (r#"{"auths":{"h":{"auth":"!"}}}"#, "illegal base64 data at input byte 0"),
            ("{}{}", "DOCKER_AUTH_CONFIG does not support more than one JSON object"),
            ("5", "json: cannot unmarshal number into Go value of type configfile.configEnv"),
        ] {
            assert_eq!(parse_auth_variable(value).unwrap_err(), want, "{value}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_told_in_dockers_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert_eq!(load(&path).1, None);

        std::fs::write(&path, "{bad").unwrap();
        let shown = path.display();
        assert_eq!(
            load(&path).1.unwrap(),
            format!(
                "WARNING: Error parsing config file ({shown}): invalid character 'b' looking for beginning of object \
                 key string"
            )
        );

        std::fs::write(&path, vec![b' '; (LIMIT + 1) as usize]).unwrap();
        assert_eq!(load(&path).1.unwrap(), format!("WARNING: Error parsing config file ({shown}): longer than 4 MiB"));

        let below = path.join("config.json");
        assert_eq!(
            load(&below).1.unwrap(),
            format!("WARNING: Error loading config file: open {}: not a directory", below.display())
        );

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(
            load(&path).1.unwrap(),
            format!("WARNING: Error parsing config file ({shown}): read {shown}: is a directory")
        );
    }
}
