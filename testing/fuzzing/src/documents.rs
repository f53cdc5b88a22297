//! Manifests, indexes, configs.

use bytes::Bytes;
use image::{
    Descriptor, Digest, Document, ImageConfig, IndexEditor, Limits, MediaKind, MediaType, Platform, PlatformMatcher,
    check_json,
};

use crate::assert_plain;

/// Manifests, indexes, configs.
pub(crate) fn documents(bytes: &[u8]) {
    let strict = check_json(bytes, Limits::default()).is_ok();
    if strict {
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok(), "what passed is no JSON");
    }
    let mut taken: Option<MediaType> = None;
    for media_type in MediaType::DOCUMENTS.map(MediaType::new) {
        match Document::new(Some(&media_type), Bytes::copy_from_slice(bytes)) {
            Ok(document) => {
                assert!(strict);
                assert_eq!(document.media_type(), &media_type);
                look_at(&document, bytes);
                let before = taken.replace(media_type.clone());
                assert!(before.is_none(), "both `{media_type}` and `{before:?}`");
            }
            Err(error) => assert_plain(&error),
        }
    }
    match Document::new(None, Bytes::copy_from_slice(bytes)) {
        Ok(document) => assert_eq!(taken.as_ref(), Some(document.media_type())),
        Err(error) => assert_plain(&error),
    }
    match ImageConfig::parse(bytes) {
        Ok(_) => {}
        Err(error) => assert_plain(&error),
    }
}

fn look_at(document: &Document, bytes: &[u8]) {
    assert_eq!(document.bytes(), bytes);
    assert_eq!(document.digest(), &Digest::sha256(bytes));
    assert_eq!(document.index().is_some(), document.manifest().is_none());
    assert_eq!(document.index().is_some(), document.media_type().kind() == MediaKind::Index);
    for child in document.children().into_iter().chain(document.subject()) {
        let text = serde_json::to_vec(child).expect("a descriptor is JSON");
        let again: Descriptor = serde_json::from_slice(&text).expect("what was written can be read");
        assert_eq!(again.digest, child.digest);
        assert_eq!((again.size, &again.media_type), (child.size, &child.media_type));
        assert!(i64::try_from(child.size).is_ok());
    }
    let offered = document.children();
    let matcher = PlatformMatcher::new(&Platform::new("linux", "amd64"));
    let chosen = matcher.select(offered.iter().map(|child| child.platform.as_ref())).chosen();
    assert!(chosen.is_none_or(|chosen| chosen < offered.len()));
}

/// Indexes that are edited: what is not edited stays as it was, to the byte.
pub(crate) fn indexes(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let Ok(document) = Document::new(None, Bytes::copy_from_slice(bytes)) else { return };
    let Ok(mut editor) = IndexEditor::new(&document) else { return };
    assert_eq!(editor.to_bytes(), bytes, "an editor without edits");
    let count = document.children().len();
    assert_eq!(editor.len(), count);
    let before: Vec<Bytes> = (0..count).filter_map(|entry| editor.entry_bytes(entry).ok()).collect();
    assert_eq!(before.len(), count);
    let added = Descriptor::new(MediaType::new(MediaType::OCI_MANIFEST), Digest::sha256(bytes), bytes.len() as u64);
    let at = usize::from(*choice) % (count + 1);
    let mut expected = before;
    let edited = match choice % 5 {
        0 => editor.append(&added).map(|()| expected.push(Bytes::new())),
        1 if at < count => editor.remove(at).map(|gone| assert_eq!(gone, expected.remove(at))),
        2 if at < count => editor.set_annotation(at, "key", "\"value\"\n").map(|()| expected[at] = Bytes::new()),
        3 if at < count => {
            editor.set_platform(at, &Platform::new("linux", "arm64")).map(|()| expected[at] = Bytes::new())
        }
        _ => editor.document().set_annotation("key", "value"),
    };
    if let Err(error) = edited {
        assert_plain(&error);
        return;
    }
    match editor.finish() {
        Ok(document) => {
            let editor = IndexEditor::new(&document).expect("what was made can be edited");
            assert_eq!(editor.len(), expected.len());
            for (entry, bytes) in expected.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
                assert_eq!(editor.entry_bytes(entry).ok().as_ref(), Some(bytes), "entry {entry}");
            }
        }
        Err(error) => assert_plain(&error),
    }
}
