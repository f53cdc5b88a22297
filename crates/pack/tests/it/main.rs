//! Packing into real stores: the local one and layouts.

mod base;
mod binaries;
mod pack;
#[cfg(target_os = "linux")]
mod unpack;
mod workshop;
