//! The store on disk, without network.

mod support;

use std::fs;
use std::path::Path;

use polyarch_lists::{
    AnnotateRequest, ClearField, Drafts, ListError, RemoveEntriesRequest, annotate, list, remove, remove_entries,
};
use support::{entry, files, reference};

const LIST: &str = "r.io/t/app:v1";

fn drafts() -> (tempfile::TempDir, Drafts) {
    let config = tempfile::tempdir().unwrap();
    let drafts = Drafts::new(config.path());
    drafts
        .create(
            &reference(LIST),
            [&entry("r.io/t/app:s390x", "linux/s390x"), &entry("r.io/t/app:amd64", "linux/amd64")],
        )
        .unwrap();
    (config, drafts)
}

fn names(config: &Path) -> Vec<String> {
    files(config).into_iter().map(|(name, _)| name).collect()
}

fn set(list: &str, image: &str) -> AnnotateRequest {
    AnnotateRequest { list: list.to_owned(), image: image.to_owned(), ..AnnotateRequest::default() }
}

#[test]
fn a_list_is_a_directory_and_its_order_is_that_of_file_names() {
    let (config, drafts) = drafts();
    assert_eq!(
        names(config.path()),
        ["r.io_t_app-v1/", "r.io_t_app-v1/r.io_t_app-amd64", "r.io_t_app-v1/r.io_t_app-s390x"]
    );
    let draft = drafts.read(&reference(LIST)).unwrap().unwrap();
    let order: Vec<_> = draft.entries.iter().map(|stored| stored.entry.reference().to_string()).collect();
    assert_eq!(order, ["r.io/t/app:amd64", "r.io/t/app:s390x"]);
    assert!(drafts.read(&reference("r.io/t/app:v2")).unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn directories_and_files_have_the_modes_of_docker() {
    use std::os::unix::fs::PermissionsExt;
    let (config, drafts) = drafts();
    annotate(&set(LIST, "r.io/t/app:amd64"), &drafts).unwrap();
    let mode = |path: &str| fs::metadata(config.path().join(path)).unwrap().permissions().mode() & 0o777;
    // The umask of whoever runs the tests takes away from both alike.
    let umask = !mode("manifests/r.io_t_app-v1") & 0o777;
    assert_eq!(mode("manifests"), 0o755 & !umask);
    assert_eq!(mode("manifests/r.io_t_app-v1/r.io_t_app-amd64"), 0o644 & !umask);
    assert_eq!(mode("manifests/r.io_t_app-v1/r.io_t_app-s390x"), 0o644 & !umask);
}

#[test]
fn nothing_temporary_stays() {
    let (config, drafts) = drafts();
    annotate(&set(LIST, "r.io/t/app:amd64"), &drafts).unwrap();
    assert!(matches!(drafts.create(&reference(LIST), [&entry("r.io/a:x", "linux/arm")]), Err(ListError::Exists)));
    let in_root: Vec<_> = fs::read_dir(config.path().join("manifests")).unwrap().flatten().collect();
    assert_eq!(in_root.len(), 1, "{in_root:?}");
}

#[test]
fn a_create_that_fails_leaves_no_list() {
    let config = tempfile::tempdir().unwrap();
    let drafts = Drafts::new(config.path());
    let long = format!("r.io/{}:{}", "a/".repeat(100) + "a", "t".repeat(128));
    let error = drafts
        .create(&reference(LIST), [&entry("r.io/t/app:amd64", "linux/amd64"), &entry(&long, "linux/arm64")])
        .unwrap_err();
    assert!(error.to_string().starts_with("cannot write `"), "{error}");
    assert!(!drafts.exists(&reference(LIST)).unwrap());
    assert_eq!(fs::read_dir(config.path().join("manifests")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_left_is_no_list_and_goes_away() {
    let (config, drafts) = drafts();
    let left = config.path().join("manifests/.polyarch-left");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("half"), "{").unwrap();
    assert_eq!(list(&drafts).unwrap().len(), 1);
    let hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::open(&left).unwrap().set_modified(hours_ago).unwrap();
    drafts.create(&reference("r.io/t/app:v2"), [&entry("r.io/t/app:amd64", "linux/amd64")]).unwrap();
    assert!(!left.exists());
}

/// Row 19.
#[test]
fn rm_removes_damaged_lists() {
    for damage in ["{bad", "{}", "null", ""] {
        let (config, drafts) = drafts();
        let file = config.path().join("manifests/r.io_t_app-v1/r.io_t_app-amd64");
        fs::write(&file, damage).unwrap();
        let error = drafts.read(&reference(LIST)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("the local list `{LIST}` is damaged: `{}`: ", file.display())), "{text}");
        assert_eq!(error.hint().unwrap(), format!("remove it with `manifest rm {LIST}` and create it again"));
        let report = remove(&[LIST.to_owned()], &drafts);
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert!(names(config.path()).is_empty());
    }
    // A file where the directory should be; a directory where a file should be.
    let (config, drafts) = drafts();
    fs::write(config.path().join("manifests/r.io_t_app-v2"), "").unwrap();
    assert!(drafts.read(&reference("r.io/t/app:v2")).unwrap_err().to_string().ends_with("it is not a directory"));
    fs::create_dir(config.path().join("manifests/r.io_t_app-v1/r.io_x-y")).unwrap();
    assert!(drafts.read(&reference(LIST)).unwrap_err().to_string().ends_with("it is a directory"));
    assert!(remove(&["r.io/t/app:v2".into(), LIST.into()], &drafts).failures.is_empty());
}

/// To read it never ended, or took all the memory there is.
#[cfg(unix)]
#[test]
fn what_is_no_file_or_has_no_end_is_not_read() {
    let (config, drafts) = drafts();
    let directory = config.path().join("manifests").join(&names(config.path())[0]);
    let file = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&file).unwrap();
    let said = || drafts.read(&reference(LIST)).unwrap_err().to_string();

    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert!(said().ends_with("it is not a file"), "{}", said());
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    assert!(said().ends_with("it is not a file"), "{}", said());
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(said().ends_with("it has more than 33554432 bytes"), "{}", said());

    // Small here, and some gigabytes where it is indented.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = String::from_utf8(good).unwrap();
    let start = text.find("Manifest\":{").unwrap() + "Manifest\":".len();
    fs::write(&file, format!("{}{deep}}}", &text[..start])).unwrap();
    assert!(said().ends_with("Manifest` has more than 64 levels"), "{}", said());
}

/// Row 67.
#[test]
fn rm_goes_through_all_lists_and_reports_what_failed() {
    let (config, drafts) = drafts();
    drafts.create(&reference("r.io/t/app:v2"), [&entry("r.io/t/app:amd64", "linux/amd64")]).unwrap();
    let lists = ["r.io/t/app:v1", "r.io/t/app:nope", "r.io/t/app:v2", "BAD:x:"].map(str::to_owned);
    let report = remove(&lists, &drafts);
    assert_eq!(report.removed, [reference("r.io/t/app:v1"), reference("r.io/t/app:v2")]);
    let said: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "No such manifest: r.io/t/app:nope",
            "invalid reference format: repository name (library/BAD) must be lowercase"
        ]
    );
    assert!(names(config.path()).is_empty());
}

