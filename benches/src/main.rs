//! `manifest create`, `push` and `inspect` beside the docker CLI: requests, connections, depth, time, memory.
//!
//! `cargo run --release -p polyarch-benches -- [ROUNDS]` after `cargo build --release`. The registry is the lab, with TLS
//! and Bearer tokens, in this process; with 30 ms for each request and each step of a connection (TCP, TLS). The docker
//! CLI refuses to push over TLS to a loopback address, so on Linux the benchmark makes a network namespace with an
//! address of the documentation range and runs there; `polyarch` alone is measured where that cannot be done.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod measure;
mod namespace;
mod scenario;

use std::process::ExitCode;

use measure::Tool;

fn main() -> ExitCode {
    let address = match namespace::enter() {
        Ok(address) => address,
        Err(why) => {
            eprintln!("skipped: no docker beside it: {why}");
            None
        }
    };
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let Some(polyarch) = Tool::polyarch() else {
        eprintln!("`polyarch` is not built: run `cargo build --release` first");
        return ExitCode::FAILURE;
    };
    let docker = if address.is_some() { Tool::docker() } else { None };
    if docker.is_none() {
        eprintln!("skipped: no docker");
    }
    scenario::run_all(&polyarch, docker.as_ref(), address, rounds);
    for tool in std::iter::once(&polyarch).chain(docker.as_ref()) {
        scenario::start_up(tool, rounds);
    }
    ExitCode::SUCCESS
}
