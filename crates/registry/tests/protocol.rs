//! Each endpoint of the distribution specification, and Docker's extras.

mod support;

use content::RepositoryId;
use image::{Algorithm, Digest, MediaType};
use support::{INDEX, MANIFEST, Registry, descriptor, index, manifest};

#[tokio::test]
async fn the_base_says_which_protocol_it_is() {
    let registry = Registry::start().await;
    for path in ["/v2/", "/v2"] {
        let reply = registry.get(path).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"{}".as_slice()));
        assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
    }
    let reply = registry.head("/v2/").await;
    assert_eq!((reply.status, reply.header("content-length"), reply.body.len()), (200, Some("2"), 0));
    for (method, path, status) in [
        ("POST", "/v2/", 405),
        ("GET", "/", 404),
        ("GET", "/v1/", 404),
        ("PUT", "/v2/_catalog", 405),
        ("GET", "/v2/app/blobs/uploads/", 405),
        ("PATCH", "/v2/app/manifests/v1", 405),
        ("POST", "/v2/app/tags/list", 405),
    ] {
        let reply = registry.send(method, path, &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (status, "UNSUPPORTED"), "{method} {path}");
        assert_eq!(reply.header("allow").is_some(), status == 405);
    }
}

#[tokio::test]
async fn a_manifest_is_served_to_the_letter() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    let digest = Digest::sha256(&image);
    for reference in ["v1".to_owned(), digest.to_string()] {
        let path = format!("/v2/app/manifests/{reference}");
        let reply = registry.get(&path).await;
        assert_eq!((reply.status, &reply.body), (200, &image));
        let head = registry.head(&path).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        for reply in [&reply, &head] {
            assert_eq!(reply.header("content-type"), Some(MANIFEST));
            assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(reply.header("content-length"), Some(image.len().to_string().as_str()));
            assert_eq!(reply.header("etag"), Some(format!("\"{digest}\"").as_str()));
        }
        for tag in [format!("\"{digest}\""), format!("\"x\", W/\"{digest}\""), "*".to_owned()] {
            let reply = registry.send("GET", &path, &[("If-None-Match", &tag)], b"").await;
            assert_eq!((reply.status, reply.body.len()), (304, 0), "{tag}");
        }
        let reply = registry.send("GET", &path, &[("If-None-Match", "\"other\"")], b"").await;
        assert_eq!(reply.status, 200);
    }
    for path in ["/v2/app/manifests/v2", "/v2/none/manifests/v1", "/v2/app/manifests/.bad"] {
        let reply = registry.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{path}");
        let head = registry.head(path).await;
        assert_eq!((head.status, head.body.len()), (404, 0), "{path}");
    }
}

#[tokio::test]
async fn a_manifest_is_put_by_tag_and_by_digest_and_under_many_tags() {
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    let digest = Digest::sha256(&image);
    let reply = registry.put_manifest("/v2/app/manifests/v1", &format!("{MANIFEST}; charset=utf-8"), &image).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), Some(format!("/v2/app/manifests/{digest}").as_str()));
    assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(reply.header("oci-subject"), None);

    let tags: Vec<_> = (0..12).map(|n| format!("t{n}")).collect();
    let query = tags.iter().map(|tag| format!("tag={tag}")).collect::<Vec<_>>().join("&");
    let reply = registry.put_manifest(&format!("/v2/app/manifests/{digest}?{query}"), MANIFEST, &image).await;
    assert_eq!((reply.status, reply.header("oci-tag")), (201, Some(tags.join(", ").as_str())));
    for tag in &tags {
        assert_eq!(registry.get(&format!("/v2/app/manifests/{tag}")).await.body, image);
    }
    let bad = registry.put_manifest(&format!("/v2/app/manifests/{digest}?tag=.x"), MANIFEST, &image).await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "MANIFEST_INVALID"));
    let query = (0..200).map(|n| format!("tag=m{n}")).collect::<Vec<_>>().join("&");
    let many = registry.put_manifest(&format!("/v2/app/manifests/{digest}?{query}"), MANIFEST, &image).await;
    assert_eq!(many.status, 414);

    let sha512 = Digest::of(Algorithm::Sha512, &image);
    assert_eq!(registry.put_manifest(&format!("/v2/app/manifests/{sha512}"), MANIFEST, &image).await.status, 201);
    let reply = registry.get(&format!("/v2/app/manifests/{sha512}")).await;
    assert_eq!(reply.header("docker-content-digest"), Some(sha512.as_str()));

    let other = Digest::sha256(b"other");
    let reply = registry.put_manifest(&format!("/v2/app/manifests/{other}"), MANIFEST, &image).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    let reply = registry.put_manifest("/v2/app/manifests/.v1", MANIFEST, &image).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    // Without a `Content-Type`, the document says what it is.
    assert_eq!(registry.send("PUT", "/v2/app/manifests/bare", &[], &image).await.status, 201);
}

