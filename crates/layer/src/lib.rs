//! Layers as byte streams: byte-exact tar, compression, digest and diff ID in one pass.
#![doc = include_str!("../README.md")]

mod compression;
mod entry;
mod header;
mod layer;
mod path;
mod reader;
mod writer;

pub use compression::{Compression, Decompressor, TooLong, UnknownCompression};
pub use entry::{Device, Entry, EntryKind};
pub use layer::{Layer, LayerReader, LayerWriter};
pub use path::PathError;
pub use reader::{Content, TarError, TarLimits, TarReader};
pub use writer::{TarWriter, WriteError};
