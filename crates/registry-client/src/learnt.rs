//! What is remembered of registries between runs: how they are reached and what they ask for. Never a secret.
//!
//! It saves the `401` of the first request. The file may be lost, old or broken at any time: what it says is tried
//! first and forgotten when it turns out to be wrong.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use image::RegistryHost;
use serde::{Deserialize, Serialize};

use crate::challenge::{Bearer, Challenge};

const FILE: &str = "registries.json";
const VERSION: u32 = 1;
/// Most bytes of the file; a longer one is not ours.
const MOST_BYTES: u64 = 512 << 10;
/// Most registries that are remembered.
const MOST_HOSTS: usize = 200;

/// How a registry is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    Https,
    Http,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Nothing,
    Basic,
    Bearer(Bearer),
}

impl From<&Challenge> for Asks {
    fn from(challenge: &Challenge) -> Self {
        match challenge {
            Challenge::Basic => Self::Basic,
            Challenge::Bearer { bearer, .. } => Self::Bearer(bearer.clone()),
        }
    }
}

/// What is known of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knowledge {
    /// How it is reached.
    pub(crate) scheme: Option<Scheme>,
    /// What it asks for when something is read.
    pub(crate) reading: Option<Asks>,
    /// What it asks for when something is written.
    pub(crate) writing: Option<Asks>,
    /// Whether this was learnt over a connection whose certificate was verified. What an unverified stranger said must
    /// not decide where a password goes in a later, verified run.
    pub(crate) verified: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    registries: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    scheme: Scheme,
    #[serde(default)]
    verified: bool,
    reading: Option<Form>,
    writing: Option<Form>,
    /// Seconds since 1970 when this was learnt: the oldest makes room.
    learnt: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Nothing,
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl From<&Asks> for Form {
    fn from(asks: &Asks) -> Self {
        match asks {
            Asks::Nothing => Self::Nothing,
            Asks::Basic => Self::Basic,
            Asks::Bearer(bearer) => {
                Self::Bearer { realm: bearer.realm.as_str().to_owned(), service: bearer.service.clone() }
            }
        }
    }
}

impl Form {
    fn read(&self) -> Option<Asks> {
        Some(match self {
            Self::Nothing => Asks::Nothing,
            Self::Basic => Asks::Basic,
            Self::Bearer { realm, service } => Asks::Bearer(Bearer::new(realm, service.as_deref())?),
        })
    }
}

/// What is remembered of `host`. `lenient`: what was learnt without verification may be used.
pub(crate) fn recall(directory: &Path, host: &RegistryHost, lenient: bool) -> Knowledge {
    let Some(file) = read(directory) else { return Knowledge::default() };
    let Some(entry) = file.registries.get(host.as_str()) else { return Knowledge::default() };
    if !(lenient || entry.verified && entry.scheme == Scheme::Https) {
        return Knowledge::default();
    }
    Knowledge {
        scheme: Some(entry.scheme),
        reading: entry.reading.as_ref().and_then(Form::read),
        writing: entry.writing.as_ref().and_then(Form::read),
        verified: entry.verified,
    }
}

/// Remembers `knowledge` of `host`. Blocks for about as long as it takes to write one small file; failures are not
/// worth more than a line in the log.
pub(crate) fn remember(directory: &Path, host: &RegistryHost, knowledge: &Knowledge) {
    let Some(scheme) = knowledge.scheme else { return };
    let mut file = read(directory).unwrap_or_default();
    file.version = VERSION;
    file.registries.insert(
        host.as_str().to_owned(),
        Entry {
            scheme,
            verified: knowledge.verified,
            reading: knowledge.reading.as_ref().map(Form::from),
            writing: knowledge.writing.as_ref().map(Form::from),
            learnt: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        },
    );
    while file.registries.len() > MOST_HOSTS {
        let Some(oldest) =
            file.registries.iter().min_by_key(|(_, entry)| entry.learnt).map(|(host, _)| host.to_owned())
        else {
            break;
        };
        file.registries.remove(&oldest);
    }
    if let Err(error) = write(directory, &file) {
        tracing::debug!(%error, directory = %directory.display(), "what was learnt cannot be kept");
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// The file, unless it is missing, broken, of another version or too long.
fn read(directory: &Path) -> Option<File> {
    let mut text = Vec::new();
    std::fs::File::open(path(directory)).ok()?.take(MOST_BYTES + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MOST_BYTES {
        return None;
    }
    let file: File = serde_json::from_slice(&text).ok()?;
    (file.version == VERSION).then_some(file)
}

/// Replaces the file in one step: another process sees the old or the new one. Two that write at once lose what one of
/// them learnt, which costs it one request in its next run.
fn write(directory: &Path, file: &File) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    let text = serde_json::to_vec_pretty(file).map_err(std::io::Error::other)?;
    temporary.write_all(&text)?;
    temporary.persist(path(directory)).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    fn bearer(verified: bool) -> Knowledge {
        let bearer = Asks::Bearer(Bearer::new("https://auth.example/token", Some("r.io")).unwrap());
        Knowledge { scheme: Some(Scheme::Https), reading: Some(Asks::Nothing), writing: Some(bearer), verified }
    }

    #[test]
    fn what_was_learnt_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("not/there/yet");
        assert_eq!(recall(&cache, &host("r.io"), false), Knowledge::default());
        remember(&cache, &host("r.io"), &bearer(true));
        let basic = Knowledge { scheme: Some(Scheme::Http), reading: Some(Asks::Basic), ..Knowledge::default() };
        remember(&cache, &host("127.0.0.1:5000"), &basic);
        assert_eq!(recall(&cache, &host("r.io"), false), bearer(true));
        assert_eq!(recall(&cache, &host("127.0.0.1:5000"), true), basic);
        assert_eq!(recall(&cache, &host("other.io"), false), Knowledge::default());
    }

    #[test]
    fn what_an_unverified_server_said_is_not_believed_in_a_verified_run() {
        let directory = tempfile::tempdir().unwrap();
        remember(directory.path(), &host("r.io"), &bearer(false));
        assert_eq!(recall(directory.path(), &host("r.io"), false), Knowledge::default());
        assert_eq!(recall(directory.path(), &host("r.io"), true), bearer(false));
    }

    #[test]
    fn a_broken_file_is_ignored_and_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let long = vec![b' '; 1 << 20];
        for broken in [&b"{"[..], b"null", b"\xff\xfe", br#"{"version":99,"registries":{}}"#, &long] {
            std::fs::write(directory.path().join(FILE), broken).unwrap();
            assert_eq!(recall(directory.path(), &host("r.io"), true), Knowledge::default());
            remember(directory.path(), &host("r.io"), &bearer(true));
            assert_eq!(recall(directory.path(), &host("r.io"), true), bearer(true));
        }
    }

    #[test]
    fn a_realm_that_is_no_url_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"version":1,"registries":{"r.io":{"scheme":"https","verified":true,"learnt":0,
            "reading":{"bearer":{"realm":"file:///etc/passwd","service":null}},"writing":null}}}"#;
        std::fs::write(directory.path().join(FILE), text).unwrap();
        assert_eq!(recall(directory.path(), &host("r.io"), false).reading, None);
    }

    #[test]
    fn the_file_is_bounded_and_private() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..MOST_HOSTS + 5 {
            remember(directory.path(), &host(&format!("r{n}.io")), &bearer(true));
        }
        assert_eq!(read(directory.path()).unwrap().registries.len(), MOST_HOSTS);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary files are left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
