//! What the editor does to the bytes of a document, and what it leaves alone.

use bytes::Bytes;
use polyarch_image::{
    Descriptor, Digest, Document, DocumentEditor, EditError, IndexEditor, MediaType, Platform, PlatformEdit,
};

/// As Docker writes a list: three blanks, `size` before `digest`. The second entry has fields that nobody knows.
fn docker_list() -> Document {
    let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let text = format!(
        r#"{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
   "manifests": [
      {{
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 1,
         "digest": "{a}",
         "platform": {{
            "architecture": "amd64",
            "os": "linux"
         }}
      }},
      {{
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 2,
         "digest": "{b}",
         "x-number": 1.500e+1,
         "platform": {{
            "features": [ "sse4" ],
            "architecture": "arm",
            "os": "linux",
            "variant": "v7"
         }}
      }}
   ]
}}"#
    );
    Document::new(None, text).unwrap()
}

fn text(document: &Document) -> String {
    String::from_utf8(document.bytes().to_vec()).unwrap()
}

fn edited(document: &Document, edit: impl FnOnce(&mut IndexEditor) -> Result<(), EditError>) -> String {
    let mut editor = IndexEditor::new(document).unwrap();
    edit(&mut editor).unwrap();
    text(&editor.finish().unwrap())
}

#[test]
fn nothing_asked_nothing_changed() {
    let list = docker_list();
    let same = IndexEditor::new(&list).unwrap().finish().unwrap();
    assert_eq!((same.bytes(), same.digest(), same.media_type()), (list.bytes(), list.digest(), list.media_type()));
}

#[test]
fn fields_of_a_platform() {
    let list = docker_list();
    let before = text(&list);
    for (entry, edit, from, to) in [
        (
            0,
            PlatformEdit::Variant("v2".into()),
            "\"os\": \"linux\"\n",
            "\"os\": \"linux\",\n            \"variant\": \"v2\"\n",
        ),
        (
            0,
            PlatformEdit::OsVersion("1.2".into()),
            "\"os\": \"linux\"\n",
            "\"os\": \"linux\",\n            \"os.version\": \"1.2\"\n",
        ),
        (1, PlatformEdit::Variant("v6".into()), "\"v7\"", "\"v6\""),
        (1, PlatformEdit::Variant(String::new()), ",\n            \"variant\": \"v7\"", ""),
        (
            1,
            PlatformEdit::Os("windows".into()),
            "\"arm\",\n            \"os\": \"linux\"",
            "\"arm\",\n            \"os\": \"windows\"",
        ),
        (
            1,
            PlatformEdit::OsFeatures(vec!["a".into(), "b".into()]),
            "\"os\": \"linux\",\n            \"variant\"",
            "\"os\": \"linux\",\n            \"os.features\": [\n               \"a\",\n               \"b\"\n            ],\n            \"variant\"",
        ),
        (0, PlatformEdit::Architecture("arm64".into()), "\"amd64\"", "\"arm64\""),
        (0, PlatformEdit::Architecture("amd64".into()), "", ""),
        (0, PlatformEdit::Variant(String::new()), "", ""),
    ] {
        let after = edited(&list, |editor| editor.edit_platform(entry, &edit));
        assert_eq!(after, before.replacen(from, to, 1), "{edit:?}");
    }
}

#[test]
fn a_platform_is_set_and_its_unknown_fields_stay() {
    let mut platform = Platform::new("windows", "arm64");
    "10.0.1".clone_into(&mut platform.os_version);
    let after = edited(&docker_list(), |editor| editor.set_platform(1, &platform));
    assert!(after.contains(
        r#""platform": {
            "features": [ "sse4" ],
            "architecture": "arm64",
            "os": "windows",
            "os.version": "10.0.1"
         }"#
    ));
    assert!(after.contains("1.500e+1"));
}

#[test]
fn a_platform_is_made_where_none_was() {
    let list = docker_list();
    let without = edited(&list, |editor| editor.remove_platform(0));
    assert!(!without.contains("amd64"));
    let again = Document::new(None, without).unwrap();
    let with = edited(&again, |editor| editor.set_platform(0, &Platform::new("linux", "amd64")));
    assert_eq!(with, text(&list));
}

#[test]
fn entries_are_added_replaced_and_removed() {
    let list = docker_list();
    let mut entry = Descriptor::new(MediaType::DOCKER_MANIFEST, Digest::sha256(b"c"), 3);
    entry.platform = Some(Platform::new("linux", "s390x"));
    let after = edited(&list, |editor| editor.append(&entry));
    let added = format!(
        r#",
      {{
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "digest": "{}",
         "size": 3,
         "platform": {{
            "architecture": "s390x",
            "os": "linux"
         }}
      }}
   ]
}}"#,
        entry.digest
    );
    assert_eq!(after, format!("{}{added}", text(&list).strip_suffix("\n   ]\n}").unwrap()));

    let without = edited(&list, |editor| editor.remove(1).map(drop));
    let replaced = edited(&Document::new(None, without).unwrap(), |editor| editor.append(&entry));
    assert_eq!(replaced, edited(&list, |editor| editor.replace(1, &entry)));

    let emptied = edited(&list, |editor| {
        editor.remove(0)?;
        editor.remove(0).map(drop)
    });
    assert!(emptied.ends_with("\"manifests\": []\n}"), "{emptied}");
}

