//! The protocol of credential helpers: `docker-credential-NAME get|store|erase|list`, texts on stdin and stdout.
//!
//! Described by the docker-credential-helpers project. A helper says what went wrong on stdout, with exit status 1.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::environment::{EnvVar, Environment};
use crate::json::{self, Kind};
use crate::secret::Secret;
use crate::shown::Shown;

/// What comes before a helper's name in the name of its program.
const PREFIX: &str = "docker-credential-";
/// The user name that says that the secret is an identity token.
pub(crate) const TOKEN_USER: &str = "<token>";
/// The answer of a helper that works and knows nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 1 << 20;
/// How long a helper may take unless somebody says otherwise: some ask a person.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a helper gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperFailure {
    /// No program of that name.
    #[error("not found in `PATH`")]
    NotInPath,
    /// A name that could lead out of `PATH`.
    #[error("not a name of a program")]
    BadName,
    /// It is there but does not start.
    #[error("cannot be run")]
    Start(#[source] io::Error),
    /// It did not end in time, and was ended.
    #[error("did not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// It ended with a status that is not 0.
    #[error("ended with {status}{}", if said.is_empty() { String::new() } else { format!(": {}", Shown(said)) })]
    Failed {
        /// Its exit status.
        status: String,
        /// What it said.
        said: String,
    },
    /// It answered more than anybody's credentials.
    #[error("answered more than 1 MiB")]
    TooLong,
    /// It answered something else than the protocol has.
    #[error("answered with something that is not credentials: {0}")]
    Answer(String),
}

/// What a helper knows of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// User name and secret; either may be empty.
    Known(String, Secret),
    /// Nothing.
    NotFound,
}

/// A helper's program and how to run it.
#[derive(Debug)]
pub(crate) struct Helper<'a> {
    program: String,
    environment: &'a Environment,
    limit: Duration,
}

/// The name of the program of helper `name`.
pub(crate) fn program(name: &str) -> String {
    format!("{PREFIX}{name}")
}

impl<'a> Helper<'a> {
    pub(crate) fn new(name: &str, environment: &'a Environment, limit: Duration) -> Self {
        Self { program: program(name), environment, limit }
    }

    /// Whether there is such a program.
    pub(crate) fn exists(&self) -> bool {
        self.find().is_ok()
    }

    /// What it knows of `server`.
    pub(crate) fn get(&self, server: &str) -> Result<Answer, HelperFailure> {
        let answer = match self.run("get", server.as_bytes()) {
            Err(HelperFailure::Failed { said, .. }) if said == NOT_FOUND => return Ok(Answer::NotFound),
            other => other?,
        };
        let not_credentials = |why: String| HelperFailure::Answer(why);
        let root = match json::parse(&answer) {
            Ok(Some((root, _))) if root.kind == Kind::Object => root,
            Ok(Some((root, _))) => return Err(not_credentials(format!("type {}", root.kind))),
            Ok(None) => return Err(not_credentials("nothing".to_owned())),
            Err(error) => return Err(not_credentials(error.to_string())),
        };
        // Never quote the answer in an error: there may be a secret in it.
        let field = |name: &'static str| match root.named(name).next_back() {
            None => Ok(String::new()),
            Some(member) if member.value.kind == Kind::Null => Ok(String::new()),
            Some(member) => member.value.text(&answer).ok_or_else(|| not_credentials(format!("`{name}` is no string"))),
        };
        Ok(Answer::Known(field("Username")?, Secret::new(field("Secret")?)))
    }

    /// Has it keep a secret for `server`.
    pub(crate) fn store(&self, server: &str, username: &str, secret: &Secret) -> Result<(), HelperFailure> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let entry = format!(
            "{{\"ServerURL\":{},\"Username\":{},\"Secret\":{}}}\n",
            quoted(server),
            quoted(username),
            quoted(secret.reveal())
        );
        self.run("store", entry.as_bytes()).map(drop)
    }

    /// Has it forget `server`. `false`: it said that it knows nothing of it.
    pub(crate) fn erase(&self, server: &str) -> Result<bool, HelperFailure> {
        match self.run("erase", server.as_bytes()) {
            Ok(_) => Ok(true),
            Err(HelperFailure::Failed { said, .. }) if said == NOT_FOUND => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The servers that it knows.
    pub(crate) fn list(&self) -> Result<Vec<String>, HelperFailure> {
        let answer = self.run("list", b"unused")?;
        match json::parse(&answer) {
            Ok(Some((root, _))) => Ok(root.members.into_iter().map(|member| member.key).collect()),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(HelperFailure::Answer(error.to_string())),
        }
    }

    /// Runs it and returns what it wrote. Its stderr is the person's: it may ask them to touch a key.
    fn run(&self, action: &str, input: &[u8]) -> Result<Vec<u8>, HelperFailure> {
        let deadline = Instant::now() + self.limit;
        let mut child = Command::new(self.find()?)
            .arg(action)
            .env_clear()
            .envs(self.environment_of_helper())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(HelperFailure::Start)?;

        // One thread writes and one reads: neither side can wait for the other for ever, and on a time-out both can be
        // left to themselves. They end when the pipes do.
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            thread::spawn(move || {
                // A helper that does not read is not wrong by that alone.
                let _ = stdin.write_all(&input);
            });
        }
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let mut answer = Vec::new();
                let read = stdout.take(ANSWER_MAX + 1).read_to_end(&mut answer).map(|_| answer);
                // Nobody listens any more after a time-out.
                let _ = sender.send(read);
            });
        }
        let answer = match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                end(&mut child);
                return Err(HelperFailure::Start(error));
            }
            Err(_) => {
                end(&mut child);
                return Err(HelperFailure::TimedOut(self.limit));
            }
        };
        if answer.len() as u64 > ANSWER_MAX {
            end(&mut child);
            return Err(HelperFailure::TooLong);
        }
        let status = self.wait(&mut child, deadline)?;
        if status.success() {
            Ok(answer)
        } else {
            let said = String::from_utf8_lossy(&answer).trim().to_owned();
            Err(HelperFailure::Failed { status: status.to_string(), said })
        }
    }

    /// Waits for a helper that has closed its stdout: it is about to end, or else it never will.
    fn wait(&self, child: &mut Child, deadline: Instant) -> Result<std::process::ExitStatus, HelperFailure> {
        let mut pause = Duration::from_micros(100);
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(pause),
                Ok(None) => {
                    end(child);
                    return Err(HelperFailure::TimedOut(self.limit));
                }
                Err(error) => return Err(HelperFailure::Start(error)),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// A helper reads variables of its own (`AWS_PROFILE`, `GNUPGHOME`, …) that nobody can list, so it gets the person's
    /// environment as Docker's helpers do; but not what is addressed to us, and least of all other registries' secrets.
    fn environment_of_helper(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.environment.variables().filter(|(name, _)| {
            *name != EnvVar::DockerAuthConfig.name() && !name.to_string_lossy().starts_with("POLYARCH_")
        })
    }

    fn find(&self) -> Result<PathBuf, HelperFailure> {
        if self.program.contains(|c: char| std::path::is_separator(c) || c.is_control()) {
            return Err(HelperFailure::BadName);
        }
        in_path(&self.program, self.environment).ok_or(HelperFailure::NotInPath)
    }
}

