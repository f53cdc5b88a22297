//! How many requests arrive, counted by the lab.

use lab::{Auth, Lab, Location, Quirks};
use polyarch_load::Scenario;
use settings::{Credentials, Secret};

use crate::support::{REPOSITORY, measure, measure_as, options};

/// Requests of a kind that preparing and clearing away need.
async fn overhead(lab: &Lab, count: impl Fn(&Lab) -> usize) -> usize {
    measure(&options(&lab.host(), &[], 0)).await;
    let counted = count(lab);
    lab.clear_log();
    counted
}

#[tokio::test]
async fn one_operation_of_a_reading_scenario_is_one_request() {
    for (scenario, method, path) in [
        (Scenario::Ping, "GET", "/v2/"),
        (Scenario::ManifestByTag, "GET", "/manifests/bench"),
        (Scenario::ManifestByDigest, "GET", "/manifests/sha256:"),
        (Scenario::ManifestHead, "HEAD", "/manifests/bench"),
        (Scenario::Tags, "GET", "/tags/list?n=100"),
        (Scenario::SmallBlob, "GET", "/blobs/sha256:"),
        (Scenario::LargeBlob, "GET", "/blobs/sha256:"),
    ] {
        let lab = Lab::start();
        let count = |lab: &Lab| lab.count_of(method, path);
        let before = overhead(&lab, count).await;
        let report = measure(&options(&lab.host(), &[scenario], 50)).await;
        let measured = &report.scenarios[0];
        assert_eq!((measured.operations, report.errors()), (50, 0), "{scenario}: {measured:?}");
        assert_eq!(measured.requests, 50, "{scenario}");
        assert_eq!(count(&lab) - before, 50, "{scenario}");
        assert_eq!(measured.connections, scenario.clients() as u64, "{scenario}");
    }
}

#[tokio::test]
async fn an_image_is_pushed_with_five_requests_and_a_large_blob_with_two() {
    let lab = Lab::start();
    let puts = |lab: &Lab| lab.count_of("PUT", "/manifests/");
    let (posts_before, puts_before) = {
        measure(&options(&lab.host(), &[], 0)).await;
        let counts = (lab.count_of("POST", "/blobs/uploads/"), puts(&lab));
        lab.clear_log();
        counts
    };
    let mut wanted = options(&lab.host(), &[Scenario::ImagePush, Scenario::LargePush], 6);
    wanted.keep = true;
    let report = measure(&wanted).await;
    assert_eq!((report.operations(), report.errors()), (12, 0), "{report:?}");
    assert_eq!(report.scenarios[0].requests, 6 * 5);
    assert_eq!(report.scenarios[1].requests, 6 * 2);
    assert_eq!(report.scenarios[1].bytes_sent, 6 * (3 << 20));
    assert_eq!(lab.count_of("POST", "/blobs/uploads/") - posts_before, 6 * 2 + 6);
    assert_eq!(puts(&lab) - puts_before, 6);
    assert!(report.cleanup.is_none());
    let pushed = lab.tags(REPOSITORY).iter().filter(|tag| tag.starts_with("push-")).count();
    assert_eq!(pushed, 6);
}

#[tokio::test]
async fn nothing_stays_but_what_the_registry_does_not_delete() {
    let lab = Lab::start();
    let everything = options(&lab.host(), &Scenario::ALL, 40);
    let report = measure(&everything).await;
    assert_eq!(report.errors(), 0, "{report:?}");
    let cleanup = report.cleanup.unwrap();
    assert_eq!((cleanup.manifests, cleanup.blobs), (cleanup.manifests_deleted, cleanup.blobs_deleted));
    assert!(cleanup.refused.is_empty() && lab.manifests(REPOSITORY).is_empty(), "{cleanup:?}");
    assert_eq!(lab.tags(REPOSITORY), [""; 0]);

    let lab = Lab::builder().quirks(Quirks { no_delete: true, ..Quirks::default() }).start();
    let report = measure(&options(&lab.host(), &[Scenario::ImagePush, Scenario::Mixed], 40)).await;
    assert_eq!(report.errors(), 0, "mixed load does without deleting: {report:?}");
    let cleanup = report.cleanup.unwrap();
    assert_eq!((cleanup.manifests_deleted, cleanup.blobs_deleted), (0, 0));
    assert_eq!(cleanup.manifests, lab.manifests(REPOSITORY).len());
}

#[tokio::test]
async fn tls_and_tokens_are_those_of_the_client() {
    let user = || Credentials::Basic { username: "user".to_owned(), password: Secret::new("secret") };
    for auth in [Auth::bearer("user", "secret"), Auth::basic("user", "secret")] {
        let lab = Lab::builder().tls(true).auth(auth).start();
        let wanted = options(&lab.host(), &[Scenario::ManifestByTag, Scenario::ImagePush, Scenario::LargeBlob], 8);
        let report = measure_as(&wanted, user()).await.unwrap();
        assert_eq!((report.operations(), report.errors()), (24, 0), "{report:?}");
        let refused = measure_as(&wanted, Credentials::Anonymous).await.unwrap_err();
        assert!(refused.to_string().contains("401") || refused.to_string().contains("credentials"), "{refused}");
    }
}

#[tokio::test]
async fn locations_may_be_absolute_and_lead_nowhere_else() {
    let lab = Lab::builder().quirks(Quirks { location: Location::Absolute, ..Quirks::default() }).start();
    let report = measure(&options(&lab.host(), &[Scenario::ImagePush], 4)).await;
    assert_eq!((report.operations(), report.errors()), (4, 0), "{report:?}");
    let elsewhere = Location::OtherHost(format!("localhost:{}", lab.port()));
    lab.set_quirks(Quirks { location: elsewhere, ..Quirks::default() });
    let refused = measure_as(&options(&lab.host(), &[], 0), Credentials::Anonymous).await.unwrap_err();
    assert!(refused.to_string().contains("a location that is elsewhere"), "{refused}");
}
