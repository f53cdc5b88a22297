//! A user of their own for each test: home, docker configuration, data and cache in a directory that goes away.

// Two test binaries share this file and each uses its own part of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The built binary.
pub(crate) const POLYARCH: &str = env!("CARGO_BIN_EXE_polyarch");

/// A user.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
    environment: Vec<(String, String)>,
    filters: Vec<(String, String)>,
}

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The command line, for messages.
    pub(crate) line: String,
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Sandbox {
    /// A user who has nothing.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("polyarch-").tempdir().expect("a directory for a test");
        let sandbox = Self { root, environment: Vec::new(), filters: Vec::new() };
        for directory in ["home", "docker", "here"] {
            std::fs::create_dir(sandbox.path(directory)).expect("a directory for a test");
        }
        sandbox
    }

    /// A path below the user's root: `docker` is the docker configuration, `data` the data directory, `here` the
    /// directory that programs are started in.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// Sets a variable for all programs to come.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.push((name.to_owned(), value.as_ref().to_string_lossy().into_owned()));
    }

    /// Replaces a text in what [`Run::shown`] shows.
    pub(crate) fn filter(&mut self, from: impl Into<String>, to: impl Into<String>) {
        self.filters.push((from.into(), to.into()));
    }

    /// A program, ready to be started as this user.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.path("here"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("POLYARCH_DATA", self.path("data"))
            .env("POLYARCH_CACHE", self.path("cache"))
            .env("DOCKER_HOST", "tcp://127.0.0.1:1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Run {
        let output = self.command(program, arguments).output().expect("the program starts");
        Run {
            line: arguments.join(" "),
            code: output.status.code(),
            stdout: self.filtered(&output.stdout),
            stderr: self.filtered(&output.stderr),
        }
    }

    /// Runs polyarch.
    pub(crate) fn polyarch(&self, arguments: &[&str]) -> Run {
        self.run(POLYARCH, arguments)
    }

    /// Runs polyarch with a line of words.
    pub(crate) fn words(&self, line: &str) -> Run {
        self.polyarch(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs polyarch with something to read.
    pub(crate) fn polyarch_reading(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.command(POLYARCH, arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that refuses its arguments does not read.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        Run {
            line: arguments.join(" "),
            code: output.status.code(),
            stdout: self.filtered(&output.stdout),
            stderr: self.filtered(&output.stderr),
        }
    }

    fn filtered(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for (from, to) in &self.filters {
            text = text.replace(from.as_str(), to);
        }
        text.replace(self.root.path().to_string_lossy().as_ref(), "[ROOT]")
    }
}

impl Run {
    /// All that could be seen, in one text: for snapshots.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("exit code: {}\n", self.code.map_or("signal".to_owned(), |code| code.to_string()));
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = write!(text, "----- {name} -----\n{stream}");
                if !stream.ends_with('\n') {
                    text.push_str("[no line feed]\n");
                }
            }
        }
        text
    }

    /// Asserts that all went well and gives what was printed.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.line, self.shown());
        self.stdout
    }

    /// Asserts an exit code, nothing on stdout, and exactly this on stderr.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32, stderr: &str) {
        assert_eq!(
            (self.code, self.stdout.as_str(), self.stderr.as_str()),
            (Some(code), "", stderr),
            "{}\n{}",
            self.line,
            self.shown()
        );
    }
}

/// All files below a directory with their bytes, by relative path; directories end with `/`.
pub(crate) fn tree(root: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("an entry of a directory").path();
            let name = path.strip_prefix(root).expect("a path below the root").to_string_lossy().into_owned();
            if path.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                open.push(path);
            } else {
                found.insert(name, std::fs::read(&path).expect("a readable file"));
            }
        }
    }
    found
}
