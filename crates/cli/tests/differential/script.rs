//! Scenarios as text: one command per line.
//!
//! `R/` stands for the registry, `L/` for the same one under another name (`localhost`), `R/x@TAG@` for `R/x@` and the
//! digest that the tag had at the beginning. What stands in braces is for polyarch alone. A line that begins with `!` does
//! something to the registry or to the store; one with `@` is a whole command line instead of one of `manifest`.

use lab::{Auth, Fault, Quirks};

use crate::world::World;

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Plain HTTP.
    Plain,
    /// TLS, its authority trusted by `SSL_CERT_FILE`.
    Tls,
}

/// A scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) quirks: Quirks,
    pub(crate) auth: Auth,
    /// Whether the user has logged in, as `user` with `secret`.
    pub(crate) logged_in: bool,
    /// What goes wrong at the registry.
    pub(crate) faults: Vec<Fault>,
    /// Whether it is played with both programs in turn as well.
    pub(crate) mixed: bool,
    pub(crate) lines: Vec<String>,
}

impl Scenario {
    /// One on the plain registry.
    pub(crate) fn new(name: impl Into<String>, lines: &str) -> Self {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Self {
            name: name.into(),
            kind: Kind::Plain,
            quirks: Quirks::default(),
            auth: Auth::default(),
            logged_in: false,
            faults: Vec::new(),
            mixed: false,
            lines,
        }
    }

    pub(crate) fn tls(mut self) -> Self {
        self.kind = Kind::Tls;
        self
    }

    pub(crate) fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    pub(crate) fn auth(mut self, auth: impl Into<Auth>) -> Self {
        self.auth = auth.into();
        self
    }

    pub(crate) fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    pub(crate) fn logged_in(mut self) -> Self {
        self.logged_in = true;
        self
    }
}

/// One line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A command for both.
    Command { docker: Vec<String>, polyarch: Vec<String> },
    /// `!tag REPOSITORY TAG FROM`: points a tag elsewhere.
    Tag(String, String, String),
    /// `!delete REPOSITORY TAG`: deletes what a tag points to.
    Delete(String, String),
    /// `!drop REPOSITORY TAG`: deletes the last layer of an image.
    DropLayer(String, String),
    /// `!file LIST IMAGE TEXT`: writes a file of a local list.
    File(String, String, String),
    /// `!empty LIST`: makes a local list without images.
    Empty(String),
    /// `!plain LIST`: makes a file where a local list would be.
    Plain(String),
}

impl Step {
    /// Reads a line.
    pub(crate) fn read(line: &str, world: &World) -> Self {
        if let Some(rest) = line.strip_prefix('!') {
            let words = split(rest, world);
            let word = |n: usize| words.get(n).map(|word| word.0.clone()).unwrap_or_default();
            return match word(0).as_str() {
                "tag" => Self::Tag(word(1), word(2), word(3)),
                "delete" => Self::Delete(word(1), word(2)),
                "drop" => Self::DropLayer(word(1), word(2)),
                "file" => Self::File(word(1), word(2), word(3)),
                "empty" => Self::Empty(word(1)),
                "plain" => Self::Plain(word(1)),
                other => panic!("no such line: !{other}"),
            };
        }
        let (head, rest) = match line.strip_prefix('@') {
            Some(rest) => (Vec::new(), rest),
            None => (vec!["manifest".to_owned()], line),
        };
        let words = split(rest, world);
        let of = |polyarch: bool| {
            let own = words.iter().filter(|(_, for_polyarch)| polyarch || !for_polyarch).map(|(word, _)| word.clone());
            head.iter().cloned().chain(own).collect()
        };
        Self::Command { docker: of(false), polyarch: of(true) }
    }
}

/// Words with single quotes, and whether a word is for polyarch alone.
fn split(line: &str, world: &World) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut quoted, mut braced) = (false, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '{' if !quoted && word.is_none() => braced = true,
            '}' if !quoted && braced => {
                words.extend(word.take().map(|word| (expand(&word, world), true)));
                braced = false;
            }
            ' ' if !quoted => words.extend(word.take().map(|word| (expand(&word, world), braced))),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.map(|word| (expand(&word, world), false)));
    words
}

fn expand(word: &str, world: &World) -> String {
    let (host, rest) = match (word.strip_prefix("R/"), word.strip_prefix("L/")) {
        (Some(rest), _) => (world.lab.host(), rest),
        (_, Some(rest)) => (format!("localhost:{}", world.lab.port()), rest),
        _ => return word.to_owned(),
    };
    // `repository[:tag]@TAG@`
    if let Some((name, tag)) = rest.strip_suffix('@').and_then(|rest| rest.rsplit_once('@')) {
        let repository = name.split(':').next().unwrap_or(name);
        let digest = world.lab.resolve(repository, tag).unwrap_or_else(|| panic!("no {repository}:{tag}"));
        return format!("{host}/{name}@{digest}");
    }
    format!("{host}/{rest}")
}

/// The name of a list's directory, or of an image's file, in docker's store.
pub(crate) fn file_name(reference: &str) -> String {
    reference.replace(':', "-").replace('/', "_")
}
