//! What registries have been attacked with, and what would exhaust one. `docs/registry-conformance.md` says which test is
//! about what.

extern crate content as polyarch_content; // as the simulated disk calls it

#[path = "../support/mod.rs"]
mod support;

mod documents;
mod exhaustion;
mod listings;
mod requests;
mod rights;

/// Whether the long tests run, too.
fn long() -> bool {
    std::env::var_os("POLYARCH_LONG").is_some()
}
