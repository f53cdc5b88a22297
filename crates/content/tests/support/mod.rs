//! Makers of images and bytes for the tests of the content store.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test file uses its own part of it

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{Digest, Document, MediaType, Tag, Target};
use polyarch_content::{ByteSource, ContentStore, Options, PutOptions, RepositoryId};

pub fn repository(name: &str) -> RepositoryId {
    RepositoryId::served(name.parse().unwrap())
}

pub fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub async fn open(directory: &Path) -> ContentStore {
    ContentStore::open(directory, Options::default()).await.unwrap()
}

/// Bytes that look like nothing, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub fn source(bytes: &Bytes) -> ByteSource {
    let chunks: Vec<_> = bytes.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Box::pin(stream::iter(chunks))
}

/// Bytes after which the source fails.
pub fn broken_source(bytes: &Bytes) -> ByteSource {
    Box::pin(source(bytes).chain(stream::iter([Err("the line went dead".into())])))
}

pub async fn put(store: &ContentStore, repository: &RepositoryId, bytes: &Bytes) -> Digest {
    let digest = Digest::sha256(bytes);
    store.put_blob(repository, &digest, Some(bytes.len() as u64), source(bytes)).await.unwrap();
    digest
}

pub async fn get(store: &ContentStore, repository: &RepositoryId, digest: &Digest) -> Option<Bytes> {
    let blob = store.blob(repository, digest).await.unwrap()?;
    let mut bytes = Vec::new();
    let mut stream = store.read_blob(&blob, None).await.unwrap();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    Some(bytes.into())
}

pub fn descriptor(media_type: &str, bytes: &Bytes) -> String {
    let digest = Digest::sha256(bytes);
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, bytes.len())
}

pub fn manifest(config: &Bytes, layers: &[&Bytes]) -> Document {
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(MediaType::OCI_LAYER_GZIP, layer)).collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        MediaType::OCI_MANIFEST,
        descriptor(MediaType::OCI_CONFIG, config),
        layers.join(",")
    );
    Document::new(None, text.into_bytes()).unwrap()
}

pub fn index(children: &[&Document]) -> Document {
    let children: Vec<_> = children.iter().map(|child| serde_json::to_string(&child.descriptor()).unwrap()).collect();
    let text =
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#, MediaType::OCI_INDEX, children.join(","));
    Document::new(None, text.into_bytes()).unwrap()
}

/// Pushes an image with one layer of `layer` bytes, as a client would: layer, config, manifest.
pub async fn push(
    store: &ContentStore,
    repository: &RepositoryId,
    name: Option<&str>,
    layer: usize,
    seed: u64,
) -> Document {
    let layer = noise(layer, seed);
    let config = Bytes::from(format!(r#"{{"architecture":"amd64","os":"linux","seed":{seed}}}"#));
    put(store, repository, &layer).await;
    put(store, repository, &config).await;
    let document = manifest(&config, &[&layer]);
    let tag = name.map(tag);
    store.put_document(repository, &document, &PutOptions::tagged(tag.as_ref())).await.unwrap();
    document
}

/// Whether all of an image can be read.
pub async fn is_whole(store: &ContentStore, repository: &RepositoryId, target: &Target) -> bool {
    let Some(stored) = store.document(repository, target).await.unwrap() else { return false };
    let document = stored.to_document().unwrap();
    for child in document.children() {
        match get(store, repository, &child.digest).await {
            Some(bytes) if Digest::sha256(&bytes) == child.digest => {}
            _ => return false,
        }
    }
    true
}

pub async fn assert_sound(store: &ContentStore) {
    let report = store.verify().await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
}
