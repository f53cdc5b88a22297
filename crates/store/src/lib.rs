//! Image stores: registries, the local store and OCI layouts as equal citizens.
#![doc = include_str!("../README.md")]

mod error;
mod layout;
mod local;
mod location;
mod reader;
mod referrer;
mod registry;
mod stores;
mod traits;

pub use error::{StoreError, StoreErrorKind};
pub use layout::{LayoutError, LayoutStore};
pub use local::LocalStore;
pub use location::{Location, LocationError};
pub use registry::RegistryStore;
pub use stores::Stores;
pub use traits::{
    BlobOrigin, BlobPlacement, BlobReader, DeleteDocuments, ImageStore, ListReferrers, ListTags, Medium, PutReport,
};
