//! Manifests by tags that are picked at random among all: what is asked for is nowhere near what was asked for before.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::server::Server;

const CONNECTIONS: u64 = 16;

pub(crate) struct Spread {
    pub(crate) per_second: f64,
    /// Processor time of the server for each.
    pub(crate) cost: Duration,
    pub(crate) p99: Duration,
}

/// Gets manifests of `repository`, where the one with tag `v7` has an annotation of `7`, for some seconds.
pub(crate) async fn pull(server: &Server, repository: &str, tags: usize, seconds: u64) -> io::Result<Spread> {
    let before = load::sample(server.pid())?.processor;
    let begun = Instant::now();
    let mut pulling = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (host, path) = (server.host(), format!("/v2/{repository}/manifests/v"));
        let until = begun + Duration::from_secs(seconds);
        pulling.spawn(async move { pull_until(&host, &path, tags as u64, connection, until).await });
    }
    let mut latencies = Vec::new();
    while let Some(pulled) = pulling.join_next().await {
        latencies.extend(pulled??);
    }
    let elapsed = begun.elapsed();
    let spent = load::sample(server.pid())?.processor.saturating_sub(before);
    latencies.sort_unstable();
    let count = latencies.len().max(1);
    Ok(Spread {
        per_second: count as f64 / elapsed.as_secs_f64(),
        cost: spent.div_f64(count as f64),
        p99: latencies.get(count * 99 / 100).copied().unwrap_or_default(),
    })
}

async fn pull_until(host: &str, path: &str, tags: u64, seed: u64, until: Instant) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(8 << 10);
    while Instant::now() < until {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let number = state % tags;
        let begun = Instant::now();
        stream.write_all(format!("GET {path}{number} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
        let body = answer(&mut stream, &mut buffer).await?;
        latencies.push(begun.elapsed());
        if !body.ends_with(&format!("{{\"number\":\"{number}\"}}}}")) {
            return Err(io::Error::other(format!("not the manifest of tag v{number}: {body}")));
        }
    }
    Ok(latencies)
}

/// Reads one answer, and returns its body.
async fn answer<'a>(stream: &mut TcpStream, buffer: &'a mut Vec<u8>) -> io::Result<&'a str> {
    buffer.clear();
    let odd = |what: &str| io::Error::other(what.to_owned());
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).map_err(|_| odd("a head that is no text"))?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(odd(&head));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).ok_or_else(|| odd(&head))?;
        if buffer.len() >= end + 4 + length {
            return std::str::from_utf8(&buffer[end + 4..]).map_err(|_| odd("a body that is no text"));
        }
    }
}
