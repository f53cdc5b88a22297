//! Runs the examples of README.md and of every chapter of the book, and compares what they print.
//!
//! A block fenced as `console` is run: lines that begin with `$ ` are commands (a trailing `\` continues one), the lines
//! below are what it prints, stdout and stderr together. In them a line `…` stands for any lines and `…` inside a line
//! for any text. A command that ends in `&` runs until the page ends. Each page gets a directory, a home and a port of
//! its own; `127.0.0.1:5000` stands for the port, and `bin/` holds the programs of `examples/hello`.

#![allow(clippy::print_stderr)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PORT_IN_THE_BOOK: &str = "127.0.0.1:5000";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

struct Example {
    line: usize,
    command: String,
    expected: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut continued = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside && line.trim_end() == "```console";
            continued = false;
        } else if inside {
            if continued {
                let example = found.last_mut().unwrap();
                example.command.push('\n');
                example.command.push_str(line);
                continued = line.ends_with('\\');
            } else if let Some(command) = line.strip_prefix("$ ") {
                found.push(Example { line: number + 1, command: command.to_owned(), expected: Vec::new() });
                continued = line.ends_with('\\');
            } else if let Some(example) = found.last_mut() {
                example.expected.push(line.to_owned());
            }
        }
    }
    for example in &mut found {
        while example.expected.last().is_some_and(|line| line.trim().is_empty()) {
            example.expected.pop();
        }
    }
    found
}

/// Whether `got` is `want`, where `…` in `want` stands for any text.
fn line_matches(want: &str, got: &str) -> bool {
    let mut pieces = want.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = got.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

fn matches(want: &[String], got: &[&str]) -> bool {
    match want.split_first() {
        None => got.is_empty(),
        Some((line, rest)) if line.trim() == "…" => (0..=got.len()).any(|skipped| matches(rest, &got[skipped..])),
        Some((line, rest)) => match got.split_first() {
            Some((first, others)) => line_matches(line, first) && matches(rest, others),
            None => false,
        },
    }
}

struct Page {
    name: String,
    directory: tempfile::TempDir,
    host: String,
    background: Vec<Child>,
}

impl Drop for Page {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Page {
    fn open(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let programs = directory.path().join("bin");
        fs::create_dir(&programs).unwrap();
        let status = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--locked", "-p", "polyarch-hello", "--"])
            .arg(&programs)
            .current_dir(root())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "examples/hello must build");
        Self { name: name.to_owned(), directory, host: format!("127.0.0.1:{port}"), background: Vec::new() }
    }

    fn command(&self, text: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_polyarch")).parent().unwrap();
        let path = std::env::join_paths(
            std::iter::once(binary.to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )
        .unwrap();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(text.replace(PORT_IN_THE_BOOK, &self.host))
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&mut self, example: &Example) -> Result<(), String> {
        if let Some(text) = example.command.strip_suffix('&') {
            return self.start(text.trim());
        }
        let output = self
            .command(&format!("exec 2>&1\n{}", example.command))
            .output()
            .map_err(|error| format!("failed to start it: {error}"))?;
        let printed = String::from_utf8_lossy(&output.stdout).replace(&self.host, PORT_IN_THE_BOOK);
        let got: Vec<&str> = printed.lines().collect();
        if matches(&example.expected, &got) {
            return Ok(());
        }
        Err(format!("{}\nprinted:\n{printed}\nbut the page says:\n{}", output.status, example.expected.join("\n")))
    }

    /// Starts a server and waits until its port answers.
    fn start(&mut self, text: &str) -> Result<(), String> {
        let log = fs::File::create(self.directory.path().join(".background.log")).map_err(|error| error.to_string())?;
        let child = self
            .command(&format!("exec {text}"))
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        self.background.push(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&self.host).is_err() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join(".background.log")).unwrap_or_default();
                return Err(format!("nothing listens after 20 s:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let book = root().join("docs/book");
    let mut chapters: Vec<PathBuf> = fs::read_dir(book)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    chapters.sort();
    pages.append(&mut chapters);
    pages
}

#[test]
fn every_example_prints_what_its_page_says() {
    let mut failures = Vec::new();
    let mut run = 0;
    for path in pages() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let examples = examples(&fs::read_to_string(&path).unwrap());
        if examples.is_empty() {
            continue;
        }
        let mut page = Page::open(&name);
        for example in &examples {
            run += 1;
            if let Err(why) = page.run(example) {
                failures.push(format!("{}:{}: `{}`: {why}", page.name, example.line, example.command));
                // What follows builds on it.
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(run >= 10, "only {run} examples were found");
    eprintln!("{run} examples ran");
}

#[test]
fn the_comparison_can_fail() {
    let want = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&want("a\n…\nb…c"), &["a", "x", "y", "b123c"]));
    assert!(!matches(&want("a\nb"), &["a"]));
    assert!(!matches(&want("a"), &["a", "b"]));
    assert!(!matches(&want("sha256:…"), &["sha512:00"]));
    assert_eq!(examples("```console\n$ a \\\n  b\nout\n\n$ c &\n```\n```sh\n$ no\n```").len(), 2);
}
