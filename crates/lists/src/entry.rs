//! One image of a draft, in the form of docker's store file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use image::{Descriptor, Digest, Document, DocumentError, Limits, MediaType, Platform, Reference};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::go_json::{self, Object};

/// Annotations that begin with this are polyarch's notes in a draft. They are never pushed.
const PRIVATE: &str = "polyarch.draft.";
/// Where an entry came from, if its `Ref` does not say it: a local image, a layout, or an index that was flattened.
const SOURCE: &str = "polyarch.draft.source";

/// An image in a draft: the reference it is known by, its descriptor in the list, and its manifest.
#[derive(Clone, Debug)]
pub struct Entry {
    reference: Reference,
    descriptor: Descriptor,
    raw: Option<Bytes>,
    embedded: Option<Embedded>,
    /// Fields of the file that are neither docker's nor ours.
    unknown: Vec<(String, Box<str>)>,
}

/// The copy of the manifest that docker keeps as JSON within JSON, beside the raw bytes.
#[derive(Clone, Debug)]
struct Embedded {
    form: Form,
    json: Box<str>,
}

impl Embedded {
    fn of(document: &Document) -> Self {
        let form = if document.media_type().is_docker() { Form::Docker } else { Form::Oci };
        let json = String::from_utf8_lossy(&go_json::compact_escaped(document.bytes())).into_owned().into();
        Self { form, json }
    }
}

/// An image that is shown but not stored.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    reference: String,
    descriptor: Descriptor,
    raw: Option<Bytes>,
    embedded: Option<Embedded>,
}

impl Shown {
    pub(crate) fn of(reference: String, document: &Document, platform: Platform) -> Self {
        Self {
            reference,
            descriptor: Descriptor { platform: Some(platform), ..document.descriptor() },
            raw: Some(document.bytes().clone()),
            embedded: Some(Embedded::of(document)),
        }
    }

    /// An entry of an index whose manifest is not there, or is none.
    pub(crate) fn without_manifest(reference: String, mut descriptor: Descriptor) -> Self {
        descriptor.platform.get_or_insert_default();
        Self { reference, descriptor, raw: None, embedded: None }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        push_image(&mut object, &self.reference, &self.descriptor, self.raw.as_deref(), self.embedded.as_ref());
        object.end();
        out
    }
}

impl From<&Entry> for Shown {
    fn from(entry: &Entry) -> Self {
        Self {
            reference: entry.reference.to_string(),
            descriptor: entry.descriptor.clone(),
            raw: entry.raw.clone(),
            embedded: entry.embedded.clone(),
        }
    }
}

fn push_image(
    object: &mut Object<'_>,
    reference: &str,
    descriptor: &Descriptor,
    raw: Option<&[u8]>,
    embedded: Option<&Embedded>,
) {
    object.text("Ref", reference);
    push_descriptor(object.field("Descriptor"), descriptor);
    if let Some(raw) = raw {
        object.text("Raw", &BASE64.encode(raw));
    }
    if let Some(Embedded { form, json }) = embedded {
        object.field(form.key()).extend_from_slice(&go_json::compact_escaped(json.as_bytes()));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Docker,
    Oci,
}

impl Form {
    const ALL: [Self; 2] = [Self::Docker, Self::Oci];

    fn key(self) -> &'static str {
        match self {
            Self::Docker => "SchemaV2Manifest",
            Self::Oci => "OCIManifest",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Docker => MediaType::DOCKER_MANIFEST,
            Self::Oci => MediaType::OCI_MANIFEST,
        }
    }
}

/// Why the text of a store file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not a JSON object, or a field of a wrong type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A field is missing or holds something that cannot be.
    #[error("`{field}` {problem}")]
    Field {
        /// Docker's name of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of the oldest form, whose manifest was changed since it was written.
    #[error("image manifest digest mismatch ({expected} != {actual})")]
    Digest {
        /// What the file states.
        expected: Digest,
        /// What its manifest has.
        actual: Digest,
    },
}

