//! The built binary from outside: what is printed where, and what it ends with.

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod basics;
mod bench;
mod images;
mod keep;
mod login;
mod manifest;
mod plugin;
mod serve;
mod serve_access;
mod serve_settings;
mod serve_systemd;
mod support;
mod transcript;
mod usage;