/// Row 31.
#[test]
fn annotate_sets_fields_and_only_adds_features() {
    let (_config, drafts) = drafts();
    let request = AnnotateRequest {
        os: "windows".into(),
        architecture: "arm64".into(),
        os_version: "10.0.1".into(),
        variant: "v8".into(),
        os_features: vec!["b".into(), "a".into(), "b".into()],
        ..set(LIST, "r.io/t/app:amd64")
    };
    annotate(&request, &drafts).unwrap();
    let again = AnnotateRequest { os_features: vec!["a".into(), "c".into()], ..set(LIST, "r.io/t/app:amd64") };
    let report = annotate(&again, &drafts).unwrap();
    let platform = report.entry.platform();
    assert_eq!(platform.to_string(), "windows(10.0.1+b+a+c)/arm64/v8");
    assert_eq!(platform.os_features, ["b", "a", "c"]);
}

/// Row 33.
#[test]
fn annotate_names_what_it_cannot_find_as_it_was_typed() {
    let (_config, drafts) = drafts();
    for (list, image) in [(LIST, "nope"), ("nope", "r.io/t/app:amd64"), ("nope", "nope")] {
        let error = annotate(&set(list, image), &drafts).unwrap_err();
        assert_eq!(error.to_string(), format!("manifest for image {image} does not exist in {list}"));
    }
    let hint = annotate(&set(LIST, "nope"), &drafts).unwrap_err().hint().unwrap();
    assert_eq!(hint, "the list has `r.io/t/app:amd64`, `r.io/t/app:s390x`");
}