/// Whether there is a program of that name.
pub(crate) fn is_in_path(program: &str, environment: &Environment) -> bool {
    in_path(program, environment).is_some()
}

fn in_path(program: &str, environment: &Environment) -> Option<PathBuf> {
    std::env::split_paths(environment.get_os(EnvVar::Path).unwrap_or_default())
        // What lies in the current directory is not something that somebody installed.
        .filter(|directory| directory.is_absolute())
        .flat_map(|directory| file_names(program).map(move |name| directory.join(name)))
        .find(|candidate| is_program(candidate))
}

fn end(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(not(windows))]
fn file_names(program: &str) -> impl Iterator<Item = OsString> + use<> {
    std::iter::once(OsString::from(program))
}

#[cfg(windows)]
fn file_names(program: &str) -> impl Iterator<Item = OsString> + use<> {
    [format!("{program}.exe"), format!("{program}.cmd"), format!("{program}.bat")].into_iter().map(OsString::from)
}

#[cfg(unix)]
fn is_program(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &std::path::Path) -> bool {
    path.is_file()
}

#[cfg(all(test, unix))]
pub(crate) mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    /// A directory of helpers.
    pub(crate) struct Helpers(TempDir);

    impl Helpers {
        pub(crate) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }

        /// Makes the helper `name`, a shell script that finds its action in `$1` and may use `$DIR`.
        pub(crate) fn add(&self, name: &str, script: &str) -> &Self {
            let path = self.path().join(program(name));
            let text = format!("#!/bin/sh\nDIR='{}'\n{script}\n", self.path().display());
            // Written by a child: were it written here, a fork in another test could hold it open for writing, and the
            // kernel would not run it.
            let done = Command::new("/bin/sh")
                .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh"])
                .arg(&text)
                .arg(&path)
                .status()
                .unwrap();
            assert!(done.success());
            self
        }

        pub(crate) fn environment(&self, more: &[(&str, &str)]) -> Environment {
            let path = format!("relative:/nowhere:{}:/usr/bin:/bin", self.path().display());
            more.iter().copied().chain([("PATH", path.as_str())]).collect()
        }

        pub(crate) fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
        }
    }

    fn get(script: &str) -> Result<Answer, String> {
        let helpers = Helpers::new();
        helpers.add("x", script);
        let environment = helpers.environment(&[]);
        Helper::new("x", &environment, Duration::from_secs(5)).get("h:5000").map_err(|error| error.to_string())
    }

    #[test]
    fn answers() {
        let known = |user: &str, secret: &str| Ok(Answer::Known(user.to_owned(), Secret::new(secret)));
        for (script, want) in [
            (r#"read server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"$server\"}""#, known("get", "h:5000")),
            (r#"echo '{"username":"u","SECRET":"s","More":[1]} trailing'"#, known("u", "s")),
            (r#"echo '{"Username":null}'"#, known("", "")),
            ("echo 'credentials not found in native keychain'; exit 1", Ok(Answer::NotFound)),
            // Without the exit status it is not that message.
            (
                "echo 'credentials not found in native keychain'",
                Err("answered with something that is not credentials: invalid character 'c' looking for beginning of value".to_owned()),
            ),
            ("printf 'the keychain is locked\\033[2J\\n'; exit 3", Err("ended with exit status: 3: the keychain is locked\\u{1b}[2J".to_owned())),
            ("exit 1", Err("ended with exit status: 1".to_owned())),
            ("exit 0", Err("answered with something that is not credentials: nothing".to_owned())),
            ("echo []", Err("answered with something that is not credentials: type array".to_owned())),
            (r#"echo '{"Secret":7}'"#, Err("answered with something that is not credentials: `Secret` is no string".to_owned())),
            ("exec 0<&-; yes", Err("answered more than 1 MiB".to_owned())),
            ("kill -9 $$", Err("ended with signal: 9 (SIGKILL)".to_owned())),
        ] {
            assert_eq!(get(script), want, "{script}");
        }
    }

    #[test]
    fn a_helper_that_hangs_is_ended() {
        for script in ["exec sleep 60", "exec >&-; exec sleep 60", "sleep 3 & wait"] {
            let helpers = Helpers::new();
            helpers.add("x", script);
            let environment = helpers.environment(&[]);
            let started = Instant::now();
            let failure = Helper::new("x", &environment, Duration::from_millis(200)).get("h").unwrap_err();
            assert_eq!(failure.to_string(), "did not answer within 0.2 s", "{script}");
            assert!(started.elapsed() < Duration::from_secs(10), "{script}");
        }
    }

    #[test]
    fn a_secret_larger_than_a_pipe_goes_to_a_helper_that_does_not_read() {
        let helpers = Helpers::new();
        helpers.add("x", "exit 0").add("reader", "wc -c > $DIR/count");
        let environment = helpers.environment(&[]);
        let secret = Secret::new("s".repeat(1 << 20));
        Helper::new("x", &environment, TIMEOUT).store("h", "u", &secret).unwrap();
        Helper::new("reader", &environment, TIMEOUT).store("h", "u", &secret).unwrap();
        assert!(helpers.read("count").trim().parse::<usize>().unwrap() > 1 << 20);
    }

    #[test]
    fn only_programs_in_path_are_run() {
        let helpers = Helpers::new();
        helpers.add("x", "exit 0");
        std::fs::write(helpers.path().join("docker-credential-data"), "").unwrap();
        let environment = helpers.environment(&[]);
        let failure = |name: &str| Helper::new(name, &environment, TIMEOUT).get("h").unwrap_err().to_string();
        assert_eq!(failure("missing"), "not found in `PATH`");
        assert_eq!(failure("data"), "not found in `PATH`");
        assert_eq!(failure("../x"), "not a name of a program");
        assert_eq!(failure("x\0"), "not a name of a program");
        let nowhere = Environment::default();
        assert!(!Helper::new("x", &nowhere, TIMEOUT).exists());
        assert!(Helper::new("x", &environment, TIMEOUT).exists());
    }

    #[test]
    fn a_helper_sees_the_persons_environment_and_not_our_secrets() {
        let helpers = Helpers::new();
        helpers.add("x", "env > $DIR/env; echo '{}'");
        let environment =
            helpers.environment(&[("AWS_PROFILE", "p"), ("DOCKER_AUTH_CONFIG", "hunter2"), ("POLYARCH_DATA", "/d")]);
        Helper::new("x", &environment, TIMEOUT).get("h").unwrap();
        let seen = helpers.read("env");
        assert!(seen.contains("AWS_PROFILE=p\n"), "{seen}");
        assert!(!seen.contains("hunter2") && !seen.contains("POLYARCH"), "{seen}");
        // Nothing of the process's own that was not handed in.
        assert!(!seen.contains("CARGO"), "{seen}");
    }

    #[test]
    fn store_erase_and_list() {
        let helpers = Helpers::new();
        helpers.add(
            "x",
            r#"case $1 in
                store) cat > $DIR/stored ;;
                erase) read server; [ "$server" = h ] || { echo 'credentials not found in native keychain'; exit 1; } ;;
                list) echo '{"https://h/":"u","other":"v"}' ;;
            esac"#,
        );
        let environment = helpers.environment(&[]);
        let helper = Helper::new("x", &environment, TIMEOUT);
        helper.store("h", "u\"", &Secret::new("p\n")).unwrap();
        assert_eq!(helpers.read("stored"), "{\"ServerURL\":\"h\",\"Username\":\"u\\\"\",\"Secret\":\"p\\n\"}\n");
        assert!(helper.erase("h").unwrap());
        assert!(!helper.erase("i").unwrap());
        assert_eq!(helper.list().unwrap(), ["https://h/", "other"]);
    }
}
