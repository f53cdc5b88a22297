//! Tags, repositories, referrers.

use lab::images::{Flavour, artifact, image};
use lab::{Auth, Lab, Quirks};
use polyarch_registry_client::{ClientOptions, ErrorKind};

use crate::scripted::{Scripted, answer};
use crate::support::{client, client_with, in_repository, name, options, repository, tag, user};

#[tokio::test]
async fn tags_come_page_by_page() {
    for absolute_links in [false, true] {
        let lab = Lab::builder().quirks(Quirks { page: Some(3), absolute_links, ..Quirks::default() }).start();
        let app_image = image("linux/amd64", 1, Flavour::Oci);
        app_image.push(&lab, "app", None);
        lab.tag_many("app", 10, app_image.digest());
        let tags = repository(&lab, "app").list_tags().await.unwrap();
        assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), lab.tags("app"));
        assert_eq!(lab.count(), 4);
    }
}

#[tokio::test]
async fn a_hundred_thousand_tags() {
    let lab = Lab::start();
    let app_image = image("linux/amd64", 1, Flavour::Oci);
    app_image.push(&lab, "app", None);
    lab.tag_many("app", 100_000, app_image.digest());
    let app = repository(&lab, "app");
    assert_eq!(app.list_tags().await.unwrap().len(), 100_000);

    let few = ClientOptions { listing_limit: 50_000, ..options() };
    let app = in_repository(&client_with(few, &lab, user()), &lab, "app");
    let error = app.list_tags().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("50000"), "{error}");
}

#[tokio::test]
async fn lists_that_are_none() {
    let lab = Lab::start();
    assert_eq!(repository(&lab, "app").list_tags().await.unwrap_err().kind(), ErrorKind::NotFound);
    for (body, kind) in [
        (r#"{"name":"app","tags":null}"#, None),
        (r#"{"name":"app","tags":["../../etc/passwd"]}"#, Some(ErrorKind::InvalidResponse)),
        (r#"{"name":"app","tags":["a","\u001b[2J"]}"#, Some(ErrorKind::InvalidResponse)),
        (r#"{"name":"app","tags":{}}"#, Some(ErrorKind::InvalidResponse)),
        ("<html>", Some(ErrorKind::InvalidResponse)),
    ] {
        let server = Scripted::start(vec![answer("200 OK", &[], body.as_bytes())]).await;
        let result = client(&lab).repository(&server.host(), &name("app")).list_tags().await;
        assert_eq!(result.as_ref().err().map(polyarch_registry_client::ClientError::kind), kind, "{body}: {result:?}");
        assert!(!format!("{result:?}").contains('\u{1b}'));
    }
}

#[tokio::test]
async fn pages_that_do_not_end() {
    let lab = Lab::start();
    let page = |n: usize| format!(r#"{{"tags":["t{n}"]}}"#);
    // In a circle; without entries; to another host.
    let circle = Scripted::start_with(move |n, _| {
        answer("200 OK", &[("Link", "</v2/app/tags/list?last=a>; rel=\"next\"")], page(n).as_bytes())
    });
    let empty = Scripted::start_with(|n, _| {
        answer("200 OK", &[("Link", &format!("</v2/app/tags/list?last={n}>; rel=\"next\""))], br#"{"tags":[]}"#)
    });
    let away = Scripted::start_with(|_, _| {
        answer("200 OK", &[("Link", "<http://evil.example/>; rel=\"next\"")], br#"{"tags":["a"]}"#)
    });
    for server in [circle.await, empty.await, away.await] {
        let error = client(&lab).repository(&server.host(), &name("app")).list_tags().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse);
        assert!(server.requests().len() < 50, "{}", server.requests().len());
    }
}

#[tokio::test]
async fn repositories() {
    let lab = Lab::builder()
        .auth(Auth::bearer("user", "secret"))
        .quirks(Quirks { page: Some(2), ..Quirks::default() })
        .start();
    for repository in ["a", "b/c", "d"] {
        image("linux/amd64", 1, Flavour::Oci).push(&lab, repository, None);
    }
    let names = client_with(options(), &lab, user()).catalog(&lab.registry_host()).await.unwrap();
    assert_eq!(names, [name("a"), name("b/c"), name("d")]);
}

#[tokio::test]
async fn referrers_by_the_api_and_by_the_fall_back_tag() {
    let lab = Lab::builder().quirks(Quirks { page: Some(1), ..Quirks::default() }).start();
    let subject = image("linux/amd64", 1, Flavour::Oci);
    subject.push(&lab, "app", Some("v1"));
    let signature = artifact("application/x-signature", "sig", Some(&subject.descriptor()));
    let sbom = artifact("application/x-sbom", "sbom", Some(&subject.descriptor()));
    signature.push(&lab, "app", None);
    sbom.push(&lab, "app", None);
    let app = repository(&lab, "app");
    assert_eq!(app.referrers(subject.digest(), None).await.unwrap().len(), 2);
    let found = app.referrers(subject.digest(), Some("application/x-sbom")).await.unwrap();
    assert_eq!(found.iter().map(|found| &found.digest).collect::<Vec<_>>(), [sbom.digest()]);
    assert!(app.referrers(signature.digest(), None).await.unwrap().is_empty());

    lab.set_quirks(Quirks::no_referrers());
    let app = repository(&lab, "app");
    assert!(app.referrers(subject.digest(), None).await.unwrap().is_empty());
    lab.clear_log();
    for referrer in [&signature, &sbom, &sbom] {
        let put = app.put_manifest(&referrer.document, None).await.unwrap();
        assert_eq!(put.subject, None);
        let mut descriptor = referrer.document.descriptor();
        descriptor.artifact_type = referrer.document.manifest().unwrap().artifact_type.clone();
        app.add_fallback_referrer(subject.digest(), &descriptor).await.unwrap();
    }
    assert_eq!(app.referrers(subject.digest(), None).await.unwrap().len(), 2);
    let found = app.referrers(subject.digest(), Some("application/x-signature")).await.unwrap();
    assert_eq!(found.iter().map(|found| &found.digest).collect::<Vec<_>>(), [signature.digest()]);
    assert_eq!(lab.count_of("GET", "/referrers/"), 0, "it is known by now that there is no such API");
    assert!(lab.tags("app").contains(&format!("sha256-{}", subject.digest().hex())));
    assert!(app.get_manifest(&tag("v1")).await.is_ok());
}
