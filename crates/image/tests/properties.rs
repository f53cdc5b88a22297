//! Properties that hold for every document, however it is laid out and whatever else stands in it.

use polyarch_image::{Descriptor, Digest, Document, IndexEditor, Platform, PlatformEdit, PlatformMatcher, Reference};
use proptest::prelude::*;

/// JSON with its own layout: blanks are drawn for every place where they may stand.
#[derive(Clone, Debug)]
enum Json {
    /// A scalar as it is spelt.
    Raw(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

struct Writer<'a> {
    blanks: std::iter::Cycle<std::slice::Iter<'a, &'static str>>,
    out: String,
}

impl Writer<'_> {
    fn blank(&mut self) {
        let blank = self.blanks.next().copied().unwrap_or_default();
        self.out.push_str(blank);
    }

    fn write(&mut self, json: &Json) {
        self.blank();
        match json {
            Json::Raw(raw) => self.out.push_str(raw),
            Json::Array(elements) => {
                self.out.push('[');
                for (i, element) in elements.iter().enumerate() {
                    if i > 0 {
                        self.out.push(',');
                    }
                    self.write(element);
                }
                if elements.is_empty() {
                    self.blank();
                }
                self.out.push(']');
            }
            Json::Object(members) => {
                self.out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        self.out.push(',');
                    }
                    self.blank();
                    self.out.push_str(key);
                    self.blank();
                    self.out.push(':');
                    self.write(value);
                }
                if members.is_empty() {
                    self.blank();
                }
                self.out.push('}');
            }
        }
        self.blank();
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn string() -> impl Strategy<Value = Json> {
    prop_oneof![
        "[ -~]{0,8}".prop_map(|text| Json::Raw(quoted(&text))),
        Just(Json::Raw(r#""\u0061\/\ud83d\ude00""#.to_owned())),
        Just(Json::Raw(r#""}],{[\"\\""#.to_owned())),
    ]
}

fn anything() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        string(),
        prop::sample::select(vec!["0", "-0", "1.50", "1e2", "-12E-3", "99999999999999999999", "true", "false", "null"])
            .prop_map(|raw| Json::Raw(raw.to_owned())),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::Array),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|map| Json::Object(map.into_iter().map(|(key, value)| (quoted(&key), value)).collect())),
        ]
    })
}

/// Members that no specification knows, under keys that are nobody's field.
fn unknown() -> impl Strategy<Value = Vec<(String, Json)>> {
    prop::collection::btree_map("x-[a-z\"{\u{e9}]{0,4}", anything(), 0..3)
        .prop_map(|map| map.into_iter().map(|(key, value)| (quoted(&key), value)).collect())
}

