//! What goes wrong is counted, by what it was.

use std::time::{Duration, Instant};

use lab::{Fault, FaultKind, Lab};
use polyarch_load::{Amount, Progress, Scenario, Step, Stop};
use registry_client::{ClientOptions, RegistryClient};
use settings::{CredentialStore, Credentials};

use crate::support::{measure, measure_as, options};

/// Errors of a scenario whose requests to `path` are hit by a fault from the third one on.
async fn errors_with(scenario: Scenario, path: &str, kind: FaultKind) -> Vec<(String, u64)> {
    let lab = Lab::start();
    let wanted = options(&lab.host(), &[scenario], 12);
    lab.fault(Fault::on("GET", path, kind).nth(3));
    let report = measure(&wanted).await;
    assert_eq!(report.operations() + report.errors(), 12, "{report:?}");
    assert_eq!(report.operations(), 2, "{report:?}");
    report.scenarios[0].errors.clone().into_iter().collect()
}

#[tokio::test]
async fn another_status_is_an_error() {
    let status = |status| FaultKind::Status { status, code: "X".to_owned(), message: "no".to_owned() };
    let errors = errors_with(Scenario::ManifestByTag, "/manifests/bench", status(500)).await;
    assert_eq!(errors, [("GET manifest: status 500".to_owned(), 10)]);
    let errors = errors_with(Scenario::SmallBlob, "/blobs/", FaultKind::Redirect("/elsewhere".to_owned())).await;
    assert_eq!(errors, [("GET blob: status 307".to_owned(), 10)]);
}

#[tokio::test]
async fn other_bytes_are_an_error() {
    for kind in [FaultKind::WrongBytes, FaultKind::Longer(1), FaultKind::Shorter(1)] {
        let errors = errors_with(Scenario::ManifestByDigest, "/manifests/sha256:", kind.clone()).await;
        assert_eq!(errors, [("GET manifest: wrong body".to_owned(), 10)], "{kind:?}");
    }
    let errors = errors_with(Scenario::SmallBlob, "/blobs/", FaultKind::WrongBytes).await;
    assert_eq!(errors, [("GET blob: wrong body".to_owned(), 10)]);
}

#[tokio::test]
async fn of_large_blobs_the_first_is_hashed_and_all_of_them_if_asked() {
    for (verify, wrong) in [(false, 0), (true, 5)] {
        let lab = Lab::start();
        let mut wanted = options(&lab.host(), &[Scenario::LargeBlob], 8);
        wanted.clients = Some(1);
        wanted.verify = verify;
        lab.fault(Fault::on("GET", "/blobs/", FaultKind::WrongBytes).nth(4));
        assert_eq!(measure(&wanted).await.errors(), wrong, "verify: {verify}");
        lab.clear_faults();
        lab.fault(Fault::on("GET", "/blobs/", FaultKind::WrongBytes));
        assert_eq!(measure(&wanted).await.errors(), 8, "one that was never right stays wrong");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_and_the_next_one_is_tried() {
    let lab = Lab::start();
    let mut wanted = options(&lab.host(), &[Scenario::SmallBlob], 12);
    wanted.clients = Some(1);
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Truncate(100)).nth(4).times(2));
    let report = measure(&wanted).await;
    assert_eq!((report.operations(), report.errors()), (10, 2), "{report:?}");
    assert_eq!(report.scenarios[0].connections, 3);
    let errors: Vec<_> = report.scenarios[0].errors.keys().collect();
    assert_eq!(errors, ["GET blob: closed before the answer"]);
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_none() {
    let lab = Lab::start();
    let mut wanted = options(&lab.host(), &[Scenario::SmallBlob], 12);
    wanted.clients = Some(1);
    // Nothing of an answer has come, and there were answers before: the request is repeated.
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Drop).nth(5).once());
    let report = measure(&wanted).await;
    assert_eq!((report.operations(), report.errors(), report.scenarios[0].connections), (12, 0, 2), "{report:?}");
}

#[tokio::test]
async fn no_answer_is_an_error_in_the_end() {
    let lab = Lab::start();
    let mut wanted = options(&lab.host(), &[Scenario::Ping], 3);
    wanted.clients = Some(1);
    wanted.patience = Duration::from_millis(300);
    lab.fault(Fault::on("GET", "/v2/", FaultKind::Stall(Duration::from_secs(60))).times(1));
    let report = measure(&wanted).await;
    assert_eq!((report.operations(), report.errors()), (2, 1), "{report:?}");
    assert_eq!(report.scenarios[0].errors.keys().collect::<Vec<_>>(), ["GET /v2/: no answer in time"]);
}

#[tokio::test]
async fn a_registry_that_takes_nothing_is_told_before_anything_is_measured() {
    let lab = Lab::start();
    let refuse = |status| FaultKind::Status { status, code: "DENIED".to_owned(), message: "read only".to_owned() };
    let wanted = options(&lab.host(), &[Scenario::Ping], 3);
    lab.fault(Fault::on("PUT", "/manifests/", refuse(403)));
    let error = measure_as(&wanted, Credentials::Anonymous).await.unwrap_err();
    assert_eq!(error.to_string(), "push what is to be measured to `bench/app`: PUT manifest: status 403");
    lab.fault(Fault::on("POST", "/uploads/", refuse(403)));
    let error = measure_as(&wanted, Credentials::Anonymous).await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
    drop(lab);
    let error = measure_as(&options("127.0.0.1:1", &[], 0), Credentials::Anonymous).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn who_stops_it_finds_everything_cleared_away() {
    let lab = Lab::start();
    let mut wanted = options(&lab.host(), &[Scenario::ImagePush, Scenario::Ping], 0);
    wanted.amount = Amount::For(Duration::from_secs(600));
    let client = RegistryClient::new(ClientOptions::default(), std::sync::Arc::new(CredentialStore::empty()));
    let stop = Stop::default();
    let (asking, begun) = (stop.clone(), Instant::now());
    let mut watch = move |progress: Progress<'_>| {
        if matches!(progress, Progress::Begins(Step::Measure { scenario: Scenario::ImagePush, .. })) {
            let asking = asking.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(200));
                asking.ask();
            });
        }
    };
    let report = polyarch_load::run(&wanted, &client, &stop, &mut watch).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(report.interrupted && report.scenarios.len() == 1 && report.operations() > 0, "{report:?}");
    assert!(lab.manifests("bench/app").is_empty());
}
