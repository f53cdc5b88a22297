//! The built binary against registries that mean no good, and files that are not what they should be: one clear error
//! each, soon, with the exit code that is documented, and nothing gets out or stays behind that should not.

// Signals, pipes and links are what much of this is about.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "what a run said is shown where its test fails")]

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod answers;
mod auth;
mod documents;
mod files;
mod headers;
mod interrupts;
mod layouts;
mod leaks;
mod measured;
mod raw;
mod resume;
mod texts;
mod verdict;
mod world;
