//! One settings model: files, environment and flags; credentials and credential helpers.
//!
#![doc = include_str!("../README.md")]

mod auth_file;
mod auths;
mod certs;
mod config_edit;
mod config_write;
mod credential_helper;
mod credential_store;
mod credentials;
mod docker_config;
mod environment;
#[doc(hidden)]
pub mod fuzzing;
mod json;
mod login;
mod paths;
mod proxy;
mod secret;
pub mod serve;
mod shown;

pub use certs::{HostTls, TlsFiles, TlsFilesError, TrustRoots};
pub use credential_helper::HelperFailure;
pub use credential_store::CredentialStore;
pub use credentials::{CredentialError, Credentials, HUB_KEY, server_key};
pub use environment::{EnvVar, Environment, Group};
pub use login::Stored;
pub use paths::{PathFlags, Paths, PathsError};
pub use proxy::{ProxyRules, ProxyServer};
pub use secret::Secret;
