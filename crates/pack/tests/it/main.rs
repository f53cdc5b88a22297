//! Packing into real stores: the local one and layouts.

mod base;
mod binaries;
mod pack;
mod workshop;
