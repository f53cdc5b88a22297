//! Requests that lie about their length, and paths, hosts and names that lead elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use image::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{MANIFEST, Registry, Reply, manifest};

/// Sends bytes, ends its side, and reads what comes.
async fn raw(registry: &Registry, bytes: &[u8]) -> Vec<u8> {
    let mut stream = registry.connect().await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    answer
}

fn status(answer: &[u8]) -> Option<u16> {
    answer.starts_with(b"HTTP/1.1 ").then(|| Reply::parse(answer).status)
}

/// All files of a data directory.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        // The database's journals come and go.
        if !path.to_string_lossy().contains("metadata.sqlite3-") {
            found.insert(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_manifest_of_10_gb_without_a_length_is_cut_off_early() {
    // CVE-2017-11468: all of it in memory.
    let registry = Registry::start().await;
    let mut stream = registry.connect().await;
    let (mut read, mut write) = stream.split();
    let head = format!(
        "PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: {MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend(vec![b' '; 0x1_0000]);
    chunk.extend(b"\r\n");
    let sending = async {
        let mut sent = 0u64;
        if write.write_all(head.as_bytes()).await.is_ok() {
            while sent < 10_000_000_000 && write.write_all(&chunk).await.is_ok() {
                sent += chunk.len() as u64;
            }
        }
        sent
    };
    let mut answer = Vec::new();
    let receiving = tokio::time::timeout(Duration::from_secs(60), read.read_to_end(&mut answer));
    let (sent, received) = tokio::join!(sending, receiving);
    assert!(received.is_ok(), "the connection is still open");
    assert_eq!(Reply::parse(&answer).status, 413);
    // 4 MiB, and what the two sockets hold.
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn bytes_that_were_announced_and_did_not_come_are_not_made_up() {
    let registry = Registry::start().await;
    registry.blob("app", b"{}").await;
    let image = manifest(b"{}", &[], "");
    let head = |path: &str, length: usize| {
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {MANIFEST}\r\nContent-Length: {length}\r\n\r\n")
    };
    let answer = raw(&registry, format!("{}{image}", head("/v2/app/manifests/v1", image.len() + 5)).as_bytes()).await;
    assert_ne!(status(&answer), Some(201));
    assert_eq!(registry.head("/v2/app/manifests/v1").await.status, 404);
    for length in [10, 200_000] {
        let bytes = vec![b'x'; length];
        let digest = Digest::sha256(&bytes);
        let post = head(&format!("/v2/app/blobs/uploads/?digest={digest}"), length + 1).replace("PUT", "POST");
        let answer = raw(&registry, &[post.as_bytes(), &bytes].concat()).await;
        assert_ne!(status(&answer), Some(201));
        let chunked = post.replace(&format!("Content-Length: {}", length + 1), "Transfer-Encoding: chunked");
        let chunked = format!("{chunked}{length:x}\r\n{}\r\n", String::from_utf8_lossy(&bytes));
        assert_ne!(status(&raw(&registry, chunked.as_bytes()).await), Some(201), "a body without its last chunk");
        assert_eq!(registry.head(&format!("/v2/app/blobs/{digest}")).await.status, 404, "{length}");
    }
    assert!(registry.content.verify().await.unwrap().is_sound());
}

#[tokio::test]
async fn bytes_after_the_announced_ones_belong_to_nothing() {
    let registry = Registry::start().await;
    let digest = Digest::sha256(b"01234");
    let post = format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    let answer = raw(&registry, format!("{post}0123456789").as_bytes()).await;
    assert_eq!(status(&answer), Some(201));
    assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.body, b"01234");
}

#[tokio::test]
async fn a_request_whose_length_can_be_read_in_two_ways_is_none() {
    let registry = Registry::start().await;
    let digest = Digest::sha256(b"01234");
    let hidden = "GET /v2/hidden/tags/list HTTP/1.1\r\nHost: x\r\n\r\n";
    for (n, (lengths, body)) in [
        ("Content-Length: 5\r\nContent-Length: 6", "012345".to_owned()),
        ("Content-Length: 5, 6", "012345".to_owned()),
        ("Content-Length: +5", "01234".to_owned()),
        ("Content-Length: -5", "01234".to_owned()),
        ("Content-Length: 5x", "01234".to_owned()),
        ("Content-Length: 0x5", "01234".to_owned()),
        ("Content-Length: ", "01234".to_owned()),
        ("Content-Length: 18446744073709551617", "01234".to_owned()),
        ("Transfer-Encoding: gzip", "01234".to_owned()),
        ("Transfer-Encoding: chunked, identity", "5\r\n01234\r\n0\r\n\r\n".to_owned()),
        ("Transfer-Encoding: chunked", "5;\n\r\n01234\r\n0\r\n\r\n".to_owned()),
        ("Transfer-Encoding: chunked", "-5\r\n01234\r\n0\r\n\r\n".to_owned()),
        ("Transfer-Encoding: chunked", "fffffffffffffffff5\r\n01234\r\n0\r\n\r\n".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let post =
            format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n{body}");
        let answer = raw(&registry, post.as_bytes()).await;
        assert!(matches!(status(&answer), None | Some(400 | 501)), "{n} {lengths}: {answer:?}");
    }
    // Both at once: the chunks are what counts, and nobody's second request hides in the first one.
    let both = format!(
        "POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let answer = String::from_utf8_lossy(&raw(&registry, both.as_bytes()).await).into_owned();
    assert!(!answer.contains("201 Created"), "{answer}");
    assert_eq!(registry.head(&format!("/v2/app/blobs/{digest}")).await.status, 404);
}

#[tokio::test]
async fn no_answer_sends_a_client_elsewhere() {
    let registry = Registry::start().await;
    registry.image("app", Some("v1"), "1").await;
    for path in [
        "//evil.example/v2/",
        "/\\evil.example",
        "/v2/?callback=/\\evil.example",
        "/v2/app/tags/list?callback=https://evil.example&redirect_uri=//evil.example&next=/\\evil.example",
        "/v2/..//evil.example/",
        "/v2/app/blobs/uploads/?callback=//evil.example",
        "/v2/app/blobs/uploads/?mount=x&from=https://evil.example",
        "/v2/app/manifests/v1?redirect=https://evil.example",
        "/login?callback=/\\evil.example",
        "/auth/callback?state=//evil.example",
        "http://evil.example/v2/app/blobs/uploads/",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let forwarded = [
                ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Proto", "gopher"),
                ("X-Forwarded-Prefix", "//evil.example"),
                ("Forwarded", "host=evil.example;proto=https"),
                ("X-Original-URL", "//evil.example/"),
            ];
            let reply = registry.send(method, path, &forwarded, b"").await;
            assert!(!(300..400).contains(&reply.status), "{method} {path}: {reply:?}");
            if let Some(location) = reply.header("location") {
                assert!(location.starts_with("/v2/app/"), "{method} {path}: {location}");
            }
            let head = format!("{:?}", reply.headers);
            assert!(!head.contains("evil.example"), "{method} {path}: {head}");
        }
    }
}

#[tokio::test]
async fn what_looks_like_a_path_never_becomes_one() {
    let registry = Registry::start().await;
    registry.image("app", Some("v1"), "1").await;
    let before = files(registry.directory.path());
    let hex = "0".repeat(64);
    let paths = [
        "sha256:../../../../etc/passwd".to_owned(),
        "sha256:..%2f..%2f..%2fetc%2fpasswd".to_owned(),
        "sha256:%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned(),
        "sha256:..%5c..%5cwindows".to_owned(),
        "sha256:%252e%252e%252fetc".to_owned(),
        "sha256:%00".to_owned(),
        format!("sha256:{hex}%00"),
        format!("sha256:{hex}%2f..%2f..%2fmetadata.sqlite3"),
        format!("sha256:{}/", &hex[..63]),
        format!("sha256:{}", "A".repeat(64)),
        format!("SHA256:{hex}"),
        format!("../sha256:{hex}"),
        format!("sha256/../sha512:{hex}"),
        format!("sha512:{hex}"),
        format!("sha256-{hex}:x"),
        "..".to_owned(),
        "%2e%2e%2f%2e%2e%2fmetadata.sqlite3".to_owned(),
    ];
    for bad in &paths {
        for (method, path) in [
            ("GET", format!("/v2/app/blobs/{bad}")),
            ("HEAD", format!("/v2/app/manifests/{bad}")),
            ("GET", format!("/v2/app/referrers/{bad}")),
            ("DELETE", format!("/v2/app/blobs/{bad}?force=true")),
            ("DELETE", format!("/v2/app/manifests/{bad}?force=true")),
            ("PUT", format!("/v2/app/manifests/{bad}")),
            ("POST", format!("/v2/app/blobs/uploads/?digest={bad}")),
            ("PATCH", format!("/v2/app/blobs/uploads/{bad}")),
            ("PUT", format!("/v2/app/blobs/uploads/{bad}?digest=sha256:{hex}")),
            ("DELETE", format!("/v2/app/blobs/uploads/{bad}")),
            ("GET", format!("/v2/{bad}/tags/list")),
            ("POST", format!("/v2/{bad}/blobs/uploads/")),
            ("PUT", format!("/v2/app/manifests/v1?tag={bad}")),
        ] {
            let reply = registry.send(method, &path, &[("Content-Type", MANIFEST)], b"{}").await;
            assert!(matches!(reply.status, 400 | 404 | 405), "{method} {path}: {reply:?}");
        }
        let reply = registry.send("POST", &format!("/v2/app/blobs/uploads/?mount={bad}&from=app"), &[], b"").await;
        assert_eq!(reply.status, 400, "{bad}");
    }
    assert_eq!(files(registry.directory.path()), before);
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status, 200);
}
