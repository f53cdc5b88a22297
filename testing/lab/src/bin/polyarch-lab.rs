//! A lab as a process: for benchmarks, and for clients that are not written in Rust.
//!
//! It prints `host=127.0.0.1:PORT` (and `ca=FILE` with TLS) when it is ready, and what it was asked when it ends:
//! `requests=N depth=N connections=N`. Meanwhile `GET /_lab/log` says the same as JSON and `DELETE /_lab/log` forgets it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use polyarch_lab::images::{self, Flavour};
use polyarch_lab::{Alpn, Auth, Bearer, Certificate, Lab, Mounts, Quirks, Tls};
use tokio::signal::unix::{SignalKind, signal};

/// A registry in memory for tests and benchmarks.
#[derive(Debug, Parser)]
#[command(name = "polyarch-lab", version)]
struct Arguments {
    /// Port of 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Speak TLS with a certificate of a CA made for this run
    #[arg(long)]
    tls: bool,
    /// Speak TLS with a certificate that is its own CA
    #[arg(long)]
    self_signed: bool,
    /// Offer HTTP/1.1 only
    #[arg(long)]
    http1: bool,
    /// Ask for Basic credentials
    #[arg(long, value_name = "USER:PASSWORD", value_parser = pair, conflicts_with = "bearer")]
    basic: Option<(String, String)>,
    /// Ask for Bearer tokens, given out at /token for these credentials
    #[arg(long, value_name = "USER:PASSWORD", value_parser = pair)]
    bearer: Option<(String, String)>,
    /// Give pull tokens to anybody
    #[arg(long, requires = "bearer")]
    anonymous_pull: bool,
    /// Simulated latency of each request, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    request_latency: u64,
    /// Simulated latency of each connection step (TCP, TLS), in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    connection_latency: u64,
    /// Put an image there at the start; may be repeated
    #[arg(long = "image", value_name = "REPOSITORY:TAG=PLATFORM", value_parser = seeded_image)]
    images: Vec<(String, String, String)>,
    /// Layers of each of these images
    #[arg(long, default_value_t = 5)]
    layers: usize,
    /// Bytes in each of these layers
    #[arg(long, default_value_t = 1000)]
    layer_size: u64,
    /// Use Docker's media types for these images
    #[arg(long)]
    docker: bool,
    /// Put a blob of pseudo-random bytes there at the start, made up as it is read
    #[arg(long = "blob", value_name = "REPOSITORY=BYTES", value_parser = seeded_blob)]
    blobs: Vec<(String, u64)>,
    /// Hash uploaded blobs over this size and forget them
    #[arg(long, value_name = "BYTES")]
    forget_blobs_over: Option<u64>,
    /// Refuse no document for what it refers to
    #[arg(long)]
    sparse: bool,
    /// Answer mounts with an upload session
    #[arg(long)]
    no_mounts: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (user, password) = text.split_once(':').ok_or("expected `USER:PASSWORD`")?;
    Ok((user.to_owned(), password.to_owned()))
}

fn seeded_image(text: &str) -> Result<(String, String, String), String> {
    let expected = || "expected `REPOSITORY:TAG=PLATFORM`".to_owned();
    let (name, platform) = text.split_once('=').ok_or_else(expected)?;
    let (repository, tag) = name.rsplit_once(':').ok_or_else(expected)?;
    image::Platform::parse(platform).map_err(|error| error.to_string())?;
    image::RepositoryName::parse(repository).map_err(|error| error.to_string())?;
    image::Tag::parse(tag).map_err(|error| error.to_string())?;
    Ok((repository.to_owned(), tag.to_owned(), platform.to_owned()))
}

fn seeded_blob(text: &str) -> Result<(String, u64), String> {
    let (repository, size) = text.split_once('=').ok_or("expected `REPOSITORY=BYTES`")?;
    Ok((repository.to_owned(), size.parse().map_err(|_| format!("`{size}` is not a number of bytes"))?))
}

fn start(arguments: &Arguments) -> Lab {
    let auth = match (&arguments.basic, &arguments.bearer) {
        (Some((user, password)), _) => Auth::basic(user, password),
        (None, Some((user, password))) => Auth::Bearer(Bearer {
            username: user.clone(),
            password: password.clone(),
            anonymous_pull: arguments.anonymous_pull,
            ..Bearer::default()
        }),
        (None, None) => Auth::None,
    };
    let tls = Tls {
        enabled: arguments.tls || arguments.self_signed,
        certificate: if arguments.self_signed { Certificate::SelfSigned } else { Certificate::Signed },
        alpn: if arguments.http1 { Alpn::Http1 } else { Alpn::Both },
        ..Tls::default()
    };
    let quirks = Quirks {
        sparse: arguments.sparse,
        forget_blobs_over: arguments.forget_blobs_over,
        mounts: if arguments.no_mounts { Mounts::Session } else { Mounts::Honoured },
        ..Quirks::default()
    };
    let latency = |milliseconds| Duration::from_millis(milliseconds);
    let lab = Lab::builder()
        .port(arguments.port)
        .tls(tls)
        .auth(auth)
        .quirks(quirks)
        .latency(latency(arguments.request_latency), latency(arguments.connection_latency))
        .start();
    let flavour = if arguments.docker { Flavour::Docker } else { Flavour::Oci };
    for (repository, tag, platform) in &arguments.images {
        let maker = images::maker(platform).layers(arguments.layers).size(arguments.layer_size);
        maker.flavour(flavour).make().push(&lab, repository, Some(tag));
    }
    lab
}

fn run(arguments: &Arguments) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody is told that it is ready: a signal that comes at once must not kill it without its last line.
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let lab = start(arguments);
    for (repository, size) in &arguments.blobs {
        let digest = lab.put_seeded_blob(repository, 0, *size);
        writeln!(out, "blob={repository}@{digest}")?;
    }
    writeln!(out, "host={}", lab.host())?;
    if let Some(path) = lab.ca_pem_path() {
        writeln!(out, "ca={}", path.display())?;
    }
    out.flush()?;
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    writeln!(out, "requests={} depth={} connections={}", lab.count(), lab.depth(), lab.connections())?;
    out.flush()
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
