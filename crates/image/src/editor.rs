//! Changing a document without touching what was not asked for.
//!
//! An editor holds the document's own bytes and replaces spans of them. Blanks, unknown fields, the spelling of numbers
//! and the order of keys stay as they were; what is added is laid out as its neighbours are.

use bytes::Bytes;

use crate::descriptor::Descriptor;
use crate::digest::Algorithm;
use crate::document::{Document, DocumentError};
use crate::media_type::MediaType;
use crate::platform::Platform;
use crate::spans::{Container, Layout, Value, blanks};
use crate::strict::{Limits, StrictError, check_json};

/// Why an edit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The document is not an index.
    #[error("a document of media type `{}` has no entries to edit: it is not an index", crate::text::Shown(.0.as_str()))]
    NotAnIndex(MediaType),
    /// There is no such entry.
    #[error("the index has no entry {index}: it has {count}")]
    NoEntry {
        /// Which one was asked for, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The text for a new entry is not one JSON object.
    #[error("the new entry is not acceptable: {0}")]
    Entry(#[from] StrictError),
    /// What should be an object or an array is something else.
    #[error("`{0}` is not of the type that the specification says")]
    Shape(&'static str),
    /// The outcome would not be a document.
    #[error("the edited document is not acceptable: {0}")]
    Document(#[from] DocumentError),
}

/// A change to one field of an entry's platform.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlatformEdit {
    /// Sets `os`; empty clears it. So do the others.
    Os(String),
    /// Sets `architecture`.
    Architecture(String),
    /// Sets `variant`.
    Variant(String),
    /// Sets `os.version`.
    OsVersion(String),
    /// Sets `os.features`.
    OsFeatures(Vec<String>),
}

/// Fields of a platform in the order in which they are written.
const PLATFORM: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];
/// Fields of a document in the order in which they are written.
const DOCUMENT: [&str; 8] =
    ["schemaVersion", "mediaType", "artifactType", "manifests", "config", "layers", "subject", "annotations"];

/// Edits the fields that indexes and image manifests have in common.
#[derive(Clone, Debug)]
pub struct DocumentEditor {
    /// Blanks around the document.
    around: [Bytes; 2],
    top: Value,
    layout: Layout,
    media_type: MediaType,
    algorithm: Algorithm,
}

impl DocumentEditor {
    /// Opens `document`.
    pub fn new(document: &Document) -> Self {
        let bytes = document.bytes();
        let before = blanks(bytes, 0);
        let body = bytes.trim_ascii().len();
        let after = bytes.slice((before.len() + body).min(bytes.len())..);
        let mut top = Value::Raw(bytes.slice(before.len()..bytes.len() - after.len()));
        let layout = top.open(b'{').and_then(|object| object.layout(0)).unwrap_or_else(Layout::compact);
        let algorithm = document.digest().algorithm();
        Self { around: [before, after], top, layout, media_type: document.media_type().clone(), algorithm }
    }

    /// Sets the media type: the field in the document and what the document counts as.
    pub fn set_media_type(&mut self, media_type: &MediaType) -> Result<(), EditError> {
        self.media_type = media_type.clone();
        self.set_top("mediaType", Some(media_type.as_str().into()))
    }

    /// Sets or clears `artifactType`.
    pub fn set_artifact_type(&mut self, artifact_type: Option<&str>) -> Result<(), EditError> {
        self.set_top("artifactType", artifact_type.map(Into::into))
    }

    /// Sets or clears `subject`.
    pub fn set_subject(&mut self, subject: Option<&Descriptor>) -> Result<(), EditError> {
        self.set_top("subject", subject.map(to_json))
    }

    /// Sets an annotation of the document.
    pub fn set_annotation(&mut self, key: &str, value: &str) -> Result<(), EditError> {
        let layout = self.layout.clone();
        set_annotation(self.top()?, &DOCUMENT, key, value, &layout, 0)
    }

    /// Removes an annotation of the document, and `annotations` with the last one. Says whether it was there.
    pub fn remove_annotation(&mut self, key: &str) -> Result<bool, EditError> {
        remove_annotation(self.top()?, key)
    }

    /// The bytes as they are now.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = self.around[0].to_vec();
        self.top.write(&mut out);
        out.extend_from_slice(&self.around[1]);
        out.into()
    }

    /// The edited document, checked like any other.
    pub fn finish(self) -> Result<Document, EditError> {
        self.finish_within(Limits::default())
    }

    /// As [`DocumentEditor::finish`], with bounds of one's own.
    pub fn finish_within(self, limits: Limits) -> Result<Document, EditError> {
        Ok(Document::with_limits(Some(&self.media_type), self.to_bytes(), limits, self.algorithm)?)
    }

    fn top(&mut self) -> Result<&mut Container, EditError> {
        self.top.open(b'{').ok_or(EditError::Shape("document"))
    }

    fn set_top(&mut self, name: &'static str, value: Option<serde_json::Value>) -> Result<(), EditError> {
        let layout = self.layout.clone();
        set_member(self.top()?, &DOCUMENT, name, value, &layout, 0);
        Ok(())
    }
}