#[test]
fn an_entry_moves_to_another_index_with_all_its_bytes() {
    let raw = IndexEditor::new(&docker_list()).unwrap().entry_bytes(1).unwrap();
    let mut other = IndexEditor::empty(&MediaType::from(MediaType::OCI_INDEX)).unwrap();
    other.append_raw(&raw).unwrap();
    assert_eq!(other.descriptor(0).unwrap().size, 2);
    let document = other.finish().unwrap();
    let want = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        MediaType::OCI_INDEX,
        std::str::from_utf8(&raw).unwrap()
    );
    assert_eq!(text(&document), want);
}

#[test]
fn annotations_come_and_go() {
    let list = docker_list();
    let with = edited(&list, |editor| {
        editor.set_annotation(0, "k", "old")?;
        editor.set_annotation(0, "k", "a \"b\"")?;
        editor.document().set_annotation("org.x", "<&>")
    });
    assert!(
        with.contains(
            "         },\n         \"annotations\": {\n            \"k\": \"a \\\"b\\\"\"\n         }\n      },"
        ),
        "{with}"
    );
    assert!(with.ends_with("   ],\n   \"annotations\": {\n      \"org.x\": \"<&>\"\n   }\n}"), "{with}");
    let document = Document::new(None, with).unwrap();
    assert_eq!(document.index().unwrap().manifests[0].annotation("k"), Some("a \"b\""));
    let without = edited(&document, |editor| {
        assert!(editor.remove_annotation(0, "k")?);
        assert!(!editor.remove_annotation(0, "k")?);
        assert!(editor.document().remove_annotation("org.x")?);
        Ok(())
    });
    assert_eq!(without, text(&list));
}

#[test]
fn the_fields_of_the_index_itself() {
    let list = docker_list();
    let subject = Descriptor::new(MediaType::OCI_MANIFEST, Digest::sha256(b"s"), 9);
    let mut editor = IndexEditor::new(&list).unwrap();
    editor.document().set_media_type(&MediaType::from(MediaType::OCI_INDEX)).unwrap();
    editor.document().set_artifact_type(Some("application/vnd.x")).unwrap();
    editor.document().set_subject(Some(&subject)).unwrap();
    let document = editor.finish().unwrap();
    assert_eq!(document.media_type().as_str(), MediaType::OCI_INDEX);
    assert_eq!(document.subject(), Some(&subject));
    let after = text(&document);
    assert!(
        after.contains("index.v1+json\",\n   \"artifactType\": \"application/vnd.x\",\n   \"manifests\": ["),
        "{after}"
    );
    let mut editor = IndexEditor::new(&document).unwrap();
    editor.document().set_media_type(&MediaType::from(MediaType::DOCKER_LIST)).unwrap();
    editor.document().set_artifact_type(None).unwrap();
    editor.document().set_subject(None).unwrap();
    assert_eq!(editor.finish().unwrap().bytes(), list.bytes());
}

#[test]
fn a_manifest_takes_annotations_too_and_has_no_entries() {
    let config = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(b""), 0);
    let body =
        format!(" {{\"schemaVersion\": 2, \"config\": {}, \"layers\": []}}\n", serde_json::to_string(&config).unwrap());
    let manifest = Document::new(None, body.clone()).unwrap();
    assert!(matches!(IndexEditor::new(&manifest), Err(EditError::NotAnIndex(_))));
    let mut editor = DocumentEditor::new(&manifest);
    editor.set_annotation("a", "1").unwrap();
    let document = editor.finish().unwrap();
    let want = body.replace("[]}", r#"[], "annotations": {"a": "1"}}"#);
    assert_eq!(text(&document), want);
}

#[test]
fn null_counts_as_nothing() {
    let index = Document::new(None, r#"{"schemaVersion":2,"manifests":null,"annotations":null}"#).unwrap();
    let entry = Descriptor::new("x", Digest::sha256(b""), 0);
    let after = edited(&index, |editor| {
        assert!(editor.is_empty());
        editor.append(&entry)?;
        editor.document().set_annotation("a", "1")?;
        assert!(!editor.document().remove_annotation("b")?);
        assert_eq!(editor.len(), 1);
        Ok(())
    });
    let entry = serde_json::to_string(&entry).unwrap();
    assert_eq!(after, format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"annotations":{{"a":"1"}}}}"#));
}

#[test]
fn refusals() {
    let list = docker_list();
    let mut editor = IndexEditor::new(&list).unwrap();
    assert_eq!(editor.remove(2).unwrap_err().to_string(), "the index has no entry 2: it has 2");
    assert_eq!(editor.edit_platform(7, &PlatformEdit::Os("x".into())), Err(EditError::NoEntry { index: 7, count: 2 }));
    for bad in [&b"{},{}"[..], b"[]", b"1", b"{", br#"{"a":1,"a":2}"#] {
        assert!(editor.append_raw(&Bytes::from_static(bad)).is_err());
        assert!(editor.replace_raw(0, &Bytes::from_static(bad)).is_err());
    }
    assert_eq!(editor.to_bytes(), *list.bytes());
    editor.append_raw(&Bytes::from_static(b"{}")).unwrap();
    let error = editor.finish().unwrap_err().to_string();
    assert!(error.starts_with("the edited document is not acceptable: manifests[2]: missing field"), "{error}");
}
