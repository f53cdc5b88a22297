//! The command line of polyarch.
//!
#![doc = include_str!("../README.md")]

mod args;
mod commands;
mod context;
mod exit;
mod failures;
mod manifest;
mod output;
mod program;
pub mod reference;
mod signals;
mod start;

pub use exit::Exit;
pub use program::Program;
pub use start::start;