#[tokio::test]
async fn docker_manifests_and_lists_are_taken() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let image = manifest(b"{}", &[], "").replace(MANIFEST, MediaType::DOCKER_MANIFEST);
    let reply = registry.put_manifest("/v2/app/manifests/v1", MediaType::DOCKER_MANIFEST, image.as_bytes()).await;
    assert_eq!(reply.status, 201);
    let list =
        index(&[image.as_bytes()]).replace(INDEX, MediaType::DOCKER_LIST).replace(MANIFEST, MediaType::DOCKER_MANIFEST);
    let reply = registry.put_manifest("/v2/app/manifests/list", MediaType::DOCKER_LIST, list.as_bytes()).await;
    assert_eq!(reply.status, 201);
    let reply = registry.get("/v2/app/manifests/list").await;
    assert_eq!((reply.header("content-type"), &reply.body[..]), (Some(MediaType::DOCKER_LIST), list.as_bytes()));
}

#[tokio::test]
async fn each_missing_reference_has_an_entry_of_its_own() {
    let registry = Registry::start().await;
    let image = manifest(b"{}", &[b"one", b"two"], "");
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, image.as_bytes()).await;
    assert_eq!((reply.status, reply.codes().len()), (400, 3));
    assert!(reply.codes().iter().all(|code| code == "MANIFEST_BLOB_UNKNOWN"));
    let digests: Vec<_> =
        reply.json()["errors"].as_array().unwrap().iter().map(|e| e["detail"]["digest"].clone()).collect();
    let want: Vec<_> = [&b"{}"[..], b"one", b"two"].iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
    assert_eq!(digests, want);
    let list = index(&[b"no such child"]);
    let reply = registry.put_manifest("/v2/app/manifests/v1", INDEX, list.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    // A blob of another repository is none of this one.
    for bytes in [&b"{}"[..], b"one", b"two"] {
        registry.blob("other", bytes).await;
    }
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, image.as_bytes()).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_deleting_that_takes_all_tags() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("a"), "1").await;
    registry.image("app", Some("b"), "1").await;
    registry.image("app", Some("c"), "1").await;
    let digest = Digest::sha256(&image);
    assert_eq!(registry.send("DELETE", "/v2/app/manifests/a", &[], b"").await.status, 202);
    assert_eq!(registry.get("/v2/app/manifests/a").await.status, 404);
    assert_eq!(registry.get("/v2/app/manifests/b").await.status, 200);
    assert_eq!(registry.send("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").await.status, 202);
    for reference in ["b", "c", digest.as_str()] {
        assert_eq!(registry.get(&format!("/v2/app/manifests/{reference}")).await.status, 404);
    }
    let reply = registry.get("/v2/app/tags/list").await;
    assert_eq!(reply.json(), serde_json::json!({ "name": "app", "tags": [] }));
    for reference in ["b", digest.as_str()] {
        let reply = registry.send("DELETE", &format!("/v2/app/manifests/{reference}"), &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    }
}

