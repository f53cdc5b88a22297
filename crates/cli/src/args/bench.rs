//! Arguments of `bench`.

use std::time::Duration;

use clap::{Args, Subcommand};
use image::RepositoryName;
use load::Scenario;

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: BenchWhat,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchWhat {
    /// Measure how fast a registry is
    Registry(BenchRegistry),
}

/// Arguments of `bench registry`.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything is pushed to a repository of its own and deleted at the end; what the registry did not
delete is said. A status that was not expected, or a body other than the one that was pushed, is an
error, and with errors the exit code is 1. It speaks HTTP/1.1 and goes to the registry directly,
whatever proxies are set.

Examples:
  polyarch bench registry 127.0.0.1:5000
  polyarch bench registry 127.0.0.1:5000 --scenario manifest-by-tag,image-push --duration 10s
  polyarch bench registry 127.0.0.1:5000 --soak 10m --connections 1000 --pid 4711")]
pub(crate) struct BenchRegistry {
    /// The registry, as host and port or as a URL; `http://` says that it is plain HTTP
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    pub(crate) registry: BenchTarget,
    /// Repository to use [default: polyarch-bench/ and something random]
    #[arg(long, value_name = "NAME", value_parser = repository)]
    pub(crate) repository: Option<RepositoryName>,
    /// Scenario to run: ping, manifest-by-tag, manifest-by-digest, manifest-head, tags, small-blob,
    /// large-blob, image-push, large-push, mixed; several with commas [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide_possible_values = true, conflicts_with = "soak")]
    pub(crate) scenario: Vec<Scenario>,
    /// Clients at once [default: 16; 4 for large-blob and image-push, 1 for large-push]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: Option<u32>,
    /// How long each scenario runs
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub(crate) duration: Duration,
    /// How many operations each scenario runs, instead of a time
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    pub(crate) requests: Option<u64>,
    /// Size of a large blob
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "100MiB")]
    pub(crate) large_size: u64,
    /// Threads of the clients [default: half of the processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Compare every byte of large blobs too, which costs time on this side
    #[arg(long)]
    pub(crate) verify: bool,
    /// Leave what was pushed in the registry
    #[arg(long)]
    pub(crate) keep: bool,
    /// Run mixed load for this time instead: pushes, pulls, deletions, moved tags, lists
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["clients", "duration", "requests"])]
    pub(crate) soak: Option<Duration>,
    /// Connections of `--soak`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Operations a second of `--soak`, of all connections together
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,
    /// Process number of the server, if it is on this machine: show its processor time and memory
    /// (Linux)
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Allow plain HTTP and unverified TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Say what would be done, but send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A registry that is to be measured.
#[derive(Clone, Debug)]
pub(crate) struct BenchTarget {
    pub(crate) host: image::RegistryHost,
    /// Plain HTTP for certain.
    pub(crate) plain: bool,
}

fn registry(text: &str) -> Result<BenchTarget, String> {
    Ok(BenchTarget { host: super::registry::registry_host(text)?, plain: text.starts_with("http://") })
}

fn repository(text: &str) -> Result<RepositoryName, String> {
    RepositoryName::parse(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(30 * 86_400);
    let duration = settings::serve::duration(text)?;
    let bounded = Some(duration).filter(|duration| !duration.is_zero() && *duration <= longest);
    bounded.ok_or_else(|| "expected more than nothing and at most 30 days".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let size = settings::serve::size(text)?;
    let bounded = Some(size).filter(|size| (1024..=64 << 30).contains(size));
    bounded.ok_or_else(|| "expected at least 1 KiB and at most 64 GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "5", "0s", "31d"] {
            duration(wrong).unwrap_err();
        }
        assert_eq!(size("100MiB"), Ok(100 << 20));
        for wrong in ["", "MiB", "10B", "1TiB"] {
            size(wrong).unwrap_err();
        }
        assert!(registry("http://127.0.0.1:5000").unwrap().plain && !registry("https://r.io/").unwrap().plain);
    }
}
