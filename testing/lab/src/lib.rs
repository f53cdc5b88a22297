#![doc = include_str!("../README.md")]

mod answer;
mod auth;
mod builder;
mod content;
mod fault;
pub mod images;
mod lab;
mod log;
mod manifests;
mod quirks;
mod routes;
mod send;
mod serve;
mod tls;
mod uploads;
mod wire;

pub use auth::{Auth, Bearer, TokenField};
pub use builder::{Builder, Latency};
pub use fault::{Fault, FaultKind};
pub use lab::Lab;
pub use log::{Request, dependency_depth};
pub use quirks::{Location, Mounts, Quirks, RateLimit};
pub use tls::{Alpn, Certificate, Tls};
