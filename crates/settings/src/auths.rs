//! The `auths` object that `config.json`, `DOCKER_AUTH_CONFIG` and `auth.json` share.

use std::collections::HashMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::{RegistryHost, RepositoryName};

use crate::credentials::{Credentials, HUB_KEY, server_key};
use crate::json::{Kind, Node};
use crate::secret::Secret;

/// Go's `base64.StdEncoding`: padded, and careless about the bits that the padding cuts off.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Names of Docker Hub beside [`HUB_KEY`]. Docker does not find logins under them; people write them all the same.
pub(crate) const HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The entries of one `auths` object, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auths {
    entries: Vec<(String, Entry)>,
    /// Where each key stands: a file can have some hundred thousand.
    places: HashMap<String, usize>,
}

/// What stands under one key.
#[derive(Clone, Debug, Default)]
struct Entry {
    username: String,
    password: Secret,
    identity_token: Secret,
    registry_token: Secret,
}

impl Entry {
    /// Docker's order: a registry token is sent as it is, an identity token is exchanged, a password comes last, and
    /// a user name without one is nothing.
    fn credentials(&self) -> Credentials {
        if !self.registry_token.is_empty() {
            Credentials::RegistryToken(self.registry_token.clone())
        } else if !self.identity_token.is_empty() {
            Credentials::IdentityToken(self.identity_token.clone())
        } else if !self.username.is_empty() && !self.password.is_empty() {
            Credentials::Basic { username: self.username.clone(), password: self.password.clone() }
        } else {
            Credentials::Anonymous
        }
    }
}

impl Auths {
    /// Adds the entries of the value of `auths`. What is wrong with single entries goes to `faults`, in Docker's words;
    /// the others count.
    pub(crate) fn take(&mut self, json: &[u8], node: &Node, faults: &mut Vec<String>) {
        match node.kind {
            Kind::Null => {}
            Kind::Object => self.take_entries(json, node, faults),
            kind => faults.push(wrong_type(kind, "ConfigFile.auths", "map[string]types.AuthConfig")),
        }
    }

    fn take_entries(&mut self, json: &[u8], node: &Node, faults: &mut Vec<String>) {
        // Docker complains of shapes in the order of the file, and then of what does not decode.
        let mut undecodable = Vec::new();
        for member in &node.members {
            let mut entry = Entry::default();
            let mut auth = String::new();
            match member.value.kind {
                Kind::Null => {}
                Kind::Object => {
                    for field in &member.value.members {
                        let name = field.key.to_ascii_lowercase();
                        if !matches!(
                            name.as_str(),
                            "auth" | "username" | "password" | "identitytoken" | "registrytoken"
                        ) || field.value.kind == Kind::Null
                        {
                            continue;
                        }
                        let Some(text) = field.value.text(json) else {
                            faults.push(wrong_type(field.value.kind, &format!("AuthConfig.auths.{name}"), "string"));
                            continue;
                        };
                        match name.as_str() {
                            "auth" => auth = text,
                            "username" => entry.username = text,
                            "password" => entry.password = text.into(),
                            "identitytoken" => entry.identity_token = text.into(),
                            _ => entry.registry_token = text.into(),
                        }
                    }
                }
                kind => {
                    faults.push(wrong_type(kind, "ConfigFile.auths", "types.AuthConfig"));
                    continue;
                }
            }
            if !auth.is_empty() {
                match decode_auth(&auth) {
                    Ok((username, password)) => (entry.username, entry.password) = (username, password),
                    Err(fault) => {
                        undecodable.push(fault);
                        entry.password = Secret::default();
                    }
                }
            }
            self.insert(member.key.clone(), entry);
        }
        faults.append(&mut undecodable);
    }

    /// Adds a user name and a password.
    pub(crate) fn insert_basic(&mut self, key: String, username: String, password: Secret) {
        self.insert(key, Entry { username, password, ..Entry::default() });
    }

    /// The last of two equal keys counts, in the place of the first.
    fn insert(&mut self, key: String, entry: Entry) {
        if let Some(&place) = self.places.get(&key) {
            self.entries[place].1 = entry;
        } else {
            self.places.insert(key.clone(), self.entries.len());
            self.entries.push((key, entry));
        }
    }

