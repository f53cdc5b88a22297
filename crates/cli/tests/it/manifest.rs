//! `polyarch manifest` where it does more than docker, or better; the rest is in the differential test.

use lab::images::{self, Flavour};
use lab::{Auth, Fault, FaultKind, Lab};

use crate::transcript::Transcript;

/// A registry with images for some platforms, and an index with attestations.
fn registry() -> Lab {
    let lab = Lab::start();
    fill(&lab);
    lab
}

fn fill(lab: &Lab) {
    for (tag, platform) in [("amd64", "linux/amd64"), ("arm64", "linux/arm64"), ("arm", "linux/arm/v7")] {
        images::image(platform, 2, Flavour::Oci).push(lab, "app", Some(tag));
        images::image(platform, 2, Flavour::Oci).push(lab, &format!("app-{tag}"), Some("v1"));
    }
    let amd64 = images::maker("linux/amd64").layers(1).seed(9).make();
    let arm64 = images::maker("linux/arm64").layers(1).seed(9).make();
    images::index_with_attestations(&[amd64, arm64]).push(lab, "index", Some("v1"));
}

fn transcript(name: &'static str, lab: &Lab) -> Transcript {
    let mut transcript = Transcript::new(name);
    transcript.call(lab.host(), "REGISTRY").call(lab.host().replace(':', "-"), "REGISTRY-FILE");
    transcript
}

#[test]
fn create() {
    let lab = registry();
    let mut t = transcript("manifest-create", &lab);
    t.about("A dry run writes nothing.");
    t.run("manifest create --dry-run REGISTRY/app:v1 REGISTRY/app:amd64 REGISTRY/app:arm64");
    t.run("manifest ls");
    t.about("A list as source brings its images along, with their attestations.");
    t.run("manifest create REGISTRY/app:v1 REGISTRY/index:v1 REGISTRY/app:arm");
    t.run("manifest inspect REGISTRY/app:v1");
    t.run("manifest create REGISTRY/app:v2 REGISTRY/index:v1 --no-attestations --platform linux/aarch64");
    t.run("manifest inspect REGISTRY/app:v2");
    t.run("manifest create --strict REGISTRY/app:v3 REGISTRY/index:v1");
    t.run("manifest create REGISTRY/app:v3 REGISTRY/index:v1 --platform linux/s390x");
    t.run("manifest create REGISTRY/app:v3 REGISTRY/app:amd64 --platform 'linux arm64'");
    t.about("What fails leaves nothing.");
    t.run("manifest create REGISTRY/app:v3 REGISTRY/app:amd64 oci:nowhere:v1");
    t.run("manifest create REGISTRY/app:v3 REGISTRY/app:amd64 local:nothing");
    t.run("manifest create REGISTRY/app:v3 oci: REGISTRY/app:amd64");
    t.run("manifest ls -q");
    t.finish();
}

#[test]
fn refresh() {
    let lab = registry();
    let mut t = transcript("manifest-refresh", &lab);
    t.run("manifest create REGISTRY/app:v1 REGISTRY/app:amd64");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:amd64 --variant v3");
    let moved = images::maker("linux/amd64").layers(1).seed(77).make().push(&lab, "app", Some("amd64"));
    t.about("The tag has moved: --amend keeps what the draft has, --refresh fetches anew.");
    t.run("manifest create --amend REGISTRY/app:v1 REGISTRY/app:amd64");
    let kept = t.run("manifest inspect REGISTRY/app:v1");
    assert!(!kept.stdout.contains(&moved.digest.to_string()));
    t.run("manifest create --amend --refresh REGISTRY/app:v1 REGISTRY/app:amd64");
    let fetched = t.run("manifest inspect REGISTRY/app:v1");
    assert!(fetched.stdout.contains(&moved.digest.to_string()));
    t.finish();
}

#[test]
fn annotate() {
    let lab = registry();
    let mut t = transcript("manifest-annotate", &lab);
    t.run("manifest create REGISTRY/app:v1 REGISTRY/app:amd64 REGISTRY/app:arm");
    t.about("A dry run shows the entry and writes nothing.");
    t.run("manifest annotate --dry-run REGISTRY/app:v1 REGISTRY/app:arm --platform linux/arm/v6 --os-version 1");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:arm --platform linux/armhf --os-features a,b --annotation a=b=c");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:amd64 --variant v2 --annotation x=y --annotation z=");
    t.run("manifest inspect REGISTRY/app:v1");
    t.about("Fields can be emptied, which docker cannot do.");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:arm --clear os-features,annotations");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:amd64 --clear variant --clear annotation=z");
    t.run("manifest inspect REGISTRY/app:v1");
    t.about("Mistakes change nothing.");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:arm --clear os");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:arm --annotation novalue");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:arm --platform linux/a/b/c");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:arm --platform plan9/s390x");
    t.run("manifest annotate REGISTRY/app:v1 REGISTRY/app:nope --os linux");
    t.finish();
}

