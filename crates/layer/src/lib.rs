//! Layers as byte streams: byte-exact tar, compression, digest and diff ID in one pass.
#![doc = include_str!("../README.md")]

mod compression;
mod entry;
mod header;
mod layer;
mod path;
mod reader;
mod writer;

// Only Linux has the calls that make unpacking safe; elsewhere layers are written, read and sent on, not unpacked.
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
mod unpack;

pub use compression::{Compression, Decompressor, TooLong, UnknownCompression};
pub use entry::{Device, Entry, EntryKind};
pub use layer::{Layer, LayerReader, LayerWriter};
pub use path::PathError;
pub use reader::{Content, TarError, TarLimits, TarReader};
pub use writer::{TarWriter, WriteError};

#[cfg(target_os = "linux")]
pub use unpack::{Links, SpecialFiles, UnpackError, UnpackOptions, Unpacked, unpack};
