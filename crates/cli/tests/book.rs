//! Runs the examples of README.md and of every chapter of the book, and compares what they print.
//!
//! A block fenced as `console` is run: lines that begin with `$ ` are commands (a trailing `\` continues one), the lines
//! below are what it prints, stdout and stderr together.
//!
//! * In what is printed a line `…` stands for any lines and `…` inside a line for any text. How many blanks are between
//!   columns is not compared: the width of a column depends on names that differ here.
//! * A command that ends in `&` runs until the page ends; the page goes on when it has printed what is below it.
//! * A command that fails is followed by `$ echo $?`, which shows how.
//! * Each page gets a home directory of its own, which is also where it runs: `/home/you`. `bin/` in it holds the
//!   programs of `examples/hello`.
//! * `127.0.0.1:5000` to `127.0.0.1:5003` stand for free ports. `registry.example.com` is a registry that lets in `you`
//!   with the password `secret`, and has what [`team_registry`] says.
//!
//! `POLYARCH_REGENERATE=1 cargo test -p polyarch-cli --test book` writes what was printed into the pages where it does not
//! match, digests cut short.

#![allow(clippy::print_stderr)]

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lab::images::{self, Flavour};
use lab::{Auth, Lab};
use tempfile::TempDir;

const TEAM: &str = "registry.example.com";

/// How long a command may take, and a server until it is ready. On a busy machine both take much longer than they should.
const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A command of a page.
#[derive(Debug)]
struct Example {
    /// The line of its prompt, from 0.
    line: usize,
    command: String,
    /// What the page says that it prints.
    expected: Vec<String>,
    /// The lines of the page where that stands.
    place: Range<usize>,
}

/// All commands of a page.
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
                example.place = number + 1..number + 1;
                continued = line.ends_with('\\');
            } else if let Some(command) = line.strip_prefix("$ ") {
                let (command, place) = (command.to_owned(), number + 1..number + 1);
                found.push(Example { line: number, command, expected: Vec::new(), place });
                continued = line.ends_with('\\');
            } else {
                let example = found.last_mut().unwrap_or_else(|| panic!("output before any command in line {number}"));
                example.expected.push(line.to_owned());
                example.place.end = number + 1;
            }
        }
    }
    for example in &mut found {
        while example.expected.last().is_some_and(|line| line.trim().is_empty()) {
            example.expected.pop();
            example.place.end -= 1;
        }
    }
    found
}

/// A line with two blanks wherever there are more, but for those at its beginning.
fn columns(line: &str) -> String {
    let text = line.trim_start_matches(' ');
    let mut out = line[..line.len() - text.len()].to_owned();
    let mut blanks = 0;
    for character in text.chars() {
        blanks = if character == ' ' { blanks + 1 } else { 0 };
        if blanks <= 2 {
            out.push(character);
        }
    }
    out
}

/// Whether `got` is `want`, where `…` in `want` stands for any text.
fn line_matches(want: &str, got: &str) -> bool {
    let (want, got) = (columns(want), columns(got));
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

/// A line as a page shows it: four digits of a digest are enough to see which is which.
fn abbreviated(line: &str) -> String {
    let mut pieces = line.split("sha256:");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str("sha256:");
        match piece.split_at_checked(64) {
            Some((hex, rest)) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                let _ = write!(out, "{}…{rest}", &hex[..4]);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

/// The programs of `examples/hello`.
fn hello() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "-p", "polyarch-hello", "--"])
        .arg(directory.path())
        .current_dir(root())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "examples/hello must build");
    directory
}

/// What a team has in its registry: images as `docker buildx build` makes them, each an index with an attestation.
fn team_registry() -> Lab {
    let lab = Lab::builder().tls(true).auth(Auth::bearer("you", "secret")).start();
    let image = |platform| images::image(platform, 2, Flavour::Oci);
    for (tag, platforms) in
        [("v1", &["linux/amd64", "linux/arm64"][..]), ("v1-amd64", &["linux/amd64"]), ("v1-arm64", &["linux/arm64"])]
    {
        let images: Vec<_> = platforms.iter().copied().map(image).collect();
        images::index_with_attestations(&images).push(&lab, "team/app", Some(tag));
    }
    lab
}

/// Where a page is run.
struct Page {
    directory: TempDir,
    /// What the page calls something, and what it is called here. Where that has two names the first is used.
    names: Vec<(String, String)>,
    servers: Vec<Child>,
    /// What the command before ended with.
    code: i32,
    _team: Option<Lab>,
}

impl Drop for Page {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Page {
    fn open(text: &str, hello: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        fs::create_dir_all(home.join("bin")).unwrap();
        for program in fs::read_dir(hello).unwrap().map(Result::unwrap) {
            fs::copy(program.path(), home.join("bin").join(program.file_name())).unwrap();
        }
        let mut names = vec![("/home/you".to_owned(), home.display().to_string())];
        // Lists are in the order of names, so these must be in the order of what they stand for.
        let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let mut ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        ports.sort_unstable();
        for (written, port) in (5000..5004).zip(ports) {
            for separator in [':', '-'] {
                names.push((format!("127.0.0.1{separator}{written}"), format!("127.0.0.1{separator}{port}")));
            }
        }
        let team = text.contains(TEAM).then(team_registry);
        if let Some(lab) = &team {
            names.push((TEAM.to_owned(), format!("localhost:{}", lab.port())));
            names.push((TEAM.to_owned(), lab.host()));
        }
        Self { directory, names, servers: Vec::new(), code: 0, _team: team }
    }

