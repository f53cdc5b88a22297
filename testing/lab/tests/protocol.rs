//! The lab as a client sees it, without faults: the protocol, TLS, auth, the log.

use std::time::{Duration, Instant};

use bytes::Bytes;
use image::Digest;
use polyarch_lab::images::{self, Flavour};
use polyarch_lab::{Alpn, Auth, Bearer, Certificate, Lab, Location, Mounts, Quirks, Tls, TokenField};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

fn client(lab: &Lab) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    match lab.ca_pem() {
        Some(pem) => builder.tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes()).unwrap()]),
        None => builder,
    }
    .build()
    .unwrap()
}

fn absolute(lab: &Lab, location: &str) -> String {
    if location.starts_with('/') { format!("{}{location}", lab.url()) } else { location.to_owned() }
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn get(lab: &Lab, path: &str) -> Response {
    client(lab).get(format!("{}{path}", lab.url())).send().await.unwrap()
}

async fn push_blob(client: &Client, lab: &Lab, repository: &str, bytes: &'static [u8]) -> Response {
    let start = client.post(format!("{}/v2/{repository}/blobs/uploads/", lab.url())).send().await.unwrap();
    assert_eq!(start.status(), 202);
    let location = absolute(lab, header(&start, "location"));
    let digest = Digest::sha256(bytes);
    client.put(format!("{location}&digest={digest}")).body(bytes).send().await.unwrap()
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_over_tls_and_http2() {
    let lab = Lab::builder().tls(true).start();
    let client = client(&lab);
    assert_eq!(push_blob(&client, &lab, "app", b"{}").await.status(), 201);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2 },
        "layers": [],
    })
    .to_string();
    let put = client
        .put(format!("{}/v2/app/manifests/v1", lab.url()))
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 201);
    assert_eq!(put.version(), http::Version::HTTP_2);
    let digest = Digest::sha256(manifest.as_bytes());
    assert_eq!(header(&put, "docker-content-digest"), digest.as_str());
    let head = client.head(format!("{}/v2/app/manifests/v1", lab.url())).send().await.unwrap();
    assert_eq!(header(&head, "content-length"), manifest.len().to_string());
    let got = client.get(format!("{}/v2/app/manifests/{digest}", lab.url())).send().await.unwrap();
    assert_eq!(header(&got, "content-type"), "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(got.bytes().await.unwrap(), manifest);
    assert_eq!(lab.manifest("app", "v1").unwrap(), manifest);
    assert_eq!(lab.connections(), 1);
    assert_eq!(lab.count(), 5);
    let log = lab.log();
    assert_eq!(log[1].received, 2);
    assert_eq!(log[4].sent, manifest.len() as u64);
    assert!(log.iter().all(|request| request.finished.is_some()));
}

