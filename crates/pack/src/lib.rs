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

pub use check::Warning;
pub use error::PackError;
pub use layer::Compression;
pub use pack::pack;
pub use packed::{ImageReport, Naming, NewLayer, PackReport, Packed, PackedImage};
pub use request::{Base, Binary, FileSpec, ImagePath, PackRequest, Port, SpecError, Variable, platform_tag};