#[test]
fn inspect() {
    let lab = registry();
    let mut t = transcript("manifest-inspect", &lab);
    t.about("--raw is what the registry has, to the byte.");
    let raw = t.run("manifest inspect --raw REGISTRY/index:v1");
    assert_eq!(raw.stdout.as_bytes(), &*lab.manifest("index", "v1").unwrap());
    t.run("manifest inspect REGISTRY/index:v1");
    t.about("Not found, not allowed and not reachable are told apart.");
    t.run("manifest inspect REGISTRY/index:v9");
    lab.set_auth(Auth::basic("user", "secret"));
    t.run("manifest inspect REGISTRY/index:v1");
    lab.set_auth(Auth::default());
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::status(403)).once());
    t.run("manifest inspect REGISTRY/index:v1");
    t.run("manifest inspect 127.0.0.1:9/x:y");
    t.run("manifest inspect oci:nowhere");
    t.about("What a registry writes into an error does not reach the terminal as it is.");
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::ControlCharacters).once());
    let hostile = t.run("manifest inspect REGISTRY/index:v1");
    assert!(hostile.stderr.chars().all(|c| c == '\n' || !c.is_control()), "{hostile:?}");
    t.about("Content that is not what it says it is.");
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::WrongBytes).once());
    t.run(&format!("manifest inspect REGISTRY/index@{}", lab.resolve("index", "v1").unwrap()));
    t.finish();
}

#[test]
fn push() {
    let lab = registry();
    let mut t = transcript("manifest-push", &lab);
    t.run("manifest create REGISTRY/out:v1 REGISTRY/app-amd64:v1 REGISTRY/app-arm64:v1");
    t.about("A dry run sends nothing.");
    let before = lab.manifests("out");
    lab.clear_log();
    t.run("manifest push --dry-run REGISTRY/out:v1");
    assert_eq!((lab.manifests("out"), lab.count()), (before, 0));
    t.run("manifest push -t v1.0 --tag latest --digest-file digest REGISTRY/out:v1");
    let digest = std::fs::read_to_string(t.user.path("here/digest")).unwrap();
    for tag in ["v1", "v1.0", "latest"] {
        assert_eq!(lab.resolve("out", tag).unwrap().to_string(), digest);
    }
    t.about("Mistakes.");
    t.run("manifest push -t 'a b' REGISTRY/out:v1");
    t.run("manifest push --digest-file no/such/directory REGISTRY/out:v1");
    t.run("manifest push REGISTRY/nothing:v1");
    t.finish();
}

#[test]
fn a_push_that_fails_says_what_was_pushed_and_a_second_run_finishes() {
    let lab = registry();
    let mut t = transcript("manifest-push-again", &lab);
    t.run("manifest create REGISTRY/out:v1 REGISTRY/app-amd64:v1");
    lab.fault(Fault::on("PUT", "/manifests/v1", FaultKind::status(403)).once());
    t.run("manifest push --purge REGISTRY/out:v1");
    t.run("manifest push --purge REGISTRY/out:v1");
    t.run("manifest ls");
    t.finish();
}

#[test]
fn rm_and_ls() {
    let lab = registry();
    let mut t = transcript("manifest-rm", &lab);
    t.run("manifest ls");
    t.run("manifest create REGISTRY/app:v1 REGISTRY/index:v1 REGISTRY/app:arm");
    t.run("manifest create --amend library/other REGISTRY/app:amd64");
    t.run("manifest ls");
    t.run("manifest ls --quiet");
    t.run("manifest ls --json");
    t.about("One image; and one that came from a list, with its attestation.");
    t.run("manifest rm --dry-run --entry REGISTRY/app:arm REGISTRY/app:v1");
    t.run("manifest rm --entry REGISTRY/app:arm REGISTRY/app:v1");
    t.run("manifest rm --entry REGISTRY/app:arm REGISTRY/app:v1");
    t.run("manifest rm --entry REGISTRY/index:v1 REGISTRY/app:v1 other");
    t.about("Whole lists.");
    t.run("manifest rm --dry-run REGISTRY/app:v1 REGISTRY/app:v2 other");
    t.run("manifest rm REGISTRY/app:v1 REGISTRY/app:v2 other");
    t.run("manifest ls");
    t.finish();
}