#[tokio::test]
async fn a_blob_is_served_whole_and_in_ranges() {
    let registry = Registry::start().await;
    let small: Vec<u8> = (0..1500u32).map(|n| (n % 251) as u8).collect();
    let large: Vec<u8> = (0..1_500_000u32).map(|n| (n % 251) as u8).collect();
    for bytes in [small, large] {
        let digest = registry.blob("app", &bytes).await;
        let path = format!("/v2/app/blobs/{digest}");
        let reply = registry.get(&path).await;
        assert_eq!((reply.status, &reply.body), (200, &bytes));
        let head = registry.head(&path).await;
        for reply in [&reply, &head] {
            assert_eq!(reply.header("content-length"), Some(bytes.len().to_string().as_str()));
            assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
            assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        }
        let total = bytes.len();
        for (range, want) in [
            ("bytes=500-1499", 500..1500),
            ("bytes=500-", 500..total),
            ("bytes=-500", total - 500..total),
            ("bytes=1000-99999999", 1000..total),
            ("bytes=-99999999", 0..total),
        ] {
            let reply = registry.send("GET", &path, &[("Range", range)], b"").await;
            assert_eq!((reply.status, reply.body.as_slice()), (206, &bytes[want.clone()]), "{range}");
            let content_range = format!("bytes {}-{}/{total}", want.start, want.end - 1);
            assert_eq!(reply.header("content-range"), Some(content_range.as_str()));
        }
        for range in ["bytes=500-0", "bytes=5000000-10000000"] {
            let reply = registry.send("GET", &path, &[("Range", range)], b"").await;
            assert_eq!((reply.status, reply.code().as_str()), (416, "SIZE_INVALID"), "{range}");
            assert_eq!(reply.header("content-range"), Some(format!("bytes */{total}").as_str()));
        }
        let etag = format!("\"{digest}\"");
        assert_eq!(registry.send("GET", &path, &[("If-None-Match", &etag)], b"").await.status, 304);
        let headers = [("Range", "bytes=0-1"), ("If-Range", "\"other\"")];
        assert_eq!(registry.send("GET", &path, &headers, b"").await.status, 200);
        let headers = [("Range", "bytes=0-1"), ("If-Range", etag.as_str())];
        assert_eq!(registry.send("GET", &path, &headers, b"").await.status, 206);
        assert_eq!(registry.get(&format!("/v2/other/blobs/{digest}")).await.code(), "BLOB_UNKNOWN");
    }
    let reply = registry.send("DELETE", &format!("/v2/app/blobs/{}", Digest::sha256(b"?")), &[], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_blob_is_pushed_in_every_way() {
    let registry = Registry::start().await;
    for length in [10usize, 200_000] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 241) as u8).collect();
            let digest = Digest::of(algorithm, &bytes);
            for way in ["post", "put", "chunks", "stream", "announced"] {
                let repository = format!("{way}-{length}");
                let begin = match way {
                    "post" => format!("/v2/{repository}/blobs/uploads/?digest={digest}"),
                    "announced" => {
                        format!("/v2/{repository}/blobs/uploads/?digest-algorithm={}", algorithm.as_str())
                    }
                    _ => format!("/v2/{repository}/blobs/uploads/"),
                };
                let body = if way == "post" { bytes.as_slice() } else { b"" };
                let mut reply = registry.send("POST", &begin, &[], body).await;
                if way != "post" {
                    assert_eq!(reply.status, 202);
                    assert!(reply.header("docker-upload-uuid").is_some());
                    let session = reply.header("location").unwrap().to_owned();
                    let half = length / 2;
                    let last: &[u8] = match way {
                        "put" => &bytes,
                        "chunks" | "announced" => {
                            let range = format!("0-{}", half - 1);
                            let headers = [("Content-Range", range.as_str())];
                            let reply = registry.send("PATCH", &session, &headers, &bytes[..half]).await;
                            assert_eq!((reply.status, reply.header("range")), (202, Some(range.as_str())));
                            &bytes[half..]
                        }
                        _ => {
                            let mut chunked = format!("{length:x}\r\n").into_bytes();
                            chunked.extend_from_slice(&bytes);
                            chunked.extend_from_slice(b"\r\n0\r\n\r\n");
                            let headers = [("Transfer-Encoding", "chunked")];
                            assert_eq!(registry.send("PATCH", &session, &headers, &chunked).await.status, 202);
                            b""
                        }
                    };
                    let range = format!("{half}-{}", length - 1);
                    let headers: &[(&str, &str)] = if way == "chunks" { &[("Content-Range", &range)] } else { &[] };
                    reply = registry.send("PUT", &format!("{session}?digest={digest}"), headers, last).await;
                    assert_eq!(registry.get(&session).await.status, 404);
                }
                assert_eq!(reply.status, 201, "{way}");
                let location = format!("/v2/{repository}/blobs/{digest}");
                assert_eq!(reply.header("location"), Some(location.as_str()));
                assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
                assert_eq!(registry.get(&location).await.body, bytes);
            }
        }
    }
    assert!(registry.content.verify().await.unwrap().is_sound());
}

