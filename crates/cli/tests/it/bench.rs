//! `polyarch bench registry`: what it prints, and what it ends with.

use lab::{Fault, FaultKind, Lab, Quirks};

use crate::sandbox::Sandbox;

#[test]
fn a_dry_run_says_what_would_be_done_and_sends_nothing() {
    let lab = Lab::start();
    let line = format!(
        "bench registry {} --repository my/bench --scenario ping,large-push --duration 2s --large-size 8MiB --dry-run",
        lab.host()
    );
    assert_eq!(
        Sandbox::new().words(&line).success(),
        "prepare `my/bench`: push an image with a layer of 65536 bytes and 10 tags, a blob of 1024 bytes; push and \
         delete a second image\n\
         measure ping: get `/v2/`, 16 clients, 2 s\n\
         measure large-push: push a large blob that is new of 8388608 bytes, 1 client, 2 s\n\
         clean up: delete all manifests and blobs that were pushed\n"
    );
    let soak = Sandbox::new().words(&format!("bench registry {} --soak 10m --keep --dry-run", lab.host())).success();
    assert!(soak.contains("soak: ") && soak.contains("1000 connections, 500 operations a second, 600 s\n"), "{soak}");
    assert!(!soak.contains("clean up"), "{soak}");
    assert_eq!(lab.count(), 0);
}

#[test]
fn a_table_says_how_fast_it_is() {
    let lab = Lab::start();
    let line = format!("bench registry http://{} --scenario ping,image-push --requests 20", lab.host());
    let run = Sandbox::new().words(&line);
    assert_eq!(run.stderr, "");
    let printed = run.success();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "SCENARIO CLIENTS PER SECOND MB/S P50 P90 P99 MAX ERRORS"
    );
    assert!(lines[1].starts_with("ping ") && lines[1].ends_with(" 0"), "{printed}");
    assert!(lines[2].starts_with("image-push ") && lines.len() == 3, "{printed}");
    assert!(lab.log().iter().all(|request| request.path() == "/v2/" || request.path().contains("/polyarch-bench/")));
}

#[test]
fn a_report_in_json_has_the_numbers() {
    let lab = Lab::start();
    let pid = std::process::id();
    let line = format!("bench registry {} --scenario mixed --requests 200 --json --pid {pid}", lab.host());
    let run = Sandbox::new().words(&line);
    if cfg!(target_os = "linux") {
        let report: serde_json::Value = serde_json::from_str(&run.success()).unwrap();
        let mixed = &report["scenarios"][0];
        assert_eq!((mixed["scenario"].as_str(), mixed["operations"].as_u64()), (Some("mixed"), Some(200)));
        assert!(mixed["latencyMs"]["p99"].as_f64().unwrap() > 0.0, "{report}");
        assert!(mixed["server"]["resident"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["cleanup"]["manifests"], report["cleanup"]["manifestsDeleted"]);
    } else {
        assert_eq!(run.code, Some(1));
    }
}

#[test]
fn errors_are_told_and_make_it_fail() {
    let lab = Lab::start();
    let kind = FaultKind::Status { status: 503, code: "X".to_owned(), message: "no".to_owned() };
    lab.fault(Fault::on("GET", "/tags/list", kind).nth(3).times(2));
    let line = format!("bench registry {} --scenario tags --requests 10 --clients 1", lab.host());
    let run = Sandbox::new().words(&line);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), "error: 2 of 10 operations went wrong\n"));
    assert!(run.stdout.ends_with("\ntags: GET tags: status 503: 2\n"), "{}", run.stdout);
}

#[test]
fn what_stays_behind_is_told() {
    let lab = Lab::builder().quirks(Quirks { no_delete: true, ..Quirks::default() }).start();
    let line = format!("bench registry {} --repository my/bench --scenario image-push --requests 3", lab.host());
    let run = Sandbox::new().words(&line);
    let warning = format!(
        "warning: 5 manifests and 11 blobs are still in `{}/my/bench`: the registry does not delete them\n",
        lab.host()
    );
    assert_eq!((run.code, run.stderr), (Some(0), warning));
}

#[test]
fn nobody_there_is_a_failure_of_the_network() {
    let run = Sandbox::new().words("bench registry 127.0.0.1:1 --requests 1");
    assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""), "{}", run.shown());
    assert!(run.stderr.starts_with("error: failed to "), "{}", run.stderr);
    for wrong in ["--scenario all", "--duration 5", "--large-size 1X", "--soak 10m --clients 3"] {
        assert_eq!(Sandbox::new().words(&format!("bench registry 127.0.0.1:1 {wrong}")).code, Some(2), "{wrong}");
    }
}
