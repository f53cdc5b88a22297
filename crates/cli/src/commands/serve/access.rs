//! The files that say who may do what, read at the start and whenever they change.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use registry::{Access, Identities, Policy};
use settings::serve::ServeSettings;

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Largest file of users, tokens or rules.
const LARGEST: u64 = 64 << 20;

/// A file, and what it was like when it was read.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<Look>,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    changed: Option<SystemTime>,
    length: u64,
    number: u64,
}

/// How long after a change another one may look the same.
const SETTLED: Duration = Duration::from_secs(2);

impl Look {
    fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let number = 0;
        let changed = metadata.modified().ok();
        // A time that is not long ago does not tell the next state from this one.
        let settled = changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > SETTLED);
        settled.then_some(Self { changed, length: metadata.len(), number })
    }
}

impl Watched {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None }
    }

    /// Whether it may say something else than when it was read.
    fn may_have_changed(&self) -> bool {
        self.seen.is_none() || Look::at(&self.path) != self.seen
    }

    fn read(&mut self) -> Result<String, String> {
        use std::io::Read as _;

        // Before it is read: what changes meanwhile is seen the next time. What could not be read has not been seen: a
        // `chmod` lets it be read, and it looks the same.
        let look = Look::at(&self.path);
        self.seen = None;
        let shown = self.path.display();
        let mut text = String::new();
        let file = std::fs::File::open(&self.path).map_err(|error| format!("failed to read `{shown}`: {error}"))?;
        file.take(LARGEST + 1)
            .read_to_string(&mut text)
            .map_err(|error| format!("failed to read `{shown}`: {error}"))?;
        self.seen = look;
        if text.len() as u64 > LARGEST {
            return Err(format!("failed to read `{shown}`: it has more than {} MiB", LARGEST >> 20));
        }
        Ok(text)
    }
}

/// The files that the settings name.
#[derive(Debug)]
pub(super) struct AccessFiles {
    htpasswd: Option<Watched>,
    tokens: Option<Watched>,
    policy: Option<Watched>,
    /// What was taken last.
    users: (String, String),
    rules: String,
}

impl AccessFiles {
    /// `None`: there are none, and nobody is asked who they are.
    pub(super) fn of(settings: &ServeSettings) -> Option<Self> {
        let watched = |path: &Option<PathBuf>| path.as_deref().map(Watched::new);
        let htpasswd = watched(&settings.htpasswd);
        let tokens = watched(&settings.tokens);
        let policy = watched(&settings.policy);
        let others = settings.client_ca.is_some() || !settings.issuers.is_empty();
        if htpasswd.is_none() && tokens.is_none() && policy.is_none() && !others {
            return None;
        }
        Some(Self { htpasswd, tokens, policy, users: Default::default(), rules: String::new() })
    }

    /// Reads all of them.
    pub(super) fn open(mut self) -> Outcome<(Access, Self)> {
        let unreadable = |text: String| Failure::new(Exit::Failure, text);
        let wrong = |text: String| Failure::new(Exit::Invalid, text);
        self.users = self.read_users().map_err(unreadable)?;
        let identities = self.identities(&self.users).map_err(wrong)?;
        let policy = match &mut self.policy {
            None => Policy::known_may_do_everything(),
            Some(file) => {
                self.rules = file.read().map_err(unreadable)?;
                let path = file.path.display();
                Policy::parse(&self.rules)
                    .map_err(|error| wrong(format!("failed to read the policy `{path}`: {error}")))?
            }
        };
        Ok((Access::new(policy, identities), self))
    }

    /// Takes what has changed, or may have: `Ok` says what was taken, `Err` what was not and why.
    pub(super) fn reload(&mut self, access: &Access, all: bool) -> Vec<Result<String, String>> {
        let mut told = Vec::new();
        let changed = |file: &Option<Watched>| file.as_ref().is_some_and(|file| all || file.may_have_changed());
        if changed(&self.htpasswd) || changed(&self.tokens) {
            let taken = self.read_users().and_then(|users| {
                let identities = (users != self.users).then(|| self.identities(&users)).transpose()?;
                Ok(identities.map(|identities| (users, identities)))
            });
            match taken {
                Ok(Some((users, identities))) => {
                    self.users = users;
                    access.replace_identities(identities);
                    told.push(Ok("took the users and tokens as they are now".to_owned()));
                }
                Ok(None) => {}
                Err(why) => told.push(Err(format!("{why}; who was known stays so"))),
            }
        }
        if changed(&self.policy)
            && let Some(file) = &mut self.policy
        {
            let taken = file.read().and_then(|text| {
                if text != self.rules {
                    let path = file.path.display();
                    access
                        .replace_policy(&text)
                        .map_err(|error| format!("failed to read the policy `{path}`: {error}"))?;
                    self.rules = text;
                    return Ok(true);
                }
                Ok(false)
            });
            match taken {
                Ok(true) => told.push(Ok(format!("took the policy `{}` as it is now", file.path.display()))),
                Ok(false) => {}
                Err(why) => told.push(Err(format!("{why}; the rules stay as they were"))),
            }
        }
        told
    }

