//! Lists that a client wants all of at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use content::{PutOptions, RepositoryId};
use image::{Digest, Document, Tag};

use crate::long;
use crate::support::{MANIFEST, Registry, Reply, manifest};

fn next(reply: &Reply) -> Option<String> {
    reply.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned())
}

#[tokio::test]
async fn a_page_has_at_most_10_000_entries_whatever_is_asked_for() {
    // CVE-2023-2253: memory for as many as the client said.
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    let document = Document::new(None, image).unwrap();
    let repository = RepositoryId::served("app".parse().unwrap());
    let mut options = PutOptions::default();
    options.tags = (0..10_500).map(|n| Tag::parse(&format!("t{n:05}")).unwrap()).collect();
    registry.content.put_document(&repository, &document, &options).await.unwrap();
    for size in ["", "?n=1000000000", "?n=18446744073709551616", "?n=10001"] {
        let reply = registry.get(&format!("/v2/app/tags/list{size}")).await;
        assert_eq!(reply.json()["tags"].as_array().unwrap().len(), 10_000, "{size}");
        let reply = registry.get(&next(&reply).unwrap()).await;
        assert_eq!(reply.json()["tags"].as_array().unwrap().len(), 500, "{size}");
        assert_eq!(next(&reply), None);
    }
    let reply = registry.get("/v2/app/tags/list?n=7&n=1000000000").await;
    assert_eq!(reply.json()["tags"].as_array().unwrap().len(), 7, "the first one counts");
}

#[tokio::test]
async fn where_a_page_begins_may_be_anything() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    let digest = Digest::sha256(&image);
    let long = "x".repeat(20_000);
    for last in ["", "%00", "%ff", "..%2F..%2Fetc", "%27%3B%20drop%20table%20tags%3B--", "%25", "_", "zzz", &long] {
        for list in ["/v2/app/tags/list", "/v2/_catalog"] {
            assert_eq!(registry.get(&format!("{list}?last={last}")).await.status, 200, "{list} {last:.40}");
        }
        let reply = registry.get(&format!("/v2/app/referrers/{digest}?last={last}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"), "{last:.40}");
        let reply = registry.get(&format!("/v2/app/referrers/{digest}?artifactType={last}")).await;
        assert_eq!((reply.status, reply.json()["manifests"].as_array().unwrap().len()), (200, 0), "{last:.40}");
    }
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status, 200);
}

#[tokio::test]
async fn a_subject_with_ever_so_many_referrers_is_listed_in_bounded_pages() {
    let (count, large) = if long() { (100_000, 50) } else { (2_000, 6) };
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    registry.blob("app", b"{}").await;
    let subject = Digest::sha256(&image);
    let repository = RepositoryId::served("app".parse().unwrap());
    let referrer = |more: String| {
        let subject = format!(r#"{{"mediaType":"{MANIFEST}","digest":"{subject}","size":{}}}"#, image.len());
        let text = manifest(b"{}", &[], &format!(r#","subject":{subject},"artifactType":"text/x"{more}"#));
        Document::new(None, text.into_bytes()).unwrap()
    };
    let mut all = BTreeSet::new();
    let begun = Instant::now();
    for some in (0..count).collect::<Vec<_>>().chunks(1000) {
        let documents: Vec<_> = some
            .iter()
            .map(|n| referrer(format!(r#","annotations":{{"n":"{n}","x":"{}"}}"#, "y".repeat(300))))
            .collect();
        let options = PutOptions::default();
        let puts = documents.iter().map(|document| registry.content.put_document(&repository, document, &options));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        all.extend(documents.iter().map(|document| document.digest().to_string()));
    }
    // Each nearly as large as a manifest may be.
    for n in 0..large {
        let document = referrer(format!(r#","annotations":{{"{n}":"{}"}}"#, "z".repeat(1 << 20)));
        registry.content.put_document(&repository, &document, &PutOptions::default()).await.unwrap();
        all.insert(document.digest().to_string());
    }
    let filled = begun.elapsed();
    for query in ["", "?artifactType=text%2Fx", "?n=1000000000"] {
        let mut path = Some(format!("/v2/app/referrers/{subject}{query}"));
        let (mut seen, mut pages) = (BTreeSet::new(), 0);
        while let Some(page) = path {
            let begun = Instant::now();
            let reply = registry.get(&page).await;
            assert_eq!(reply.status, 200);
            assert!(reply.body.len() < (4 << 20) + 1000, "{} bytes", reply.body.len());
            for entry in reply.json()["manifests"].as_array().unwrap() {
                assert!(seen.insert(entry["digest"].as_str().unwrap().to_owned()), "twice: {entry:.200}");
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
            path = next(&reply);
            pages += 1;
        }
        assert_eq!(seen, all, "{query}");
        assert!(pages > 1 && pages < all.len() / 10, "{pages} pages");
    }
    let begun = Instant::now();
    let none = registry.get(&format!("/v2/app/referrers/{subject}?artifactType=text/none")).await;
    assert_eq!(none.json()["manifests"].as_array().unwrap().len(), 0);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?} after {filled:?} of filling", begun.elapsed());
}

#[tokio::test]
async fn a_tower_of_documents_is_walked_by_nobody() {
    // Each refers to the one before, as a subject, and as a child. A digest cannot be in its own bytes, so there is no ring.
    let height = if long() { 5_000 } else { 300 };
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let repository = RepositoryId::served("app".parse().unwrap());
    let mut below = Document::new(None, manifest(b"{}", &[], "").into_bytes()).unwrap();
    registry.content.put_document(&repository, &below, &PutOptions::default()).await.unwrap();
    let bottom = below.digest().clone();
    for n in 0..height {
        let entry = serde_json::to_string(&below.descriptor()).unwrap();
        let mut text = format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"subject":{entry},"annotations":{{"#);
        let _ = write!(text, r#""n":"{n}"}}}}"#);
        below = Document::new(None, text.into_bytes()).unwrap();
        registry.content.put_document(&repository, &below, &PutOptions::default()).await.unwrap();
    }
    let top = format!("/v2/app/manifests/{}", below.digest());
    assert_eq!(
        registry.put_manifest("/v2/app/manifests/top", below.media_type().as_str(), below.bytes()).await.status,
        201
    );
    let begun = Instant::now();
    let reply = registry.get(&format!("/v2/app/referrers/{bottom}")).await;
    assert_eq!(reply.json()["manifests"].as_array().unwrap().len(), 1);
    let reply = registry.send("DELETE", &format!("/v2/app/manifests/{bottom}"), &[], b"").await;
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(reply.body.len() < 10_000, "{}", reply.body.len());
    assert_eq!(registry.send("DELETE", &format!("/v2/app/manifests/{bottom}?force=true"), &[], b"").await.status, 202);
    assert_eq!(registry.get(&top).await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
