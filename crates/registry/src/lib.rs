//! The registry server: the distribution protocol over the content store.
#![doc = include_str!("../README.md")]

mod access;
mod access_log;
mod answer;
mod audit;
mod author;
mod blobs;
mod body;
mod conditions;
mod direct;
mod disk_space;
mod events;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod history;
mod limits;
mod listing;
mod maintenance;
mod manifests;
mod metrics;
mod network;
mod newcomers;
mod query;
mod range;
mod read_only;
mod references;
mod refusal;
mod route;
mod server;
mod service;
mod tls;
mod uploads;
mod webhooks;

pub use access::{
    Access, Action, External, Identities, Identity, IdentityError, IssuerError, IssuerOptions, Issuers, KeyError,
    Policy, PolicyError, Rights, SigningKey, TokenAlgorithm, TokenOptions, TokenOptionsError, TokenServer,
    UnknownAlgorithm,
};
pub use access_log::{AccessLog, AccessLogFormat, LogError};
pub use audit::{Audit, AuditSync};
pub use disk_space::DiskSpace;
pub use limits::{ForwardedHeader, Limits, Pace, Rate, TrustedProxies};
pub use maintenance::Collection;
pub use network::{Network, NetworkError};
pub use read_only::ReadOnly;
pub use references::{PatternError, ReferenceRules};
pub use server::{Options, Server, ServerError};
pub use tls::{SelfSigned, Tls, TlsError};
pub use webhooks::{
    Allowed, AllowedError, Endpoint, EndpointError, QueueCounts, WebhookError, WebhookOptions, Webhooks,
};