/// Edits an index: its entries and, through [`IndexEditor::document`], its own fields.
///
/// ```
/// # use polyarch_image as image;
/// use image::{Document, IndexEditor, PlatformEdit};
///
/// let digest = image::Digest::sha256(b"");
/// let text = format!(
///     r#"{{ "schemaVersion": 2, "manifests": [ {{"digest":"{digest}", "size":0, "mediaType":"x", "vendor":1.50}} ] }}"#
/// );
/// let index = Document::new(None, text)?;
/// let mut editor = IndexEditor::new(&index)?;
/// editor.edit_platform(0, &PlatformEdit::Os("linux".to_owned()))?;
/// let edited = editor.finish()?;
/// assert_eq!(
///     std::str::from_utf8(edited.bytes())?,
///     format!(
///         r#"{{ "schemaVersion": 2, "manifests": [ {{"digest":"{digest}", "size":0, "mediaType":"x", "vendor":1.50, "platform":{{"os":"linux"}}}} ] }}"#
///     )
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct IndexEditor {
    document: DocumentEditor,
}

impl IndexEditor {
    /// Opens `document`, which must be an index.
    pub fn new(document: &Document) -> Result<Self, EditError> {
        if document.index().is_none() {
            return Err(EditError::NotAnIndex(document.media_type().clone()));
        }
        let mut editor = Self { document: DocumentEditor::new(document) };
        editor.entries()?;
        Ok(editor)
    }

