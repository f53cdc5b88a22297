//! Documents that two programs would read differently, and documents made to be expensive.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use image::{Digest, MediaType};

use crate::support::{INDEX, MANIFEST, Registry, descriptor, manifest};

const LIST: &str = MediaType::DOCKER_LIST;
const DOCKER: &str = MediaType::DOCKER_MANIFEST;
/// What a client may say that it sends; the last one says nothing.
const TYPES: [&str; 6] = [MANIFEST, INDEX, DOCKER, LIST, "application/json", ""];

/// A document of schema 2 with these fields.
fn document(fields: &str) -> String {
    format!(r#"{{"schemaVersion":2,{fields}}}"#)
}

#[tokio::test]
async fn no_document_is_read_as_a_manifest_by_one_and_as_an_index_by_another() {
    // CVE-2021-41190 and its kin.
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    let config = descriptor(MediaType::OCI_CONFIG, b"{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":\"1\"}");
    let layer = descriptor(MediaType::OCI_LAYER_GZIP, b"layer 1");
    let child = descriptor(MANIFEST, &image);
    let both = [
        document(&format!(r#""config":{config},"layers":[{layer}],"manifests":[{child}]"#)),
        document(&format!(r#""mediaType":"{INDEX}","manifests":[{child}],"config":{config}"#)),
        document(&format!(r#""manifests":[{child}],"layers":null"#)),
        document(&format!(r#""manifests":[{child}],"layers":[]"#)),
        document(&format!(r#""manifests":null,"config":{config},"layers":[{layer}]"#)),
        document(&format!(r#""manifests":[],"config":{config},"layers":[{layer}]"#)),
        document(&format!(r#""config":{config},"layers":[{layer}],"Manifests":[{child}]"#)),
        document(&format!(r#""config":{config},"layers":[{layer}],"manife\u017fts":[{child}]"#)),
        document(&format!("\"config\":{config},\"layers\":[{layer}],\"manife\u{17f}ts\":[{child}]")),
        document(&format!(r#""mediaType":"{MANIFEST}","mediaType":"{INDEX}","config":{config},"layers":[]"#)),
        document(&format!(r#""mediaType":"{INDEX}","MediaType":"{MANIFEST}","manifests":[{child}]"#)),
        document(&format!(r#""manifests":[{child}],"manifests":[]"#)),
        document(&format!(r#""schemaVersion":1,"config":{config},"layers":[]"#)),
        document(&format!(r#""mediaType":["{INDEX}"],"manifests":[{child}]"#)),
        document(&format!(r#""mediaType":"{}","blobs":[{layer}]"#, "application/vnd.oci.artifact.manifest.v1+json")),
        r#"{"schemaVersion":1,"name":"app","tag":"v1","fsLayers":[],"history":[],"signatures":[]}"#.to_owned(),
    ];
    for bytes in &both {
        for media_type in TYPES {
            let reply = registry.put_manifest("/v2/app/manifests/v1", media_type, bytes.as_bytes()).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"), "{media_type:?} {bytes}");
        }
    }
    assert_eq!(registry.head("/v2/app/manifests/v1").await.status, 404);
}

#[tokio::test]
async fn the_same_bytes_have_one_media_type_only() {
    let registry = Registry::start().await;
    let image = registry.image("app", None, "1").await;
    registry.blob("app", b"{}").await;
    let config = descriptor(MediaType::OCI_CONFIG, b"{}");
    let child = descriptor(MANIFEST, &image);
    for (bytes, accepted) in [
        (document(&format!(r#""config":{config},"layers":[]"#)), MANIFEST),
        (document(&format!(r#""config":{config}"#)), MANIFEST),
        (document(&format!(r#""manifests":[{child}]"#)), INDEX),
        (document(&format!(r#""mediaType":null,"manifests":[{child}]"#)), INDEX),
        (document(&format!(r#""mediaType":"{INDEX}","manifests":[]"#)), INDEX),
        (document(&format!(r#""mediaType":"{DOCKER}","config":{config},"layers":[]"#)), DOCKER),
        (document(&format!(r#""mediaType":"{LIST}","manifests":[{child}]"#)), LIST),
    ] {
        for media_type in TYPES {
            let reply = registry.put_manifest("/v2/app/manifests/v1", media_type, bytes.as_bytes()).await;
            let want = if media_type == accepted || media_type.is_empty() { 201 } else { 400 };
            assert_eq!(reply.status, want, "{media_type:?} {bytes}");
            if want == 201 {
                let path = format!("/v2/app/manifests/{}", Digest::sha256(bytes.as_bytes()));
                assert_eq!(registry.get(&path).await.header("content-type"), Some(accepted), "{bytes}");
            }
        }
    }
}

#[tokio::test]
async fn a_blob_is_no_manifest_and_a_manifest_no_blob() {
    let registry = Registry::start().await;
    let image = registry.image("app", Some("v1"), "1").await;
    let hidden = manifest(b"{}", &[], "").into_bytes();
    let digest = registry.blob("app", &hidden).await;
    assert_eq!(registry.get(&format!("/v2/app/manifests/{digest}")).await.status, 404);
    let image = Digest::sha256(&image);
    assert_eq!(registry.get(&format!("/v2/app/blobs/{image}")).await.status, 404);
    let reply = registry.send("POST", &format!("/v2/other/blobs/uploads/?mount={image}&from=app"), &[], b"").await;
    assert_eq!(reply.status, 202, "a mount of a manifest is none");
}

#[tokio::test]
async fn sizes_that_are_no_sizes_are_refused() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let image = manifest(b"{}", &[], "");
    let sizes = ["-2", "-0", "2.0", "2e0", "02", "+2", "\"2\"", "null", "[2]", "true", "0x2", "9223372036854775808"];
    for size in sizes.into_iter().chain(["18446744073709551616", "1e400", "NaN", &"9".repeat(100_000)]) {
        let bytes = image.replace(r#""size":2"#, &format!(r#""size":{size}"#));
        assert_ne!(bytes, image);
        let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, bytes.as_bytes()).await;
        assert_eq!(reply.status, 400, "{size:.30} {reply:?}");
    }
}

#[tokio::test]
async fn documents_made_to_be_expensive_cost_little() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let with = |more: &str| manifest(b"{}", &[], more);
    let million = |item: &str| vec![item; 1_000_000].join(",");
    let mut keys = String::new();
    for n in 0..200_000 {
        let _ = write!(keys, r#""{n:x}":"","#);
    }
    let keys = keys.trim_end_matches(',');
    let same = vec![r#""":"""#; 500_000].join(",");
    let objects = r#"{"x":"#.repeat(100_000);
    // What it is, the document, and whether it may be taken: if so, all that is asked is that it is taken soon.
    for (what, bytes, may_be) in [
        ("a million layers", document(&format!(r#""config":{{}},"layers":[{}]"#, million("{}"))), false),
        ("a million children", document(&format!(r#""manifests":[{}]"#, million("{}"))), false),
        ("a million entries of another list", with(&format!(r#","x":[{}]"#, million("{}"))), true),
        ("an annotation 500,000 times", with(&format!(r#","annotations":{{{same}}}"#)), false),
        ("200,000 annotations", with(&format!(r#","annotations":{{{keys}}}"#)), true),
        ("200,000 keys", with(&format!(",{keys}")), true),
        ("depth 100,000 in lists", "[".repeat(100_000), false),
        ("depth 100,000 in objects", objects.clone(), false),
        ("depth 100,000 in an unknown field", with(&format!(r#","x":{objects}1{}"#, "}".repeat(100_000))), false),
        ("depth 65", with(&format!(r#","x":{}{}"#, "[".repeat(64), "]".repeat(64))), false),
        ("a string of escapes", with(&format!(r#","x":"{}""#, "\\u0041".repeat(600_000))), true),
        ("a long number", with(&format!(r#","x":{}"#, "1".repeat(1_000_000))), true),
        ("a long fraction", with(&format!(r#","x":0.{}"#, "1".repeat(1_000_000))), true),
        ("an exponent", with(r#","x":1e999999999"#), true),
        ("blanks", format!("{}{}", " ".repeat(3 << 20), with("")), true),
        ("half a surrogate pair", with(r#","x":"\ud800""#), false),
        ("a key of another object twice", with(r#","x":{"a":{"b":1,"\u0062":2}}"#), false),
        ("a byte order mark", format!("\u{feff}{}", with("")), false),
        ("something after the end", format!("{}{{}}", with("")), false),
        ("a NUL after the end", format!("{}\0", with("")), false),
    ] {
        assert!(bytes.len() < 4 << 20, "{what}: {}", bytes.len());
        let begun = Instant::now();
        let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, bytes.as_bytes()).await;
        assert!(reply.status == 400 || (may_be && reply.status == 201), "{what}: {reply:?}");
        if reply.status == 400 {
            assert_eq!(reply.code(), "MANIFEST_INVALID", "{what}");
            assert!(reply.body.len() < 1000, "{what}: what was sent is not sent back");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} took {:?}", begun.elapsed());
    }
    let reply = registry.put_manifest("/v2/app/manifests/v1", MANIFEST, b"{\"schemaVersion\":2,\"\xff\":1}").await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
    // What is packed is not unpacked: it is what it is, and that is no JSON.
    let headers = [("Content-Type", MANIFEST), ("Content-Encoding", "gzip")];
    let reply = registry.send("PUT", "/v2/app/manifests/v1", &headers, b"\x1f\x8b\x08\0\0\0\0\0\0\x03").await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_INVALID"));
}

#[tokio::test]
async fn of_ten_thousand_missing_children_each_is_named_and_no_more() {
    let registry = Registry::start().await;
    let children: Vec<String> =
        (0..10_000).map(|n: u32| descriptor(MANIFEST, &n.to_le_bytes()).replace("\"size\":4", "\"size\":1")).collect();
    let bytes = document(&format!(r#""mediaType":"{INDEX}","manifests":[{}]"#, children.join(",")));
    let begun = Instant::now();
    let reply = registry.put_manifest("/v2/app/manifests/v1", INDEX, bytes.as_bytes()).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.codes(), vec!["MANIFEST_BLOB_UNKNOWN"; 10_000]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // The same one 10,000 times is missing once.
    let bytes = document(&format!(r#""mediaType":"{INDEX}","manifests":[{}]"#, vec![&*children[0]; 10_000].join(",")));
    let reply = registry.put_manifest("/v2/app/manifests/v1", INDEX, bytes.as_bytes()).await;
    assert_eq!((reply.status, reply.codes().len()), (400, 1));
}
