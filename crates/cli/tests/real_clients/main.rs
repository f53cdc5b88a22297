//! Docker Engine, containerd, podman, skopeo, docker's CLI and another registry, each as its makers built it, against
//! polyarch and its registry.
//!
//! ```text
//!   docker ─ dockerd ─ containerd ─┐             ┌─ polyarch pack, manifest, push, pull
//!   podman ────────────────────────┼─ polyarch ──┤
//!   skopeo ────────────────────────┘   serve     └─ docker-registry
//! ```
//!
//! A client that this machine lacks is named and what needs it is left out; with `POLYARCH_REAL=1`, which
//! `./test.sh --real` sets once it has installed them, that is a failure. Each test has servers, stores and a daemon of
//! its own on free loopback ports, and sees to it that no process, mount or control group of them stays.

#![cfg(target_os = "linux")]

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod clients;
mod engine;
mod images;
mod podman;
mod process;
mod skopeo;
mod world;

mod copies;
mod drafts;
mod lists;
mod plugin;
mod round_trips;
mod secured;