    /// An index without entries, laid out without blanks.
    pub fn empty(media_type: &MediaType) -> Result<Self, EditError> {
        let media = serde_json::Value::from(media_type.as_str());
        let text = format!(r#"{{"schemaVersion":2,"mediaType":{media},"manifests":[]}}"#);
        Self::new(&Document::new(Some(media_type), text)?)
    }

    /// The fields of the index itself.
    pub fn document(&mut self) -> &mut DocumentEditor {
        &mut self.document
    }

    /// How many entries there are now.
    pub fn len(&self) -> usize {
        self.opened().map_or(0, Container::len)
    }

    /// Whether there is no entry now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of an entry as they are now: what [`IndexEditor::append_raw`] puts into another index.
    pub fn entry_bytes(&self, index: usize) -> Result<Bytes, EditError> {
        let value = self.opened().and_then(|entries| entries.value(index));
        value.map(Value::to_bytes).ok_or(EditError::NoEntry { index, count: self.len() })
    }

    /// An entry as it is now, read.
    pub fn descriptor(&self, index: usize) -> Result<Descriptor, EditError> {
        let bytes = self.entry_bytes(index)?;
        serde_json::from_slice(&bytes).map_err(|error| EditError::Entry(StrictError::from_json(&error)))
    }

    /// Adds an entry behind the others.
    pub fn append(&mut self, entry: &Descriptor) -> Result<(), EditError> {
        let layout = self.entry_layout();
        let value = Value::Raw(layout.render(&to_json(entry), 2));
        self.append_value(value)
    }

    /// Adds an entry behind the others, with exactly these bytes.
    pub fn append_raw(&mut self, entry: &Bytes) -> Result<(), EditError> {
        let value = checked_entry(entry)?;
        self.append_value(value)
    }

    /// Takes an entry out and gives back its bytes.
    pub fn remove(&mut self, index: usize) -> Result<Bytes, EditError> {
        let count = self.len();
        let removed = self.entries()?.and_then(|entries| entries.remove(index));
        removed.map(|value| value.to_bytes()).ok_or(EditError::NoEntry { index, count })
    }

    /// Puts another entry in the place of one.
    pub fn replace(&mut self, index: usize, entry: &Descriptor) -> Result<(), EditError> {
        let layout = self.entry_layout();
        *self.entry_value(index)? = Value::Raw(layout.render(&to_json(entry), 2));
        Ok(())
    }

    /// Puts another entry in the place of one, with exactly these bytes.
    pub fn replace_raw(&mut self, index: usize, entry: &Bytes) -> Result<(), EditError> {
        *self.entry_value(index)? = checked_entry(entry)?;
        Ok(())
    }

    /// Changes one field of an entry's platform. The other ones, known or not, stay.
    pub fn edit_platform(&mut self, index: usize, edit: &PlatformEdit) -> Result<(), EditError> {
        let text = |text: &str| Some(serde_json::Value::from(text)).filter(|_| !text.is_empty());
        let (name, value) = match edit {
            PlatformEdit::Os(os) => ("os", text(os)),
            PlatformEdit::Architecture(architecture) => ("architecture", text(architecture)),
            PlatformEdit::Variant(variant) => ("variant", text(variant)),
            PlatformEdit::OsVersion(version) => ("os.version", text(version)),
            PlatformEdit::OsFeatures(features) => {
                ("os.features", Some(serde_json::Value::from(features.clone())).filter(|_| !features.is_empty()))
            }
        };
        let fallback = self.document.layout.clone();
        let entry = self.entry(index)?;
        let entry_layout = entry.layout(2).unwrap_or(fallback);
        if value.is_none() && is_blank(entry, "platform") {
            return Ok(());
        }
        let platform = open_member(entry, "platform", &entry_layout, 2)?;
        let layout = platform.layout(3).unwrap_or(entry_layout);
        set_member(platform, &PLATFORM, name, value, &layout, 3);
        Ok(())
    }

    /// Makes an entry's platform say what `platform` says. Fields of it that polyarch does not know stay.
    pub fn set_platform(&mut self, index: usize, platform: &Platform) -> Result<(), EditError> {
        self.edit_platform(index, &PlatformEdit::Architecture(platform.architecture.clone()))?;
        self.edit_platform(index, &PlatformEdit::Os(platform.os.clone()))?;
        self.edit_platform(index, &PlatformEdit::OsVersion(platform.os_version.clone()))?;
        self.edit_platform(index, &PlatformEdit::OsFeatures(platform.os_features.clone()))?;
        self.edit_platform(index, &PlatformEdit::Variant(platform.variant.clone()))
    }

    /// Removes an entry's `platform`.
    pub fn remove_platform(&mut self, index: usize) -> Result<(), EditError> {
        let entry = self.entry(index)?;
        if let Some(at) = entry.find("platform") {
            entry.remove(at);
        }
        Ok(())
    }

    /// Sets an annotation of an entry.
    pub fn set_annotation(&mut self, index: usize, key: &str, value: &str) -> Result<(), EditError> {
        let layout = self.document.layout.clone();
        let entry = self.entry(index)?;
        let layout = entry.layout(2).unwrap_or(layout);
        set_annotation(entry, &[], key, value, &layout, 2)
    }

    /// Removes an annotation of an entry, and `annotations` with the last one. Says whether it was there.
    pub fn remove_annotation(&mut self, index: usize, key: &str) -> Result<bool, EditError> {
        remove_annotation(self.entry(index)?, key)
    }

    /// The bytes as they are now.
    pub fn to_bytes(&self) -> Bytes {
        self.document.to_bytes()
    }

    /// The edited index, checked like any other document.
    pub fn finish(self) -> Result<Document, EditError> {
        self.document.finish()
    }

    /// As [`IndexEditor::finish`], with bounds of one's own.
    pub fn finish_within(self, limits: Limits) -> Result<Document, EditError> {
        self.document.finish_within(limits)
    }

    /// The array of entries, which is open from the start.
    fn opened(&self) -> Option<&Container> {
        let Value::Open(top) = &self.document.top else { return None };
        match top.value(top.find("manifests")?)? {
            Value::Open(entries) => Some(entries),
            Value::Raw(_) => None,
        }
    }

    /// The array of entries; `None` if the index has none, or null.
    fn entries(&mut self) -> Result<Option<&mut Container>, EditError> {
        let top = self.document.top()?;
        if is_blank(top, "manifests") {
            return Ok(None);
        }
        let at = top.find("manifests").and_then(|at| top.value_mut(at));
        at.and_then(|value| value.open(b'[')).map(Some).ok_or(EditError::Shape("manifests"))
    }

    fn entry_value(&mut self, index: usize) -> Result<&mut Value, EditError> {
        let count = self.len();
        self.entries()?.and_then(|entries| entries.value_mut(index)).ok_or(EditError::NoEntry { index, count })
    }

    fn entry(&mut self, index: usize) -> Result<&mut Container, EditError> {
        self.entry_value(index)?.open(b'{').ok_or(EditError::Shape("manifests"))
    }

    /// How the entries are laid out inside: as the last one is, if there is one.
    fn entry_layout(&self) -> Layout {
        let last = self.opened().and_then(|entries| entries.value(entries.len().checked_sub(1)?)).map(Value::to_bytes);
        let layout = last.and_then(|raw| Container::parse(&raw)).and_then(|entry| entry.layout(2));
        layout.unwrap_or_else(|| self.document.layout.clone())
    }

    fn append_value(&mut self, value: Value) -> Result<(), EditError> {
        let layout = self.document.layout.clone();
        if self.entries()?.is_none() {
            let empty = Value::Raw(Bytes::from_static(b"[]"));
            put_member(self.document.top()?, &DOCUMENT, "manifests", empty, &layout, 0);
        }
        let entries = self.entries()?.ok_or(EditError::Shape("manifests"))?;
        entries.insert(entries.len(), None, value, &layout, 1);
        Ok(())
    }
}

/// Whether a member is missing or null, which Go's parsers take for the same.
fn is_blank(object: &Container, name: &str) -> bool {
    object
        .find(name)
        .and_then(|at| object.value(at))
        .is_none_or(|value| matches!(value, Value::Raw(raw) if *raw == "null"))
}

/// The member `name` as an object, made if it is not there.
fn open_member<'a>(
    object: &'a mut Container,
    name: &'static str,
    layout: &Layout,
    depth: usize,
) -> Result<&'a mut Container, EditError> {
    if is_blank(object, name) {
        put_member(object, &DOCUMENT, name, Value::Raw(Bytes::from_static(b"{}")), layout, depth);
    }
    let at = object.find(name).and_then(|at| object.value_mut(at));
    at.and_then(|value| value.open(b'{')).ok_or(EditError::Shape(name))
}

