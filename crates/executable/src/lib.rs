//! What machine an executable is for, as a platform; the interpreter and the libraries it asks for.
#![doc = include_str!("../README.md")]

mod agreement;
mod arm;
mod elf;
mod error;
mod macho;
mod pe;
mod source;

use std::io::{Cursor, Read, Seek};

use image::Platform;

use crate::source::Source;

pub use agreement::Disagreement;
pub use error::ExecutableError;

/// An executable file, as its headers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Executable {
    /// Format of the file.
    pub format: Format,
    /// Whether it is to be run or to be loaded by another.
    pub kind: Kind,
    /// What it is for; more than one only in a Mach-O file with several architectures. A variant is stated if the file
    /// says which one it needs, so that here, unlike elsewhere, `arm` does not mean `arm/v7`.
    pub platforms: Vec<Platform>,
    /// Whether the file says for which operating system it is. A static ELF program may not: then it is taken for one
    /// of Linux.
    pub system_is_certain: bool,
    /// Path of the dynamic linker that must be there for it to run.
    pub interpreter: Option<String>,
    /// Shared libraries that it names, each once, in its order.
    pub libraries: Vec<String>,
    /// It names neither interpreter nor libraries.
    pub is_static: bool,
    /// What else the headers tell of the CPU and calling convention, in words: `hard float`.
    pub traits: Vec<&'static str>,
}

/// Format of an executable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Linux, the BSDs, Solaris, Android.
    Elf,
    /// Windows.
    Pe,
    /// macOS, iOS.
    MachO,
    /// WebAssembly.
    Wasm,
}

/// What an executable file is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To be run.
    Program,
    /// To be loaded by a program.
    Library,
}

impl Executable {
    /// Reads the headers of a file in memory.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExecutableError> {
        Self::read(Cursor::new(bytes))
    }

    /// Reads the headers of a file, and no more than 16 MiB whatever they say.
    pub fn read(reader: impl Read + Seek) -> Result<Self, ExecutableError> {
        let mut source = Source::new(reader)?;
        let start = source.some(0, 256, "first bytes")?;
        match start.as_slice() {
            [0x7f, b'E', b'L', b'F', ..] => elf::parse(&mut source),
            [b'M', b'Z', ..] => pe::parse(&mut source),
            [0, b'a', b's', b'm', ..] => Ok(Self::wasm()),
            [b'#', b'!', line @ ..] => Err(ExecutableError::Script { interpreter: script_interpreter(line) }),
            start if macho::layout(start).is_some() => macho::parse_slice(&mut source, 0),
            start if macho::is_fat(start) => macho::parse_fat(&mut source),
            [] => Err(ExecutableError::Empty),
            start => Err(ExecutableError::unknown(start)),
        }
    }

    /// A module states no system; it agrees with whichever is meant.
    fn wasm() -> Self {
        Self {
            format: Format::Wasm,
            kind: Kind::Program,
            platforms: vec![Platform::new("wasip1", "wasm")],
            system_is_certain: false,
            interpreter: None,
            libraries: Vec::new(),
            is_static: true,
            traits: Vec::new(),
        }
    }
}

fn script_interpreter(line: &[u8]) -> String {
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).split_whitespace().next().unwrap_or_default().to_owned()
}
