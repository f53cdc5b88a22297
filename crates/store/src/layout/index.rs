//! `index.json`: read with suspicion, changed without losing anything.

use std::collections::{HashSet, VecDeque};

use image::{Algorithm, Descriptor, Digest, Document, IndexEditor, Limits, MediaKind, MediaType, Tag, Target};
use serde::Deserialize;

use super::error::LayoutError;
use super::files::Files;
use crate::referrer::describe;

/// The annotation that is a tag (image-spec, `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What is written into `oci-layout`.
const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Most bytes of `index.json`: some 100 000 entries.
const INDEX_LIMIT: usize = 32 << 20;
/// Most bytes of any other document: what the distribution specification asks registries to take.
const DOCUMENT_LIMIT: u64 = 4 << 20;

#[derive(Deserialize)]
struct LayoutFile {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

fn limits() -> Limits {
    Limits { length: INDEX_LIMIT, ..Limits::default() }
}

/// What `index.json` says. `None`: there is no layout.
pub(crate) fn read(files: &Files) -> Result<Option<Document>, LayoutError> {
    let mut layout = files.read("oci-layout", 64 << 10)?;
    if layout.is_none() && matches!(files.root().try_exists(), Ok(true)) && !files.is_empty()? {
        // Another writer may have made the layout between the two looks.
        layout = files.read("oci-layout", 64 << 10)?;
        if layout.is_none() {
            return Err(LayoutError::OtherContent(files.root().to_owned()));
        }
    }
    let Some(layout) = layout else { return Ok(None) };
    let damaged = |file: &'static str, reason: String| LayoutError::Damaged { file, reason };
    let layout: LayoutFile =
        serde_json::from_slice(&layout).map_err(|error| damaged("oci-layout", error.to_string()))?;
    if layout.version != "1.0.0" {
        return Err(LayoutError::Version(layout.version.chars().take(40).flat_map(char::escape_debug).collect()));
    }
    let document = match files.read("index.json", INDEX_LIMIT as u64)? {
        // A crash between the two files: the layout is there, with nothing in it.
        None => return empty().map(Some),
        Some(bytes) => Document::with_limits(None, bytes, limits(), Algorithm::Sha256)
            .map_err(|error| damaged("index.json", error.to_string()))?,
    };
    match document.index() {
        Some(_) => Ok(Some(document)),
        None => Err(damaged("index.json", "it is not an index".to_owned())),
    }
}

fn empty() -> Result<Document, LayoutError> {
    Ok(IndexEditor::empty(&MediaType::from(MediaType::OCI_INDEX))?.finish()?)
}

/// Makes a layout, if there is none. Refuses a directory that holds something else.
pub(crate) fn create(files: &Files) -> Result<(), LayoutError> {
    files.create()?;
    if read(files)?.is_some() {
        return Ok(());
    }
    let _lock = files.lock()?;
    if read(files)?.is_none() {
        files.replace("oci-layout", LAYOUT_FILE)?;
        files.replace("index.json", empty()?.bytes())?;
    }
    Ok(())
}

fn entries(index: &Document) -> &[Descriptor] {
    index.index().map_or(&[], |view| &view.manifests)
}

fn has_tag(entry: &Descriptor, tag: &Tag) -> bool {
    entry.annotation(REF_NAME) == Some(tag.as_str())
}

/// The entry that a tag names; with `sole`, the only one there is stands in for one that is missing.
pub(crate) fn tagged(index: &Document, tag: &Tag, sole: bool) -> Result<Option<Descriptor>, LayoutError> {
    let distinct = |wanted: &dyn Fn(&Descriptor) -> bool| {
        let mut found: Vec<&Descriptor> = Vec::new();
        for entry in entries(index).iter().filter(|entry| wanted(entry)) {
            if !found.iter().any(|other| other.digest == entry.digest) {
                found.push(entry);
            }
        }
        found
    };
    let mut found = distinct(&|entry| has_tag(entry, tag));
    if found.is_empty() && sole {
        let all = distinct(&|_| true);
        found = if all.len() == 1 { all } else { Vec::new() };
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        several => Err(LayoutError::Ambiguous {
            tag: tag.clone(),
            digests: several.iter().map(|entry| entry.digest.clone()).collect(),
        }),
    }
}

/// All tags, sorted. Names that are no tags are not among them.
pub(crate) fn tags(index: &Document) -> Vec<Tag> {
    let names = entries(index).iter().filter_map(|entry| entry.annotation(REF_NAME));
    let mut tags: Vec<Tag> = names.filter_map(|name| Tag::parse(name).ok()).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// Reads a document by its digest; `media_type` where it is known from a descriptor. `None`: it is not there.
pub(crate) fn document(
    files: &Files,
    digest: &Digest,
    media_type: Option<&MediaType>,
) -> Result<Option<Document>, LayoutError> {
    use std::io::Read;
    let Some((file, size)) = files.open_blob(digest)? else { return Ok(None) };
    let too_long = |length: u64| {
        image::DocumentError::from(image::StrictError::TooLong {
            length: length as usize,
            limit: DOCUMENT_LIMIT as usize,
        })
    };
    if size > DOCUMENT_LIMIT {
        return Err(too_long(size).into());
    }
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).map_err(LayoutError::io(files.root()))?;
    let document = Document::with_limits(media_type, bytes, Limits::default(), digest.algorithm())?;
    if document.digest() == digest {
        Ok(Some(document))
    } else {
        Err(LayoutError::Content { expected: digest.clone(), actual: document.digest().clone() })
    }
}

/// Writes a document into `index.json`: under `tag`, or, without one, so that it can be found at all.
pub(crate) fn list(files: &Files, document: &Document, tag: Option<&Tag>) -> Result<(), LayoutError> {
    let _lock = files.lock()?;
    let index = read(files)?.ok_or_else(|| LayoutError::NoLayout(files.root().to_owned()))?;
    let mut editor = IndexEditor::new(&index)?;
    let mut entry = document.descriptor();
    let all = entries(&index);
    match tag {
        None if all.iter().any(|known| known.digest == entry.digest) => return Ok(()),
        None => editor.append(&entry)?,
        Some(tag) => {
            let with_tag: Vec<usize> = (0..all.len()).filter(|&at| has_tag(&all[at], tag)).collect();
            let untagged =
                all.iter().position(|known| known.digest == entry.digest && known.annotation(REF_NAME).is_none());
            let keep = with_tag.iter().copied().find(|&at| all[at].digest == entry.digest);
            if keep.is_some() && with_tag.len() == 1 {
                return Ok(());
            }
            entry.annotations.insert(REF_NAME.to_owned(), tag.as_str().into());
            // The entry that stays: the one that is right already, one that lacks nothing but the tag, the one whose
            // tag it is; else a new one.
            let stays = keep.or(untagged).or(with_tag.first().copied());
            match stays {
                Some(at) if keep == Some(at) => {}
                Some(at) if untagged == Some(at) => editor.set_annotation(at, REF_NAME, tag.as_str())?,
                Some(at) => editor.replace(at, &entry)?,
                None => editor.append(&entry)?,
            }
            for &at in with_tag.iter().rev().filter(|&&at| stays != Some(at)) {
                editor.remove(at)?;
            }
        }
    }
    write(files, editor)
}

/// Takes out of `index.json` what `target` names. Of a digest, the file goes too, unless an index still needs it.
pub(crate) fn delete(files: &Files, target: &Target) -> Result<(), LayoutError> {
    let _lock = files.lock()?;
    let index = read(files)?.ok_or_else(|| LayoutError::NoLayout(files.root().to_owned()))?;
    let all = entries(&index);
    let named = |entry: &Descriptor| match target {
        Target::Tag(tag) => has_tag(entry, tag),
        Target::Digest(digest) => entry.digest == *digest,
    };
    let gone: Vec<usize> = (0..all.len()).filter(|&at| named(&all[at])).collect();
    if let Target::Digest(digest) = target {
        if gone.is_empty() && document(files, digest, None).map_or(true, |found| found.is_none()) {
            return Err(LayoutError::Absent);
        }
        let others: Vec<&Descriptor> = all.iter().filter(|entry| !named(entry)).collect();
        if is_part_of(files, &others, digest)? {
            return Err(LayoutError::PartOfIndex);
        }
    } else if gone.is_empty() {
        return Err(LayoutError::Absent);
    }
    if !gone.is_empty() {
        let mut editor = IndexEditor::new(&index)?;
        for &at in gone.iter().rev() {
            editor.remove(at)?;
        }
        write(files, editor)?;
    }
    match target {
        Target::Digest(digest) => files.remove_blob(digest),
        Target::Tag(_) => Ok(()),
    }
}

fn write(files: &Files, editor: IndexEditor) -> Result<(), LayoutError> {
    let index = editor.finish_within(limits())?;
    // What the index names must not be lost after the index is not.
    files.sync_names()?;
    files.replace("index.json", index.bytes())
}

/// Whether an index among `roots`, or below them, has `digest` as a child.
fn is_part_of(files: &Files, roots: &[&Descriptor], digest: &Digest) -> Result<bool, LayoutError> {
    let mut seen: HashSet<Digest> = HashSet::new();
    let mut queue: VecDeque<Descriptor> = roots.iter().map(|&root| root.clone()).collect();
    while let Some(next) = queue.pop_front() {
        if next.media_type.kind() != MediaKind::Index || !seen.insert(next.digest.clone()) {
            continue;
        }
        let Some(index) = document(files, &next.digest, Some(&next.media_type))? else { continue };
        if entries(&index).iter().any(|child| child.digest == *digest) {
            return Ok(true);
        }
        queue.extend(entries(&index).iter().cloned());
    }
    Ok(false)
}

/// Descriptors of documents whose subject is `subject`: entries of `index.json`, and of the fall-back tag's index.
pub(crate) fn referrers(files: &Files, index: &Document, subject: &Digest) -> Result<Vec<Descriptor>, LayoutError> {
    let mut candidates: Vec<Descriptor> = entries(index).to_vec();
    let fallback = format!("{}-{}", subject.algorithm().as_str(), subject.hex());
    for entry in entries(index).iter().filter(|entry| entry.annotation(REF_NAME) == Some(&fallback)) {
        if let Some(listed) = document(files, &entry.digest, Some(&entry.media_type))? {
            candidates.extend_from_slice(entries(&listed));
        }
    }
    candidates.retain(|entry| matches!(entry.media_type.kind(), MediaKind::Index | MediaKind::Manifest));
    candidates.sort_by(|a, b| a.digest.cmp(&b.digest));
    candidates.dedup_by(|a, b| a.digest == b.digest);
    let mut found = Vec::new();
    for candidate in candidates {
        let Some(document) = document(files, &candidate.digest, Some(&candidate.media_type))? else { continue };
        if document.subject().is_some_and(|known| known.digest == *subject) {
            found.push(describe(&document));
        }
    }
    Ok(found)
}
