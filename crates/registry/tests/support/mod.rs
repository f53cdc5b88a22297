//! A server on a free port, and the smallest client that can say anything to it.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test file uses its own part of it

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use content::ContentStore;
use image::{Digest, MediaType};
use polyarch_registry::{Options, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

pub const MANIFEST: &str = MediaType::OCI_MANIFEST;
pub const INDEX: &str = MediaType::OCI_INDEX;

pub struct Registry {
    pub address: SocketAddr,
    pub content: ContentStore,
    pub directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Registry {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().to_owned();
        Self::at(directory, &data, options).await
    }

    /// Over a data directory of one's own; `directory` is removed in the end.
    pub async fn at(directory: TempDir, data: &Path, options: Options) -> Self {
        let content = ContentStore::open(data, content::Options::default()).await.unwrap();
        Self::over(options, directory, content).await
    }

    /// Over a store that was opened already.
    pub async fn over(options: Options, directory: TempDir, content: ContentStore) -> Self {
        let server = Server::bind("127.0.0.1:0", options, content.clone()).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Self { address, content, directory, stop: Some(stop), task: Some(task) }
    }

    /// Tells the server to stop, and waits until it has.
    pub async fn stop(&mut self) {
        self.begin_to_stop();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    pub fn begin_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let has_length = headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if !has_length && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut stream = self.connect().await;
        let (mut read, mut write) = stream.split();
        // The server may answer, and close, before it has all.
        let sending = async {
            if write.write_all(head.as_bytes()).await.is_ok() {
                let _ = write.write_all(body).await;
            }
        };
        let mut bytes = Vec::new();
        let receiving = async {
            let _ = tokio::time::timeout(Duration::from_secs(60), read.read_to_end(&mut bytes)).await;
        };
        tokio::join!(sending, receiving);
        Reply::parse(&bytes)
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.send("HEAD", path, &[], b"").await
    }

    pub async fn put_manifest(&self, path: &str, media_type: &str, body: &[u8]) -> Reply {
        self.send("PUT", path, &[("Content-Type", media_type)], body).await
    }

    /// Pushes a blob in one request, and returns its digest.
    pub async fn blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let reply = self.send("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], bytes).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        digest
    }

    /// Pushes an image, and returns the bytes of its manifest.
    pub async fn image(&self, repository: &str, reference: Option<&str>, seed: &str) -> Vec<u8> {
        let layer = format!("layer {seed}");
        let config = format!(r#"{{"architecture":"amd64","os":"linux","seed":"{seed}"}}"#);
        self.blob(repository, layer.as_bytes()).await;
        self.blob(repository, config.as_bytes()).await;
        let manifest = manifest(config.as_bytes(), &[layer.as_bytes()], "").into_bytes();
        let reference = reference.map_or_else(|| Digest::sha256(&manifest).to_string(), str::to_owned);
        let reply = self.put_manifest(&format!("/v2/{repository}/manifests/{reference}"), MANIFEST, &manifest).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        manifest
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no answer: {:?}", String::from_utf8_lossy(bytes));
        });
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The codes of its errors, which must have messages.
    pub fn codes(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let errors = self.json()["errors"].as_array().unwrap().clone();
        errors
            .iter()
            .map(|error| {
                assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{error}");
                error["code"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    pub fn code(&self) -> String {
        self.codes().join(" ")
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::sha256(bytes), bytes.len())
}

/// A manifest with `more` before its last brace.
pub fn manifest(config: &[u8], layers: &[&[u8]], more: &str) -> String {
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(MediaType::OCI_LAYER_GZIP, layer)).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]{more}}}"#,
        descriptor(MediaType::OCI_CONFIG, config),
        layers.join(",")
    )
}

pub fn index(children: &[&[u8]]) -> String {
    let children: Vec<_> = children.iter().map(|child| descriptor(MANIFEST, child)).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, children.join(","))
}
