//! Prebuilt binaries to a multi-platform image.
//!
#![doc = include_str!("../README.md")]

mod base;
mod check;
mod config;
mod error;
mod layers;
mod pack;
mod packed;
mod raw;
mod request;
mod spool;
mod tree;

// Only Linux has the calls that make unpacking safe.
#[cfg(target_os = "linux")]
mod unpack;

pub use check::Warning;
pub use error::PackError;
pub use layer::Compression;
pub use pack::pack;
pub use packed::{ImageReport, Naming, NewLayer, PackReport, Packed, PackedImage};
pub use request::{Base, Binary, FileSpec, ImagePath, PackRequest, Port, SpecError, Variable, platform_tag};

#[cfg(target_os = "linux")]
pub use unpack::{Chosen, UnpackImageError, UnpackReport, UnpackRequest, choose, unpack};
