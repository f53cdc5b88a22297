//! Where an image is, as a person writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use image::{Digest, DigestError, Reference, ReferenceError, Tag, Target};

/// Marks a name in the local store.
const LOCAL: &str = "local:";
/// Marks an OCI image layout directory.
const LAYOUT: &str = "oci:";

/// An image in one of the media that polyarch knows.
///
/// `local:NAME[:TAG][@DIGEST]` is in the local store, `oci:DIR[:TAG][@DIGEST]` in an OCI image layout; everything else
/// is a reference to a registry. An image of Docker Hub that is called `local` or `oci` is written
/// `docker.io/library/local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// In a registry.
    Registry(Reference),
    /// In the local store, named as it would be in a registry.
    Local(Reference),
    /// In an OCI image layout.
    Layout {
        /// The directory, as it was written.
        directory: PathBuf,
        /// Which image; `None`: the one that is tagged `latest`, or else the only one.
        target: Option<Target>,
    },
}

/// Why a text is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The reference to a registry or to the local store.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
    /// `oci:` without a directory.
    #[error("`{0}` names no directory: expected `oci:DIR[:TAG][@DIGEST]`")]
    NoDirectory(String),
    /// What stands behind the `@` of an `oci:` location.
    #[error("{0}")]
    Digest(#[from] DigestError),
}

impl Location {
    /// Reads what was written.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if let Some(name) = text.strip_prefix(LOCAL) {
            return Ok(Self::Local(Reference::parse(name)?));
        }
        let Some(rest) = text.strip_prefix(LAYOUT) else { return Ok(Self::Registry(Reference::parse(text)?)) };
        let (path, digest) = match rest.rsplit_once('@') {
            // A directory may have an `@` in its name, but every digest has a colon and none has a slash.
            Some((path, digest)) if digest.contains(':') && !digest.contains('/') => {
                (path, Some(Digest::parse(digest)?))
            }
            _ => (rest, None),
        };
        let (path, tag) = match path.rsplit_once(':').map(|(path, tag)| (path, Tag::parse(tag))) {
            Some((path, Ok(tag))) => (path, Some(tag)),
            // No colon, or one that belongs to the directory: `C:\images`, `a:b/c`.
            _ => (path, None),
        };
        if path.is_empty() {
            return Err(LocationError::NoDirectory(text.escape_debug().to_string()));
        }
        let target = digest.map(Target::Digest).or(tag.map(Target::Tag));
        Ok(Self::Layout { directory: path.into(), target })
    }

    /// What to ask the store for. Where a layout was named without tag and digest this is the tag `latest`.
    pub fn target(&self) -> Target {
        match self {
            Self::Registry(reference) | Self::Local(reference) => reference.target(),
            Self::Layout { target, .. } => target.clone().unwrap_or_else(latest),
        }
    }

    /// The reference, where there is one: in a registry or in the local store.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) | Self::Local(reference) => Some(reference),
            Self::Layout { .. } => None,
        }
    }

    /// The same repository, asked for `target` and nothing else.
    #[must_use]
    pub fn at(&self, target: Target) -> Self {
        let point = |reference: &Reference| {
            Reference::new(reference.registry().clone(), reference.repository().clone(), target.clone())
        };
        match self {
            Self::Registry(reference) => Self::Registry(point(reference)),
            Self::Local(reference) => Self::Local(point(reference)),
            Self::Layout { directory, .. } => Self::Layout { directory: directory.clone(), target: Some(target) },
        }
    }
}

fn latest() -> Target {
    // The grammar of tags allows it; a failure here would be a bug of the grammar.
    Tag::parse("latest").map_or_else(|_| Target::Digest(Digest::sha256(b"")), Target::Tag)
}

/// As [`Location::parse`] reads it, in full.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Local(reference) => write!(f, "{LOCAL}{reference}"),
            Self::Layout { directory, target } => {
                write!(f, "{LAYOUT}{}", directory.display())?;
                match target {
                    Some(Target::Tag(tag)) => write!(f, ":{tag}"),
                    Some(Target::Digest(digest)) => write!(f, "@{digest}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Location::parse(text).map_or_else(|error| error.to_string(), |location| location.to_string())
    }

    #[test]
    fn three_media() {
        let digest = Digest::sha256(b"x");
        for (input, want) in [
            ("app", "docker.io/library/app:latest"),
            ("127.0.0.1:5000/app:v1", "127.0.0.1:5000/app:v1"),
            ("local:app", "local:docker.io/library/app:latest"),
            ("local:127.0.0.1:5000/app:v1", "local:127.0.0.1:5000/app:v1"),
            ("oci:out", "oci:out"),
            ("oci:/tmp/out:v1", "oci:/tmp/out:v1"),
            ("oci:./a:b/c", "oci:./a:b/c"),
            ("oci:a@b", "oci:a@b"),
            ("oci:C:\\out", "oci:C:\\out"),
            ("oci:", "`oci:` names no directory: expected `oci:DIR[:TAG][@DIGEST]`"),
            ("oci::v1", "`oci::v1` names no directory: expected `oci:DIR[:TAG][@DIGEST]`"),
            ("local:UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
            ("local:", "invalid reference format"),
        ] {
            assert_eq!(normal(input), want, "{input}");
        }
        assert_eq!(normal(&format!("oci:out:v1@{digest}")), format!("oci:out@{digest}"));
        assert_eq!(normal(&format!("oci:a@b@{digest}")), format!("oci:a@b@{digest}"));
        assert!(normal("oci:out@sha256:abc").contains("is not a digest"));
        assert!(matches!(Location::parse("oci:out@sha256:abc"), Err(LocationError::Digest(_))));
    }

    #[test]
    fn a_layout_without_a_tag_is_asked_for_latest() {
        let location = Location::parse("oci:out").unwrap();
        assert_eq!(location.target().to_string(), "latest");
        assert_eq!(
            location.at(Target::Digest(Digest::sha256(b""))).to_string(),
            format!("oci:out@{}", Digest::sha256(b""))
        );
        assert_eq!(
            Location::parse("local:app:v1").unwrap().at(location.target()).to_string(),
            "local:docker.io/library/app:latest"
        );
    }
}