#[tokio::test]
async fn a_digest_that_the_bytes_do_not_have_is_refused() {
    let registry = Registry::start().await;
    let wrong = Digest::sha256(b"other").to_string();
    let zeros = format!("sha256:{}", "0".repeat(63));
    for digest in
        [wrong.as_str(), &zeros, "sha256:", "sha256", "", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:%2E%2E"]
    {
        let reply = registry.send("POST", &format!("/v2/app/blobs/uploads/?digest={digest}"), &[], b"bytes").await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"), "{digest}");
        let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
        let session = reply.header("location").unwrap();
        let reply = registry.send("PUT", &format!("{session}?digest={digest}"), &[], b"bytes").await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"), "{digest}");
    }
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let reply = registry.send("PUT", reply.header("location").unwrap(), &[], b"bytes").await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    let reply = registry.send("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", &[], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn a_session_can_be_cancelled() {
    let registry = Registry::start().await;
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    assert_eq!(registry.send("PATCH", &session, &[], &vec![7; 100_000]).await.status, 202);
    assert_eq!(registry.send("DELETE", &session, &[], b"").await.status, 204);
    assert_eq!(registry.send("DELETE", &session, &[], b"").await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert!(registry.content.verify().await.unwrap().leftovers.is_empty());
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_is_and_else_there_is_a_session() {
    let registry = Registry::start().await;
    let digest = registry.blob("base", b"bytes").await;
    let reply = registry.send("POST", &format!("/v2/app/blobs/uploads/?mount={digest}&from=base"), &[], b"").await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), Some(format!("/v2/app/blobs/{digest}").as_str()));
    assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.body, b"bytes");
    // Without `from`, the registry looks for it.
    let reply = registry.send("POST", &format!("/v2/team%2Fx/blobs/uploads/?mount={digest}"), &[], b"").await;
    assert_eq!(reply.status, 201);
    let missing = Digest::sha256(b"nobody has this");
    for query in [
        format!("mount={digest}&from=elsewhere"),
        format!("mount={digest}&from=../.."),
        format!("mount={missing}&from=base"),
        format!("mount={missing}"),
    ] {
        let reply = registry.send("POST", &format!("/v2/new/blobs/uploads/?{query}"), &[], b"").await;
        assert_eq!(reply.status, 202, "{query}");
        assert!(reply.header("location").unwrap().contains("/blobs/uploads/"));
    }
    let reply = registry.send("POST", "/v2/new/blobs/uploads/?mount=sha256:x", &[], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn images_of_the_local_store_are_not_served_listed_or_mounted() {
    let registry = Registry::start().await;
    let local = RepositoryId::local("docker.io".parse().unwrap(), "library/app".parse().unwrap());
    let digest = Digest::sha256(b"mine");
    registry.content.put_blob_bytes(&local, &digest, bytes::Bytes::from_static(b"mine")).await.unwrap();
    for path in [
        format!("/v2/library/app/blobs/{digest}"),
        format!("/v2/docker.io/library/app/blobs/{digest}"),
        "/v2/library/app/tags/list".to_owned(),
    ] {
        assert_eq!(registry.get(&path).await.status, 404, "{path}");
    }
    for from in ["", "&from=library/app", "&from=docker.io/library/app"] {
        let reply = registry.send("POST", &format!("/v2/x/blobs/uploads/?mount={digest}{from}"), &[], b"").await;
        assert_eq!(reply.status, 202, "{from}");
    }
    assert_eq!(registry.get("/v2/_catalog").await.json()["repositories"], serde_json::json!([]));
}

#[tokio::test]
async fn tags_and_repositories_are_listed_page_by_page() {
    let registry = Registry::start().await;
    for (repository, tag) in [("app", "v2"), ("app", "v1"), ("app", "Z"), ("app", "_x"), ("b/c", "v1"), ("b", "v1")] {
        registry.image(repository, Some(tag), "1").await;
    }
    let reply = registry.get("/v2/app/tags/list").await;
    assert_eq!(reply.json(), serde_json::json!({ "name": "app", "tags": ["Z", "_x", "v1", "v2"] }));
    assert_eq!(reply.header("link"), None);
    for (first, field) in [("/v2/app/tags/list?n=1", "tags"), ("/v2/_catalog?n=1", "repositories")] {
        let mut seen = Vec::new();
        let mut path = Some(first.to_owned());
        while let Some(next) = path {
            let reply = registry.get(&next).await;
            seen.extend(reply.json()[field].as_array().unwrap().clone());
            path = reply
                .header("link")
                .map(|link| link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned());
        }
        assert_eq!(seen.len(), if field == "tags" { 4 } else { 3 }, "{seen:?}");
        assert!(seen.is_sorted_by_key(|name| name.as_str().unwrap().to_owned()));
    }
    let reply = registry.get("/v2/app/tags/list?last=a").await;
    assert_eq!(reply.json()["tags"], serde_json::json!(["v1", "v2"]));
    assert_eq!(registry.get("/v2/none/tags/list").await.code(), "NAME_UNKNOWN");
    let reply = registry.get("/v2/_catalog").await;
    assert_eq!(reply.json(), serde_json::json!({ "repositories": ["app", "b", "b/c"] }));
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    let subject = Digest::sha256(&image);
    let empty = registry.get(&format!("/v2/none/referrers/{subject}")).await;
    assert_eq!((empty.status, empty.header("content-type")), (200, Some(INDEX)));
    assert_eq!(empty.json(), serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    registry.blob("app", b"{}").await;
    let mut pushed = Vec::new();
    for (n, artifact) in [r#","artifactType":"text/a+b""#, "", r#","artifactType":"text/c""#].iter().enumerate() {
        let more = format!(
            r#","subject":{},"annotations":{{"n":"{n}","z":"1","a":"2"}}{artifact}"#,
            descriptor(MANIFEST, &image)
        );
        let referrer = manifest(b"{}", &[], &more);
        let digest = Digest::sha256(referrer.as_bytes());
        let reply = registry.put_manifest(&format!("/v2/app/manifests/{digest}"), MANIFEST, referrer.as_bytes()).await;
        assert_eq!((reply.status, reply.header("oci-subject")), (201, Some(subject.as_str())));
        pushed.push((digest, referrer.len()));
    }
    let reply = registry.get(&format!("/v2/app/referrers/{subject}")).await;
    assert_eq!(reply.header("oci-filters-applied"), None);
    let found = reply.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(found.len(), 3);
    for (n, (digest, size)) in pushed.iter().enumerate() {
        let entry = found.iter().find(|entry| entry["digest"] == digest.as_str()).unwrap();
        let artifact = ["text/a+b", MediaType::OCI_CONFIG, "text/c"][n];
        assert_eq!(
            *entry,
            serde_json::json!({ "mediaType": MANIFEST, "digest": digest, "size": size, "artifactType": artifact,
                "annotations": { "n": n.to_string(), "z": "1", "a": "2" } })
        );
    }
    let reply = registry.get(&format!("/v2/app/referrers/{subject}?artifactType=text%2Fa%2Bb")).await;
    assert_eq!(reply.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(reply.json()["manifests"].as_array().unwrap().len(), 1);
    let mut seen = 0;
    let mut path = Some(format!("/v2/app/referrers/{subject}?n=1"));
    while let Some(next) = path {
        let reply = registry.get(&next).await;
        seen += reply.json()["manifests"].as_array().unwrap().len();
        path = reply.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    assert_eq!(seen, 3);
    // The referrer goes, the list follows.
    let gone = format!("/v2/app/manifests/{}", pushed[0].0);
    assert_eq!(registry.send("DELETE", &gone, &[], b"").await.status, 202);
    let reply = registry.get(&format!("/v2/app/referrers/{subject}")).await;
    assert_eq!(reply.json()["manifests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_page_of_referrers_is_no_longer_than_a_manifest_may_be() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let subject = Digest::sha256(b"subject");
    for n in 0..6 {
        let padding = format!("{n}").repeat(1 << 20);
        let more = format!(
            r#","subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":7}},"annotations":{{"p":"{padding}"}}"#
        );
        let referrer = manifest(b"{}", &[], &more);
        let digest = Digest::sha256(referrer.as_bytes());
        let path = format!("/v2/app/manifests/{digest}");
        assert_eq!(registry.put_manifest(&path, MANIFEST, referrer.as_bytes()).await.status, 201);
    }
    let (mut seen, mut path) = (0, Some(format!("/v2/app/referrers/{subject}")));
    while let Some(next) = path {
        let reply = registry.get(&next).await;
        assert!(reply.body.len() < (4 << 20) + 1000);
        seen += reply.json()["manifests"].as_array().unwrap().len();
        path = reply.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    assert_eq!(seen, 6);
}

#[tokio::test]
async fn a_tag_like_a_fallback_tag_is_a_tag() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    let tag = Digest::sha256(&image).to_string().replace(':', "-");
    assert_eq!(registry.get(&format!("/v2/app/manifests/{tag}")).await.status, 404);
    let other = registry.image("app", Some(&tag), "2").await;
    assert_eq!(registry.get(&format!("/v2/app/manifests/{tag}")).await.body, other);
}

#[tokio::test]
async fn extensions_can_be_discovered() {
    let registry = Registry::start().await;
    for path in ["/v2/_oci/ext/discover", "/v2/app/_oci/ext/discover"] {
        let reply = registry.get(path).await;
        assert_eq!((reply.status, reply.json()["extensions"][0]["name"].as_str()), (200, Some("_oci")));
    }
}
