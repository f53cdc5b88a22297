//! What registries are known to get wrong, case by case.

mod support;

use image::{Digest, MediaType};
use support::{INDEX, MANIFEST, Registry, descriptor, index, manifest};

#[tokio::test]
async fn a_manifest_that_is_also_an_index_is_refused() {
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    let both = manifest(b"{}", &[], &format!(r#","manifests":[{}]"#, descriptor(MANIFEST, &image)));
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, both.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
}

#[tokio::test]
async fn a_content_type_that_contradicts_the_media_type_is_refused() {
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    for media_type in [INDEX, MediaType::DOCKER_MANIFEST, "text/plain", MediaType::DOCKER_SCHEMA1_SIGNED] {
        let reply = registry.put_manifest("/v2/app/manifests/v1", media_type, &image).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"), "{media_type}");
    }
}

#[tokio::test]
async fn schema_version_1_in_an_oci_manifest_is_refused() {
    let registry = Registry::start().await;
    let image = String::from_utf8(registry.image("app", None, "1").await).unwrap();
    for bad in ["1", "\"2\"", "2.5", "null"] {
        let image = image.replace(r#""schemaVersion":2"#, &format!(r#""schemaVersion":{bad}"#));
        let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, image.as_bytes()).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"), "{bad}");
    }
}

#[tokio::test]
async fn a_negative_size_and_a_wrong_size_are_refused() {
    let registry = Registry::start().await;
    let image = String::from_utf8(registry.image("app", None, "1").await).unwrap();
    let negative = image.replace(r#""size":7"#, r#""size":-7"#);
    assert_ne!(negative, image);
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, negative.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    let wrong = image.replace(r#""size":7"#, r#""size":8"#);
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, wrong.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "SIZE_INVALID"));
    let detail = &reply.json()["errors"][0]["detail"];
    assert_eq!((detail["stated"].as_u64(), detail["actual"].as_u64()), (Some(8), Some(7)));
}

#[tokio::test]
async fn a_duplicate_key_is_refused() {
    let registry = Registry::start().await;
    registry.image("app", None, "1").await;
    let twice = manifest(b"{}", &[], &format!(r#","mediaType":"{MANIFEST}""#));
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, twice.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    assert!(reply.json()["errors"][0]["message"].as_str().unwrap().contains("duplicate key"));
}

#[tokio::test]
async fn a_digest_that_is_a_path_is_refused() {
    let registry = Registry::start().await;
    let image = String::from_utf8(registry.image("app", None, "1").await).unwrap();
    let layer = Digest::sha256(b"layer 1").to_string();
    let image = image.replace(&layer, "sha256:../../../../etc/passwd");
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, image.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    for path in ["/v2/app/blobs/sha256:..%2F..%2Fetc%2Fpasswd", "/v2/app/blobs/sha256:../../etc/passwd"] {
        let status = registry.get(path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn a_name_of_300_characters_is_refused_wherever_it_stands() {
    let registry = Registry::start().await;
    let name = "a".repeat(300);
    let digest = Digest::sha256(b"");
    for (method, path) in [
        ("GET", format!("/v2/{name}/tags/list")),
        ("GET", format!("/v2/{name}/manifests/v1")),
        ("PUT", format!("/v2/{name}/manifests/v1")),
        ("GET", format!("/v2/{name}/blobs/{digest}")),
        ("POST", format!("/v2/{name}/blobs/uploads/")),
        ("GET", format!("/v2/{name}/referrers/{digest}")),
    ] {
        let reply = registry.send(method, &path, &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "NAME_INVALID"), "{method} {path}");
    }
}

#[tokio::test]
async fn page_sizes_are_numbers_and_bounded() {
    let registry = Registry::start().await;
    for tag in ["a", "b", "c"] {
        registry.image("app", Some(tag), "1").await;
    }
    let digest = Digest::sha256(b"");
    for (list, field) in [
        ("/v2/app/tags/list".to_owned(), "tags"),
        ("/v2/_catalog".to_owned(), "repositories"),
        (format!("/v2/app/referrers/{digest}"), "manifests"),
    ] {
        let reply = registry.get(&format!("{list}?n=0")).await;
        assert_eq!(reply.status, 200, "{list}");
        assert_eq!(reply.json()[field].as_array().unwrap().len(), 0);
        assert_eq!(reply.header("link"), None);
        for bad in ["-1", "x", "", "1e3", "%31%00"] {
            let reply = registry.get(&format!("{list}?n={bad}")).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "PAGINATION_NUMBER_INVALID"), "{list} {bad}");
        }
        for large in ["1000000000", "100000000000000000000", &"9".repeat(400)] {
            assert_eq!(registry.get(&format!("{list}?n={large}")).await.status, 200, "{list} {large}");
        }
    }
}

#[tokio::test]
async fn what_a_client_accepts_does_not_hide_a_manifest() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    for headers in [
        vec![],
        vec![("Accept", "*/*")],
        vec![("Accept", "text/html")],
        vec![("Accept", MediaType::DOCKER_MANIFEST), ("Accept", INDEX)],
        vec![("Accept", "")],
    ] {
        let reply = registry.send("GET", "/v2/app/manifests/v1", &headers, b"").await;
        assert_eq!((reply.status, &reply.body), (200, &image), "{headers:?}");
        assert_eq!(reply.header("content-type"), Some(MANIFEST));
    }
}

#[tokio::test]
async fn an_encoded_slash_in_a_name_is_a_slash() {
    let registry = Registry::start().await;
    let image = registry.image("team%2Fapp", Some("v1"), "1").await;
    assert_eq!(registry.get("/v2/team/app/manifests/v1").await.body, image);
    assert_eq!(registry.get("/v2/team%2fapp/manifests/v1").await.body, image);
    let reply = registry.send("POST", "/v2/team%2Fapp/blobs/uploads/", &[], b"").await;
    assert!(reply.header("location").unwrap().starts_with("/v2/team/app/blobs/uploads/"));
    assert_eq!(registry.get("/v2/team%2Fapp/tags/list").await.json()["tags"][0], "v1");
}

#[tokio::test]
async fn chunks_with_a_gap_a_wrong_length_or_a_unit_are_refused_and_the_session_lives() {
    let registry = Registry::start().await;
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    for (range, status, code) in [
        ("5-14", 416, "BLOB_UPLOAD_INVALID"),
        ("0-8", 400, "SIZE_INVALID"),
        ("0-10", 400, "SIZE_INVALID"),
        ("bytes 0-9/10", 416, "BLOB_UPLOAD_INVALID"),
        ("9-0", 416, "BLOB_UPLOAD_INVALID"),
        ("0-99999999999999999999", 416, "BLOB_UPLOAD_INVALID"),
    ] {
        for method in ["PATCH", "PUT"] {
            let path = format!("{session}?digest={}", Digest::sha256(b"0123456789"));
            let reply = registry.send(method, &path, &[("Content-Range", range)], b"0123456789").await;
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {range}");
            if status == 416 {
                assert_eq!(reply.header("range"), Some("0-0"));
                assert_eq!(reply.header("location"), Some(session.as_str()));
            }
        }
    }
    let reply = registry.send("PATCH", &session, &[("Content-Range", "0-9")], b"0123456789").await;
    assert_eq!((reply.status, reply.header("range")), (202, Some("0-9")));
    let reply = registry.send("PATCH", &session, &[("Content-Range", "0-9")], b"0123456789").await;
    assert_eq!((reply.status, reply.header("range")), (416, Some("0-9")));
    let reply = registry.get(&session).await;
    assert_eq!((reply.status, reply.header("range")), (204, Some("0-9")));
    let path = format!("{session}?digest={}", Digest::sha256(b"0123456789"));
    assert_eq!(registry.send("PUT", &path, &[], b"").await.status, 201);
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_refused_before_it_is_read() {
    let registry = Registry::start().await;
    let five = vec![b' '; 5 << 20];
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, &five).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "SIZE_INVALID"));
    // The length alone is enough: not one byte of 64 GiB comes.
    let headers = [("Content-Type", MANIFEST), ("Content-Length", "68719476736")];
    let reply = registry.send("PUT", "/v2/app/manifests/v1", &headers, b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "SIZE_INVALID"));
    // A client that asks first is not told to go on.
    let headers = [("Content-Type", MANIFEST), ("Content-Length", "5000000"), ("Expect", "100-continue")];
    let reply = registry.send("PUT", "/v2/app/manifests/v1", &headers, b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "SIZE_INVALID"));
    // Without a length it is read as far as the limit.
    let mut chunked = Vec::new();
    for _ in 0..80 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&vec![b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let headers = [("Content-Type", MANIFEST), ("Transfer-Encoding", "chunked")];
    let reply = registry.send("PUT", "/v2/app/manifests/v1", &headers, &chunked).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "SIZE_INVALID"));
}