/// Rows 10 and 34.
#[test]
fn annotate_refuses_in_words_of_docker() {
    let (config, drafts) = drafts();
    let before = files(config.path());
    let said = |request: &AnnotateRequest| annotate(request, &drafts).unwrap_err().to_string();
    assert_eq!(
        said(&set("UPPER", "x")),
        "annotate: error parsing name for manifest list UPPER: invalid reference format: repository name \
         (library/UPPER) must be lowercase"
    );
    assert_eq!(said(&set(LIST, "a b")), "annotate: error parsing name for manifest a b: invalid reference format");
    let bad = AnnotateRequest { architecture: "bar".into(), ..set(LIST, "r.io/t/app:amd64") };
    assert_eq!(said(&bad), "manifest entry for image has unsupported os/arch combination: /bar");
    let bad = AnnotateRequest { platform: Some("foo/bar".parse().unwrap()), ..set(LIST, "r.io/t/app:amd64") };
    assert_eq!(said(&bad), "manifest entry for image has unsupported os/arch combination: foo/bar");
    assert_eq!(files(config.path()), before);
}

#[test]
fn annotate_takes_a_whole_platform_annotations_and_clears_fields() {
    let (_config, drafts) = drafts();
    let request = AnnotateRequest {
        platform: Some("linux/aarch64".parse().unwrap()),
        variant: "v9".into(),
        os_features: vec!["a".into()],
        annotations: vec![("k".into(), "1".into()), ("l".into(), "2".into())],
        ..set(LIST, "r.io/t/app:amd64")
    };
    let report = annotate(&request, &drafts).unwrap();
    assert_eq!(report.entry.platform().to_string(), "linux(+a)/arm64/v9");
    assert_eq!(report.entry.published().annotation("k"), Some("1"));
    let request = AnnotateRequest {
        clear: ["variant", "os-features", "os-version", "annotation=k"].map(|field| field.parse().unwrap()).into(),
        os_features: vec!["b".into()],
        ..set(LIST, "r.io/t/app:amd64")
    };
    let entry = annotate(&request, &drafts).unwrap().entry;
    assert_eq!(entry.platform().to_string(), "linux(+b)/arm64");
    assert_eq!(entry.published().annotations.keys().collect::<Vec<_>>(), ["l"]);
    let request = AnnotateRequest { clear: vec![ClearField::Annotations], ..set(LIST, "r.io/t/app:amd64") };
    assert!(annotate(&request, &drafts).unwrap().entry.published().annotations.is_empty());
    assert!("os".parse::<ClearField>().is_err());
    assert!("annotation=".parse::<ClearField>().is_err());
}