    fn read_users(&mut self) -> Result<(String, String), String> {
        let read = |file: &mut Option<Watched>| file.as_mut().map_or(Ok(String::new()), Watched::read);
        Ok((read(&mut self.htpasswd)?, read(&mut self.tokens)?))
    }

    fn identities(&self, (htpasswd, tokens): &(String, String)) -> Result<Identities, String> {
        Identities::parse(htpasswd, tokens).map_err(|error| {
            // Which of them it was shows when each is read alone.
            let file = if Identities::parse(htpasswd, "").is_err() { &self.htpasswd } else { &self.tokens };
            let path = file.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default();
            format!("failed to read `{path}`: {error}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_taken_when_it_is_right_and_left_when_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (tokens, policy) = (path("tokens"), path("policy"));
        std::fs::write(&tokens, Identities::token_line("ci", "one")).unwrap();
        std::fs::write(&policy, "").unwrap();
        let mut settings = ServeSettings::default();
        assert!(AccessFiles::of(&settings).is_none());
        settings.tokens.value = Some(tokens.clone());
        settings.policy.value = Some(policy.clone());
        let (access, mut files) = AccessFiles::of(&settings).unwrap().open().unwrap();
        assert!(files.reload(&access, true).is_empty());

        std::fs::write(&tokens, "broken").unwrap();
        std::fs::write(&policy, "[[rules]]\nidentities = [\"*\"]\nrepositories = [\"**\"]\nactions = [\"pull\"]")
            .unwrap();
        let told = files.reload(&access, false);
        assert_eq!(told.len(), 2, "{told:?}");
        let why = told[0].as_ref().unwrap_err();
        assert!(why.starts_with(&format!("failed to read `{}`: line 1: ", tokens.display())), "{why}");
        assert!(why.ends_with("; who was known stays so"), "{why}");
        assert_eq!(told[1], Ok(format!("took the policy `{}` as it is now", policy.display())));
        assert!(!access.identities().is_empty());

        std::fs::write(&tokens, "").unwrap();
        std::fs::remove_file(&policy).unwrap();
        let told = files.reload(&access, false);
        assert!(told[0].is_ok() && told[1].is_err(), "{told:?}");
        assert!(access.identities().is_empty());
        assert!(access.policy().knows(&registry::Identity::named("x")));
    }

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        // No text: no mode keeps root from reading.
        std::fs::write(&path, b"\xff").unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let mut file = Watched::new(&path);
        assert!(file.read().is_err());
        assert!(file.may_have_changed());
        std::fs::write(&path, "").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(file.read(), Ok(String::new()));
        assert!(!file.may_have_changed());
    }

    #[test]
    fn users_are_taken_although_the_tokens_beside_them_could_not_be_read_at_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let old = SystemTime::now() - Duration::from_secs(3600);
        let write = |name: &str, bytes: &[u8], at: SystemTime| {
            std::fs::write(path(name), bytes).unwrap();
            std::fs::File::options().write(true).open(path(name)).unwrap().set_modified(at).unwrap();
        };
        write("users", Identities::password_line("bob", "secret").unwrap().as_bytes(), old);
        write("tokens", b"", old);
        let mut settings = ServeSettings::default();
        settings.htpasswd.value = Some(path("users"));
        settings.tokens.value = Some(path("tokens"));
        let (access, mut files) = AccessFiles::of(&settings).unwrap().open().unwrap();
        assert!(!access.identities().is_empty());

        let later = old + Duration::from_secs(60);
        write("users", b"", later);
        let token = Identities::token_line("ci", "one");
        write("tokens", &vec![0xff; token.len()], later);
        assert!(files.reload(&access, false)[0].is_err());
        assert!(!access.identities().is_empty());
        // As after a `chmod`: nothing of it looks any different.
        write("tokens", token.as_bytes(), later);
        assert_eq!(files.reload(&access, false), [Ok("took the users and tokens as they are now".to_owned())]);
        assert!(files.reload(&access, false).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_used_stops_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let users = directory.path().join("users");
        let mut settings = ServeSettings::default();
        settings.htpasswd.value = Some(users.clone());
        let open = || AccessFiles::of(&settings).unwrap().open().unwrap_err();
        assert_eq!(open().exit, Exit::Failure);
        std::fs::write(&users, "bob:secret").unwrap();
        let failure = open();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.message.contains("line 1: the password of `bob` is not hashed by bcrypt"), "{failure:?}");
    }
}
