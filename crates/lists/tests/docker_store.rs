//! Docker and polyarch on one store, without network: what one wrote the other reads, and both write the same bytes.

mod support;

use std::path::Path;

use polyarch_lists::{AnnotateRequest, Drafts, annotate, remove};
use support::{Docker, Said, entry, files, reference};

const LIST: &str = "r.io/t/app:v1";

/// The same list in two stores.
fn twice() -> (tempfile::TempDir, tempfile::TempDir) {
    let make = || {
        let config = tempfile::tempdir().unwrap();
        let entries = [
            entry("r.io/t/app:s390x", "linux/s390x"),
            entry("r.io/t/app:arm-docker", "linux/arm/v6"),
            entry("r.io/t/app:amd64", "linux/amd64"),
        ];
        Drafts::new(config.path()).create(&reference(LIST), &entries).unwrap();
        config
    };
    (make(), make())
}

fn set(image: &str) -> AnnotateRequest {
    AnnotateRequest { list: LIST.to_owned(), image: image.to_owned(), ..AnnotateRequest::default() }
}

/// The paths of two stores differ and nothing else.
fn assert_same(docker: &Path, ours: &Path) {
    assert_eq!(files(docker), files(ours));
}

fn quiet() -> Said {
    Said { out: String::new(), err: String::new(), code: Some(0) }
}

/// Rows 14, 15, 31 and 32: docker reads what we wrote, changes it as we do, and both write it to the byte alike.
#[test]
fn docker_and_polyarch_annotate_to_the_same_bytes() {
    let Some(docker) = Docker::find() else { return };
    let (theirs, ours) = twice();
    let drafts = Drafts::new(ours.path());
    let amd64 = "r.io/t/app:amd64";
    let cases: [(&[&str], AnnotateRequest); 5] = [
        (&[amd64], set(amd64)),
        (
            &[amd64, "--variant", "v2", "--os-version", "1.<2>"],
            AnnotateRequest { variant: "v2".into(), os_version: "1.<2>".into(), ..set(amd64) },
        ),
        (
            &["r.io/t/app:arm-docker", "--os-features", "b,a", "--os-features", "a,c"],
            AnnotateRequest {
                os_features: ["b", "a", "a", "c"].map(str::to_owned).into(),
                ..set("r.io/t/app:arm-docker")
            },
        ),
        (
            &["r.io/t/app:s390x", "--os", "darwin", "--arch", "arm64"],
            AnnotateRequest { os: "darwin".into(), architecture: "arm64".into(), ..set("r.io/t/app:s390x") },
        ),
        (&[amd64, "--variant", "", "--os-features", ""], set(amd64)),
    ];
    for (arguments, request) in cases {
        let said = docker.manifest(theirs.path(), &[&["annotate", LIST], arguments].concat());
        assert_eq!(said, quiet(), "{arguments:?}");
        annotate(&request, &drafts).unwrap();
        assert_same(theirs.path(), ours.path());
    }
    let before = files(theirs.path());
    for arguments in [[amd64, "--arch", "bar"], ["nope", "--arch", "arm64"], ["a b", "--os", "linux"]] {
        let said = docker.manifest(theirs.path(), &[&["annotate", LIST], &arguments[..]].concat());
        let request = match arguments {
            [image, "--arch", value] => AnnotateRequest { architecture: value.into(), ..set(image) },
            [image, _, value] => AnnotateRequest { os: value.into(), ..set(image) },
        };
        assert_eq!(said.err, format!("{}\n", annotate(&request, &drafts).unwrap_err()));
    }
    assert_eq!(files(theirs.path()), before);
}

/// Docker drops fields that it does not know, so what polyarch adds stands in fields that it does know.
#[test]
fn additions_of_polyarch_survive_docker() {
    let Some(docker) = Docker::find() else { return };
    let (_, config) = twice();
    let drafts = Drafts::new(config.path());
    let request =
        AnnotateRequest { annotations: vec![("a.b/c".into(), "<x>\u{2028}".into())], ..set("r.io/t/app:amd64") };
    annotate(&request, &drafts).unwrap();
    let said = docker.manifest(config.path(), &["annotate", LIST, "r.io/t/app:amd64", "--variant", "v3"]);
    assert_eq!(said, quiet());
    let stored = drafts.entry(&reference(LIST), &reference("r.io/t/app:amd64")).unwrap().unwrap();
    assert_eq!(stored.entry.platform().variant, "v3");
    assert_eq!(stored.entry.published().annotation("a.b/c"), Some("<x>\u{2028}"));
    // And docker's list has no trace of it.
    let shown = docker.manifest(config.path(), &["inspect", LIST]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(!shown.out.contains("a.b/c"), "{}", shown.out);
}

/// Row 67.
#[test]
fn docker_and_polyarch_remove_alike() {
    let Some(docker) = Docker::find() else { return };
    let (theirs, ours) = twice();
    let lists = ["nope", LIST, "BAD:x:", "r.io/t/app:v2"];
    let said = docker.manifest(theirs.path(), &[&["rm"], &lists[..]].concat());
    let report = remove(&lists.map(str::to_owned), &Drafts::new(ours.path()));
    let err = report.failures.iter().fold(String::new(), |all, error| all + &error.to_string() + "\n");
    assert_eq!(said, Said { out: String::new(), err, code: Some(1) });
    assert_same(theirs.path(), ours.path());
}
