//! What the lab holds: blobs by digest, and per repository what belongs to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use bytes::Bytes;
use image::{Algorithm, Descriptor, Digest, Document, Hasher, Limits, MediaKind, MediaType};
use serde_json::{Value, json};

use crate::answer::Failure;

/// A blob, held or made up as it is read.
#[derive(Clone, Debug)]
pub(crate) enum Blob {
    /// Held.
    Bytes(Bytes),
    /// Pseudo-random bytes of a seed: any size at no memory.
    Seeded { seed: u64, size: u64 },
    /// Was uploaded and hashed, not kept.
    Forgotten { size: u64 },
}

impl Blob {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Seeded { size, .. } | Self::Forgotten { size } => *size,
        }
    }

    /// The bytes of a range that lies within the blob.
    pub(crate) fn slice(&self, range: Range<u64>) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.slice(range.start as usize..range.end as usize),
            Self::Seeded { seed, .. } => seeded(*seed, range),
            Self::Forgotten { .. } => vec![0; (range.end - range.start) as usize].into(),
        }
    }

    /// Digest of the whole.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut at = 0;
        while at < self.size() {
            let end = self.size().min(at + (1 << 20));
            hasher.update(&self.slice(at..end));
            at = end;
        }
        hasher.finish()
    }
}

