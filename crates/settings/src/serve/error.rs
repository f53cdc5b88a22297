//! What is wrong with settings, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A place in a text, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Place {
    /// Where the byte `at` of a text stands.
    pub(super) fn at(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeSettingsError {
    /// The file cannot be read.
    #[error("read the settings file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Something in the file is not understood.
    #[error("read the settings file `{}`: {place}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// A variable has a value that it cannot have.
    #[error("read the variable `{name}`: {reason}, found `{found}`")]
    Variable {
        /// The variable.
        name: String,
        /// What was expected.
        reason: String,
        /// What is there, cut short.
        found: String,
    },
    /// A flag has a value that it cannot have.
    #[error("read the flag `--{flag}`: {reason}, found `{found}`")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What was expected.
        reason: String,
        /// What is there, cut short.
        found: String,
    },
    /// There is no place for data.
    #[error("find the data directory")]
    Paths(#[from] crate::PathsError),
    /// A path that cannot be written into a file.
    #[error("write `{name}` as TOML: the path is not text")]
    NotText {
        /// The setting.
        name: String,
    },
}
