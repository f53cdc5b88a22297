//! The pure image model: references, digests, media types, platforms, descriptors, documents.

#![doc = include_str!("../README.md")]

mod config;
mod descriptor;
mod digest;
mod document;
mod editor;
mod matcher;
mod media_type;
mod null;
mod platform;
mod reference;
mod spans;
mod strict;
mod text;

pub use config::{ConfigError, ImageConfig};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use document::{Document, DocumentError, IndexView, ManifestView, View};
pub use editor::{DocumentEditor, EditError, IndexEditor, PlatformEdit};
pub use matcher::{Candidate, PlatformMatcher, Selection, Verdict};
pub use media_type::{MediaKind, MediaType};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, RegistryHost, RepositoryName, Tag, Target};
pub use strict::{Limits, StrictError, check_json};
