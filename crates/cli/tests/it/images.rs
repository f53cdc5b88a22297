//! The local store: `pack`, `push`, `pull`, `images`, `tag`, `rm`.

use lab::images::{self, Flavour};
use lab::{Auth, Fault, FaultKind, Lab};
use serde_json::Value;

use crate::sandbox::{Sandbox, tree};
use crate::support::{AMD64, ARM64, program};
use crate::transcript::Transcript;

fn transcript(name: &'static str, lab: &Lab) -> Transcript {
    let mut transcript = Transcript::new(name);
    transcript.call(lab.host(), "REGISTRY").call(lab.host().replace(':', "-"), "REGISTRY-FILE");
    for (name, machine) in [("amd64", AMD64), ("arm64", ARM64)] {
        std::fs::write(transcript.user.path(&format!("here/{name}")), program(machine, 1)).unwrap();
    }
    std::fs::write(transcript.user.path("here/app.conf"), "port = 1\n").unwrap();
    transcript
}

#[test]
fn pack() {
    let lab = Lab::start();
    let mut t = transcript("pack", &lab);
    t.run("pack --dry-run -t REGISTRY/app:v1 linux/amd64=amd64 linux/arm64=arm64");
    t.run("images");
    t.run("pack -t REGISTRY/app:v1 -t REGISTRY/app:latest -t REGISTRY/copy:v1 linux/amd64=amd64 linux/arm64=arm64");
    t.about("The same input is the same image; --push brings it to the registry too.");
    t.run("pack --push -t REGISTRY/app:v1 linux/amd64=amd64 linux/arm64=arm64");
    t.run("pack --single --push -t REGISTRY/app:v1 linux/amd64=amd64 linux/arm64=arm64");
    t.run("images");
    t.about("Everything that an image can be told.");
    t.run(
        "pack --json -t REGISTRY/full:v1 linux/amd64=amd64 --place /usr/bin/app --entrypoint '[\"/usr/bin/app\",\"-x\"]' \
         --cmd serve --cmd --all -e A=b=c --label org.example=yes -u 1000:1000 -w /srv --expose 80 --expose 53/udp \
         --file app.conf:/etc/app/ --base local:REGISTRY/app:v1",
    );
    assert_eq!(lab.tags("app"), ["v1", "v1-amd64", "v1-arm64"]);
    t.finish();
}

#[test]
fn pack_refuses() {
    let lab = Lab::start();
    let mut t = transcript("pack-refuses", &lab);
    t.run("pack -t app:v1 linux/arm64=amd64");
    t.run("pack -t app:v1 linux/amd64=app.conf");
    t.run("pack -t app:v1 linux/amd64=missing");
    t.run("pack -t app:v1 linux/amd64=amd64 linux/amd64=amd64");
    t.run("pack -t app:v1 linux/amd64=amd64 --base REGISTRY/nothing:v1");
    t.run("pack -t app:v1 linux/amd64=amd64 --entrypoint '[1]'");
    t.run("pack -t app:v1 linux/amd64=amd64 --file a:b");
    t.run("pack -t app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 linux/amd64=amd64");
    t.user.set("SOURCE_DATE_EPOCH", "yesterday");
    t.run("pack -t app:v1 linux/amd64=amd64");
    t.run("images");
    t.finish();
}

#[test]
fn push_and_pull() {
    let lab = Lab::start();
    let mut t = transcript("push-and-pull", &lab);
    let amd64 = images::image("linux/amd64", 2, Flavour::Docker);
    let arm64 = images::image("linux/arm64", 2, Flavour::Docker);
    images::index_with_attestations(&[amd64, arm64]).push(&lab, "app", Some("v1"));
    t.run("pull --dry-run REGISTRY/app:v1");
    t.run("images --json");
    t.run("pull REGISTRY/app:v1");
    t.run("pull REGISTRY/app:v1");
    t.run("pull REGISTRY/app:v1 local:one --platform linux/arm64");
    t.run("pull REGISTRY/app:v1 two --platform linux/s390x");
    t.run("images");
    t.run("images REGISTRY/app --quiet");
    t.about("To another repository, and to one of its own.");
    t.run("push --dry-run REGISTRY/app:v1 REGISTRY/copy:v1");
    t.run("push local:REGISTRY/app:v1 REGISTRY/copy:v1");
    t.run("push REGISTRY/app:v1 REGISTRY/copy:v1");
    t.run("push --json REGISTRY/app:v1 REGISTRY/copy:v2");
    assert_eq!(lab.manifest("copy", "v1"), lab.manifest("app", "v1"));
    t.about("Names.");
    t.run("tag REGISTRY/app:v1 app:v1 app:latest");
    t.run("tag nothing:v1 app:v2");
    t.run("rm --dry-run app:v1");
    t.run("rm app:v1 app:v3 app:latest nothing");
    t.run("images");
    t.finish();
}

