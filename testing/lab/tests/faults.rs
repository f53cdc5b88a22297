//! Faults and quirks, each as a client meets it.

use std::time::Duration;

use polyarch_lab::images::{self, Flavour};
use polyarch_lab::{Fault, FaultKind, Lab, Quirks};
use reqwest::{Client, Response};

fn client() -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn try_get(lab: &Lab, path: &str) -> reqwest::Result<Response> {
    client().get(format!("{}{path}", lab.url())).send().await
}

/// Sets one fault on GET of manifests and gets one.
async fn hit(kind: FaultKind) -> (Lab, reqwest::Result<Response>, bytes::Bytes) {
    let lab = Lab::builder().fault(Fault::on("GET", "/manifests/", kind).once()).start();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    image.push(&lab, "app", Some("v1"));
    let answer = try_get(&lab, "/v2/app/manifests/v1").await;
    (lab, answer, image.document.bytes().clone())
}

#[tokio::test]
async fn statuses_and_error_texts() {
    let (lab, answer, _) = hit(FaultKind::status(503)).await;
    assert_eq!(answer.unwrap().status(), 503);
    assert_eq!(try_get(&lab, "/v2/app/manifests/v1").await.unwrap().status(), 200, "only once");
    let (_lab, answer, _) = hit(FaultKind::RetryAfter(Some(7))).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    let (_lab, answer, _) = hit(FaultKind::ControlCharacters).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.unwrap().bytes().await.unwrap()).unwrap();
    assert!(body["errors"][0]["message"].as_str().unwrap().contains('\u{1b}'));
}

#[tokio::test]
async fn lost_connections() {
    let (lab, answer, _) = hit(FaultKind::Drop).await;
    assert!(answer.is_err());
    assert_eq!(lab.log()[0].status, 0);
    let (_lab, answer, whole) = hit(FaultKind::Truncate(10)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.content_length(), Some(whole.len() as u64));
    assert!(answer.bytes().await.is_err());
    let (_lab, answer, _) = hit(FaultKind::Raw(b"HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n".to_vec())).await;
    assert!(answer.is_err());
    let (_lab, answer, _) = hit(FaultKind::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec())).await;
    assert_eq!(answer.unwrap().text().await.unwrap(), "hi");
}

#[tokio::test]
async fn lost_connections_over_http2() {
    for kind in [FaultKind::Drop, FaultKind::DropAnswer, FaultKind::Truncate(10)] {
        let lab = Lab::builder().tls(true).fault(Fault::on("", "", kind.clone()).once()).start();
        images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(lab.ca_pem().unwrap().as_bytes()).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([ca]).retry(reqwest::retry::never()).build().unwrap();
        let url = format!("{}/v2/app/manifests/v1", lab.url());
        let failed = match client.get(&url).send().await {
            Ok(answer) => answer.bytes().await.is_err(),
            Err(_) => true,
        };
        assert!(failed, "{kind:?}");
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200, "{kind:?}");
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_keeps_what_came_and_one_that_lost_its_answer_is_there() {
    let lab = Lab::start();
    let digest = image::Digest::sha256(&vec![7; 100_000]);
    let uploads = format!("{}/v2/app/blobs/uploads/", lab.url());
    lab.fault(Fault::on("PUT", "", FaultKind::DropUpload(10)).once());
    let start = client().post(&uploads).send().await.unwrap();
    let location = format!("{}{}", lab.url(), start.headers()["location"].to_str().unwrap());
    let put = || client().put(format!("{location}&digest={digest}")).body(vec![7; 100_000]).send();
    assert!(put().await.is_err());
    let state = client().get(&location).send().await.unwrap();
    assert_ne!(state.headers()["range"], "0-0");
    lab.fault(Fault::on("POST", "digest=", FaultKind::DropAnswer).once());
    let single = client().post(format!("{uploads}?digest={digest}")).body(vec![7; 100_000]).send();
    assert!(single.await.is_err());
    assert!(lab.has_blob("app", &digest));
}

#[tokio::test]
async fn wrong_content() {
    let text = async |kind: FaultKind| {
        let (_lab, answer, whole) = hit(kind).await;
        let answer = answer.unwrap();
        let headers = answer.headers().clone();
        (headers, answer.bytes().await, whole)
    };
    let (headers, bytes, whole) = text(FaultKind::WrongDigest).await;
    assert_ne!(headers["docker-content-digest"], image::Digest::sha256(&whole).as_str());
    assert_eq!(bytes.unwrap(), whole);
    let (_, bytes, whole) = text(FaultKind::WrongBytes).await;
    let bytes = bytes.unwrap();
    assert_eq!(bytes.len(), whole.len());
    assert_ne!(bytes, whole);
    let (_, bytes, whole) = text(FaultKind::Longer(3)).await;
    assert_eq!(bytes.unwrap().len(), whole.len() + 3);
    let (_, bytes, whole) = text(FaultKind::Shorter(3)).await;
    assert_eq!(bytes.unwrap().len(), whole.len() - 3);
    let (headers, bytes, _) = text(FaultKind::ContentLength(1 << 40)).await;
    assert_eq!(headers["content-length"], (1u64 << 40).to_string());
    assert!(bytes.is_err());
    let (headers, bytes, whole) = text(FaultKind::Gzip).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes.unwrap()), &mut plain).unwrap();
    assert_eq!(plain, whole);
    let (headers, ..) = text(FaultKind::Header("docker-content-digest".into(), "nonsense".into())).await;
    assert_eq!(headers["docker-content-digest"], "nonsense");
    let (headers, ..) = text(FaultKind::WithoutHeader("content-type".into())).await;
    assert!(!headers.contains_key("content-type"));
}

