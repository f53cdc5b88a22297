//! The distribution protocol as a client.
//!
#![doc = include_str!("../README.md")]

mod client;
mod codes;
mod error;
mod escape;
mod network;
mod options;
mod redact;
mod repository;
mod scope;

pub use client::{CredentialSource, RegistryClient};
pub use codes::RegistryCode;
pub use error::{ClientError, ErrorKind, Verb};
pub use network::{CertificateProblem, NetworkFailure, Phase};
pub use options::{ClientOptions, Pacing, RetryPolicy, Timeouts, Windows};
pub use redact::RedactedUrl;
pub use repository::{
    BlobInfo, BlobSource, BlobStream, Mount, Placement, PutManifest, RawManifest, Repository, SinglePost, SourceError,
    SourceStream, UploadSession,
};
pub use scope::Access;
