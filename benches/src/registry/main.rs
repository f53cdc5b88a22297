//! `polyarch serve` beside docker-registry and distribution: scenarios of `polyarch bench registry` in turn, fsyncs, memory, start-up,
//! and how all that changes with the number of tags.
//!
//! `cargo run --release -p polyarch-benches --bin registry -- [--rounds N] [--seconds N] [--tags N] [--scenario A,B]
//! [--only-tags] [--no-tags]` after `cargo build --release`. Data directories are made in `TMPDIR`: it
//! should be on the disk that is meant. `POLYARCH_DISTRIBUTION` names the program of distribution 3.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod fsyncs;
mod rounds;
mod server;
mod spread;
mod table;
mod tags;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use image::{Algorithm, Hasher};
use load::Scenario;

use crate::server::Peer;

/// What is asked for.
pub(crate) struct Wishes {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) tags: usize,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) side_by_side: bool,
    pub(crate) with_tags: bool,
}

fn wishes() -> Result<Wishes, String> {
    let mut wishes = Wishes {
        rounds: 3,
        seconds: 5,
        tags: 100_000,
        scenarios: Scenario::ALL.to_vec(),
        side_by_side: true,
        with_tags: true,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("`{argument}` wants a value"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("`{text}` is no number"));
        match argument.as_str() {
            "--rounds" => wishes.rounds = number(value()?)?.max(1),
            "--seconds" => wishes.seconds = number(value()?)?.max(1) as u64,
            "--tags" => wishes.tags = number(value()?)?.max(10),
            "--scenario" => {
                wishes.scenarios = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            "--only-tags" => wishes.side_by_side = false,
            "--no-tags" => wishes.with_tags = false,
            other => return Err(format!("`{other}` is not known")),
        }
    }
    Ok(wishes)
}

fn main() -> ExitCode {
    let wishes = match wishes() {
        Ok(wishes) => wishes,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let peers = Peer::all();
    // It comes first, and the others are there to be compared with it.
    if !peers.first().is_some_and(|peer| peer.is_polyarch) {
        eprintln!("`polyarch` is not built: run `cargo build --release` first");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(all(&wishes, &peers)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn all(wishes: &Wishes, peers: &[Peer]) -> Result<(), String> {
    let hash = hash_speed();
    println!("SHA-256 of one processor: {hash:.0} MB/s");
    if wishes.side_by_side {
        let disk = disk_speed().map_err(|error| format!("failed to measure the disk: {error}"))?;
        println!("a file of 100 MiB, written and made durable: {disk:.0} MB/s\n");
        let results = rounds::side_by_side(wishes, peers).await?;
        table::print(peers, &results, hash, disk);
        println!();
        for peer in peers {
            let fsyncs = fsyncs::per_image(peer).await.unwrap_or_else(|why| format!("skipped: {why}"));
            println!("fsyncs for each pushed image, {}: {fsyncs}", peer.name);
        }
        for peer in peers {
            let rest = server::at_rest(peer, wishes.rounds.max(3))?;
            println!("at rest, {}: {rest}", peer.name);
        }
    }
    if wishes.with_tags {
        println!();
        tags::few_and_many(wishes, &peers[0]).await?;
    }
    Ok(())
}

/// Megabytes that one processor hashes in a second: no push is faster than that.
fn hash_speed() -> f64 {
    let bytes = vec![7; 1 << 20];
    let begun = Instant::now();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    while begun.elapsed() < Duration::from_millis(1500) {
        hasher.update(&bytes);
    }
    let hashed = hasher.length();
    let elapsed = begun.elapsed();
    drop(hasher.finish());
    hashed as f64 / 1e6 / elapsed.as_secs_f64()
}

/// Megabytes of a large file that are written and made durable in a second, where the data directories are.
fn disk_speed() -> std::io::Result<f64> {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 100;
    let bytes = vec![7; PIECE];
    // They all stay until the end: a registry keeps what it was given, so the system has to find new memory for each.
    let (mut files, mut speeds) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let mut file = tempfile::tempfile()?;
        let begun = Instant::now();
        for _ in 0..PIECES {
            file.write_all(&bytes)?;
        }
        file.sync_data()?;
        speeds.push((PIECE * PIECES) as f64 / 1e6 / begun.elapsed().as_secs_f64());
        files.push(file);
    }
    speeds.sort_by(f64::total_cmp);
    Ok(speeds[speeds.len() / 2])
}
