//! Arguments of the commands around the local store.

use std::path::PathBuf;

use clap::Args;
use image::{Platform, Reference};
use store::Location;

/// Arguments of `push`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch push registry.example.org/app:v1
  polyarch push --platform linux/arm64 app:v1 oci:out:v1")]
pub(crate) struct Push {
    /// Image in the local store
    #[arg(value_name = "IMAGE", value_parser = local_name)]
    pub(crate) image: Reference,
    /// Push under this name instead of its own, or into an image layout: `oci:DIR[:TAG]`
    #[arg(value_name = "TARGET", value_parser = elsewhere)]
    pub(crate) target: Option<Location>,
    /// Look for each blob, even if the manifest is there: the registry may have lost some
    #[arg(long)]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch pull debian:12
  polyarch pull --platform linux/amd64,linux/arm64 registry.example.org/app:v1 app:v1")]
pub(crate) struct Pull {
    /// Image in a registry, or in an image layout: `oci:DIR[:TAG]`
    #[arg(value_name = "IMAGE", value_parser = elsewhere)]
    pub(crate) image: Location,
    /// Keep it under this name instead of its own, which an image of a layout does not have
    #[arg(value_name = "NAME", value_parser = local_name)]
    pub(crate) name: Option<Reference>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// A name in the local store, with or without `local:` before it.
pub(super) fn local_name(text: &str) -> Result<Reference, String> {
    if text.starts_with("oci:") {
        // As a reference this would be an image of Docker Hub, which is hardly ever meant.
        return Err("an image layout, where a name in the local store was expected".to_owned());
    }
    Reference::parse(text.strip_prefix("local:").unwrap_or(text)).map_err(|error| error.to_string())
}

/// An image that is not in the local store.
fn elsewhere(text: &str) -> Result<Location, String> {
    match Location::parse(text) {
        Ok(Location::Local(_)) => {
            Err("in the local store, where a name in a registry or `oci:DIR[:TAG]` was expected".to_owned())
        }
        Ok(location) => Ok(location),
        Err(error) => Err(error.to_string()),
    }
}

/// Which part of an image is moved.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only these platforms, such as `linux/arm64` [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = Platform::parse)]
    pub(crate) platform: Vec<Platform>,
    /// Leave attestations (provenance, SBOM) out
    #[arg(long)]
    pub(crate) no_attestations: bool,
}

/// How an image is moved.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
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

/// Arguments of `images`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch images
  polyarch images --quiet registry.example.org/app")]
pub(crate) struct Images {
    /// Only names of this repository
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: Option<String>,
    /// Print names alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print a JSON report
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image in the local store
    #[arg(value_name = "IMAGE", value_parser = local_name)]
    pub(crate) image: Reference,
    /// Its other names
    #[arg(value_name = "NAME", value_parser = local_name, required = true)]
    pub(crate) names: Vec<Reference>,
    /// Print what would be done and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `unpack`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch unpack debian:12 root
  polyarch unpack --platform linux/arm64 local:app:v1 root")]
pub(crate) struct Unpack {
    /// Image: `local:NAME`, `oci:DIR[:TAG]`, or a name in a registry
    #[arg(value_name = "IMAGE", value_parser = Location::parse)]
    pub(crate) image: Location,
    /// Directory that is not there yet, or empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Which image of an index [default: the one for this machine]
    #[arg(long, value_name = "PLATFORM", value_parser = Platform::parse)]
    pub(crate) platform: Option<Platform>,
    /// Set owners and make devices as the layers state them; takes privileges
    #[arg(long)]
    pub(crate) owners: bool,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names in the local store
    #[arg(value_name = "IMAGE", value_parser = local_name, required = true)]
    pub(crate) images: Vec<Reference>,
    /// Print what would be done and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}