impl Entry {
    /// An entry for an image manifest.
    pub fn new(reference: Reference, document: &Document, platform: Platform) -> Self {
        Self {
            reference,
            descriptor: Descriptor { platform: Some(platform), ..document.descriptor() },
            raw: Some(document.bytes().clone()),
            embedded: Some(Embedded::of(document)),
            unknown: Vec::new(),
        }
    }

    /// The reference that the entry is known by in the draft.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The descriptor as the draft holds it, polyarch's private notes included.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub(crate) fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }

    /// The descriptor as it is published: without private notes.
    pub fn published(&self) -> Descriptor {
        let mut descriptor = self.descriptor.clone();
        descriptor.annotations.retain(|key, _| !key.starts_with(PRIVATE));
        descriptor
    }

    /// The platform that the list will state, empty if none is known.
    pub fn platform(&self) -> Platform {
        self.descriptor.platform.clone().unwrap_or_default()
    }

    /// Where the entry came from, if its reference does not say it: `local:app:v1`, `oci:dir`, or an index that was
    /// flattened.
    pub fn source(&self) -> Option<&str> {
        self.descriptor.annotation(SOURCE)
    }

    pub(crate) fn set_source(&mut self, source: String) {
        self.descriptor.annotations.insert(SOURCE.to_owned(), source.into());
    }

    /// Removes annotations, but not polyarch's own notes.
    pub(crate) fn clear_annotations(&mut self, which: impl Fn(&str) -> bool) {
        self.descriptor.annotations.retain(|key, _| key.starts_with(PRIVATE) || !which(key));
    }

    /// The manifest's exact bytes, if the file holds them. Docker 20 and older wrote none.
    pub(crate) fn raw(&self) -> Option<&[u8]> {
        self.raw.as_deref()
    }

    /// The manifest, if the file holds its exact bytes. The outer error is that of the document.
    ///
    /// # Errors
    /// [`EntryError::Digest`] if the bytes do not have the digest that the entry states.
    pub(crate) fn document(&self) -> Result<Option<Result<Document, DocumentError>>, EntryError> {
        let Some(raw) = &self.raw else { return Ok(None) };
        let expected = &self.descriptor.digest;
        let actual = Digest::of(expected.algorithm(), raw);
        if actual != *expected {
            return Err(EntryError::Digest { expected: expected.clone(), actual });
        }
        Ok(Some(Document::with_limits(
            Some(&self.descriptor.media_type),
            raw.clone(),
            Limits::default(),
            expected.algorithm(),
        )))
    }

    /// What docker prints for an image of a local list: the copy within the file, which has Go's escapes.
    pub(crate) fn embedded(&self) -> Option<&[u8]> {
        self.embedded.as_ref().map(|embedded| embedded.json.as_bytes())
    }

    /// The file's text: one line, keys in docker's order, no newline at the end.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + self.raw.as_ref().map_or(0, Bytes::len) * 3);
        let mut object = Object::new(&mut out);
        push_image(&mut object, &self.reference.to_string(), &self.descriptor, self.raw(), self.embedded.as_ref());
        for (key, value) in &self.unknown {
            object.field(key).extend_from_slice(&go_json::compact_escaped(value.as_bytes()));
        }
        object.end();
        out
    }

    /// Reads a file that docker or polyarch wrote, of any age.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, EntryError> {
        let mut fields: Fields = serde_json::from_slice(text)?;
        let reference: String = fields.require("Ref")?;
        let reference = Reference::parse(&reference).map_err(|error| wrong("Ref", error.to_string()))?;
        let embedded = Form::ALL.into_iter().find_map(|form| {
            let json: Box<str> = fields.take(form.key())?.get().into();
            Some(Embedded { form, json })
        });
        if let Some(Embedded { form, json }) = &embedded
            && go_json::depth(json.as_bytes()) > Limits::default().depth
        {
            // Indented, each level would take more room than the one before.
            return Err(wrong(form.key(), format!("has more than {} levels", Limits::default().depth)));
        }
        let old_platform = fields.take("Platform");
        let mut raw = match fields.parse::<String>("Raw")? {
            Some(raw) => {
                let bytes = BASE64.decode(raw).map_err(|error| wrong("Raw", format!("is not base64: {error}")))?;
                Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty())
            }
            None => None,
        };
        let old_digest = fields.parse::<String>("Digest")?.filter(|digest| !digest.is_empty());
        let descriptor = match (old_digest, fields.take("Descriptor")) {
            (Some(digest), _) => {
                let expected = Digest::parse(&digest).map_err(|error| wrong("Digest", error.to_string()))?;
                let embedded = embedded.as_ref().ok_or_else(|| wrong("Digest", "has no manifest with it"))?;
                let bytes = original_bytes(embedded.json.as_bytes(), &expected)?;
                let mut descriptor =
                    Descriptor::new(embedded.form.media_type(), expected, bytes.len().try_into().unwrap_or(u64::MAX));
                descriptor.platform = old_platform.map(|platform| parse_platform(&platform)).transpose()?;
                raw = Some(bytes);
                descriptor
            }
            (None, Some(descriptor)) => parse_descriptor(&descriptor)?,
            (None, None) => return Err(wrong("Descriptor", "is missing")),
        };
        Ok(Self { reference, descriptor, raw, embedded, unknown: fields.rest() })
    }
}

