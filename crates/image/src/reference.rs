//! Image references as people type them, normalised the way Docker does.
//!
//! Grammar: `distribution/reference`; names as in the distribution specification, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError};
use crate::text::Escaped;

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
    #[error("invalid reference format: repository name ({}) must be lowercase", Escaped(.0))]
    Uppercase(String),
    /// 64 hexadecimal characters could be an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// Longer than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// The algorithm of the digest is none that polyarch can verify.
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
    /// The digest is too short or too long for its algorithm.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// The digest has upper-case characters.
    #[error("invalid checksum digest format")]
    DigestFormat,
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
        // Docker looks no further than to the first colon, so the name it complains about may end in `@sha256`.
        let start = &remainder[..remainder.find(':').unwrap_or(remainder.len())];
        if has_uppercase(start) {
            return Err(ReferenceError::Uppercase(start.to_owned()));
        }
        let (name_and_tag, digest) = match remainder.split_once('@') {
            Some((rest, digest)) if looks_like_digest(digest) => (rest, Some(digest)),
            Some(_) => return Err(ReferenceError::Format),
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
        let digest = digest.map(Digest::parse).transpose().map_err(|error| match error {
            DigestError::UnsupportedAlgorithm(_) => ReferenceError::DigestAlgorithm,
            DigestError::BadHex(digest, len) if digest.split_once(':').is_some_and(|(_, hex)| hex.len() != len) => {
                ReferenceError::DigestLength
            }
            _ => ReferenceError::DigestFormat,
        })?;
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

    /// The short form that people know, which means the same: `docker.io/library/foo:latest` is `foo:latest`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(path) = full.strip_prefix("docker.io/") else { return full };
        match path.strip_prefix("library/") {
            // What would be read as a host stays behind one.
            _ if path.split_once('/').is_some_and(|(first, _)| first == "localhost" || first.contains('.')) => full,
            Some(name) if !self.repository.as_str()["library/".len()..].contains('/') => name.to_owned(),
            _ if self.repository.as_str().contains('/') => path.to_owned(),
            // A bare name would be read as one of `library/`.
            _ => full,
        }
    }

    /// `registry/repository` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

fn has_uppercase(text: &str) -> bool {
    text.chars().any(|c| c.to_lowercase().ne([c]))
}