/// Pseudo-random bytes that can be had from any position (splitmix64 over the word's number).
pub(crate) fn seeded(seed: u64, range: Range<u64>) -> Bytes {
    let first = range.start / 8;
    let last = range.end.div_ceil(8);
    let mut bytes = Vec::with_capacity(((last - first) * 8) as usize);
    for word in first..last {
        let mut z = seed
            .wrapping_mul(0xA24B_AED4_963E_E407)
            .wrapping_add(word.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    let bytes = Bytes::from(bytes);
    bytes.slice((range.start - first * 8) as usize..(range.end - first * 8) as usize)
}

/// A document as it was pushed.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Repository {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) manifests: BTreeMap<Digest, Stored>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// An upload session.
pub(crate) struct Upload {
    pub(crate) repository: String,
    bytes: Vec<u8>,
    hasher: Hasher,
    pub(crate) received: u64,
    forgotten: bool,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("repository", &self.repository)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Upload {
    pub(crate) fn new(repository: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            bytes: Vec::new(),
            hasher: Hasher::new(Algorithm::Sha256),
            received: 0,
            forgotten: false,
        }
    }

    /// Takes the next bytes; over `keep_at_most` only their hash is kept.
    pub(crate) fn append(&mut self, bytes: &[u8], keep_at_most: Option<u64>) {
        self.received += bytes.len() as u64;
        self.hasher.update(bytes);
        if keep_at_most.is_some_and(|limit| self.received > limit) {
            self.forgotten = true;
            self.bytes = Vec::new();
        }
        if !self.forgotten {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The blob, if it has that digest.
    pub(crate) fn finish(self, digest: &Digest) -> Option<Blob> {
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => self.hasher.finish(),
            Algorithm::Sha512 => Digest::of(Algorithm::Sha512, &self.bytes),
        };
        if actual != *digest {
            return None;
        }
        Some(if self.forgotten { Blob::Forgotten { size: self.received } } else { Blob::Bytes(self.bytes.into()) })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Content {
    blobs: HashMap<Digest, Blob>,
    pub(crate) repositories: BTreeMap<String, Repository>,
    pub(crate) uploads: HashMap<String, Upload>,
    next_upload: u64,
}

impl Content {
    pub(crate) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    pub(crate) fn put_blob(&mut self, repository: &str, digest: Digest, blob: Blob) {
        self.repository(repository).blobs.insert(digest.clone());
        self.blobs.insert(digest, blob);
    }

    /// A blob of a repository.
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<&Blob> {
        self.repositories.get(repository)?.blobs.get(digest).and_then(|digest| self.blobs.get(digest))
    }

    /// Makes a blob of `from` one of `to`, too.
    pub(crate) fn mount(&mut self, from: &str, to: &str, digest: &Digest) -> bool {
        let there = self.blob(from, digest).is_some();
        if there {
            self.repository(to).blobs.insert(digest.clone());
        }
        there
    }

    pub(crate) fn start_upload(&mut self, repository: &str) -> String {
        self.next_upload += 1;
        // Shaped as a UUID, as the specification wants it; counted, so that tests can repeat.
        let id = format!("00000000-0000-4000-8000-{:012x}", self.next_upload);
        self.uploads.insert(id.clone(), Upload::new(repository));
        id
    }

    /// The digest behind a tag or a digest, if the repository has it.
    pub(crate) fn resolve(&self, repository: &str, reference: &str) -> Option<Digest> {
        let repository = self.repositories.get(repository)?;
        match Digest::parse(reference) {
            Ok(digest) => repository.manifests.contains_key(&digest).then_some(digest),
            Err(_) => repository.tags.get(reference).cloned(),
        }
    }

    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, Stored)> {
        let digest = self.resolve(repository, reference)?;
        let stored = self.repositories.get(repository)?.manifests.get(&digest)?.clone();
        Some((digest, stored))
    }

    /// Puts a document without looking at it.
    pub(crate) fn store(&mut self, repository: &str, digest: Digest, stored: Stored, tags: &[String]) {
        let repository = self.repository(repository);
        for tag in tags {
            repository.tags.insert(tag.clone(), digest.clone());
        }
        repository.manifests.insert(digest, stored);
    }

    /// Whether a document is one that the repository can take: its form, and that what it refers to is there.
    pub(crate) fn check(
        &self,
        repository: &str,
        media_type: &str,
        bytes: &Bytes,
        sparse: bool,
    ) -> Result<Document, Vec<Failure>> {
        let media_type = MediaType::from_content_type(media_type);
        let document = Document::with_limits(Some(&media_type), bytes.clone(), Limits::default(), Algorithm::Sha256)
            .map_err(|error| vec![Failure::new("MANIFEST_INVALID", "manifest invalid", json!(error.to_string()))])?;
        let missing: Vec<Failure> = document
            .children()
            .into_iter()
            .filter(|child| !sparse && !self.has(repository, &document, child))
            .map(|child| Failure::new("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", json!(child.digest)))
            .collect();
        if missing.is_empty() { Ok(document) } else { Err(missing) }
    }

    fn has(&self, repository: &str, document: &Document, child: &Descriptor) -> bool {
        if child.media_type.kind() == MediaKind::ForeignLayer {
            return true;
        }
        let Some(repository) = self.repositories.get(repository) else { return false };
        match document.index() {
            Some(_) => repository.manifests.contains_key(&child.digest),
            None => repository.blobs.contains(&child.digest),
        }
    }

    /// Deletes a tag, or a document with its tags; whether it was there.
    pub(crate) fn delete(&mut self, repository: &str, reference: &str) -> bool {
        let Some(repository) = self.repositories.get_mut(repository) else { return false };
        match Digest::parse(reference) {
            Ok(digest) => {
                repository.tags.retain(|_, tagged| *tagged != digest);
                repository.manifests.remove(&digest).is_some()
            }
            Err(_) => repository.tags.remove(reference).is_some(),
        }
    }

    /// Descriptors of what refers to `subject`, sorted by digest.
    pub(crate) fn referrers(&self, repository: &str, subject: &Digest) -> Vec<Value> {
        let Some(repository) = self.repositories.get(repository) else { return Vec::new() };
        repository
            .manifests
            .iter()
            .filter_map(|(digest, stored)| {
                let document: Value = serde_json::from_slice(&stored.bytes).ok()?;
                if document.pointer("/subject/digest")?.as_str()? != subject.as_str() {
                    return None;
                }
                let mut descriptor = json!({
                    "mediaType": stored.media_type,
                    "digest": digest,
                    "size": stored.bytes.len(),
                });
                let artifact_type =
                    document.get("artifactType").filter(|text| text.as_str().is_some_and(|t| !t.is_empty()));
                if let Some(artifact_type) = artifact_type.or_else(|| document.pointer("/config/mediaType")) {
                    descriptor["artifactType"] = artifact_type.clone();
                }
                if let Some(annotations) = document.get("annotations") {
                    descriptor["annotations"] = annotations.clone();
                }
                Some(descriptor)
            })
            .collect()
    }
}

/// The `mediaType` of a document, or what its shape says.
pub(crate) fn guess_media_type(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value.get("mediaType").and_then(Value::as_str) {
        Some(media_type) => media_type.to_owned(),
        None if value.get("manifests").is_some() => MediaType::OCI_INDEX.to_owned(),
        None => MediaType::OCI_MANIFEST.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_bytes_are_the_same_from_any_position() {
        let whole = seeded(7, 0..1000);
        assert_eq!(whole.len(), 1000);
        for (from, to) in [(0, 1), (3, 900), (8, 16), (999, 1000), (500, 500)] {
            assert_eq!(seeded(7, from..to), whole.slice(from as usize..to as usize));
        }
        assert_ne!(seeded(8, 0..1000), whole);
        let blob = Blob::Seeded { seed: 7, size: 1000 };
        assert_eq!(blob.digest(), Digest::sha256(&whole));
    }
}
