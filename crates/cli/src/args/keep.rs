//! Arguments of what keeps the data directory and the tags of a registry: `gc`, `fsck`, `history`, `restore`.

use std::time::{Duration, SystemTime};

use clap::Args;
use image::Digest;
use settings::serve::duration;
use store::Location;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Tag in a registry, or `local:NAME` in the local store
    #[arg(value_name = "IMAGE", value_parser = tagged)]
    pub(crate) image: Location,
    /// At most so many moves, the last ones
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 1000)]
    pub(crate) limit: usize,
    /// Allow plain HTTP and unverified TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Print a JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch restore registry.example.org/app:v1
  polyarch restore --dry-run --at 2026-03-01T09:30:00Z registry.example.org/app:v1")]
pub(crate) struct Restore {
    /// Tag in a registry, or `local:NAME` in the local store
    #[arg(value_name = "IMAGE", value_parser = tagged)]
    pub(crate) image: Location,
    /// To this manifest: a digest, or its beginning as `history` shows it [default: where it pointed before]
    #[arg(long, value_name = "DIGEST", value_parser = Wanted::parse)]
    pub(crate) to: Option<Wanted>,
    /// To where it pointed then: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with = "to")]
    pub(crate) at: Option<SystemTime>,
    /// Also if images that an index lists are gone
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Allow plain HTTP and unverified TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Print what would be done and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print a JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// The manifest that a tag is to point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// In full.
    Digest(Digest),
    /// The beginning of what stands behind the colon.
    Beginning(String),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, String> {
        let hex = text.split(':').next_back().unwrap_or_default();
        let short =
            (6..64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match Digest::parse(text) {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) if short => Ok(Self::Beginning(hex.to_owned())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Arguments of `gc`.
#[derive(Debug, Args)]
#[command(after_help = "\
What nothing needs is condemned first, and deleted by a later run. The server may run meanwhile.

Examples:
  polyarch gc --dry-run
  polyarch gc --data /srv/registry --keep-history 30d")]
pub(crate) struct Gc {
    /// Keep manifests that a tag left for so long, to restore them [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) keep_history: Option<Duration>,
    /// Keep manifests without a tag for so long after they were pushed or referred to last [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) keep_untagged: Option<Duration>,
    /// Keep blobs that no manifest needs for so long after they were pushed or mounted last [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) keep_unused_blobs: Option<Duration>,
    /// Delete what was condemned so long ago, or longer [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) sweep_after: Option<Duration>,
    /// Also images of the local store that have no tag, pulled by digest perhaps
    #[arg(long)]
    pub(crate) untagged: bool,
    /// Print what would be done and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print a JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `fsck`.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Repair what can be, move damaged bytes to `quarantine/`, and remove what is left over
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print what `--repair` would do and stop
    #[arg(long, requires = "repair")]
    pub(crate) dry_run: bool,
    /// Print a JSON report
    #[arg(long)]
    pub(crate) json: bool,
}

/// A tag in a registry or in the local store.
fn tagged(text: &str) -> Result<Location, String> {
    match Location::parse(text) {
        Ok(Location::Layout { .. }) => Err("an image layout, which keeps no history".to_owned()),
        Ok(location) if location.reference().is_some_and(|reference| reference.digest().is_some()) => {
            Err("a digest, where a tag was expected: a digest never moves".to_owned())
        }
        Ok(location) => Ok(location),
        Err(error) => Err(error.to_string()),
    }
}

fn instant(text: &str) -> Result<SystemTime, &'static str> {
    content::instant(text).ok_or("expected a time such as `2026-03-01T09:30:00Z`, or seconds since 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_may_be_cut_short() {
        let digest = Digest::sha256(b"x");
        assert_eq!(Wanted::parse(digest.as_str()), Ok(Wanted::Digest(digest.clone())));
        for text in [&digest.hex()[..12], &format!("sha256:{}", &digest.hex()[..12])] {
            assert_eq!(Wanted::parse(text), Ok(Wanted::Beginning(digest.hex()[..12].to_owned())));
        }
        assert!(Wanted::parse("v1").is_err() && Wanted::parse("abc").is_err());
    }

    #[test]
    fn only_tags_have_a_history() {
        assert!(tagged("127.0.0.1:5000/app:v1").is_ok() && tagged("local:app").is_ok());
        assert!(tagged("oci:dir:v1").is_err());
        assert!(tagged(&format!("app@{}", Digest::sha256(b"x"))).is_err());
    }
}
