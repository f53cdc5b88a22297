//! Arguments of `pack`.

use clap::Args;
use image::Reference;
use pack::{Binary, FileSpec, ImagePath, Port, Variable};
use store::Location;

/// Arguments of `pack`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch pack -t app:v1 linux/amd64=build/amd64/app linux/arm64=build/arm64/app
  polyarch pack --push -t registry.example.org/app:v1 --base debian:12 linux/amd64=app")]
pub(crate) struct Pack {
    /// A binary and the platform it is for
    #[arg(value_name = "PLATFORM=PATH", required = true)]
    pub(crate) binaries: Vec<Binary>,
    /// Name of the image; may be given several times
    #[arg(short, long = "tag", value_name = "NAME[:TAG]", value_parser = super::images::local_name, required = true)]
    pub(crate) tags: Vec<Reference>,
    /// Where the binary stands in the image [default: /NAME]
    #[arg(long, value_name = "PATH")]
    pub(crate) place: Option<ImagePath>,
    /// Put the binaries on top of this image: in a registry, `local:NAME` or `oci:DIR`
    #[arg(long, value_name = "IMAGE", value_parser = Location::parse)]
    pub(crate) base: Option<Location>,
    /// What is run: a JSON list, or one word each time [default: the binary]
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,
    /// Its default arguments: a JSON list, or one word each time
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// A variable of its environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<Variable>,
    /// A label
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<Variable>,
    /// User, or user and group, that it runs as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Directory that it starts in
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<ImagePath>,
    /// A port that it listens on
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<Port>,
    /// A file or directory to put into every image
    #[arg(long = "file", value_name = "SRC:DST")]
    pub(crate) files: Vec<FileSpec>,
    /// Make one image per platform, `NAME:TAG-amd64`, and no index
    #[arg(long)]
    pub(crate) single: bool,
    /// Push what was made
    #[arg(long)]
    pub(crate) push: bool,
    #[command(flatten)]
    pub(crate) transfer: super::images::Transfer,
}
