//! Whether each binary is what its platform says.

use std::fs::File;
use std::io::BufReader;

use executable::{Executable, Kind};
use image::Platform;
use serde::Serialize;

use crate::error::PackError;
use crate::request::Binary;
use crate::tree::read;

/// Something that is probably not meant, said once per binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// A binary that needs a dynamic linker, in an image that has none.
    Dynamic {
        /// The file.
        path: std::path::PathBuf,
        /// Its platform.
        platform: Platform,
        /// The dynamic linker that it asks for.
        interpreter: Option<String>,
        /// The libraries that it asks for.
        libraries: Vec<String>,
    },
    /// A library where a program should be.
    Library {
        /// The file.
        path: std::path::PathBuf,
        /// Its platform.
        platform: Platform,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let escape = |text: &str| text.chars().flat_map(char::escape_debug).collect::<String>();
        let (Self::Dynamic { path, platform, .. } | Self::Library { path, platform }) = self;
        write!(f, "`{}` for `{platform}` ", escape(&path.to_string_lossy()))?;
        let Self::Dynamic { interpreter, libraries, .. } = self else {
            return f.write_str("looks like a shared library: it may not run");
        };
        let needs: Vec<String> =
            interpreter.iter().chain(libraries).map(|name| format!("`{}`", escape(name))).collect();
        let (are, them) = if needs.len() == 1 { ("is", "it") } else { ("are", "them") };
        write!(f, "is linked dynamically: it needs {}, which {are} not in the image: ", needs.join(", "))?;
        write!(f, "give a `--base` that has {them}, or link statically")
    }
}

/// Reads the headers of a binary. The error names both platforms.
pub(crate) fn check(binary: &Binary, has_base: bool) -> Result<Option<Warning>, PackError> {
    let file = read(&binary.path, File::open(&binary.path))?;
    let executable = Executable::read(BufReader::new(file)).map_err(|source| PackError::NotExecutable {
        path: binary.path.clone(),
        platform: Box::new(binary.platform.clone()),
        source,
    })?;
    executable.check(&binary.platform).map_err(|source| PackError::WrongPlatform {
        path: binary.path.clone(),
        platform: Box::new(binary.platform.clone()),
        source,
    })?;
    let (path, platform) = (binary.path.clone(), binary.platform.clone());
    if executable.kind == Kind::Library {
        return Ok(Some(Warning::Library { path, platform }));
    }
    if has_base || executable.is_static {
        return Ok(None);
    }
    let Executable { interpreter, libraries, .. } = executable;
    Ok(Some(Warning::Dynamic { path, platform, interpreter, libraries }))
}
