//! Why a file is not taken for an executable.

use crate::Format;

/// Why a file is not taken for an executable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutableError {
    /// The file could not be read.
    #[error("reading failed: {0}")]
    Read(#[source] std::io::Error),
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// No format that is known.
    #[error("not an executable of a known format: it starts with `{start}`")]
    Unknown {
        /// The first bytes in hexadecimal.
        start: String,
    },
    /// A text that another program runs: its platform is that program's.
    #[error("a script, run by `{}`: no platform follows from it", interpreter.escape_debug())]
    Script {
        /// What stands behind `#!`.
        interpreter: String,
    },
    /// An object file or a core dump.
    #[error("not a program: {what}")]
    NotAProgram {
        /// What it is.
        what: &'static str,
    },
    /// A machine that has no name as a platform.
    #[error("{format} file for a machine that is not known: number {machine}")]
    Machine {
        /// Format of the file.
        format: Format,
        /// Number of the machine in that format.
        machine: u32,
    },
    /// A header points behind the end of the file.
    #[error("cut off: the {what} should be at byte {offset}, the file has {length}")]
    Truncated {
        /// What should be there.
        what: &'static str,
        /// Where, in bytes.
        offset: u64,
        /// Length of the file in bytes.
        length: u64,
    },
    /// A header asks for more than any real file has.
    #[error("the headers ask for too much: {what}")]
    TooMuch {
        /// What was to be read.
        what: &'static str,
    },
    /// A header that makes no sense.
    #[error("{format} file with a broken header: {what}")]
    Malformed {
        /// Format of the file.
        format: Format,
        /// What is wrong.
        what: &'static str,
    },
}

impl ExecutableError {
    pub(crate) fn unknown(start: &[u8]) -> Self {
        let start: Vec<_> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self::Unknown { start: start.join(" ") }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Elf => "ELF",
            Self::Pe => "PE",
            Self::MachO => "Mach-O",
            Self::Wasm => "WebAssembly",
        })
    }
}
