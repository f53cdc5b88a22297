//! One settings model: files, environment and flags; credentials and credential helpers.
//!
#![doc = include_str!("../README.md")]

mod certs;
mod credential_store;
mod credentials;
mod environment;
mod paths;
mod proxy;
mod secret;

pub use certs::{HostTls, TlsFiles, TlsFilesError, TrustRoots};
pub use credential_store::{CredentialStore, Stored};
pub use credentials::{CredentialError, Credentials, HUB_KEY, server_key};
pub use environment::{EnvVar, Environment, Group};
pub use paths::{PathFlags, Paths, PathsError};
pub use proxy::{ProxyRules, ProxyServer};
pub use secret::Secret;