/// What Docker's grammar takes for a digest before it looks at the algorithm:
/// `[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}`.
fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let part_ok = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part_ok) && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Docker's rule for what is a registry: the first component, if it has a dot or a colon, is `localhost`, or has an
/// upper-case letter.
fn split_docker_domain(text: &str) -> (String, String) {
    let (host, remainder) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || has_uppercase(first) => {
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

    /// What `docker manifest rm` 28.2.2 makes of each of these; `H` stands for 64 hexadecimal characters.
    #[test]
    fn normalisation_table() {
        let hex = "0123456789abcdef".repeat(4);
        for (input, want) in [
            ("foo", "docker.io/library/foo:latest"),
            ("bob/app", "docker.io/bob/app:latest"),
            ("library/x", "docker.io/library/x:latest"),
            ("docker.io/x", "docker.io/library/x:latest"),
            ("docker.io/a/b", "docker.io/a/b:latest"),
            ("docker.io", "docker.io/library/docker.io:latest"),
            ("index.docker.io/x", "docker.io/library/x:latest"),
            ("index.docker.io/library/x", "docker.io/library/x:latest"),
            ("index.docker.io/bob/app:x", "docker.io/bob/app:x"),
            ("Docker.io/x", "Docker.io/x:latest"),
            ("BAD/x", "BAD/x:latest"),
            ("[::1]/x", "[::1]/x:latest"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y"),
            ("1.2.3.4/x", "1.2.3.4/x:latest"),
            ("localhost", "docker.io/library/localhost:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("foo:_a", "docker.io/library/foo:_a"),
            ("a__b", "docker.io/library/a__b:latest"),
            ("foo@sha256:H", "docker.io/library/foo@sha256:H"),
            ("foo:t@sha256:H", "docker.io/library/foo:t@sha256:H"),
            ("foo@sha512:HH", "docker.io/library/foo@sha512:HH"),
            ("sha256:H", "docker.io/library/sha256:H"),
        ] {
            let (input, want) = (input.replace('H', &hex), want.replace('H', &hex));
            assert_eq!(normal(&input), want, "{input}");
        }
    }

    /// As Docker prints them, to the letter.
    #[test]
    fn error_texts() {
        let hex = "0123456789abcdef".repeat(4);
        let format = "invalid reference format";
        for input in [
            "",
            ":",
            "a b",
            "foo:tag:x",
            "foo@sha256:abc",
            "http://x/y",
            "foo/",
            "x..y/z",
            "x..y:5/z",
            "a/b:c/d",
            "host:/x",
            "a@b:c@sha256:H",
            "foo@",
            "foo:",
            "foo:@sha256:H",
            "/x",
            "foo//x",
            "foo:-a",
            " foo",
            "foo ",
            "foo@sha256:H@sha256:H",
            "x.io:80:80/x",
            "foo\nbar",
            "a___b",
            "a.-b",
            "fe80::1/x",
            "[fe80::1%25eth0]/x",
            "\u{3bb}/x",
            "-x/y.z",
            "x.-y/z",
            "foo@sha256:H:x",
            "foo@sha256:0123456789abcdef0123456789abcde",
        ] {
            let input = input.replace('H', &hex);
            assert_eq!(normal(&input), format, "{input}");
        }
        assert_eq!(normal(&format!("x:{}", "t".repeat(129))), format);
        for (input, name) in [
            ("UPPER", "library/UPPER"),
            ("UPPER/X", "X"),
            ("BAD:x:", "library/BAD"),
            ("localhost/FOO", "FOO"),
            ("FOO:x", "library/FOO"),
            ("x.io/Foo:t@sha256:H", "Foo"),
            ("Foo@sha256:H", "library/Foo@sha256"),
            ("foo@Sha256:H", "library/foo@Sha256"),
            ("\u{c9}", "library/\u{c9}"),
            ("foo/\u{c9}", "foo/\u{c9}"),
        ] {
            let want = format!("invalid reference format: repository name ({name}) must be lowercase");
            assert_eq!(normal(&input.replace('H', &hex)), want, "{input}");
        }
        for (input, want) in [
            ("foo@md5:H", "unsupported digest algorithm"),
            ("foo@sha256+b64:H", "unsupported digest algorithm"),
            ("foo@sha256-x:H", "unsupported digest algorithm"),
            ("foo@sha512:H", "invalid checksum digest length"),
            ("foo@sha256:0123456789abcdef0123456789abcdef", "invalid checksum digest length"),
        ] {
            assert_eq!(normal(&input.replace('H', &hex)), want, "{input}");
        }
        assert_eq!(normal(&format!("foo@sha256:{}", hex.to_uppercase())), "invalid checksum digest format");
        assert_eq!(
            normal(&hex),
            format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings")
        );
    }

    #[test]
    fn the_path_may_have_255_characters_and_the_registry_does_not_count() {
        let long = "repository name must not be more than 255 characters";
        assert_eq!(normal(&"a".repeat(247)), format!("docker.io/library/{}:latest", "a".repeat(247)));
        assert_eq!(normal(&"a".repeat(248)), long);
        assert_eq!(normal(&format!("x.io/{}", "a".repeat(255))), format!("x.io/{}:latest", "a".repeat(255)));
        assert_eq!(normal(&format!("x.io/{}", "a".repeat(256))), long);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let error = Reference::parse("x/\u{1b}[31mFOO").unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.contains("FOO"), "{error}");
    }

    #[test]
    fn the_familiar_form_means_the_same() {
        for (input, want) in [
            ("foo", "foo:latest"),
            ("bob/app:x", "bob/app:x"),
            ("docker.io/library/a/b", "library/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("docker.io/localhost/x:1", "docker.io/localhost/x:1"),
            ("docker.io/a.b/library/x:1", "docker.io/a.b/library/x:1"),
            ("docker.io/library/a.b:1", "a.b:1"),
        ] {
            let reference = Reference::parse(input).unwrap();
            assert_eq!(reference.familiar(), want, "{input}");
        }
        let bare = Reference::new(
            RegistryHost::parse("docker.io").unwrap(),
            RepositoryName::parse("x").unwrap(),
            Tag("t".into()).into(),
        );
        assert_eq!(bare.familiar(), "docker.io/x:t");
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
