//! Image stores: registries, the local store and OCI layouts as equal citizens.
//!
//! An [`ImageStore`] is one repository in one medium. Every command that looks at, makes or moves an image speaks to
//! this trait and cannot tell which medium it got.

mod error;
mod traits;

pub use error::{StoreError, StoreErrorKind};
pub use traits::{
    BlobOrigin, BlobPlacement, BlobReader, DeleteDocuments, ImageStore, ListReferrers, ListTags, Medium, PutReport,
};
