//! Arguments of `pack`.

use std::path::PathBuf;

use clap::Args;
use image::{Platform, Reference};

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// A binary and the platform it is for
    #[arg(value_name = "PLATFORM=PATH", value_parser = binary, required = true)]
    pub(crate) binaries: Vec<(Platform, PathBuf)>,
    /// Name of the image; may be given several times
    #[arg(short, long = "tag", value_name = "NAME[:TAG]", value_parser = Reference::parse, required = true)]
    pub(crate) tags: Vec<Reference>,
    /// Put the binaries on top of this image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) base: Option<String>,
    /// What is run: a JSON list, or one word each time [default: the binary]
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,
    /// Its default arguments: a JSON list, or one word each time
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// A variable of its environment
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// A label
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,
    /// User, or user and group, that it runs as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Directory that it starts in
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// A port that it listens on
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<String>,
    /// A file or directory to put into every image
    #[arg(long = "file", value_name = "SRC:DST", value_parser = source_file)]
    pub(crate) files: Vec<SourceFile>,
    /// Make one image per platform, `NAME:TAG-amd64`, and no index
    #[arg(long)]
    pub(crate) single: bool,
    /// Push what was made
    #[arg(long)]
    pub(crate) push: bool,
    #[command(flatten)]
    pub(crate) transfer: super::images::Transfer,
}

/// `--file SRC:DST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// On this machine.
    pub(crate) source: PathBuf,
    /// In the image, absolute.
    pub(crate) target: String,
}

fn binary(text: &str) -> Result<(Platform, PathBuf), String> {
    let (platform, path) =
        text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or("expected `PLATFORM=PATH`")?;
    let platform = Platform::parse(platform).map_err(|error| error.to_string())?;
    Ok((platform, PathBuf::from(path)))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected `NAME=VALUE`".to_owned()),
    }
}

fn source_file(text: &str) -> Result<SourceFile, String> {
    // The last colon: a source may hold one, a target in an image hardly ever.
    match text.rsplit_once(':') {
        Some((source, target)) if !source.is_empty() && target.starts_with('/') => {
            Ok(SourceFile { source: PathBuf::from(source), target: target.to_owned() })
        }
        _ => Err("expected `SRC:DST` with an absolute `DST`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_name_their_platform() {
        let (platform, path) = binary("linux/aarch64=out/a=b").unwrap();
        assert_eq!(platform.to_string(), "linux/arm64");
        assert_eq!(path, PathBuf::from("out/a=b"));
        for bad in ["linux/arm64", "linux/arm64=", "=x", "x=y"] {
            assert!(binary(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_have_an_absolute_target() {
        let file = source_file("a:b:/etc/c").unwrap();
        assert_eq!((file.source, file.target.as_str()), (PathBuf::from("a:b"), "/etc/c"));
        for bad in ["a", "a:b", ":/b"] {
            assert!(source_file(bad).is_err(), "{bad}");
        }
    }
}