/// The bytes of a manifest of which only a copy within JSON was kept: as it stands, compact, or as docker indented it.
fn original_bytes(json: &[u8], expected: &Digest) -> Result<Bytes, EntryError> {
    let compact = go_json::compact_escaped(json);
    let actual = Digest::of(expected.algorithm(), json);
    [json.to_vec(), go_json::indent(&compact, "   "), compact]
        .into_iter()
        .find(|candidate| Digest::of(expected.algorithm(), candidate) == *expected)
        .map(Bytes::from)
        .ok_or_else(|| EntryError::Digest { expected: expected.clone(), actual })
}

fn wrong(field: &'static str, problem: impl Into<String>) -> EntryError {
    EntryError::Field { field, problem: problem.into() }
}

fn parse_descriptor(raw: &RawValue) -> Result<Descriptor, EntryError> {
    let mut fields: Fields = serde_json::from_str(raw.get())?;
    let digest: String = fields.require("digest")?;
    let digest = Digest::parse(&digest).map_err(|error| wrong("Descriptor.digest", error.to_string()))?;
    let media_type = fields.parse::<String>("mediaType")?.unwrap_or_default();
    let mut descriptor = Descriptor::new(MediaType::new(media_type), digest, fields.parse("size")?.unwrap_or_default());
    descriptor.urls = fields.parse("urls")?.unwrap_or_default();
    let annotations: Option<serde_json::Map<_, _>> = fields.parse("annotations")?;
    descriptor.annotations = annotations.unwrap_or_default();
    descriptor.data = fields.parse("data")?;
    descriptor.artifact_type = fields.parse("artifactType")?;
    descriptor.platform = fields.take("platform").map(|platform| parse_platform(&platform)).transpose()?;
    Ok(descriptor)
}

fn parse_platform(raw: &RawValue) -> Result<Platform, EntryError> {
    let mut fields: Fields = serde_json::from_str(raw.get())?;
    Ok(Platform {
        architecture: fields.parse("architecture")?.unwrap_or_default(),
        os: fields.parse("os")?.unwrap_or_default(),
        os_version: fields.parse("os.version")?.unwrap_or_default(),
        os_features: fields.parse("os.features")?.unwrap_or_default(),
        variant: fields.parse("variant")?.unwrap_or_default(),
    })
}

/// A descriptor in the key order of docker's store and of `inspect --verbose`.
fn push_descriptor(out: &mut Vec<u8>, descriptor: &Descriptor) {
    let mut object = Object::new(out);
    object.text("mediaType", descriptor.media_type.as_str());
    object.text("digest", descriptor.digest.as_str());
    object.number("size", descriptor.size);
    object.texts_unless_empty("urls", &descriptor.urls);
    push_annotations(&mut object, descriptor);
    object.text_unless_empty("data", descriptor.data.as_deref().unwrap_or_default());
    if let Some(platform) = &descriptor.platform {
        push_platform(object.field("platform"), platform);
    }
    object.text_unless_empty("artifactType", descriptor.artifact_type.as_deref().unwrap_or_default());
    object.end();
}

