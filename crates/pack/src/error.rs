//! Why an image could not be packed.

use std::path::PathBuf;

use executable::{Disagreement, ExecutableError};
use image::{Platform, ReferenceError};
use store::StoreError;
use transfer::TransferError;

/// Why an image could not be packed. The texts are fragments that read well after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Nothing was given.
    #[error("pack nothing: give at least one `PLATFORM=PATH`")]
    NoBinaries,
    /// Two binaries for one platform.
    #[error("pack two binaries for `{platform}`: `{}` and `{}`", shown(.first), shown(.second))]
    PlatformTwice {
        /// The platform.
        platform: Box<Platform>,
        /// The binary that was given first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// Layers for Windows have a form of their own.
    #[error("pack for `{platform}`: layers for Windows are not supported yet")]
    Windows {
        /// The platform.
        platform: Box<Platform>,
    },
    /// A file on this machine.
    #[error("read `{}`", shown(.path))]
    Read {
        /// Which.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// A file that somebody writes to.
    #[error("pack `{}`: it changed while it was read", shown(.path))]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// Neither a file nor a directory nor a symbolic link.
    #[error("pack `{}`: it is {what}", shown(.path))]
    SpecialFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A name that is not UTF-8.
    #[error("pack `{}`: its name is not UTF-8", shown(.path))]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// Two files for one place.
    #[error("put both `{}` and `{}` at `{place}`", shown(.first), shown(.second))]
    SamePlace {
        /// The place in the image.
        place: String,
        /// The file that came first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// A file where the root is.
    #[error("put `{}` at `/`: that is the root of the image", shown(.path))]
    Root {
        /// The file.
        path: PathBuf,
    },
    /// A binary that is no executable.
    #[error("pack `{}` for `{platform}`", shown(.path))]
    NotExecutable {
        /// Which.
        path: PathBuf,
        /// What it was said to be for.
        platform: Box<Platform>,
        /// What it is.
        source: ExecutableError,
    },
    /// A binary for another platform.
    #[error("pack `{}` for `{platform}`", shown(.path))]
    WrongPlatform {
        /// Which.
        path: PathBuf,
        /// What it was said to be for.
        platform: Box<Platform>,
        /// Both platforms.
        source: Disagreement,
    },
    /// The base could not be read.
    #[error("read the base image {name}")]
    BaseRead {
        /// The base.
        name: String,
        /// What came back.
        source: Box<TransferError>,
    },
    /// The base has no image for a platform.
    #[error("put `{platform}` on the base image {name}: it has {}", platforms(.available))]
    BaseLacks {
        /// The base.
        name: String,
        /// The platform.
        platform: Box<Platform>,
        /// What the base has.
        available: Vec<Platform>,
    },
    /// The base is not an image that others can be put on.
    #[error("put `{platform}` on the base image {name}: {reason}")]
    BaseBroken {
        /// The base.
        name: String,
        /// The platform.
        platform: Box<Platform>,
        /// Why.
        reason: String,
    },
    /// A layer could not be written.
    #[error("write the layer of {what}")]
    Layer {
        /// Of what.
        what: String,
        /// What came back.
        source: Box<layer::WriteError>,
    },
    /// `SOURCE_DATE_EPOCH` is not a time.
    #[error("use {0} seconds since 1970 as a time: it is behind the year 9999")]
    Epoch(u64),
    /// The tag of one platform.
    #[error("make a tag for `{platform}` of `{tag}`")]
    Tag {
        /// The tag.
        tag: String,
        /// The platform.
        platform: Box<Platform>,
        /// Why not.
        source: ReferenceError,
    },
    /// A document that was made is not acceptable: too long, usually.
    #[error("make the {what}: {reason}")]
    Document {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// Writing to the store failed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl PackError {
    /// What a store said, where it was a store that failed.
    pub fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::BaseRead { source, .. } => source.store_error(),
            Self::Transfer(error) => error.store_error(),
            _ => None,
        }
    }

    /// What a person can try.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::WrongPlatform { source, .. } => {
                let found = source.found.first()?;
                return Some(format!("say `{found}=…` if the binary is right, or build it for `{}`", source.wanted));
            }
            Self::NotExecutable { source: ExecutableError::Script { .. }, .. } => {
                "a script is added with `--file`, on a `--base` that has its interpreter"
            }
            Self::BaseLacks { .. } => "leave the platform out, or take another base",
            Self::BaseRead { source, .. } => return source.hint(),
            Self::Transfer(error) => return error.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A path of this machine without control characters.
fn shown(path: &std::path::Path) -> String {
    path.to_string_lossy().chars().flat_map(escape).collect()
}

fn escape(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

fn platforms(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platforms at all".to_owned();
    }
    platforms.iter().map(|platform| format!("`{platform}`")).collect::<Vec<_>>().join(", ")
}
