//! The load generator against registries of this process.

mod errors;
mod requests;
mod server;
mod support;