    /// Docker's rule: the key itself, else any whose host part is the host; then, for Docker Hub, its other names.
    /// An entry with nothing in it (a helper's mark) is passed over.
    pub(crate) fn find(&self, host: &RegistryHost) -> Credentials {
        self.first(|key| key == server_key(host)).or_else(|| self.first(|key| matches(key, host))).unwrap_or_default()
    }

    /// The rule of the containers tools: the longest of `host/name/space/repository`, `host/name/space`, … `host`; then
    /// the host as a URL.
    pub(crate) fn find_repository(&self, host: &RegistryHost, repository: Option<&RepositoryName>) -> Credentials {
        if let Some(own) = repository.and_then(|repository| self.repository_key(host, repository))
            && let Some(found) = self.first(|key| key == own)
        {
            return found;
        }
        let hosts = names(host);
        self.first(|key| hosts.contains(&key))
            .or_else(|| self.first(|key| (key.contains("://") || is_api_root(key)) && hosts.contains(&host_part(key))))
            .unwrap_or_default()
    }

    /// The longest key that is more than a host and has credentials for a repository of it.
    pub(crate) fn repository_key(&self, host: &RegistryHost, repository: &RepositoryName) -> Option<&str> {
        let hosts = names(host);
        let mut name = Some(repository.as_str());
        while let Some(path) = name {
            for host in &hosts {
                let is_it = |key: &str| key.strip_prefix(host).and_then(|key| key.strip_prefix('/')) == Some(path);
                let known = |(key, entry): &&(String, Entry)| is_it(key) && !entry.credentials().is_anonymous();
                if let Some((key, _)) = self.entries.iter().find(known) {
                    return Some(key);
                }
            }
            name = path.rsplit_once('/').map(|(parent, _)| parent);
        }
        None
    }

    fn first(&self, wanted: impl Fn(&str) -> bool) -> Option<Credentials> {
        self.entries
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(_, entry)| entry.credentials())
            .find(|credentials| !credentials.is_anonymous())
    }
}

/// All names of a host.
fn names(host: &RegistryHost) -> Vec<&str> {
    let mut names = vec![host.as_str()];
    if server_key(host) == HUB_KEY {
        names.extend(HUB_ALIASES.iter().filter(|alias| **alias != host.as_str()));
    }
    names
}

/// Whether `key` of a `config.json` is a spelling of `host`.
pub(crate) fn matches(key: &str, host: &RegistryHost) -> bool {
    let part = host_part(key);
    if server_key(host) == HUB_KEY { HUB_ALIASES.contains(&part) } else { part == host.as_str() }
}

