//! The registry that both programs work on, and how it is put back.

use std::collections::{BTreeMap, BTreeSet};

use image::Digest;
use lab::{Auth, Lab, Quirks};
use serde_json::{Value, json};

use crate::images::{Flavour, config, entry, put, put_artifact, put_index};
use crate::script::Kind;

/// What the registry holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(pub(crate) BTreeMap<String, Repository>);

/// What a repository holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repository {
    pub(crate) tags: BTreeMap<String, Digest>,
    pub(crate) manifests: BTreeMap<Digest, (String, Vec<u8>)>,
    pub(crate) blobs: BTreeSet<Digest>,
}

/// A registry with images of all kinds.
pub(crate) struct World {
    pub(crate) lab: Lab,
    initial: State,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl World {
    pub(crate) fn new(kind: Kind) -> Self {
        let lab = match kind {
            Kind::Plain => Lab::start(),
            Kind::Tls => Lab::builder().tls(true).start(),
        };
        fill(&lab);
        let mut world = Self { lab, initial: State::default(), blobs: BTreeMap::new() };
        world.blobs = all_blobs(&world.lab);
        world.initial = world.state();
        world
    }

    /// What the registry holds now, in whatever repository.
    pub(crate) fn state(&self) -> State {
        let repository = |name: String| {
            let digests = self.lab.manifests(&name);
            let manifests = digests.into_iter().map(|digest| {
                let reference = digest.to_string();
                let bytes = self.lab.manifest(&name, &reference).unwrap_or_default().to_vec();
                (digest, (self.lab.manifest_type(&name, &reference).unwrap_or_default(), bytes))
            });
            let tags =
                self.lab.tags(&name).into_iter().filter_map(|tag| Some((tag.clone(), self.lab.resolve(&name, &tag)?)));
            let blobs = self.lab.blobs(&name).into_iter();
            let found = Repository { tags: tags.collect(), manifests: manifests.collect(), blobs: blobs.collect() };
            (name, found)
        };
        let all = self.lab.repositories().into_iter().map(repository);
        // An upload that came to nothing may leave a name behind, and so may putting the registry back.
        State(all.filter(|(_, found)| *found != Repository::default()).collect())
    }

    /// Puts the registry back to where scenarios begin.
    pub(crate) fn reset(&self) {
        self.restore(&self.initial);
        self.lab.clear_faults();
        self.lab.set_quirks(Quirks::default());
        self.lab.set_auth(Auth::default());
    }

    /// Makes the registry hold `state`.
    pub(crate) fn restore(&self, state: &State) {
        let now = self.state();
        let names: BTreeSet<&String> = now.0.keys().chain(state.0.keys()).collect();
        for name in names {
            let (have, want) = (now.0.get(name).cloned().unwrap_or_default(), state.0.get(name));
            let want = want.cloned().unwrap_or_default();
            for digest in have.manifests.keys().filter(|digest| !want.manifests.contains_key(digest)) {
                self.lab.delete(name, &digest.to_string());
            }
            for tag in have.tags.keys().filter(|tag| !want.tags.contains_key(*tag)) {
                self.lab.delete(name, tag);
            }
            for digest in have.blobs.difference(&want.blobs) {
                self.lab.delete_blob(name, digest);
            }
            for digest in want.blobs.difference(&have.blobs) {
                self.lab.put_blob(name, self.blobs[digest].clone());
            }
            for (digest, (media_type, bytes)) in &want.manifests {
                if !have.manifests.contains_key(digest) {
                    self.lab.put_manifest_under(name, digest, media_type, bytes.clone());
                }
            }
            for (tag, digest) in &want.tags {
                self.lab.tag(name, tag, digest);
            }
        }
        assert_eq!(self.state(), *state, "the registry is put back");
    }
}

/// The bytes of every blob.
fn all_blobs(lab: &Lab) -> BTreeMap<Digest, Vec<u8>> {
    let blobs = |name: String| lab.blobs(&name).into_iter().map(move |digest| (name.clone(), digest));
    let all = lab.repositories().into_iter().flat_map(blobs);
    all.filter_map(|(name, digest)| Some((digest.clone(), lab.blob(&name, &digest)?.to_vec()))).collect()
}

fn fill(lab: &Lab) {
    for (tag, platform) in [
        ("amd64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("arm64v8", "linux/arm64/v8"),
        ("armv7", "linux/arm/v7"),
        ("s390x", "linux/s390x"),
        ("riscv64", "linux/riscv64"),
        ("loong64", "linux/loong64"),
    ] {
        put(lab, "t/app", tag, Flavour::Docker, &config(platform), 2);
    }
    // One file name in docker's store: `t_app-amd64-v1`.
    put(lab, "t/app", "amd64-v1", Flavour::Docker, &config("linux/amd64"), 1);
    for (repository, platform) in
        [("t/app-amd64", "linux/amd64"), ("t/app-arm64", "linux/arm64"), ("t/app-armv7", "linux/arm/v7")]
    {
        put(lab, repository, "v1", Flavour::Docker, &config(platform), 2);
        put(lab, repository, "v2", Flavour::Docker, &config(platform), 3);
    }
    let windows =
        r#"{"os":"windows","os.version":"10.0.20348.2402","os.features":["win32k","a<b&c>d"],"architecture":"amd64"}"#;
    put(lab, "t/app-win", "ltsc", Flavour::Docker, windows, 1);
    for (tag, platform) in [("amd64", "linux/amd64"), ("arm64", "linux/arm64"), ("ppc64le", "linux/ppc64le")] {
        put(lab, "t/oci", tag, Flavour::Oci, &config(platform), 2);
    }
    put(lab, "t/oci", "untyped", Flavour::OciUntyped, &config("linux/386"), 1);
    odd(lab);
    indexes(lab);
}

/// Images that look odd, and things that are no images.
fn odd(lab: &Lab) {
    put(
        lab,
        "t/odd",
        "case",
        Flavour::Docker,
        r#"{"architecture":"arm64","OS":"linux","Architecture":"s390x","Variant":"z"}"#,
        1,
    );
    put(lab, "t/odd", "html", Flavour::Docker, r#"{"architecture":"amd64","os":"linux","variant":"<v&1>\u2028ü"}"#, 0);
    put(lab, "t/odd", "unknown", Flavour::Docker, &config("unknown/unknown"), 0);
    put(lab, "t/odd", "noplatform", Flavour::Docker, "{}", 0);
    put(lab, "t/odd", "badconfig", Flavour::Docker, "not JSON", 0);
    put(lab, "t/odd", "wrongtype", Flavour::Docker, r#"{"architecture":7,"os":"linux"}"#, 0);
    put_artifact(lab, "t/odd", "artifact", "application/vnd.oci.empty.v1+json", b"{}");
    put_artifact(lab, "t/odd", "helm", "application/vnd.cncf.helm.config.v1+json", b"[1]");
    for (tag, media_type, body) in [
        (
            "schema1",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion":1,"name":"t/odd"}"#,
        ),
        ("json", "application/json", r#"{"schemaVersion":2}"#),
        ("brace", Flavour::Docker.index(), "{"),
        (
            "mismatch",
            "application/vnd.docker.distribution.manifest.v2+json",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
        ),
    ] {
        lab.put_manifest_as("t/odd", Some(tag), media_type, body.as_bytes().to_vec());
    }
}

fn indexes(lab: &Lab) {
    let amd64 = put(lab, "t/idx", "amd64", Flavour::Oci, &config("linux/amd64"), 1);
    let arm64 = put(lab, "t/idx", "arm64", Flavour::Oci, &config("linux/arm64"), 1);
    let docker = put(lab, "t/idx", "docker", Flavour::Docker, &config("linux/s390x"), 1);
    let attestation = put(lab, "t/idx", "att", Flavour::Oci, &config("unknown/unknown"), 0);
    let platform = |os: &str, architecture: &str| json!({"architecture": architecture, "os": os});
    let none = Value::Null;
    let two = [entry(&amd64, &platform("linux", "amd64"), &none), entry(&arm64, &platform("linux", "arm64"), &none)];
    put_index(lab, "t/idx", "oci", Flavour::Oci, &two, &none);
    put_index(lab, "t/idx", "untyped", Flavour::OciUntyped, &two, &none);
    let of_docker = [
        entry(&docker, &platform("linux", "s390x"), &none),
        entry(&docker, &json!({"architecture": "s390x", "os": "linux", "variant": "<&>", "os.version": "1"}), &none),
    ];
    put_index(lab, "t/idx", "list", Flavour::Docker, &of_docker, &none);
    let about = json!({"annotations": {"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": amd64.digest.to_string()}});
    let attested = [two[0].clone(), two[1].clone(), entry(&attestation, &platform("unknown", "unknown"), &about)];
    let noted = json!({"annotations": {"a": "b"}, "artifactType": "application/vnd.example"});
    put_index(lab, "t/idx", "attested", Flavour::Oci, &attested, &noted);
    // Media type of the list and of its first image disagree.
    let mixed = [two[0].clone(), of_docker[0].clone()];
    put_index(lab, "t/idx", "docker-of-oci", Flavour::Docker, &mixed, &none);
    put_index(lab, "t/idx", "oci-of-docker", Flavour::Oci, &[mixed[1].clone(), mixed[0].clone()], &none);
    put_index(lab, "t/idx", "noplatform", Flavour::Oci, &[entry(&amd64, &none, &none)], &none);
    put_index(lab, "t/idx", "empty", Flavour::Oci, &[], &none);
    let gone = json!({"mediaType": amd64.media_type.as_str(), "size": 3, "digest": Digest::sha256(b"gone").to_string(),
        "platform": platform("linux", "riscv64")});
    put_index(lab, "t/idx", "sparse", Flavour::Oci, &[two[0].clone(), gone], &none);
    let inner = put_index(lab, "t/idx", "inner", Flavour::Oci, &two[..1], &none);
    put_index(lab, "t/idx", "nested", Flavour::Oci, &[entry(&inner, &none, &none), two[1].clone()], &none);
}