fn known(fields: Vec<(&'static str, Json)>, unknown: Vec<(String, Json)>, seed: u64) -> Json {
    let mut members: Vec<_> = fields.into_iter().map(|(key, value)| (quoted(key), value)).chain(unknown).collect();
    let len = members.len() as u64;
    for i in (1..len).rev() {
        members.swap(
            usize::try_from(i).unwrap(),
            usize::try_from(seed.rotate_left(u32::try_from(i).unwrap()) % (i + 1)).unwrap(),
        );
    }
    Json::Object(members)
}

fn word(text: &str) -> Json {
    Json::Raw(quoted(text))
}

fn platform() -> impl Strategy<Value = Json> {
    (prop::option::of("v[1-9]"), prop::option::of("[0-9.]{1,5}"), unknown(), any::<u64>()).prop_map(
        |(variant, version, unknown, seed)| {
            let mut fields = vec![("os", word("linux")), ("architecture", word("arm"))];
            fields.extend(variant.map(|variant| ("variant", word(&variant))));
            fields.extend(version.map(|version| ("os.version", word(&version))));
            known(fields, unknown, seed)
        },
    )
}

fn annotations() -> impl Strategy<Value = Json> {
    prop::collection::btree_map("[a-c]", string(), 0..3)
        .prop_map(|map| Json::Object(map.into_iter().map(|(key, value)| (quoted(&key), value)).collect()))
}

fn descriptor() -> impl Strategy<Value = Json> {
    (any::<u8>(), 0..i64::MAX, prop::option::of(platform()), prop::option::of(annotations()), unknown(), any::<u64>())
        .prop_map(|(content, size, platform, annotations, unknown, seed)| {
            let mut fields = vec![
                ("mediaType", word("application/vnd.oci.image.manifest.v1+json")),
                ("digest", word(Digest::sha256(&[content]).as_str())),
                ("size", Json::Raw(size.to_string())),
            ];
            fields.extend(platform.map(|platform| ("platform", platform)));
            fields.extend(annotations.map(|annotations| ("annotations", annotations)));
            known(fields, unknown, seed)
        })
}

/// The text of an index.
fn index() -> impl Strategy<Value = String> {
    let blanks = prop::sample::select(vec!["", "", " ", "\n", "\r\n\t", "   ", "\n      "]);
    (
        prop::collection::vec(descriptor(), 0..4),
        prop::option::of(annotations()),
        unknown(),
        any::<u64>(),
        prop_oneof![Just(vec![""]), Just(vec![" "]), prop::collection::vec(blanks, 1..9)],
    )
        .prop_map(|(entries, annotations, unknown, seed, blanks)| {
            let mut fields = vec![("schemaVersion", Json::Raw("2".to_owned())), ("manifests", Json::Array(entries))];
            fields.extend(annotations.map(|annotations| ("annotations", annotations)));
            let json = known(fields, unknown, seed);
            let mut writer = Writer { blanks: blanks.iter().cycle(), out: String::new() };
            writer.write(&json);
            writer.out
        })
}

/// A change to one entry, and the same change to what the entry is read as.
#[derive(Clone, Debug)]
enum Change {
    Platform(PlatformEdit),
    RemovePlatform,
    Annotate(String, String),
    Unannotate(String),
}

fn change() -> impl Strategy<Value = Change> {
    let text = || prop_oneof!["[a-z\"0-9]{1,4}", Just(String::new())];
    prop_oneof![
        text().prop_map(|text| Change::Platform(PlatformEdit::Os(text))),
        text().prop_map(|text| Change::Platform(PlatformEdit::Architecture(text))),
        text().prop_map(|text| Change::Platform(PlatformEdit::Variant(text))),
        text().prop_map(|text| Change::Platform(PlatformEdit::OsVersion(text))),
        prop::collection::vec(text(), 0..3).prop_map(|all| Change::Platform(PlatformEdit::OsFeatures(all))),
        Just(Change::RemovePlatform),
        ("[a-d]", text()).prop_map(|(key, value)| Change::Annotate(key, value)),
        "[a-d]".prop_map(Change::Unannotate),
    ]
}

impl Change {
    fn edit(&self, editor: &mut IndexEditor, entry: usize) {
        match self {
            Self::Platform(edit) => editor.edit_platform(entry, edit).unwrap(),
            Self::RemovePlatform => editor.remove_platform(entry).unwrap(),
            Self::Annotate(key, value) => editor.set_annotation(entry, key, value).unwrap(),
            Self::Unannotate(key) => drop(editor.remove_annotation(entry, key).unwrap()),
        }
    }

    fn apply(&self, to: &mut Descriptor) {
        match self {
            Self::Platform(edit) => {
                let platform = to.platform.get_or_insert_default();
                match edit.clone() {
                    PlatformEdit::Os(text) => platform.os = text,
                    PlatformEdit::Architecture(text) => platform.architecture = text,
                    PlatformEdit::Variant(text) => platform.variant = text,
                    PlatformEdit::OsVersion(text) => platform.os_version = text,
                    PlatformEdit::OsFeatures(all) => platform.os_features = all,
                    _ => unreachable!(),
                }
            }
            Self::RemovePlatform => to.platform = None,
            Self::Annotate(key, value) => drop(to.annotations.insert(key.clone(), value.as_str().into())),
            Self::Unannotate(key) => drop(to.annotations.shift_remove(key)),
        }
    }
}

fn document(text: &str) -> Document {
    Document::new(None, text.to_owned()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A platform that says nothing is the same as none.
fn plain(mut descriptor: Descriptor) -> Descriptor {
    descriptor.platform = descriptor.platform.filter(|platform| *platform != Platform::default());
    descriptor
}

/// The members of an object whose keys start with `x-`, as JSON values.
fn unknown_members(raw: &[u8]) -> Vec<(String, Box<serde_json::value::RawValue>)> {
    let map: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_slice(raw).unwrap();
    map.into_iter().filter(|(key, _)| key.starts_with("x-")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn accepted_documents_keep_their_bytes(text in index()) {
        let document = document(&text);
        prop_assert_eq!(document.bytes(), text.as_bytes());
        prop_assert_eq!(document.digest(), &Digest::sha256(text.as_bytes()));
        let same = IndexEditor::new(&document).unwrap().finish().unwrap();
        prop_assert_eq!(same.bytes(), text.as_bytes());
    }

    #[test]
    fn an_edit_stays_within_its_entry(text in index(), entry in 0..4_usize, changes in prop::collection::vec(change(), 1..5)) {
        let before = document(&text);
        let mut editor = IndexEditor::new(&before).unwrap();
        if editor.is_empty() {
            return Ok(());
        }
        let entry = entry % editor.len();
        let old: Vec<_> = (0..editor.len()).map(|i| editor.entry_bytes(i).unwrap()).collect();
        let mut want = before.index().unwrap().clone();
        for change in &changes {
            change.edit(&mut editor, entry);
            change.apply(&mut want.manifests[entry]);
        }
        let new: Vec<_> = (0..editor.len()).map(|i| editor.entry_bytes(i).unwrap()).collect();
        let after = editor.finish().unwrap();

        // The model agrees.
        let mut got = after.index().unwrap().clone();
        got.manifests = got.manifests.into_iter().map(plain).collect();
        want.manifests = want.manifests.into_iter().map(plain).collect();
        prop_assert_eq!(&got, &want);

        // Every byte outside of the entry is the same.
        for i in (0..old.len()).filter(|&i| i != entry) {
            prop_assert_eq!(&old[i], &new[i]);
        }
        let start = old[..entry].iter().fold(0, |at, raw| at + find(&text.as_bytes()[at..], raw) + raw.len());
        let start = start + find(&text.as_bytes()[start..], &old[entry]);
        let mut expected = text.as_bytes().to_vec();
        expected.splice(start..start + old[entry].len(), new[entry].iter().copied());
        prop_assert_eq!(after.bytes(), &expected);

        // And what nobody knows is still there, to the letter.
        let (old_unknown, new_unknown) = (unknown_members(&old[entry]), unknown_members(&new[entry]));
        prop_assert_eq!(old_unknown.len(), new_unknown.len());
        for (old, new) in old_unknown.iter().zip(&new_unknown) {
            prop_assert_eq!(&old.0, &new.0);
            prop_assert_eq!(old.1.get(), new.1.get());
        }
    }

    #[test]
    fn what_is_added_and_removed_again_leaves_no_trace(text in index(), key in "[x-z]{1,3}", value in "[ -~]{0,6}") {
        let before = document(&text);
        let mut editor = IndexEditor::new(&before).unwrap();
        let count = editor.len();
        editor.append(&Descriptor::new("x", Digest::sha256(b""), 1)).unwrap();
        editor.remove(count).unwrap();
        let had = before.index().unwrap();
        // An empty object that was there is not told from one that was emptied.
        let empty_object = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap().get("annotations").is_some();
        if !had.annotations.is_empty() || !empty_object(text.as_bytes()) {
            editor.document().set_annotation(&key, &value).unwrap();
            editor.document().remove_annotation(&key).unwrap();
        }
        for entry in 0..count {
            if !had.manifests[entry].annotations.is_empty() || !empty_object(&editor.entry_bytes(entry).unwrap()) {
                editor.set_annotation(entry, &key, &value).unwrap();
                editor.remove_annotation(entry, &key).unwrap();
            }
            editor.set_platform(entry, &had.manifests[entry].platform.clone().unwrap_or_default()).unwrap();
        }
        let after = editor.finish().unwrap();
        prop_assert_eq!(after.bytes(), text.as_bytes());
    }

    #[test]
    fn removing_an_entry_keeps_the_others(text in index(), entry in 0..4_usize) {
        let before = document(&text);
        let mut editor = IndexEditor::new(&before).unwrap();
        if editor.is_empty() {
            return Ok(());
        }
        let entry = entry % editor.len();
        let mut want: Vec<_> = (0..editor.len()).map(|i| editor.entry_bytes(i).unwrap()).collect();
        let removed = editor.remove(entry).unwrap();
        prop_assert_eq!(removed, want.remove(entry));
        let after = editor.finish().unwrap();
        let editor = IndexEditor::new(&after).unwrap();
        let got: Vec<_> = (0..editor.len()).map(|i| editor.entry_bytes(i).unwrap()).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_bytes_make_a_document_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = Document::new(None, bytes.clone()) {
            prop_assert_eq!(document.bytes(), &bytes);
        }
    }

    #[test]
    fn broken_documents_do_not_panic(text in index(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(document) = Document::new(None, bytes.clone())
            && let Ok(editor) = IndexEditor::new(&document)
        {
            let same = editor.finish().unwrap();
            prop_assert_eq!(same.bytes(), &bytes);
        }
    }

    #[test]
    fn a_reference_reads_what_it_prints(text in "[a-zA-Z0-9._:/@-]{0,40}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference.clone());
            prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
        }
    }

    #[test]
    fn no_text_makes_a_reference_panic(text in "\\PC{0,60}") {
        let _ = Reference::parse(&text);
        let _ = Platform::parse(&text);
        let _ = Digest::parse(&text);
    }

    #[test]
    fn a_platform_reads_what_it_prints(
        os in "[a-z]{1,6}", architecture in "[a-z0-9]{1,6}", variant in "([a-z0-9.]{1,4})?",
        version in "([ -~]{1,6})?", features in prop::collection::vec("[ -~]{1,4}", 0..3),
    ) {
        let platform = Platform { architecture, os, os_version: version, os_features: features, variant }.normalized();
        if let Ok(read) = Platform::parse(&platform.to_string()) {
            prop_assert_eq!(&read, &platform);
        }
        prop_assert_eq!(platform.normalized(), platform.clone());
        prop_assert!(PlatformMatcher::new(&platform).matches(&platform));
        prop_assert!(PlatformMatcher::exact(&platform).matches(&platform));
    }

    #[test]
    fn the_best_fits_and_nothing_that_fits_is_better_ranked(
        wanted in cpu(), offered in prop::collection::vec(prop::option::of(cpu()), 0..6),
    ) {
        let matcher = PlatformMatcher::new(&wanted);
        let selection = matcher.select(offered.iter().map(Option::as_ref));
        prop_assert_eq!(selection.chosen(), matcher.best(offered.iter().map(Option::as_ref)));
        let fits: Vec<_> = (0..offered.len())
            .filter(|&i| offered[i].as_ref().is_some_and(|platform| matcher.matches(platform)))
            .collect();
        let mut order = selection.order.clone();
        order.sort_unstable();
        prop_assert_eq!(order, fits);
        if let Some(exact) = offered.iter().position(|p| p.as_ref().is_some_and(|p| p.normalized() == wanted.normalized())) {
            prop_assert_eq!(selection.chosen(), Some(exact), "the first exact one is chosen");
        }
    }
}

fn cpu() -> impl Strategy<Value = Platform> {
    let systems = prop::sample::select(vec!["linux", "windows", "darwin"]);
    let cpus = prop::sample::select(vec!["amd64", "arm64", "arm", "386", "armhf", "aarch64", "s390x"]);
    let variants = prop::sample::select(vec!["", "v1", "v2", "v3", "v5", "v6", "v7", "v8", "v8.1", "v9", "8"]);
    (systems, cpus, variants)
        .prop_map(|(os, cpu, variant)| Platform { variant: variant.to_owned(), ..Platform::new(os, cpu) })
}

fn find(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).position(|window| window == part).unwrap()
}