/// `h:p` of `https://h:p/v1/`, `h:p/`, `h:p/some/repository`.
fn host_part(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// `host/`, `host/v1/`, `host/v2`: the API of a host rather than a repository on it.
fn is_api_root(key: &str) -> bool {
    key.split_once('/').is_some_and(|(_, path)| matches!(path.trim_end_matches('/'), "" | "v1" | "v2"))
}

/// `user:password` in base64, as Docker takes it apart.
pub(crate) fn decode_auth(text: &str) -> Result<(String, Secret), String> {
    // Go skips line ends.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = BASE64.decode(&text).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    let decoded = String::from_utf8(bytes).map_err(|_| "user name and password are not UTF-8".to_owned())?;
    match decoded.split_once(':') {
        Some((username, password)) if !username.is_empty() => {
            Ok((username.to_owned(), Secret::new(password.trim_matches('\0'))))
        }
        _ => Err("Invalid auth configuration file".to_owned()),
    }
}

/// The inverse of [`decode_auth`].
pub(crate) fn encode_auth(username: &str, password: &Secret) -> Secret {
    Secret::new(BASE64.encode(format!("{username}:{}", password.reveal())))
}

/// Go's words for a value of the wrong kind.
pub(crate) fn wrong_type(kind: Kind, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {kind} into Go struct field {field} of type {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn auths(text: &str) -> (Auths, Vec<String>) {
        let mut faults = Vec::new();
        let (node, _) = json::parse(text.as_bytes()).unwrap().unwrap();
        let mut auths = Auths::default();
        auths.take(text.as_bytes(), &node, &mut faults);
        (auths, faults)
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

    fn found(text: &str, name: &str) -> String {
        let (auths, faults) = auths(text);
        assert!(faults.is_empty(), "{faults:?}");
        show(&auths.find(&host(name)))
    }

    /// Each entry was compared with all before it: four megabytes of them took minutes.
    #[test]
    fn many_entries_are_read_soon() {
        use std::fmt::Write as _;

        let mut text = String::from("{");
        for number in 0..200_000 {
            let _ = write!(text, "\"h{number}\":{{}},");
        }
        text.push_str(r#""h7":{"auth":"dTpw"}}"#);
        let started = std::time::Instant::now();
        let (auths, faults) = auths(&text);
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(faults.is_empty());
        assert_eq!((auths.entries.len(), show(&auths.find(&host("h7")))), (200_000, "u:p".to_owned()));
    }

    #[test]
    fn every_spelling_of_a_key() {
        let entry = r#"{"auth":"dTpw"}"#;
        for (key, name, want) in [
            ("h:5000", "h:5000", "u:p"),
            ("https://h:5000", "h:5000", "u:p"),
            ("http://h:5000/v1/", "h:5000", "u:p"),
            ("https://h:5000/v2/", "h:5000", "u:p"),
            ("h:5000/", "h:5000", "u:p"),
            ("h:5000/some/repo", "h:5000", "u:p"),
            ("H:5000", "h:5000", "-"),
            ("h", "h:5000", "-"),
            ("h:5000", "h", "-"),
            ("https://[::1]:5000/v1/", "[::1]:5000", "u:p"),
            ("https://index.docker.io/v1/", "docker.io", "u:p"),
            ("docker.io", "docker.io", "u:p"),
            ("index.docker.io", "docker.io", "u:p"),
            ("https://registry-1.docker.io/v2/", "docker.io", "u:p"),
            ("hub.docker.com", "docker.io", "-"),
            ("https://index.docker.io/v1/", "registry-1.docker.io", "-"),
        ] {
            assert_eq!(found(&format!("{{\"{key}\":{entry}}}"), name), want, "{key} {name}");
        }
    }

    #[test]
    fn the_exact_key_wins_and_empty_entries_are_passed_over() {
        let both = r#"{"https://h":{"auth":"YTpi"},"h":{"auth":"dTpw"}}"#;
        assert_eq!(found(both, "h"), "u:p");
        let mark = r#"{"h":{},"https://h":{"auth":"YTpi"}}"#;
        assert_eq!(found(mark, "h"), "a:b");
        let hub = r#"{"docker.io":{"auth":"YTpi"},"https://index.docker.io/v1/":{"auth":"dTpw"}}"#;
        assert_eq!(found(hub, "docker.io"), "u:p");
        let twice = r#"{"h":{"auth":"dTpw"},"h":{"auth":"YTpi"}}"#;
        assert_eq!(found(twice, "h"), "a:b");
    }

    #[test]
    fn what_an_entry_may_hold() {
        for (entry, want) in [
            (r#"{"auth":"dTpw"}"#, "u:p"),
            (r#"{"auth":"dTpw","username":"x","password":"y"}"#, "u:p"),
            (r#"{"username":"x","password":"y"}"#, "x:y"),
            (r#"{"Username":"x","PASSWORD":"y"}"#, "x:y"),
            (r#"{"username":"x"}"#, "-"),
            (r#"{"auth":"dTpwOnE="}"#, "u:p:q"),
            // NULs that some programs leave behind the password.
            (r#"{"auth":"dTpwAAA="}"#, "u:p"),
            (r#"{"auth":"dT\npw\r\n"}"#, "u:p"),
            (r#"{"auth":"dTo="}"#, "-"),
            (r#"{"identitytoken":"i"}"#, "identity i"),
            (r#"{"auth":"dTpw","identitytoken":"i"}"#, "identity i"),
            (r#"{"auth":"dTpw","identitytoken":"i","registrytoken":"r"}"#, "registry r"),
            (r#"{"email":5,"auth":"dTpw","more":[{}]}"#, "u:p"),
            ("{}", "-"),
            ("null", "-"),
        ] {
            assert_eq!(found(&format!("{{\"h\":{entry}}}"), "h"), want, "{entry}");
        }
    }

    /// The words were seen from docker 28.2.2.
    #[test]
    fn a_broken_entry_is_told_and_the_others_count() {
        for (entry, want) in [
            ("\"x\"", "json: cannot unmarshal string into Go struct field ConfigFile.auths of type types.AuthConfig"),
            (
                r#"{"auth":1}"#,
                "json: cannot unmarshal number into Go struct field AuthConfig.auths.auth of type string",
            ),
            (
                r#"{"username":[]}"#,
                "json: cannot unmarshal array into Go struct field AuthConfig.auths.username of type string",
            ),
            (r#"{"auth":"!!"}"#, "illegal base64 data at input byte 0"),
            (r#"{"auth":"YTp"}"#, "illegal base64 data at input byte 0"),
            (r#"{"auth":"YTpi="}"#, "illegal base64 data at input byte 4"),
            (r#"{"auth":"Y"}"#, "illegal base64 data at input byte 0"),
            (r#"{"auth":"YT=i"}"#, "illegal base64 data at input byte 2"),
            (r#"{"auth":"YTpiYQ"}"#, "illegal base64 data at input byte 4"),
            (r#"{"auth":"YQ=="}"#, "Invalid auth configuration file"),
            (r#"{"auth":"OnA="}"#, "Invalid auth configuration file"),
            (r#"{"auth":"dTr/"}"#, "user name and password are not UTF-8"),
        ] {
            let (auths, faults) = auths(&format!("{{\"h\":{entry},\"other\":{{\"auth\":\"dTpw\"}}}}"));
            assert_eq!(faults, [want], "{entry}");
            assert_eq!(show(&auths.find(&host("h"))), "-", "{entry}");
            assert_eq!(show(&auths.find(&host("other"))), "u:p", "{entry}");
        }
        let (_, faults) = auths("7");
        assert_eq!(
            faults,
            ["json: cannot unmarshal number into Go struct field ConfigFile.auths of type map[string]types.AuthConfig"]
        );
    }

    #[test]
    fn the_most_specific_repository_key_wins() {
        let text = r#"{
            "quay.io": {"auth": "aG9zdDpw"},
            "quay.io/team": {"auth": "dGVhbTpw"},
            "quay.io/team/app": {"auth": "YXBwOnA="},
            "https://other.io/v2/": {"auth": "dXJsOnA="},
            "third.io/ns": {"auth": "bnM6cA=="},
            "index.docker.io/library": {"auth": "bGliOnA="}
        }"#;
        let (auths, faults) = auths(text);
        assert!(faults.is_empty());
        for (name, repository, want) in [
            ("quay.io", Some("team/app"), "app:p"),
            ("quay.io", Some("team/app/deeper"), "app:p"),
            ("quay.io", Some("team/application"), "team:p"),
            ("quay.io", Some("elsewhere/app"), "host:p"),
            ("quay.io", None, "host:p"),
            ("other.io", Some("a/b"), "url:p"),
            ("third.io", Some("ns/x"), "ns:p"),
            ("third.io", Some("x"), "-"),
            ("third.io", None, "-"),
            ("docker.io", Some("library/debian"), "lib:p"),
            ("docker.io", Some("bob/app"), "-"),
        ] {
            let repository = repository.map(|name| RepositoryName::parse(name).unwrap());
            assert_eq!(show(&auths.find_repository(&host(name), repository.as_ref())), want, "{name} {repository:?}");
        }
    }

    #[test]
    fn auth_survives_a_round_trip() {
        let encoded = encode_auth("u", &Secret::new("p:q é"));
        assert_eq!(decode_auth(encoded.reveal()), Ok(("u".to_owned(), Secret::new("p:q é"))));
    }
}
