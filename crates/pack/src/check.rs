//! Whether each binary is what its platform says.

use std::fs::File;
use std::io::BufReader;

use executable::Executable;
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
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Dynamic { path, platform, interpreter, libraries } = self;
        let escape = |text: &str| text.chars().flat_map(char::escape_debug).collect::<String>();
        write!(f, "`{}` for `{platform}` is linked dynamically: ", escape(&path.to_string_lossy()))?;
        let needs: Vec<String> =
            interpreter.iter().chain(libraries).map(|name| format!("`{}`", escape(name))).collect();
        let (are, them) = if needs.len() == 1 { ("is", "it") } else { ("are", "them") };
        write!(f, "it needs {}, which {are} not in the image: ", needs.join(", "))?;
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
    if has_base || executable.is_static {
        return Ok(None);
    }
    Ok(Some(Warning::Dynamic {
        path: binary.path.clone(),
        platform: binary.platform.clone(),
        interpreter: executable.interpreter,
        libraries: executable.libraries,
    }))
}
