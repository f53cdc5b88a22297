//! Docker and polyarch do the same things with one registry, and everything that can be seen of it is compared: what is
//! printed, the exit code, the files of the store, what the registry holds.

mod support;

use std::collections::BTreeMap;

use image::{Digest, MediaType};
use lab::images::{self, Flavour};
use support::world::World;
use support::{Docker, Said, files};

struct Both {
    docker: Docker,
    world: World,
    theirs: tempfile::TempDir,
}

impl Both {
    fn new() -> Option<Self> {
        let docker = Docker::find()?;
        Some(Self { docker, world: World::plain(), theirs: tempfile::tempdir().unwrap() })
    }

    /// The words with `@` as the registry's address.
    fn words(&self, line: &str) -> Vec<String> {
        line.split(' ').map(|word| word.replacen('@', &self.world.lab.host(), 1)).collect()
    }

    fn docker(&self, line: &str) -> Said {
        let words = self.words(line);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if matches!(words[0], "create" | "inspect") {
            words.insert(1, "--insecure");
        }
        self.docker.manifest(self.theirs.path(), &words)
    }

    async fn ours(&self, line: &str) -> Said {
        let words = self.words(line);
        self.world.manifest(&words.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Both do it, and it is the same.
    async fn same(&self, line: &str) -> Said {
        let theirs = self.docker(line);
        let ours = self.ours(line).await;
        assert_eq!(theirs, ours, "{line}");
        self.same_files(line);
        theirs
    }

    fn same_files(&self, line: &str) {
        assert_eq!(files(self.theirs.path()), files(self.world.config.path()), "{line}");
    }

    /// Both push, each into a repository that holds nothing else of that name, and leave the same behind.
    async fn same_push(&self, line: &str, repository: &str) -> Said {
        let before = self.holds(repository);
        let theirs = self.docker(line);
        let after_docker = self.holds(repository);
        for name in after_docker.keys().filter(|name| !before.contains_key(*name)) {
            self.world.lab.delete(repository, name);
        }
        assert_eq!(self.holds(repository), before);
        let ours = self.ours(line).await;
        assert_eq!(theirs, ours, "{line}");
        assert_eq!(after_docker, self.holds(repository), "{line}");
        self.same_files(line);
        theirs
    }

    fn holds(&self, repository: &str) -> BTreeMap<String, (Option<String>, Vec<u8>)> {
        let lab = &self.world.lab;
        let digests = lab.manifests(repository).into_iter().map(|digest| digest.to_string());
        let names = digests.chain(lab.tags(repository));
        names
            .map(|name| {
                let bytes = lab.manifest(repository, &name).unwrap_or_default().to_vec();
                let media_type = lab.manifest_type(repository, &name);
                (name, (media_type, bytes))
            })
            .collect()
    }

    fn image(&self, repository: &str, tag: &str, platform: &str, flavour: Flavour) -> images::Image {
        let image = images::maker(platform).layers(2).flavour(flavour).annotation("html", "<a>&\u{2028}é").make();
        image.push(&self.world.lab, repository, Some(tag));
        image
    }

    /// An image manifest of one's own making, with its config.
    fn odd_image(&self, repository: &str, tag: &str, config: &str, manifest: &str) {
        let digest = self.world.lab.put_blob(repository, config.to_owned());
        let manifest = manifest
            .replace(
                "CONFIG",
                &format!(r#"{{"mediaType":"{}","size":{},"digest":"{digest}"}}"#, MediaType::OCI_CONFIG, config.len()),
            )
            .replace("TYPE", MediaType::OCI_MANIFEST);
        self.world.lab.put_manifest(repository, Some(tag), manifest);
    }
}

/// Rows 13 to 15, 21, 26, 28, 29 and 30.
#[tokio::test]
async fn create_writes_what_docker_writes() {
    let Some(both) = Both::new() else { return };
    both.image("t/app", "s390x", "linux/s390x", Flavour::Docker);
    both.image("t/app", "armv7", "linux/arm/v7", Flavour::Oci);
    both.image("t/app", "win", "windows(10.0.20348.1)/amd64", Flavour::Docker);
    both.image("t/other", "v1", "linux/arm64", Flavour::Oci);
    both.odd_image(
        "t/odd",
        "v1",
        r#"{"architecture":"arm64","Architecture":"s390x","OS":"linux","OS.Features":["b","a"],"Variant":"v8"}"#,
        "{ \"schemaVersion\" : 2,\n\"config\": CONFIG, \"layers\":[ ], \"zz\": {\"n\":1.50e1,\"e\":[ ],\"o\":{ } } }\n\n",
    );
    let done = both.same("create @/t/app:v1 @/t/app:s390x @/t/app:armv7 @/t/app:win @/t/app:armv7").await;
    assert_eq!(done.code, Some(0));
    both.same("create @/t/app:v1 @/t/app:s390x").await;
    both.same("create @/t/app:v1 --amend @/t/app:s390x --amend @/t/other:v1").await;
    both.same("create --amend @/t/app:v2 @/t/odd:v1").await;
    both.same("create @/t/app:v3 @/t/app:UPPER:x").await;
    both.same("create UPPER @/t/app:s390x").await;
    let digest = both.world.lab.resolve("t/app", "armv7").unwrap();
    both.same(&format!("create @/t/app:v4 @/t/app@{digest}")).await;
    both.same(&format!("create @/t/app:v5 @/t/app:armv7@{digest}")).await;
    // Docker leaves an empty list, or half of one: there the files differ on purpose.
    for line in ["create @/t/app:v6 @/t/app:nope", "create @/t/app:v7 @/t/nope:v1"] {
        assert_eq!(both.docker(line), both.ours(line).await, "{line}");
    }
}

/// Rows 17, 35 to 38, 40 to 43.
#[tokio::test]
async fn inspect_prints_what_docker_prints() {
    let Some(both) = Both::new() else { return };
    let amd64 = both.image("t/app", "amd64", "linux/amd64", Flavour::Docker);
    let arm = both.image("t/app", "arm", "linux/arm/v6", Flavour::Oci);
    let win = both.image("t/app", "win", "windows(10.0.20348.1)/amd64", Flavour::Docker);
    let lab = &both.world.lab;
    images::index(&[arm.clone(), amd64.clone()], Flavour::Oci).push(lab, "t/app", Some("oci"));
    images::index(&[amd64.clone(), win.clone()], Flavour::Docker).push(lab, "t/app", Some("docker"));
    // The type that is shown is that of the first image, not that of the list.
    images::index(&[arm.clone(), win], Flavour::Docker).push(lab, "t/app", Some("mixed"));
    images::index(&[amd64, arm.clone()], Flavour::Oci).push(lab, "t/app", Some("mixed2"));
    images::index_with_attestations(&[arm]).push(lab, "t/app", Some("attested"));
    images::artifact("a/b", "x", None).push(lab, "t/app", Some("artifact"));
    both.odd_image(
        "t/app",
        "odd",
        r#"{"architecture":"arm64","os":"linux"}"#,
        "{ \"schemaVersion\" : 2,\n\"config\": CONFIG, \"layers\":[ ], \"zz\": {\"n\":1.50e1,\"e\":[ ],\"o\":{ } },\"h\":\"<&>\u{2028}\" }\n \n",
    );
    let index = lab.resolve("t/app", "oci").unwrap();
    for name in ["amd64", "arm", "win", "oci", "docker", "mixed", "mixed2", "attested", "artifact", "odd", "nope"] {
        both.same(&format!("inspect @/t/app:{name}")).await;
        both.same(&format!("inspect @/t/app:{name} -v")).await;
    }
    both.same(&format!("inspect @/t/app@{index}")).await;
    both.same(&format!("inspect -v @/t/app:oci@{index}")).await;
    both.same("inspect UPPER").await;
    both.same("create @/t/app:v1 @/t/app:amd64 @/t/app:arm @/t/app:odd @/t/app:artifact").await;
    for line in [
        "inspect @/t/app:v1",
        "inspect -v @/t/app:v1",
        "inspect @/t/app:v1 @/t/app:arm",
        "inspect @/t/app:v1 @/t/app:odd",
        "inspect -v @/t/app:v1 @/t/app:odd",
        "inspect @/t/app:v1 @/t/app:nope",
        "inspect @/t/app:nope @/t/app:arm",
    ] {
        both.same(line).await;
    }
}

/// Rows 32 to 35, 48 to 54.
#[tokio::test]
async fn push_writes_what_docker_writes() {
    let Some(both) = Both::new() else { return };
    both.image("t/app", "s390x", "linux/s390x", Flavour::Docker);
    both.image("t/app", "arm", "linux/arm/v6", Flavour::Oci);
    both.image("t/other", "arm64", "linux/arm64", Flavour::Docker);
    images::artifact("a/b", "x", None).push(&both.world.lab, "t/app", Some("artifact"));
    both.same("create @/t/app:v1 @/t/app:s390x @/t/app:arm").await;
    both.same_push("push @/t/app:v1", "t/app").await;
    both.same("create @/t/new:v1 @/t/app:s390x @/t/other:arm64 @/t/app:arm").await;
    let said = both.same_push("push @/t/new:v1", "t/new").await;
    assert_eq!(said.out.lines().count(), 4);
    both.same("create @/t/app:bad @/t/app:arm @/t/app:artifact").await;
    both.same_push("push @/t/app:bad", "t/app").await;
    both.same_push("push @/t/app:nope", "t/app").await;
    let digest = Digest::sha256(b"whatever");
    both.same(&format!("create @/t/app@{digest} @/t/app:arm @/t/app:s390x")).await;
    both.same_push(&format!("push @/t/app@{digest}"), "t/app").await;
    // A child that is gone.
    let gone = both.image("t/app", "gone", "linux/riscv64", Flavour::Oci);
    both.same("create @/t/app:v9 @/t/app:arm @/t/app:gone").await;
    both.world.lab.delete("t/app", gone.digest().as_str());
    both.same_push("push @/t/app:v9", "t/app").await;
    both.same_push("push --purge @/t/app:v9", "t/app").await;
}

/// Row 13 and 14: a list is begun with one and finished with the other.
#[tokio::test]
async fn both_can_take_turns_on_one_list() {
    let Some(both) = Both::new() else { return };
    both.image("t/app", "s390x", "linux/s390x", Flavour::Docker);
    both.image("t/app", "arm", "linux/arm/v6", Flavour::Oci);
    let ours = both.world.config.path();
    let docker = |line: &str| {
        let words = both.words(line);
        let said = both.docker.manifest(ours, &words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(said.code, Some(0), "{line}: {}", said.err);
        said
    };
    // Begun by docker.
    docker("create --insecure @/t/app:a @/t/app:arm");
    assert_eq!(both.ours("create --amend @/t/app:a @/t/app:s390x").await.code, Some(0));
    docker("annotate @/t/app:a @/t/app:s390x --variant v9");
    let pushed = both.ours("push @/t/app:a").await;
    assert_eq!(docker("push @/t/app:a"), pushed);
    // Begun by polyarch, with what docker has no words for.
    let made: Vec<_> = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 1, Flavour::Oci)).into();
    images::index_with_attestations(&made).push(&both.world.lab, "t/app", Some("idx"));
    both.world.create("t/app:b", &["t/app:idx", "t/app:s390x"]).await.unwrap();
    let digest = made[1].digest();
    docker(&format!("annotate @/t/app:b @/t/app:idx@{digest} --variant v8"));
    docker("create --insecure --amend @/t/app:b @/t/app:arm");
    assert_eq!(docker("inspect @/t/app:b").out.matches("\"digest\"").count(), 6);
    docker("push @/t/app:b");
    // What polyarch knew is still there, and comes back with its push.
    both.ours("push @/t/app:b").await;
    let list = both.world.lab.manifest("t/app", "b").unwrap();
    let list = image::Document::new(None, list).unwrap();
    assert_eq!(list.children().iter().filter(|entry| entry.attestation_of().is_some()).count(), 2);
    docker("rm @/t/app:a @/t/app:b");
    assert!(files(ours).is_empty());
}