    /// A command of the page as it is meant here.
    fn command(&self, text: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_polyarch")).parent().unwrap();
        let path = std::env::join_paths(
            std::iter::once(binary.to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )
        .unwrap();
        let home = self.directory.path().join("home");
        let text = self.names.iter().fold(text.to_owned(), |text, (written, is)| text.replace(written, is));
        let mut command = Command::new("sh");
        command.arg("-c").arg(text).current_dir(&home).env_clear().env("PATH", path).env("HOME", home);
        command.stdin(Stdio::null());
        command
    }

    /// What was printed, as the page would write it.
    fn written(&self, log: &Path) -> String {
        let mut bytes = Vec::new();
        fs::File::open(log).unwrap().read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.names.iter().fold(text, |text, (written, is)| text.replace(is, written))
    }

    /// Runs an example: what it printed, and how it ended if it did.
    fn run(&mut self, example: &Example) -> (String, Option<ExitStatus>) {
        let log = self.directory.path().join(format!("{}.log", example.line));
        let file = fs::File::create(&log).unwrap();
        let server = example.command.strip_suffix('&');
        let text = match server {
            Some(text) => format!("exec {text}"),
            None => format!("(exit {})\n{}", self.code, example.command),
        };
        let mut command = self.command(&text);
        let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            let status = child.try_wait().unwrap();
            let ready = server.is_some()
                && matches(&example.expected, &self.written(&log).lines().collect::<Vec<_>>())
                && !example.expected.is_empty();
            if status.is_some() || ready || Instant::now() > deadline {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if server.is_some() {
            self.servers.push(child);
        } else if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.code = status.map_or(0, |status| status.code().unwrap_or(128));
        (self.written(&log), status)
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

/// Runs a page. What does not print what the page says, and the page as it should be.
fn run_page(text: &str, hello: &Path) -> (usize, Vec<String>, String) {
    let examples = examples(text);
    let mut page = Page::open(text, hello);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut printed_at = Vec::new();
    let mut failures = Vec::new();
    for (number, example) in examples.iter().enumerate() {
        let (printed, status) = page.run(example);
        let got: Vec<&str> = printed.lines().collect();
        let mut wrong = String::new();
        if !matches(&example.expected, &got) {
            let _ = write!(wrong, "printed:\n{printed}\nbut the page says:\n{}", example.expected.join("\n"));
            printed_at.push((example.place.clone(), got.iter().map(|line| abbreviated(line)).collect::<Vec<_>>()));
        }
        let server = example.command.ends_with('&');
        let explained = examples.get(number + 1).is_some_and(|next| next.command == "echo $?");
        match status {
            None if !server => wrong.push_str("\nIt did not end."),
            Some(status) if server => {
                let _ = write!(wrong, "\nIt ended: {status}.");
            }
            Some(status) if !status.success() && !explained => {
                let _ = write!(wrong, "\nIt failed: {status}. If that is meant, let `$ echo $?` follow.");
            }
            _ => {}
        }
        if !wrong.is_empty() {
            failures.push(format!("line {}: `{}` {wrong}", example.line + 1, example.command));
        }
    }
    for (place, printed) in printed_at.into_iter().rev() {
        lines.splice(place, printed);
    }
    (examples.len(), failures, lines.join("\n") + "\n")
}

#[test]
fn every_example_prints_what_its_page_says() {
    let hello = hello();
    let regenerate = std::env::var_os("POLYARCH_REGENERATE").is_some();
    let mut failures = Vec::new();
    let mut run = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        let (examples, wrong, corrected) = run_page(&text, hello.path());
        run += examples;
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if regenerate && corrected != text {
            fs::write(&path, corrected).unwrap();
            eprintln!("{name}: written anew where it was wrong");
        }
        failures.extend(wrong.into_iter().map(|wrong| format!("{name}, {wrong}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(run >= 40, "only {run} examples were found");
    eprintln!("{run} examples ran");
}

#[test]
fn the_comparison_can_fail() {
    let want = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&want("a\n…\nb…c"), &["a", "x", "y", "b123c"]));
    assert!(!matches(&want("a\nb"), &["a"]));
    assert!(!matches(&want("a"), &["a", "b"]));
    assert!(!matches(&want("sha256:…"), &["sha512:00"]));
    assert!(matches(&want("a   b"), &["a       b"]));
    assert!(!matches(&want("  a b"), &["    a b"]), "indentation counts");
    assert!(!matches(&want("a b"), &["a  b"]));
    assert_eq!(examples("```console\n$ a \\\n  b\nout\n\n$ c &\n```\n```sh\n$ no\n```").len(), 2);
}

#[test]
fn a_page_that_is_wrong_is_found_out() {
    let nothing = tempfile::tempdir().unwrap();
    let run = |text: &str| run_page(text, nothing.path());
    let right = "```console\n$ echo a; echo b >&2\na\nb\n\n$ false\n$ echo $?\n1\n$ pwd\n/home/you\n```\n";
    assert_eq!(run(right), (4, Vec::new(), right.to_owned()));

    let (_, wrong, corrected) = run("```console\n$ echo a; \\\n  echo b\nb\n\n$ true\nc\n```\n");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert_eq!(corrected, "```console\n$ echo a; \\\n  echo b\na\nb\n\n$ true\n```\n");

    let (_, wrong, _) = run("```console\n$ false\n```\n");
    assert!(wrong[0].contains("exit status: 1"), "a failure that the page does not show: {wrong:?}");
}
