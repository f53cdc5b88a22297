//! The distribution protocol as a client.
//!
#![doc = include_str!("../README.md")]

mod call;
mod challenge;
mod client;
mod codes;
mod doorway;
mod download;
mod error;
mod escape;
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod lanes;
mod learnt;
mod listing;
mod location;
mod manifests;
mod network;
mod options;
mod pause;
mod payload;
mod push;
mod redact;
mod referrers;
mod registry;
mod repository;
mod scope;
mod sniff;
mod tls;
mod token;
mod transport;
mod uploads;
mod wire;

pub use client::{CredentialSource, RegistryClient};
pub use codes::RegistryCode;
pub use doorway::Doorway;
pub use download::BlobStream;
pub use error::{ClientError, ErrorKind, Verb};
pub use history::{HistoryPage, TagMove};
pub use network::{CertificateProblem, NetworkFailure, Phase};
pub use options::{ClientOptions, Pacing, RetryPolicy, Timeouts, Windows};
pub use redact::RedactedUrl;
pub use repository::{
    BlobInfo, BlobSource, Mount, Placement, PutManifest, RawManifest, Repository, SinglePost, SourceError,
    SourceStream, TagWas, UploadSession,
};
pub use scope::Access;
pub use tls::believing;