/// Replaces the value of a member, or puts a new one where `order` says; behind all others if it says nothing.
fn put_member(object: &mut Container, order: &[&str], name: &str, value: Value, layout: &Layout, depth: usize) {
    if let Some(slot) = object.find(name).and_then(|at| object.value_mut(at)) {
        *slot = value;
        return;
    }
    let at = match order.iter().position(|&field| field == name) {
        Some(at) if name != "annotations" => object.after(&order[..at]),
        _ => object.len(),
    };
    object.insert(at, Some(name), value, layout, depth);
}

/// Sets or removes a member. One that already has the value keeps its bytes.
fn set_member(
    object: &mut Container,
    order: &[&str],
    name: &str,
    value: Option<serde_json::Value>,
    layout: &Layout,
    depth: usize,
) {
    let Some(value) = value else {
        if let Some(at) = object.find(name) {
            object.remove(at);
        }
        return;
    };
    let old = object.find(name).and_then(|at| object.value(at)).map(Value::to_bytes);
    if old.is_some_and(|old| serde_json::from_slice::<serde_json::Value>(&old).is_ok_and(|old| old == value)) {
        return;
    }
    let rendered = Value::Raw(layout.render(&value, depth + 1));
    put_member(object, order, name, rendered, layout, depth);
}

fn set_annotation(
    object: &mut Container,
    order: &[&str],
    key: &str,
    value: &str,
    layout: &Layout,
    depth: usize,
) -> Result<(), EditError> {
    if is_blank(object, "annotations") {
        put_member(object, order, "annotations", Value::Raw(Bytes::from_static(b"{}")), layout, depth);
    }
    let at = object.find("annotations").and_then(|at| object.value_mut(at));
    let annotations = at.and_then(|value| value.open(b'{')).ok_or(EditError::Shape("annotations"))?;
    let layout = annotations.layout(depth + 1).unwrap_or_else(|| layout.clone());
    set_member(annotations, &[], key, Some(value.into()), &layout, depth + 1);
    Ok(())
}

fn remove_annotation(object: &mut Container, key: &str) -> Result<bool, EditError> {
    if is_blank(object, "annotations") {
        return Ok(false);
    }
    let Some(at) = object.find("annotations") else { return Ok(false) };
    let opened = object.value_mut(at).and_then(|value| value.open(b'{'));
    let annotations = opened.ok_or(EditError::Shape("annotations"))?;
    let Some(found) = annotations.find(key) else { return Ok(false) };
    annotations.remove(found);
    if annotations.len() == 0 {
        object.remove(at);
    }
    Ok(true)
}

fn to_json(descriptor: &Descriptor) -> serde_json::Value {
    // A descriptor has text, numbers and string keys only, so that there is always a JSON value for it.
    serde_json::to_value(descriptor).unwrap_or_default()
}

fn checked_entry(entry: &Bytes) -> Result<Value, EditError> {
    check_json(entry, Limits::default())?;
    let trimmed = blanks(entry, 0).len();
    let value = Value::Raw(entry.slice(trimmed..trimmed + entry.trim_ascii().len()));
    if Container::parse(&value.to_bytes()).is_none() || !matches!(&value, Value::Raw(raw) if raw.starts_with(b"{")) {
        return Err(EditError::Shape("manifests"));
    }
    Ok(value)
}