/// Annotations sorted by key, as Go writes maps. Those that are not strings are not annotations.
pub(crate) fn push_annotations(object: &mut Object<'_>, descriptor: &Descriptor) {
    let mut annotations: Vec<_> =
        descriptor.annotations.iter().filter_map(|(key, value)| Some((key, value.as_str()?))).collect();
    if annotations.is_empty() {
        return;
    }
    annotations.sort_unstable();
    let mut map = Object::new(object.field("annotations"));
    for (key, value) in annotations {
        map.text(key, value);
    }
    map.end();
}

/// A platform in docker's key order.
pub(crate) fn push_platform(out: &mut Vec<u8>, platform: &Platform) {
    let mut object = Object::new(out);
    object.text("architecture", &platform.architecture);
    object.text("os", &platform.os);
    object.text_unless_empty("os.version", &platform.os_version);
    object.texts_unless_empty("os.features", &platform.os_features);
    object.text_unless_empty("variant", &platform.variant);
    object.end();
}

/// The fields of an object in document order, looked up as Go does: without regard to case, the last one wins, `null`
/// is as good as nothing.
struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let mut found = None;
        self.0.retain_mut(|(key, value)| {
            let matches = key.eq_ignore_ascii_case(name);
            if matches && value.get() != "null" {
                found = Some(std::mem::take(value));
            }
            !matches
        });
        found
    }

    fn parse<T: serde::de::DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, EntryError> {
        self.take(name)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|error| wrong(name, format!("is unusable: {error}"))))
            .transpose()
    }

    fn require(&mut self, name: &'static str) -> Result<String, EntryError> {
        self.parse(name)?.ok_or_else(|| wrong(name, "is missing"))
    }

    fn rest(self) -> Vec<(String, Box<str>)> {
        self.0.into_iter().map(|(key, value)| (key, value.get().into())).collect()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "{ \"schemaVersion\": 2,\n \"config\": {\"mediaType\":\"x/y\",\"size\":2,\"digest\":\
        \"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"},\n \"layers\": [ ], \"z\": \"a<b\" }";

    fn entry() -> Entry {
        let document = Document::new(Some(&MediaType::from(MediaType::OCI_MANIFEST)), MANIFEST).unwrap();
        let platform = Platform {
            os_version: "1.2".into(),
            os_features: vec!["a".into(), "b".into()],
            variant: "v6".into(),
            ..Platform::new("linux", "arm")
        };
        Entry::new(Reference::parse("127.0.0.1:5111/t/app:armv7").unwrap(), &document, platform)
    }

    fn text(entry: &Entry) -> String {
        String::from_utf8(entry.to_json()).unwrap()
    }

    #[test]
    fn the_file_is_one_line_in_key_order_of_docker() {
        let want = format!(
            "{{\"Ref\":\"127.0.0.1:5111/t/app:armv7\",\"Descriptor\":{{\"mediaType\":\
             \"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{}\",\"size\":{},\"platform\":{{\
             \"architecture\":\"arm\",\"os\":\"linux\",\"os.version\":\"1.2\",\"os.features\":[\"a\",\"b\"],\
             \"variant\":\"v6\"}}}},\"Raw\":\"{}\",\"OCIManifest\":{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\
             \"x/y\",\"size\":2,\"digest\":\
             \"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}},\"layers\":[],\
             \"z\":\"a\\u003cb\"}}}}",
            Digest::sha256(MANIFEST.as_bytes()),
            MANIFEST.len(),
            BASE64.encode(MANIFEST),
        );
        assert_eq!(text(&entry()), want);
    }

    #[test]
    fn what_was_written_reads_back() {
        let mut first = entry();
        first.set_source("local:app:v1".into());
        first.descriptor_mut().annotations.insert("a".into(), "<1>".into());
        first.descriptor_mut().artifact_type = Some("a/b".into());
        first.descriptor_mut().urls = vec!["u".into()];
        first.descriptor_mut().data = Some("AA==".into());
        let second = Entry::from_json(&first.to_json()).unwrap();
        assert_eq!(text(&second), text(&first));
        assert_eq!(second.descriptor(), first.descriptor());
        assert_eq!(second.source(), Some("local:app:v1"));
        assert_eq!(second.published().annotations.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(second.document().unwrap().unwrap().unwrap().bytes(), MANIFEST);
    }

    #[test]
    fn keys_match_without_case_and_unknown_fields_survive() {
        let odd = text(&entry())
            .replace("\"Ref\"", "\"reF\"")
            .replace("\"mediaType\":\"application", "\"MEDIATYPE\":\"application")
            .replace("\"Raw\"", "\"raw\"")
            .replace("\"architecture\"", "\"Architecture\"")
            .replace("\"OCIManifest\"", "\"ociManifest\"")
            .replacen('{', "{\"New\": {\"x\": [1.50]},\"Descriptor\":null,", 1);
        let read = Entry::from_json(odd.as_bytes()).unwrap();
        assert_eq!(read.platform(), entry().platform());
        let want = text(&entry());
        assert_eq!(text(&read), format!("{},\"New\":{{\"x\":[1.50]}}}}", want.strip_suffix('}').unwrap()));
    }

    #[test]
    fn files_of_docker_20_have_no_raw_bytes() {
        let mut file = entry();
        file.raw = None;
        let read = Entry::from_json(&file.to_json()).unwrap();
        assert!(read.raw().is_none());
        assert!(read.document().unwrap().is_none());
        assert_eq!(text(&read), text(&file));
    }

    #[test]
    fn the_oldest_form_is_converted_if_its_manifest_still_has_its_digest() {
        let manifest = r#"{"schemaVersion":2,"layers":[]}"#;
        let indented = go_json::indent(manifest.as_bytes(), "   ");
        for original in [manifest.as_bytes(), &indented] {
            let digest = Digest::sha256(original);
            let file = format!(
                r#"{{"Ref":"r.io/a:b","Digest":"{digest}","SchemaV2Manifest":{manifest},"Platform":{{"architecture":"arm","os":"linux"}}}}"#
            );
            let entry = Entry::from_json(file.as_bytes()).unwrap();
            assert_eq!(entry.descriptor().digest, digest);
            assert_eq!(entry.descriptor().size, original.len() as u64);
            assert_eq!(entry.descriptor().media_type.as_str(), MediaType::DOCKER_MANIFEST);
            assert_eq!(entry.platform(), Platform::new("linux", "arm"));
        }
        let file = format!(
            r#"{{"Ref":"r.io/a:b","Digest":"{}","SchemaV2Manifest":{manifest}}}"#,
            Digest::sha256(b"something else")
        );
        let error = Entry::from_json(file.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("image manifest digest mismatch (sha256:"), "{error}");
    }

    #[test]
    fn damaged_files_are_told_apart() {
        for (file, want) in [
            ("{bad", "key must be a string at line 1 column 2"),
            ("", "EOF while parsing a value at line 1 column 0"),
            ("null", "invalid type: null, expected a JSON object at line 1 column 4"),
            ("{}", "`Ref` is missing"),
            (r#"{"Ref":""}"#, "`Ref` invalid reference format"),
            (r#"{"Ref":7}"#, "`Ref` is unusable: invalid type: integer `7`, expected a string at line 1 column 1"),
            (r#"{"Ref":"a"}"#, "`Descriptor` is missing"),
            (r#"{"Ref":"a","Descriptor":{}}"#, "`digest` is missing"),
            (
                r#"{"Ref":"a","Descriptor":{"digest":"sha256:0"}}"#,
                "`Descriptor.digest` `sha256:0` is not a digest: expected 64 lower-case hexadecimal characters",
            ),
            (r#"{"Ref":"a","Raw":"*"}"#, "`Raw` is not base64: Invalid symbol 42, offset 0."),
        ] {
            assert_eq!(Entry::from_json(file.as_bytes()).unwrap_err().to_string(), want, "{file}");
        }
        let text = text(&entry()).replace(&BASE64.encode(MANIFEST), "AAAA");
        let entry = Entry::from_json(text.as_bytes()).unwrap();
        assert!(matches!(entry.document(), Err(EntryError::Digest { .. })));
    }
}
