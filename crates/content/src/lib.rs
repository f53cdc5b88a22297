//! Content-addressed blobs and their metadata: the one store behind the command line and the registry.
#![doc = include_str!("../README.md")]

mod blob_store;
mod directory;
pub mod disk;
mod error;
mod garbage;
mod history;
mod identity;
mod metadata_store;
mod problem;
mod repair;
pub mod sqlite;
mod store;
mod upkeep;
mod uploads;
mod verify;

pub use blob_store::{
    BlobBytes, BlobStore, BlobWriter, ByteSource, ByteStream, Claim, Placed, Placement, Resumed, Space,
};
pub use disk::BlobFile;
pub use error::{ContentError, ReferenceProblem, ReferenceReason, SourceError};
pub use garbage::{
    CollectionPhase, CollectionPosition, CollectionStep, Doomed, GcAction, GcItem, GcKind, GcOptions, GcReport, Kept,
};
pub use history::{TagMove, instant, instant_text};
pub use identity::{RepositoryId, Scope, StageId, UploadId};
pub use metadata_store::{
    BlobContent, BlobRecord, DeleteOptions, DocumentRecord, MetadataStore, Page, PutOptions, PutOutcome,
    ReferencePolicy, Referrer, StoredDocument, TagCondition, Upload, UploadContent,
};
pub use problem::Problem;
pub use repair::{Mended, RepairReport};
pub use store::{ContentStore, Options};
pub use upkeep::{BlobUpkeep, Leftover, LeftoverKind, MetadataCheck, MetadataUpkeep};
pub use verify::{DeletedBytes, VerifyReport};