#[tokio::test]
async fn errors_are_those_of_distribution() {
    let lab = Lab::start();
    let digest = Digest::sha256(b"x");
    for (path, status, body) in [
        (
            "/v2/nope/manifests/x",
            404,
            json!({ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": { "Tag": "x" } }),
        ),
        (
            &format!("/v2/nope/manifests/{digest}"),
            404,
            json!({ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": { "Name": "nope", "Revision": digest } }),
        ),
        (
            "/v2/nope/tags/list",
            404,
            json!({ "code": "NAME_UNKNOWN", "message": "repository name not known to registry", "detail": { "name": "nope" } }),
        ),
        (
            &format!("/v2/nope/blobs/{digest}"),
            404,
            json!({ "code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest }),
        ),
    ] {
        let answer = get(&lab, path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(header(&answer, "content-type"), "application/json; charset=utf-8");
        let got: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(got, json!({ "errors": [body] }), "{path}");
    }
    assert_eq!(get(&lab, "/v2/UPPER/manifests/x").await.status(), 404);
}

#[tokio::test]
async fn a_manifest_needs_what_it_refers_to() {
    let lab = Lab::start();
    let image = images::image("linux/amd64", 1, Flavour::Docker);
    let put = async || {
        client(&lab)
            .put(format!("{}/v2/app/manifests/v1", lab.url()))
            .header("content-type", image.document.media_type().as_str())
            .body(image.document.bytes().clone())
            .send()
            .await
            .unwrap()
    };
    let refused = put().await;
    assert_eq!(refused.status(), 400);
    let body: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(body["errors"].as_array().unwrap().len(), 2);
    assert_eq!(body["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
    image.push_blobs(&lab, "app");
    assert_eq!(put().await.status(), 201);
}

#[tokio::test]
async fn blobs_have_ranges() {
    let lab = Lab::start();
    let digest = lab.put_seeded_blob("app", 3, 2000);
    let whole = images::random(3, 2000);
    let url = format!("{}/v2/app/blobs/{digest}", lab.url());
    for (range, status, want) in [
        ("bytes=500-1499", 206, whole.slice(500..1500)),
        ("bytes=500-", 206, whole.slice(500..)),
        ("bytes=-500", 206, whole.slice(1500..)),
        ("bytes=1500-5000", 206, whole.slice(1500..)),
        ("bytes=500-0", 416, Bytes::new()),
        ("bytes=5000-10000", 416, Bytes::new()),
        ("none", 200, whole.clone()),
    ] {
        let answer = client(&lab).get(&url).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), status, "{range}");
        if status != 416 {
            assert_eq!(answer.bytes().await.unwrap(), want, "{range}");
        }
    }
}

#[tokio::test]
async fn uploads_in_all_forms() {
    let lab = Lab::start();
    let client = client(&lab);
    let uploads = format!("{}/v2/app/blobs/uploads/", lab.url());
    // One POST.
    let digest = Digest::sha256(b"single");
    let single = client.post(format!("{uploads}?digest={digest}")).body("single").send().await.unwrap();
    assert_eq!(single.status(), 201);
    assert!(lab.has_blob("app", &digest));
    // In chunks, one of them out of order.
    let start = client.post(&uploads).send().await.unwrap();
    let mut location = absolute(&lab, header(&start, "location"));
    for (range, body, status) in [("0-4", "01234", 202), ("7-9", "789", 416), ("5-9", "56789", 202)] {
        let patch = client.patch(&location).header("content-range", range).body(body).send().await.unwrap();
        assert_eq!(patch.status(), status, "{range}");
        if status == 202 {
            location = absolute(&lab, header(&patch, "location"));
        }
    }
    let state = client.get(&location).send().await.unwrap();
    assert_eq!((state.status(), header(&state, "range")), (StatusCode::NO_CONTENT, "0-9"));
    let digest = Digest::sha256(b"0123456789");
    assert_eq!(client.put(format!("{location}&digest={digest}")).send().await.unwrap().status(), 201);
    assert_eq!(lab.blob("app", &digest).unwrap(), "0123456789");
    // Given up, then unknown; wrong digest; other repository.
    let start = client.post(&uploads).send().await.unwrap();
    let location = absolute(&lab, header(&start, "location"));
    assert_eq!(lab.open_uploads(), 1);
    let elsewhere = location.replace("/app/", "/other/");
    assert_eq!(client.get(&elsewhere).send().await.unwrap().status(), 404);
    assert_eq!(client.delete(&location).send().await.unwrap().status(), 204);
    assert_eq!(client.delete(&location).send().await.unwrap().status(), 404);
    let start = client.post(&uploads).send().await.unwrap();
    let location = absolute(&lab, header(&start, "location"));
    assert_eq!(client.put(format!("{location}&digest={digest}")).body("no").send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn mounts_with_and_without_from() {
    let lab = Lab::start();
    let digest = lab.put_blob("from", "blob");
    let mount = async |query: &str| {
        let url = format!("{}/v2/to/blobs/uploads/?mount={digest}{query}", lab.url());
        client(&lab).post(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(mount("&from=nowhere").await, 202);
    assert_eq!(mount("&from=from").await, 201);
    lab.delete_blob("to", &digest);
    assert_eq!(mount("").await, 201);
    for (mounts, with, without) in
        [(Mounts::OnlyWithFrom, 201, 202), (Mounts::Session, 202, 202), (Mounts::Refused(405), 405, 405)]
    {
        lab.set_quirks(Quirks { mounts, ..Quirks::default() });
        assert_eq!((mount("&from=from").await, mount("").await), (with, without), "{mounts:?}");
    }
}

#[tokio::test]
async fn tags_come_in_pages() {
    let lab = Lab::start();
    let digest = images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", None).digest;
    lab.tag_many("app", 5, &digest);
    let first = get(&lab, "/v2/app/tags/list?n=2").await;
    assert_eq!(header(&first, "link"), "</v2/app/tags/list?n=2&last=t00001>; rel=\"next\"");
    let body: Value = serde_json::from_slice(&first.bytes().await.unwrap()).unwrap();
    assert_eq!(body, json!({ "name": "app", "tags": ["t00000", "t00001"] }));
    let last = get(&lab, "/v2/app/tags/list?n=4&last=t00001").await;
    assert_eq!(header(&last, "link"), "");
    assert_eq!(get(&lab, "/v2/app/tags/list?n=-1").await.status(), 400);
    let catalog = get(&lab, "/v2/_catalog").await.bytes().await.unwrap();
    assert_eq!(catalog, "{\"repositories\":[\"app\"]}\n");
}

#[tokio::test]
async fn referrers_are_found_and_filtered() {
    let lab = Lab::start();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    let subject = image.push(&lab, "app", Some("v1"));
    let sbom = images::artifact("application/sbom", "sbom", Some(&subject)).push(&lab, "app", None);
    images::artifact("application/signature", "sig", Some(&subject)).push(&lab, "app", None);
    let path = format!("/v2/app/referrers/{}", subject.digest);
    let all: Value = serde_json::from_slice(&get(&lab, &path).await.bytes().await.unwrap()).unwrap();
    assert_eq!(all["manifests"].as_array().unwrap().len(), 2);
    let filtered = get(&lab, &format!("{path}?artifactType=application/sbom")).await;
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    let filtered: Value = serde_json::from_slice(&filtered.bytes().await.unwrap()).unwrap();
    assert_eq!(filtered["manifests"][0]["digest"], json!(sbom.digest));
    assert_eq!(filtered["manifests"][0]["annotations"]["org.example.kind"], "application/sbom");
    lab.set_quirks(Quirks::no_referrers());
    assert_eq!(get(&lab, &path).await.status(), 404);
}

#[tokio::test]
async fn a_digest_takes_its_tags_along() {
    let lab = Lab::start();
    let digest = images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1")).digest;
    lab.tag("app", "v2", &digest);
    let delete = async |reference: &str| {
        let url = format!("{}/v2/app/manifests/{reference}", lab.url());
        client(&lab).request(Method::DELETE, url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(delete("v1").await, 202);
    assert_eq!(lab.tags("app"), ["v2"]);
    assert_eq!(delete(digest.as_str()).await, 202);
    assert_eq!(delete(digest.as_str()).await, 404);
    assert!(lab.tags("app").is_empty());
}

async fn token(lab: &Lab, request: reqwest::RequestBuilder) -> Option<Value> {
    let answer = request.send().await.unwrap();
    let _ = lab;
    if answer.status() != 200 {
        assert_eq!(answer.status(), 401);
        return None;
    }
    Some(serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn bearer_tokens_are_scoped() {
    let lab = Lab::builder()
        .auth(Bearer {
            anonymous_pull: true,
            identity_token: Some("identity".into()),
            denied: vec![("locked".into(), "push".into())],
            ..Bearer::default()
        })
        .start();
    lab.put_manifest("app", Some("v1"), "{}");
    let client = client(&lab);
    let url = format!("{}/v2/app/manifests/v1", lab.url());
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let realm = format!("{}/token", lab.url());
    assert_eq!(
        header(&refused, "www-authenticate"),
        format!("Bearer realm=\"{realm}\",service=\"lab\",scope=\"repository:app:pull\"")
    );
    // Nobody may pull, and only pull.
    let anonymous =
        token(&lab, client.get(format!("{realm}?service=lab&scope=repository:app:pull,push"))).await.unwrap();
    let anonymous = anonymous["token"].as_str().unwrap();
    assert_eq!(client.get(&url).bearer_auth(anonymous).send().await.unwrap().status(), 200);
    let upload = client.post(format!("{}/v2/app/blobs/uploads/", lab.url()));
    let refused = upload.bearer_auth(anonymous).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(
        header(&refused, "www-authenticate")
            .ends_with(",scope=\"repository:app:pull,push\",error=\"insufficient_scope\"")
    );
    // The user, with two scopes; a third repository is out of reach.
    let user = client.get(format!("{realm}?scope=repository:src:pull&scope=repository:app:pull,push"));
    let user = token(&lab, user.basic_auth("user", Some("secret"))).await.unwrap();
    let user = user["access_token"].as_str().unwrap();
    let mount = async |from: &str| {
        let digest = Digest::sha256(b"x");
        let url = format!("{}/v2/app/blobs/uploads/?mount={digest}&from={from}", lab.url());
        client.post(url).bearer_auth(user).send().await.unwrap()
    };
    assert_eq!(mount("src").await.status(), 202);
    let refused = mount("other").await;
    assert_eq!(refused.status(), 401);
    assert!(header(&refused, "www-authenticate").contains("scope=\"repository:app:pull,push repository:other:pull\""));
    // Wrong password, identity token, denied action.
    let wrong = client.get(format!("{realm}?scope=repository:app:pull")).basic_auth("user", Some("wrong"));
    assert!(token(&lab, wrong).await.is_none());
    let post =
        |form: &'static str| client.post(&realm).header("content-type", "application/x-www-form-urlencoded").body(form);
    let by_identity = token(
        &lab,
        post("grant_type=refresh_token&refresh_token=identity&access_type=offline&scope=repository:locked:pull,push"),
    )
    .await
    .unwrap();
    assert_eq!(by_identity["scope"], "repository:locked:pull");
    assert_eq!(by_identity["refresh_token"], "identity");
    assert!(token(&lab, post("grant_type=refresh_token&refresh_token=other")).await.is_none());
    assert!(token(&lab, post("grant_type=password&username=user&password=secret")).await.is_some());
    // A token that is no longer good.
    lab.revoke_tokens();
    let refused = client.get(&url).bearer_auth(user).send().await.unwrap();
    assert!(header(&refused, "www-authenticate").ends_with("error=\"invalid_token\""));
    lab.set_auth(Bearer { field: TokenField::AccessToken, expires_in: None, ..Bearer::default() });
    let answer = token(&lab, client.get(&realm).basic_auth("user", Some("secret"))).await.unwrap();
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["access_token"]);
    lab.set_auth(Bearer { refuse: true, ..Bearer::default() });
    assert!(token(&lab, client.get(&realm).basic_auth("user", Some("secret"))).await.is_none());
}

#[tokio::test]
async fn basic_and_registry_tokens() {
    let lab = Lab::builder().auth(Auth::basic("user", "secret")).start();
    let ping = format!("{}/v2/", lab.url());
    let refused = get(&lab, "/v2/").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "www-authenticate")), (401, "Basic realm=\"lab\""));
    assert_eq!(client(&lab).get(&ping).basic_auth("user", Some("secret")).send().await.unwrap().status(), 200);
    assert_eq!(client(&lab).get(&ping).basic_auth("user", Some("other")).send().await.unwrap().status(), 401);
    lab.set_auth(Auth::RegistryToken("fixed".into()));
    assert_eq!(client(&lab).get(&ping).bearer_auth("fixed").send().await.unwrap().status(), 200);
    assert_eq!(client(&lab).get(&ping).bearer_auth("other").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn challenge_only_on_manifests() {
    let lab = Lab::builder().auth(Auth::bearer("u", "p")).quirks(Quirks::challenge_on_manifests_only()).start();
    lab.put_manifest("app", Some("v1"), "{}");
    assert_eq!(get(&lab, "/v2/").await.status(), 200);
    assert_eq!(get(&lab, "/v2/app/tags/list").await.status(), 200);
    assert_eq!(get(&lab, "/v2/app/manifests/v1").await.status(), 401);
}

#[tokio::test]
async fn certificates_of_all_kinds() {
    let connect = async |tls: Tls| {
        let lab = Lab::builder().tls(tls).start();
        let result = client(&lab).get(format!("{}/v2/", lab.url())).send().await;
        (result.map(|answer| answer.version()), lab)
    };
    let with = |certificate| Tls { enabled: true, certificate, ..Tls::default() };
    assert_eq!(connect(with(Certificate::Signed)).await.0.unwrap(), http::Version::HTTP_2);
    let http1 = Tls { alpn: Alpn::Http1, ..Tls::from(true) };
    assert_eq!(connect(http1).await.0.unwrap(), http::Version::HTTP_11);
    for certificate in [Certificate::WrongHost, Certificate::Expired] {
        let (result, lab) = connect(with(certificate)).await;
        assert!(result.is_err(), "{certificate:?}");
        assert_eq!((lab.connections(), lab.count()), (1, 0));
    }
    let lab = Lab::builder().tls(with(Certificate::SelfSigned)).start();
    assert!(lab.ca_pem_path().unwrap().exists());
    let lab = Lab::builder().tls(Tls { client_auth: true, ..Tls::from(true) }).start();
    assert!(client(&lab).get(format!("{}/v2/", lab.url())).send().await.is_err());
    let (certificate, key) = lab.client_pair().unwrap();
    let identity = reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap();
    let ca = reqwest::Certificate::from_pem(lab.ca_pem().unwrap().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([ca]).identity(identity).build().unwrap();
    assert_eq!(client.get(format!("{}/v2/", lab.url())).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_so() {
    let lab = Lab::builder().tls(true).start();
    let answer = client(&lab).get(format!("http://{}/v2/", lab.host())).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.unwrap(), "Client sent an HTTP request to an HTTPS server.\n");
}

#[tokio::test]
async fn latency_is_paid_per_request_and_per_connection_step() {
    let step = Duration::from_millis(30);
    let lab = Lab::builder().tls(true).latency(step, step).start();
    let client = client(&lab);
    let url = format!("{}/v2/", lab.url());
    let start = Instant::now();
    client.get(&url).send().await.unwrap();
    let first = start.elapsed();
    assert!(first >= step * 3 && first < step * 6, "{first:?}");
    let start = Instant::now();
    let all = futures_util::future::join_all((0..10).map(|_| client.get(&url).send())).await;
    assert!(all.iter().all(Result::is_ok));
    let ten = start.elapsed();
    assert!(ten >= step && ten < step * 4, "{ten:?}");
    assert_eq!((lab.count(), lab.depth(), lab.connections()), (11, 2, 1));
}

#[tokio::test]
async fn locations_and_redirects_to_another_host_need_no_credentials() {
    let lab = Lab::builder().auth(Auth::basic("user", "secret")).start();
    let stranger = format!("localhost:{}", lab.port());
    lab.set_quirks(Quirks {
        location: Location::OtherHost(stranger.clone()),
        redirect_blobs: Some(stranger.clone()),
        ..Quirks::default()
    });
    let client = client(&lab);
    let start = client.post(format!("{}/v2/app/blobs/uploads/", lab.url()));
    let start = start.basic_auth("user", Some("secret")).send().await.unwrap();
    let location = header(&start, "location").to_owned();
    assert!(location.starts_with(&format!("http://{stranger}/_lab/storage/app/blobs/uploads/")), "{location}");
    let digest = Digest::sha256(b"blob");
    assert_eq!(client.put(format!("{location}&digest={digest}")).body("blob").send().await.unwrap().status(), 201);
    let get = client.get(format!("{}/v2/app/blobs/{digest}", lab.url()));
    let redirect = get.basic_auth("user", Some("secret")).send().await.unwrap();
    assert_eq!(redirect.status(), 307);
    let there = client.get(header(&redirect, "location")).send().await.unwrap();
    assert_eq!(there.text().await.unwrap(), "blob");
    assert_eq!(lab.log()[3].header("host"), Some(stranger.as_str()));
}