#[tokio::test]
async fn a_manifest_of_just_under_4_mib_is_taken() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let padding = "x".repeat((4 << 20) - 1000);
    let image = manifest(b"{}", &[], &format!(r#","annotations":{{"padding":"{padding}"}}"#));
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, image.as_bytes()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(registry.get("/v2/app/manifests/v1").await.body, image.as_bytes());
}

#[tokio::test]
async fn an_upload_session_is_unknown_in_another_repository() {
    let registry = Registry::start().await;
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().replace("/v2/app/", "/v2/other/");
    let digest = Digest::sha256(b"x");
    for (method, path) in [
        ("GET", session.clone()),
        ("PATCH", session.clone()),
        ("PUT", format!("{session}?digest={digest}")),
        ("DELETE", session.clone()),
        ("PATCH", "/v2/app/blobs/uploads/no-such-thing".to_owned()),
        ("GET", "/v2/app/blobs/uploads/..%2e".to_owned()),
    ] {
        let reply = registry.send(method, &path, &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method} {path}");
    }
}

#[tokio::test]
async fn referrers_of_what_is_no_digest_are_refused() {
    let registry = Registry::start().await;
    for bad in ["latest", "sha256:abc", "sha256", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let reply = registry.get(&format!("/v2/app/referrers/{bad}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"), "{bad}");
    }
}

#[tokio::test]
async fn a_tag_that_has_moved_is_not_overwritten() {
    let registry = Registry::start().await;
    let one = registry.image("app", Some("v1"), "1").await;
    let two = registry.image("app", None, "2").await;
    let etag = |bytes: &[u8]| format!("\"{}\"", Digest::sha256(bytes));
    let put = async |name: &str, value: &str| {
        let headers = [("Content-Type", MANIFEST), (name, value)];
        registry.send("PUT", "/v2/app/manifests/v1", &headers, &two).await
    };
    let current = registry.head("/v2/app/manifests/v1").await.header("etag").unwrap().to_owned();
    assert_eq!(current, etag(&one));
    for (name, value) in
        [("If-Match", etag(&two)), ("If-None-Match", "*".to_owned()), ("If-Match", "nonsense".to_owned())]
    {
        let reply = put(name, &value).await;
        assert_eq!((reply.status, reply.code().as_str()), (412, "PRECONDITION_FAILED"), "{name}: {value}");
        assert_eq!(reply.json()["errors"][0]["detail"]["digest"], Digest::sha256(&one).as_str());
    }
    let either = format!("{}, {}", etag(&two), etag(&one));
    assert_eq!(put("If-Match", &either).await.status, 201);
    assert_eq!(put("If-Match", &etag(&one)).await.status, 412);
    assert_eq!(put("If-Match", "*").await.status, 201);
    let headers = [("Content-Type", MANIFEST), ("If-None-Match", "*")];
    assert_eq!(registry.send("PUT", "/v2/app/manifests/new", &headers, &two).await.status, 201);
    let headers = [("Content-Type", MANIFEST), ("If-Match", "*")];
    assert_eq!(registry.send("PUT", "/v2/app/manifests/newer", &headers, &two).await.status, 412);
}

#[tokio::test]
async fn a_tag_that_has_moved_is_not_deleted() {
    let registry = Registry::start().await;
    let old = Digest::sha256(&registry.image("app", Some("v1"), "1").await);
    let new = Digest::sha256(&registry.image("app", Some("v1"), "2").await);
    let delete = async |path: &str, name: &str, value: &str| registry.send("DELETE", path, &[(name, value)], b"").await;
    let tag = "/v2/app/manifests/v1";
    for (name, value) in
        [("If-Match", format!("\"{old}\"")), ("If-Match", "x".to_owned()), ("If-None-Match", "*".to_owned())]
    {
        let reply = delete(tag, name, &value).await;
        assert_eq!((reply.status, reply.code().as_str()), (412, "PRECONDITION_FAILED"), "{name}: {value}");
        assert_eq!(reply.json()["errors"][0]["detail"]["digest"], new.as_str());
        assert_eq!(registry.head(tag).await.header("docker-content-digest"), Some(new.as_str()));
    }
    let either = format!("\"{old}\", \"{new}\"");
    assert_eq!(delete(tag, "If-Match", &either).await.status, 202);
    // What is not there is not found, whatever it should have been.
    for value in [either.as_str(), "*"] {
        assert_eq!(delete(tag, "If-Match", value).await.status, 404);
    }
    // A digest points to itself.
    let manifest = format!("/v2/app/manifests/{new}");
    assert_eq!(delete(&manifest, "If-Match", &format!("\"{old}\"")).await.status, 412);
    assert_eq!(registry.head(&manifest).await.status, 200);
    assert_eq!(delete(&manifest, "If-Match", &either).await.status, 202);
}

#[tokio::test]
async fn a_child_of_a_tagged_index_is_deleted_only_by_force() {
    let registry = Registry::start().await;
    let child = registry.image("app", None, "1").await;
    let list = index(&[&child]);
    assert_eq!(registry.put_manifest("/v2/app/manifests/v1", INDEX, list.as_bytes()).await.status, 201);
    let path = format!("/v2/app/manifests/{}", Digest::sha256(&child));
    let reply = registry.send("DELETE", &path, &[], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (409, "DENIED"));
    let text = reply.json().to_string();
    assert!(text.contains(Digest::sha256(list.as_bytes()).as_str()) && text.contains("(v1)"), "{text}");
    assert_eq!(registry.head(&path).await.status, 200);
    let layer = format!("/v2/app/blobs/{}", Digest::sha256(b"layer 1"));
    assert_eq!(registry.send("DELETE", &layer, &[], b"").await.status, 409);
    assert_eq!(registry.send("DELETE", &format!("{path}?force=true"), &[], b"").await.status, 202);
    assert_eq!(registry.head(&path).await.status, 404);
    assert_eq!(registry.send("DELETE", &layer, &[], b"").await.status, 202);
    assert_eq!(registry.head(&layer).await.status, 404);
}

#[tokio::test]
async fn of_32_tags_pushed_at_once_none_is_lost() {
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    let paths: Vec<_> = (0..32).map(|n| format!("/v2/app/manifests/tag-{n:02}")).collect();
    let pushes = paths.iter().map(|path| registry.put_manifest(path, MANIFEST, &image));
    for reply in futures_util::future::join_all(pushes).await {
        assert_eq!(reply.status, 201);
    }
    assert_eq!(registry.get("/v2/app/tags/list").await.json()["tags"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn several_ranges_at_once_are_answered_with_the_whole() {
    let registry = Registry::start().await;
    let digest = registry.blob("app", b"0123456789").await;
    let path = format!("/v2/app/blobs/{digest}");
    let reply = registry.send("GET", &path, &[("Range", "bytes=0-1,4-5")], b"").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"0123456789".as_slice()));
}

#[tokio::test]
async fn json_bombs_are_refused() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let deep = manifest(b"{}", &[], &format!(r#","x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)));
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, deep.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    let layers = vec![&b"{}"[..]; 20_000];
    let many = manifest(b"{}", &layers, "");
    assert!(many.len() < 4 << 20);
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, many.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    for garbage in ["", "{", "null", "[]", "\"x\"", "{}", "\u{0}"] {
        let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, garbage.as_bytes()).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"), "{garbage:?}");
    }
}
