//! The registry server: the distribution protocol over the content store.
#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod blobs;
mod body;
mod conditions;
mod listing;
mod manifests;
mod query;
mod range;
mod refusal;
mod route;
mod server;
mod service;
mod tls;

pub use access::{
    Access, Action, Identities, Identity, IdentityError, KeyError, Policy, PolicyError, Rights, SigningKey,
    TokenOptions, TokenOptionsError, TokenServer,
};
mod uploads;

pub use server::{Options, Server, ServerError};
pub use tls::{SelfSigned, Tls, TlsError};