#[test]
fn one_entry_is_removed_and_the_list_goes_with_the_last() {
    let (config, drafts) = drafts();
    let request = |entries: &[&str]| RemoveEntriesRequest {
        list: LIST.to_owned(),
        entries: entries.iter().map(|entry| (*entry).to_owned()).collect(),
    };
    let error = remove_entries(&request(&["r.io/t/app:amd64", "nope"]), &drafts).unwrap_err();
    assert_eq!(error.to_string(), format!("manifest for image nope does not exist in {LIST}"));
    assert_eq!(names(config.path()).len(), 3);
    let report = remove_entries(&request(&["r.io/t/app:amd64"]), &drafts).unwrap();
    assert_eq!(report.removed, [reference("r.io/t/app:amd64")]);
    assert!(!report.list_removed);
    let digest = entry("r.io/t/app:s390x", "linux/s390x").descriptor().digest.to_string();
    let report = remove_entries(&request(&[&digest]), &drafts).unwrap();
    assert!(report.list_removed);
    assert!(names(config.path()).is_empty());
    let error = remove_entries(&request(&["x"]), &drafts).unwrap_err();
    assert_eq!(error.to_string(), format!("No such manifest: {LIST}"));
}

#[test]
fn attestations_leave_with_their_image() {
    let config = tempfile::tempdir().unwrap();
    let drafts = Drafts::new(config.path());
    let image = entry("r.io/t/app:idx-a", "linux/amd64");
    let other = entry("r.io/t/app:idx-b", "linux/arm64");
    drafts.create(&reference(LIST), [&image, &other]).unwrap();
    for (name, of) in [("r.io/t/app:att-a", &image), ("r.io/t/app:att-b", &other)] {
        drafts.save(&reference(LIST), &entry(name, "unknown/unknown")).unwrap();
        let request = AnnotateRequest {
            annotations: vec![
                ("vnd.docker.reference.type".into(), "attestation-manifest".into()),
                ("vnd.docker.reference.digest".into(), of.descriptor().digest.to_string()),
            ],
            ..set(LIST, name)
        };
        annotate(&request, &drafts).unwrap();
    }
    let request = RemoveEntriesRequest { list: LIST.into(), entries: vec!["r.io/t/app:idx-a".into()] };
    let report = remove_entries(&request, &drafts).unwrap();
    assert_eq!(report.removed, [reference("r.io/t/app:att-a"), reference("r.io/t/app:idx-a")]);
}

#[test]
fn ls_shows_lists_and_what_is_wrong_with_them() {
    let (config, drafts) = drafts();
    fs::write(config.path().join("manifests/r.io_t_app-v1/r.io_t_app-x"), "{").unwrap();
    fs::create_dir(config.path().join("manifests/lost+found")).unwrap();
    let lists = list(&drafts).unwrap();
    assert_eq!(lists.len(), 2);
    assert_eq!(lists[0].reference, None);
    assert_eq!(lists[1].reference, Some(reference(LIST)));
    assert_eq!(lists[1].entries[0].reference, "r.io/t/app:amd64");
    assert_eq!(lists[1].entries[0].platform.to_string(), "linux/amd64");
    assert!(lists[1].problems[0].starts_with("`r.io_t_app-x`: EOF"), "{:?}", lists[1].problems);
    let nowhere = Drafts::new(config.path().join("nowhere"));
    assert!(list(&nowhere).unwrap().is_empty());
}

#[test]
fn parallel_annotations_of_one_entry_are_all_kept() {
    let (_config, drafts) = drafts();
    std::thread::scope(|scope| {
        for i in 0..16 {
            let drafts = &drafts;
            scope.spawn(move || {
                let request = AnnotateRequest { os_features: vec![format!("f{i}")], ..set(LIST, "r.io/t/app:amd64") };
                annotate(&request, drafts).unwrap();
            });
        }
    });
    let stored = drafts.entry(&reference(LIST), &reference("r.io/t/app:amd64")).unwrap().unwrap();
    assert_eq!(stored.entry.platform().os_features.len(), 16);
}
