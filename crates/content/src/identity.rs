//! What things are called: repositories, upload sessions, staged bytes.

use std::fmt::{self, Write as _};

use image::{Reference, RegistryHost, RepositoryName};

/// A repository in the content store.
///
/// Images of the local store keep the registry they are named after (`docker.io/library/app`); repositories that were
/// pushed to this store's own server have none. Both kinds share blobs and never see each other's names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryId {
    /// The registry that the name belongs to; `None` for a repository that `polyarch serve` serves.
    pub registry: Option<RegistryHost>,
    /// The name.
    pub name: RepositoryName,
}

impl RepositoryId {
    /// A repository of the server.
    pub fn served(name: RepositoryName) -> Self {
        Self { registry: None, name }
    }

    /// A repository of the local image store.
    pub fn local(registry: RegistryHost, name: RepositoryName) -> Self {
        Self { registry: Some(registry), name }
    }
}

impl From<&Reference> for RepositoryId {
    fn from(reference: &Reference) -> Self {
        Self::local(reference.registry().clone(), reference.repository().clone())
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registry {
            Some(registry) => write!(f, "{registry}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// Which repositories are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those that `polyarch serve` serves: they have no registry.
    Served,
    /// Those of the local image store: they have one.
    Local,
}

/// The name of an upload session: random, so that nobody can guess one that is not theirs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Box<str>);

impl UploadId {
    /// A new one: 122 random bits in the form of a UUID, version 4.
    pub fn random() -> Result<Self, crate::ContentError> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            crate::ContentError::io("read random bytes for an upload session", std::io::Error::other(error))
        })?;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = String::with_capacity(36);
        for (position, byte) in bytes.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text.into()))
    }

    /// Takes the text of one. `None` if it cannot be one, so that it never gets near a path or a statement.
    pub fn parse(text: &str) -> Option<Self> {
        let shaped = text.len() == 36
            && text.bytes().enumerate().all(|(position, byte)| match position {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            });
        shaped.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({})", self.0)
    }
}

/// Where a blob store keeps bytes that are still arriving. Only the store that made it can read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub(crate) Box<str>);

impl StageId {
    /// Takes the text that [`StageId::as_str`] gave, as it comes back from a metadata store.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for a metadata store to keep.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_ids_are_uuids_and_nothing_else_is_one() {
        let id = UploadId::random().unwrap();
        assert_eq!(UploadId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.as_str().as_bytes()[14], b'4');
        assert_ne!(id, UploadId::random().unwrap());
        for bad in ["", "../../etc/passwd", &id.as_str().to_uppercase(), &format!("{id}0"), &id.as_str()[1..]] {
            assert_eq!(UploadId::parse(bad), None, "{bad}");
        }
    }
}