#[tokio::test]
async fn answers_that_do_not_end() {
    let short = Duration::from_millis(200);
    let (_lab, answer, _) = hit(FaultKind::StallBody(5)).await;
    assert!(tokio::time::timeout(short, answer.unwrap().bytes()).await.is_err());
    let (_lab, answer, whole) = hit(FaultKind::Endless).await;
    let mut answer = answer.unwrap();
    let mut total = 0;
    while total < whole.len() * 100 {
        total += answer.chunk().await.unwrap().unwrap().len();
    }
    let stall = hit(FaultKind::Stall(Duration::from_secs(60)));
    assert!(tokio::time::timeout(short, stall).await.is_err());
}

#[tokio::test]
async fn redirects() {
    let (_lab, answer, _) = hit(FaultKind::Redirect("http://elsewhere.example/".into())).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["location"].as_bytes()),
        (307, &b"http://elsewhere.example/"[..])
    );
    let (_lab, answer, _) = hit(FaultKind::RedirectLoop).await;
    assert_eq!(answer.unwrap().headers()["location"], "/v2/app/manifests/v1");
}

#[tokio::test]
async fn quirks_of_headers_and_bodies() {
    let lab = Lab::start();
    images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let quirk = async |quirks: Quirks, path: &str| {
        lab.set_quirks(quirks);
        try_get(&lab, path).await.unwrap()
    };
    let path = "/v2/app/manifests/v1";
    let answer = quirk(Quirks::no_content_digest(), path).await;
    assert!(!answer.headers().contains_key("docker-content-digest"));
    let answer = quirk(Quirks { content_type_parameters: true, ..Quirks::default() }, path).await;
    assert_eq!(answer.headers()["content-type"], "application/vnd.oci.image.manifest.v1+json; charset=utf-8");
    let answer = quirk(Quirks::plain_errors(), "/v2/app/manifests/none").await;
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (404, "not found\n"));
    let limit = Quirks::rate_limit(2, Duration::from_millis(300), Some(1));
    lab.set_quirks(limit.clone());
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(try_get(&lab, path).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(try_get(&lab, path).await.unwrap().status(), 200);
}

#[tokio::test]
async fn big_uploads_can_be_forgotten() {
    let lab = Lab::builder().quirks(Quirks { forget_blobs_over: Some(1000), ..Quirks::default() }).start();
    let body = images::random(1, 300_000);
    let digest = image::Digest::sha256(&body);
    let url = format!("{}/v2/app/blobs/uploads/?digest={digest}", lab.url());
    assert_eq!(client().post(url).body(body).send().await.unwrap().status(), 201);
    let head = client().head(format!("{}/v2/app/blobs/{digest}", lab.url())).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "300000");
}

#[tokio::test]
async fn a_request_that_the_client_breaks_off_does_not_take_others_along() {
    let lab = Lab::builder().tls(true).latency(Duration::from_millis(100), Duration::ZERO).start();
    images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(lab.ca_pem().unwrap().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    let get = || client.get(format!("{}/v2/app/manifests/v1", lab.url())).send();
    get().await.unwrap();
    let pieces = futures_util::stream::iter([Ok("piece"), Err(std::io::Error::other("broken"))]);
    let post = client.post(format!("{}/v2/app/blobs/uploads/?digest={}", lab.url(), image::Digest::sha256(b"")));
    let (broken, whole) = futures_util::future::join(post.body(reqwest::Body::wrap_stream(pieces)).send(), get()).await;
    assert!(broken.is_err());
    assert_eq!(whole.unwrap().status(), 200);
    assert_eq!(lab.connections(), 1);
}