#[test]
fn layouts_are_filled_and_read() {
    let lab = Lab::start();
    let mut t = transcript("layouts", &lab);
    t.run("pack -t app:v1 linux/amd64=amd64 linux/arm64=arm64");
    t.run("push --dry-run app:v1 oci:out:v1");
    t.run("push app:v1 oci:out:v1");
    t.run("push app:v1 oci:out:v1");
    t.run("push app:v1 oci:out --platform linux/arm64");
    t.run("pull oci:out:v1 REGISTRY/copy:v1");
    t.run("push REGISTRY/copy:v1");
    t.run("images REGISTRY/copy");
    t.about("What is not one place is not taken for another.");
    t.run("pull oci:out:v1");
    t.run("pull oci:out:v2 app:v2");
    t.run("pull REGISTRY/copy:v1 oci:out:v3");
    t.run("pull local:app:v1 app:v2");
    t.run("push app:v1 local:app:v2");
    t.finish();
}

#[test]
fn looking_makes_nothing_in_a_directory_that_is_there() {
    let user = Sandbox::new();
    std::fs::create_dir(user.path("here/mine")).unwrap();
    let shown = user.words("--data mine images").success();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert_eq!(tree(&user.path("here/mine")).len(), 0);
}

#[test]
fn plans_are_json_where_that_is_asked_for() {
    let lab = Lab::start();
    let user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let json = |line: &str| serde_json::from_str::<Value>(&user.words(line).success()).unwrap();
    let image = lab.reference("app", "v1");
    let plans = json(&format!("pack --dry-run --json --push -t {image} linux/amd64=amd64"));
    // One for the local store, and one for the registry.
    let plans = plans.as_array().unwrap();
    assert_eq!(plans.len(), 2);
    let pushed = json(&format!("pack --json --push -t {image} linux/amd64=amd64"));
    let tagged = |plan: &Value| plan.as_array().unwrap().last().unwrap()["action"].clone();
    assert_eq!((tagged(&plans[0]), tagged(&plans[1])), ("tag".into(), "tag".into()), "{plans:?}");
    assert_eq!(pushed.as_array().unwrap().len(), 2);
    if cfg!(target_os = "linux") {
        let plan = json(&format!("unpack --dry-run --json --platform linux/amd64 {image} root"));
        assert_eq!(plan["digest"], pushed[0]["images"][0]["manifest"]["digest"], "{plan} {pushed}");
        assert_eq!((&plan["layers"], &plan["directory"]), (&1.into(), &"root".into()));
        assert!(!user.path("here/root").exists());
    }
}

#[test]
fn failures_have_their_own_exit_codes() {
    let lab = Lab::start();
    images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let mut t = transcript("exit-codes", &lab);
    t.about("3: not there.");
    assert_eq!(t.run("pull REGISTRY/app:v2").code, Some(3));
    assert_eq!(t.run("push app:v2 REGISTRY/app:v2").code, Some(3));
    t.about("4: not allowed.");
    lab.set_auth(Auth::basic("user", "secret"));
    assert_eq!(t.run("pull REGISTRY/app:v1").code, Some(4));
    lab.set_auth(Auth::bearer("user", "secret"));
    assert_eq!(t.run("pull REGISTRY/app:v1").code, Some(4));
    lab.set_auth(Auth::default());
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::status(403)).once());
    assert_eq!(t.run("pull REGISTRY/app:v1").code, Some(4));
    t.about("5: no connection.");
    assert_eq!(t.run("pull 127.0.0.1:9/app:v1").code, Some(5));
    t.about("6: too many requests.");
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::RetryAfter(Some(3600))));
    assert_eq!(t.run("pull REGISTRY/app:v1").code, Some(6));
    lab.clear_faults();
    t.about("7: not what it says it is.");
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::WrongBytes));
    assert_eq!(t.run("pull REGISTRY/app:v1").code, Some(7));
    lab.clear_faults();
    t.about("Nothing was kept of any of them.");
    t.run("images");
    t.finish();
}
