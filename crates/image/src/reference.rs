//! Image references as people type them, normalised the way Docker does.
//!
//! Grammar: `distribution/reference`; names as in the distribution specification, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The registry that a bare name belongs to.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Most characters of `host/name`.
const NAME_MAX: usize = 255;

/// Why a text is not a reference. The texts are those that Docker prints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Not of the grammar.
    #[error("invalid reference format")]
    Format,
    /// Upper-case characters in the repository name.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal characters could be an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// Longer than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the grammar.
            pub fn parse(text: &str) -> Result<Self, ReferenceError> {
                if $check(text) { Ok(Self(text.into())) } else { Err(ReferenceError::Format) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ReferenceError;

            fn from_str(text: &str) -> Result<Self, ReferenceError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_newtype!(
    /// A registry host with its port, as it stands in a reference: `docker.io`, `127.0.0.1:5000`, `[::1]:5000`.
    RegistryHost,
    is_host
);
text_newtype!(
    /// A repository name without the registry: `library/debian`.
    RepositoryName,
    is_repository
);
text_newtype!(
    /// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    Tag,
    is_tag
);

fn is_host(text: &str) -> bool {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return false;
        }
        match rest.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if rest.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(text), None),
        }
    };
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.is_none_or(|name| name.split('.').all(label_ok))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes.
fn is_repository(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('/').all(is_path_component)
}

fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if alnum(bytes[i]) {
            i += 1;
            continue;
        }
        let start = i;
        while i < bytes.len() && !alnum(bytes[i]) {
            i += 1;
        }
        let separator = &bytes[start..i];
        if !(separator == b"." || separator == b"_" || separator == b"__" || separator.iter().all(|&b| b == b'-')) {
            return false;
        }
    }
    true
}

fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && (bytes[0].is_ascii_alphanumeric() || bytes[0] == b'_')
        && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What is asked of a repository: a document by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Digest> for Target {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<Tag> for Target {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

/// A reference to an image in a registry, normalised: `foo` is `docker.io/library/foo:latest`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: RegistryHost,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises what a person typed. Without tag and digest the tag is `latest`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (host, remainder) = split_docker_domain(text);
        let path_end = remainder.find(':').unwrap_or(remainder.len());
        let path = &remainder[..path_end];
        if path.chars().any(|c| c != c.to_ascii_lowercase()) {
            let shown = path.split('@').next().unwrap_or_default();
            return Err(ReferenceError::Uppercase(shown.to_owned()));
        }
        let (name_and_tag, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|_| ReferenceError::Format)?)),
            None => (remainder.as_str(), None),
        };
        let (name, tag) = match name_and_tag.split_once(':') {
            Some((name, tag)) => (name, Some(Tag::parse(tag)?)),
            None => (name_and_tag, None),
        };
        if !is_host(&host) || !name.split('/').all(is_path_component) {
            return Err(ReferenceError::Format);
        }
        // Docker counts the repository path alone.
        if name.len() > NAME_MAX {
            return Err(ReferenceError::TooLong);
        }
        let repository = RepositoryName::parse(name)?;
        let registry = RegistryHost::parse(&host)?;
        let tag = match (tag, &digest) {
            (None, None) => Some(Tag("latest".into())),
            (tag, _) => tag,
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// Puts a reference together from checked parts.
    pub fn new(registry: RegistryHost, repository: RepositoryName, target: Target) -> Self {
        let (tag, digest) = match target {
            Target::Tag(tag) => (Some(tag), None),
            Target::Digest(digest) => (None, Some(digest)),
        };
        Self { registry, repository, tag, digest }
    }

    /// The registry.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The repository.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag, if one was given or assumed.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the repository for: the digest where there is one, else the tag.
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            // `parse` and `new` always set one of the two.
            (None, None) => Target::Tag(Tag("latest".into())),
        }
    }

    /// The same repository, asked for by `digest`; a tag stays for people to read.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository, asked for by `tag` alone.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }

    /// `registry/repository` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// Docker's rule for what is a registry: the first component, if it has a dot or a colon, is `localhost`, or has an
/// upper-case letter.
fn split_docker_domain(text: &str) -> (String, String) {
    let (host, remainder) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first => {
            (first, rest.to_owned())
        }
        _ => (DEFAULT_REGISTRY, text.to_owned()),
    };
    let host = if host == "index.docker.io" { DEFAULT_REGISTRY } else { host };
    let remainder =
        if host == DEFAULT_REGISTRY && !remainder.contains('/') { format!("library/{remainder}") } else { remainder };
    (host.to_owned(), remainder)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Reference::parse(text).map_or_else(|error| error.to_string(), |reference| reference.to_string())
    }

    #[test]
    fn normalisation_table() {
        for (input, want) in [
            ("foo", "docker.io/library/foo:latest"),
            ("bob/app", "docker.io/bob/app:latest"),
            ("index.docker.io/bob/app:x", "docker.io/bob/app:x"),
            ("BAD/x", "BAD/x:latest"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y"),
            ("localhost/x", "localhost/x:latest"),
            ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
            ("BAD:x:", "invalid reference format: repository name (library/BAD) must be lowercase"),
            ("", "invalid reference format"),
            (":", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("foo:tag:x", "invalid reference format"),
            ("foo@sha256:abc", "invalid reference format"),
            ("http://x/y", "invalid reference format"),
            ("foo/", "invalid reference format"),
        ] {
            assert_eq!(normal(input), want, "{input}");
        }
        assert_eq!(normal(&format!("x:{}", "t".repeat(129))), "invalid reference format");
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(
            normal(&hex),
            format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings")
        );
        assert_eq!(normal(&"a".repeat(256)), "repository name must not be more than 255 characters");
    }

    #[test]
    fn digest_and_tag_both_survive() {
        let digest = Digest::sha256(b"x");
        let text = format!("127.0.0.1:5111/t/app:amd64@{digest}");
        let reference = Reference::parse(&text).unwrap();
        assert_eq!(reference.to_string(), text);
        assert_eq!(reference.target(), Target::Digest(digest.clone()));
        assert_eq!(normal(&format!("r.io/app@{digest}")), format!("r.io/app@{digest}"));
    }

    #[test]
    fn components() {
        for good in ["a", "a.b", "a_b", "a__b", "a---b", "a1/b2"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "a..b", "a___b", "-a", "a-", "a//b", "/a", "a/", "A", "a._b"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }
}
