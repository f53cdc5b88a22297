//! Directories from which every step is taken without following links.
//!
//! On Unix each step starts at an open directory, so that nothing can be put in the way between the look and the step.
//! Elsewhere the look comes first: links are refused, but somebody who changes the layout at that moment is not kept
//! out.

#[cfg(unix)]
mod by_handle;
#[cfg(not(unix))]
mod by_path;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

#[cfg(unix)]
pub(crate) use by_handle::{Directory, open_or_create, permissions};
#[cfg(not(unix))]
pub(crate) use by_path::{Directory, open_or_create, permissions};

use super::error::LayoutError;

/// A file that was opened, if it is one; with its size.
fn regular(file: File, path: PathBuf) -> Result<(File, u64), LayoutError> {
    let metadata = file.metadata().map_err(LayoutError::io(&path))?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(LayoutError::NotA { path, expected: "file" }) }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}
