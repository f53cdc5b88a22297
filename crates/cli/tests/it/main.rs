//! The built binary from outside: what is printed where, and what it ends with.

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod basics;
mod plugin;
mod usage;
