//! Docker and polyarch on one store, without network: what one wrote the other reads, and both write the same bytes.

mod support;

use std::path::Path;

use polyarch_lists::{AnnotateRequest, Drafts, InspectForm, InspectRequest, annotate, remove};
use support::world::World;
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

/// A small generator, so that a failure comes back with its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn space(&mut self) -> &'static str {
        self.pick(&["", "", " ", "\n", "\t ", "\r\n"])
    }

    /// Characters that Go treats in some way of its own, among others.
    fn text(&mut self) -> String {
        let characters: Vec<char> =
            "a\"\\/<>&'\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}\u{80}é\u{2027}\u{2028}\u{2029}\u{fffd}😀{}[],: "
                .chars()
                .collect();
        (0..self.below(12)).map(|_| characters[self.below(characters.len())]).collect()
    }

    /// JSON with space wherever it may stand.
    fn json(&mut self, depth: usize) -> String {
        let value = match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => self.pick(&["null", "true", "false"]).to_owned(),
            1 => self.pick(&["0", "-0", "1.50e1", "1E+2", "-12.00", "123456789012345678901234567890"]).to_owned(),
            2 => self.pick(&["\"\"", "\"\\u003c\\/\"", "\"\\ud83d\\ude00\"", "\"\\u2028<\"", "[]", "{ }"]).to_owned(),
            3 | 4 => serde_json::to_string(&self.text()).unwrap(),
            5 | 6 => {
                let items: Vec<String> = (0..self.below(4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}{}]", self.space(), items.join(","))
            }
            _ => {
                let fields: Vec<String> = (0..self.below(4))
                    .map(|i| {
                        let key = serde_json::to_string(&format!("{}{i}", self.text())).unwrap();
                        format!("{}{key}{}:{}", self.space(), self.space(), self.json(depth - 1))
                    })
                    .collect();
                format!("{{{}{}}}", self.space(), fields.join(","))
            }
        };
        format!("{}{value}{}", self.space(), self.space())
    }
}

/// Rows 15, 40 and 41, for JSON that nobody would write.
#[tokio::test]
async fn go_and_polyarch_write_json_alike() {
    let Some(docker) = Docker::find() else { return };
    let (theirs, ours) = twice();
    let mut random = Random(1);
    let image = "r.io/t/app:amd64";
    let file = "manifests/r.io_t_app-v1/r.io_t_app-amd64";
    let fields: Vec<String> = (0..400).map(|i| format!("\"x{i}\":{}", random.json(4))).collect();
    let odd = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"a/b","size":1,"digest":"{}"}},{}}}"#,
        image::MediaType::OCI_MANIFEST,
        image::Digest::sha256(b""),
        fields.join(",")
    );
    let annotations: Vec<String> = (0..200)
        .map(|i| {
            let key = serde_json::to_string(&format!("{}{i}", random.text())).unwrap();
            format!("{key}:{}", serde_json::to_string(&random.text()).unwrap())
        })
        .collect();
    for config in [&theirs, &ours] {
        let path = config.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, _) = text.split_once(",\"OCIManifest\":").unwrap();
        let before =
            before.replace("\"platform\"", &format!("\"annotations\":{{{}}},\"platform\"", annotations.join(",")));
        std::fs::write(&path, format!("{before},\"OCIManifest\":{odd}}}")).unwrap();
    }
    let drafts = Drafts::new(ours.path());
    let world = World::plain();
    for arguments in [vec![LIST, image], vec![LIST], vec!["-v", LIST, image], vec!["-v", LIST]] {
        let said = docker.manifest(theirs.path(), &[&["inspect"], &arguments[..]].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        let verbose = arguments[0] == "-v";
        let names: Vec<&str> = arguments.into_iter().filter(|word| *word != "-v").collect();
        let request = InspectRequest {
            list: (names.len() == 2).then(|| LIST.to_owned()),
            image: (*names.last().unwrap()).to_owned(),
            form: if verbose { InspectForm::Verbose } else { InspectForm::Plain },
        };
        let shown = polyarch_lists::inspect(&request, &drafts, &world.stores).await.unwrap();
        // The list itself has annotations where polyarch shows it, so only images are compared.
        if verbose || names.len() == 2 {
            assert_eq!(said.out, String::from_utf8(shown.output).unwrap());
        }
    }
    assert_eq!(docker.manifest(theirs.path(), &["annotate", LIST, image]), quiet());
    annotate(&set(image), &drafts).unwrap();
    assert_same(theirs.path(), ours.path());
}
