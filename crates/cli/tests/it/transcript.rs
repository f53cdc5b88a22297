//! Command lines and all that they print, kept in `transcripts/` and compared.
//!
//! `POLYARCH_REGENERATE=1 cargo test -p polyarch-cli --test it` writes them anew; what changed is then seen in the diff.
//! What differs from run to run is named instead: registries, directories, and digests, numbered as they appear, so that
//! it still shows which is which.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::sandbox::{Run, Sandbox};

/// A transcript in the making.
pub(crate) struct Transcript {
    name: &'static str,
    pub(crate) user: Sandbox,
    names: Vec<(String, String)>,
    text: String,
}

impl Transcript {
    /// One for a user who has nothing.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, user: Sandbox::new(), names: Vec::new(), text: String::new() }
    }

    /// Shows `what` as `name`, and reads `name` in command lines as `what`.
    pub(crate) fn call(&mut self, what: impl Into<String>, name: &str) -> &mut Self {
        self.names.push((what.into(), name.to_owned()));
        self
    }

    /// A heading.
    pub(crate) fn about(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.text, "# {text}\n");
        self
    }

    /// Runs polyarch with a line of words, single quotes as in a shell, and takes down what it prints.
    pub(crate) fn run(&mut self, line: &str) -> Run {
        self.run_reading(line, "")
    }

    /// The same with something on standard input.
    pub(crate) fn run_reading(&mut self, line: &str, input: &str) -> Run {
        let mut typed = line.to_owned();
        for (what, name) in &self.names {
            typed = typed.replace(name, what);
        }
        let words = split(&typed);
        let run = self.user.polyarch_reading(&words.iter().map(String::as_str).collect::<Vec<_>>(), input);
        let _ = writeln!(self.text, "$ polyarch {line}\n{}", self.filtered(&run.shown()));
        run
    }

    fn filtered(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (what, name)| text.replace(what, name))
    }

    /// Compares, or writes.
    #[track_caller]
    pub(crate) fn finish(&self) {
        let got = name_digests(&self.text);
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts").join(format!("{}.txt", self.name));
        if std::env::var_os("POLYARCH_REGENERATE").is_some() {
            std::fs::write(&path, got).expect("the transcript can be written");
            return;
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            got == want,
            "`{}` is not what happened; POLYARCH_REGENERATE=1 writes it anew. What happened:\n{got}",
            path.display()
        );
    }
}

/// Words with single quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Replaces digests, in full or by their first twelve characters, by their numbers in the order of appearance.
fn name_digests(text: &str) -> String {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut rest = text;
    let mut full = String::new();
    while let Some(at) = rest.find("sha256:") {
        let (before, after) = rest.split_at(at + "sha256:".len());
        full.push_str(before);
        match after.get(..64).filter(|hex| is_hex(hex)) {
            Some(hex) => {
                let next = numbers.len() + 1;
                let number = *numbers.entry(hex.to_owned()).or_insert(next);
                let _ = write!(full, "[{number}]");
                rest = &after[64..];
            }
            None => rest = after,
        }
    }
    full.push_str(rest);
    for (hex, number) in &numbers {
        full = full.replace(&hex[..12], &format!("[{number}]        "));
    }
    full
}
