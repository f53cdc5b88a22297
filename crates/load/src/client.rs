//! One client: a connection, and the operations of the scenarios.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use image::{Digest, MediaType};

use crate::body::{Body, Random};
use crate::connection::Connection;
use crate::expected::{Check, Expected};
use crate::fault::{Failed, Fault};
use crate::mixed::Mixed;
use crate::scenario::{Kind, Scenario};
use crate::shared::{Blob, Deletes, Image, Prepared, Pushed, Shared, TAG};
use crate::tally::Tally;

/// What the clients of one thread share.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tally: RefCell<Tally>,
    pub(crate) scratch: RefCell<Vec<u8>>,
}

/// One client.
pub(crate) struct Client {
    lane: Rc<Lane>,
    pub(crate) number: usize,
    connection: Option<Connection>,
    /// The head of the request that is being made.
    out: Vec<u8>,
    pub(crate) random: Random,
    pub(crate) pushed: Pushed,
    pub(crate) mixed: Mixed,
    /// Whether this client has looked into a list of tags.
    has_listed: bool,
}

/// How much slower than this nothing may be: a second more of patience for each.
const SLOWEST: u64 = 1_000_000;

type Done = Result<(), Failed>;

impl Client {
    pub(crate) fn new(lane: Rc<Lane>, number: usize) -> Self {
        let random = Random::new(number as u64 + 1);
        Self {
            lane,
            number,
            connection: None,
            out: Vec::new(),
            random,
            pushed: Pushed::default(),
            mixed: Mixed::default(),
            has_listed: false,
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.lane.shared)
    }

    /// Opens the connection, if there is none.
    pub(crate) async fn connect(&mut self) -> Result<(), Fault> {
        if self.connection.as_ref().is_none_or(Connection::is_retired) {
            let opening = self.lane.shared.connector.open();
            let opened = tokio::time::timeout(self.lane.shared.patience, opening).await;
            self.connection = Some(opened.map_err(|_| Fault::TimedOut)??);
            self.lane.tally.borrow_mut().connections += 1;
        }
        Ok(())
    }

    /// Does one operation and counts it.
    pub(crate) async fn operate(&mut self, kind: Kind) {
        let begun = Instant::now();
        let done = self.perform(kind).await;
        let ended = Instant::now();
        let took = ended - begun;
        let live = &self.lane.shared.live;
        {
            let mut tally = self.lane.tally.borrow_mut();
            tally.ended(ended);
            match &done {
                Ok(()) => {
                    tally.done(kind, took);
                    live.operations.fetch_add(1, Ordering::Relaxed);
                    live.highest.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Err(failed) => {
                    tally.failed(failed);
                    live.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if done.is_err_and(|failed| !matches!(failed.fault, Fault::Status(_) | Fault::WrongBody | Fault::WrongDigest)) {
            // Who is not answered does not knock without a pause.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What this client does next in a scenario.
    pub(crate) fn next(&mut self, scenario: Scenario) -> Kind {
        match scenario {
            Scenario::Ping => Kind::Ping,
            Scenario::ManifestByTag => Kind::ManifestByTag,
            Scenario::ManifestByDigest => Kind::ManifestByDigest,
            Scenario::ManifestHead => Kind::ManifestHead,
            Scenario::Tags => Kind::Tags,
            Scenario::SmallBlob => Kind::SmallBlob,
            Scenario::LargeBlob => Kind::LargeBlob,
            Scenario::ImagePush => Kind::ImagePush,
            Scenario::LargePush => Kind::LargePush,
            Scenario::Mixed => self.next_mixed(),
        }
    }

    async fn perform(&mut self, kind: Kind) -> Done {
        let shared = self.shared();
        let Some(prepared) = shared.prepared.get() else {
            return Err(Failed { step: "prepare", fault: Fault::Malformed("nothing is prepared") });
        };
        match kind {
            Kind::Ping => {
                self.begin(b"GET", b"", b"");
                self.call("GET /v2/", &[200], Body::EMPTY, Expected::Anything).await
            }
            Kind::ManifestByTag => self.get_manifest(TAG.as_bytes(), &prepared.image).await,
            Kind::ManifestByDigest => {
                self.get_manifest(prepared.image.digest.as_str().as_bytes(), &prepared.image).await
            }
            Kind::ManifestHead => self.look(prepared).await,
            Kind::Tags => self.list().await,
            Kind::SmallBlob => {
                let expected = Expected::Bytes(prepared.small.body(&shared.filler));
                self.get_blob(&prepared.small.digest, expected).await
            }
            Kind::LargeBlob => self.get_large(prepared).await,
            Kind::ImagePush => {
                let image = shared.image(&shared.layers);
                let tag = format!("push-{}", &image.digest.hex()[..16]);
                self.push_image(&image, &tag).await
            }
            Kind::LargePush => {
                let blob = shared.blob(&shared.large);
                self.push_blob(&blob.digest, blob.body(&shared.filler)).await
            }
            Kind::Pull | Kind::Push | Kind::TagMove | Kind::Delete => self.perform_mixed(kind, prepared).await,
        }
    }

    async fn get_large(&mut self, prepared: &Prepared) -> Done {
        let shared = self.shared();
        let Some(blob) = &prepared.large else {
            return Err(Failed { step: "GET blob", fault: Fault::Malformed("no large blob was pushed") });
        };
        let first = !shared.large_is_verified.load(Ordering::Relaxed);
        let expected = if first {
            Expected::Digest(&blob.digest, blob.size())
        } else if shared.verify {
            Expected::Bytes(blob.body(&shared.filler))
        } else {
            Expected::Length(blob.size())
        };
        self.get_blob(&blob.digest, expected).await?;
        if first {
            shared.large_is_verified.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// `HEAD` of this client's tag, or of everybody's.
    async fn look(&mut self, prepared: &Prepared) -> Done {
        let own = self.mixed.mine().map(|image| (self.own_tag(), image.digest.clone()));
        let (tag, digest) = own.unwrap_or_else(|| (TAG.to_owned(), prepared.image.digest.clone()));
        self.begin(b"HEAD", b"manifests/", tag.as_bytes());
        self.accept_manifests();
        self.call("HEAD manifest", &[200], Body::EMPTY, Expected::Length(0)).await?;
        self.same_digest("HEAD manifest", &digest)
    }

    /// Lists tags, and looks into the first list.
    async fn list(&mut self) -> Done {
        self.begin(b"GET", b"tags/list?n=", b"100");
        if self.has_listed {
            return self.call("GET tags", &[200], Body::EMPTY, Expected::Anything).await;
        }
        let mut text = Vec::new();
        self.call("GET tags", &[200], Body::EMPTY, Expected::Kept(&mut text)).await?;
        let list: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let tags = list.get("tags").and_then(|tags| tags.as_array());
        // Not all registries cut a list where they are asked to.
        if tags.is_none_or(Vec::is_empty) {
            return Err(Failed { step: "GET tags", fault: Fault::WrongBody });
        }
        self.has_listed = true;
        Ok(())
    }

    pub(crate) async fn get_manifest(&mut self, reference: &[u8], image: &Image) -> Done {
        self.begin(b"GET", b"manifests/", reference);
        self.accept_manifests();
        self.call("GET manifest", &[200], Body::EMPTY, Expected::Bytes(Body::bytes(&image.manifest))).await
    }

    pub(crate) async fn get_blob(&mut self, digest: &Digest, expected: Expected<'_>) -> Done {
        self.begin(b"GET", b"blobs/", digest.as_str().as_bytes());
        self.call("GET blob", &[200], Body::EMPTY, expected).await
    }

    pub(crate) async fn push_image(&mut self, image: &Image, tag: &str) -> Done {
        let shared = self.shared();
        self.push_blob(&image.layer.digest, image.layer.body(&shared.filler)).await?;
        self.push_blob(&image.config_digest, Body::bytes(&image.config)).await?;
        self.put_manifest(image, tag).await
    }

    pub(crate) async fn push(&mut self, blob: &Blob) -> Done {
        let shared = self.shared();
        self.push_blob(&blob.digest, blob.body(&shared.filler)).await
    }

    /// An upload session, then all bytes in one request: what every registry understands.
    async fn push_blob(&mut self, digest: &Digest, body: Body<'_>) -> Done {
        self.begin(b"POST", b"blobs/uploads/", b"");
        self.out.extend_from_slice(b"Content-Length: 0\r\n");
        self.call("POST upload", &[202], Body::EMPTY, Expected::Anything).await?;
        let shared = self.shared();
        self.out.clear();
        self.out.extend_from_slice(b"PUT ");
        let location = self.connection.as_ref().and_then(|connection| connection.field("location"));
        let Some(path) = location.and_then(|location| path_of(location, &shared.origin)) else {
            return Err(Failed { step: "POST upload", fault: Fault::Malformed("a location that is elsewhere") });
        };
        self.out.extend_from_slice(path);
        self.out.push(if path.contains(&b'?') { b'&' } else { b'?' });
        self.out.extend_from_slice(b"digest=");
        self.out.extend_from_slice(digest.as_str().as_bytes());
        self.begin_headers();
        self.content("application/octet-stream", body.len());
        self.call("PUT blob", &[201], body, Expected::Anything).await?;
        self.pushed.blobs.insert(digest.clone());
        Ok(())
    }

    pub(crate) async fn put_manifest(&mut self, image: &Image, tag: &str) -> Done {
        self.begin(b"PUT", b"manifests/", tag.as_bytes());
        self.content(MediaType::OCI_MANIFEST, image.manifest.len() as u64);
        self.call("PUT manifest", &[201], Body::bytes(&image.manifest), Expected::Anything).await?;
        self.pushed.manifests.insert(image.digest.clone());
        self.same_digest("PUT manifest", &image.digest)
    }

    /// Deletes a manifest and with it its tags.
    pub(crate) async fn delete_manifest(&mut self, digest: &Digest) -> Done {
        self.begin(b"DELETE", b"manifests/", digest.as_str().as_bytes());
        self.call("DELETE manifest", &[202], Body::EMPTY, Expected::Anything).await?;
        self.pushed.manifests.remove(digest);
        Ok(())
    }

    /// Finds out that a manifest is not there.
    pub(crate) async fn miss_manifest(&mut self, digest: &Digest) -> Done {
        self.begin(b"GET", b"manifests/", digest.as_str().as_bytes());
        self.accept_manifests();
        self.call("GET deleted manifest", &[404], Body::EMPTY, Expected::Anything).await
    }

    pub(crate) async fn delete_blob(&mut self, digest: &Digest) -> Done {
        self.begin(b"DELETE", b"blobs/", digest.as_str().as_bytes());
        self.call("DELETE blob", &[202], Body::EMPTY, Expected::Anything).await?;
        self.pushed.blobs.remove(digest);
        Ok(())
    }

    /// Pushes what is measured later, and tries what may be deleted.
    pub(crate) async fn prepare(&mut self, with_large: bool) -> Result<Prepared, Failed> {
        let shared = self.shared();
        let image = shared.image(&shared.layers);
        self.push_image(&image, TAG).await?;
        for number in 0..9 {
            self.put_manifest(&image, &format!("{TAG}-{number}")).await?;
        }
        let small = shared.blob(&shared.small);
        self.push(&small).await?;
        let large = if with_large { Some(shared.blob(&shared.large)) } else { None };
        if let Some(large) = &large {
            self.push(large).await?;
        }
        let trial = shared.image(&shared.layers);
        self.push_image(&trial, "trial").await?;
        let manifests = self.delete_manifest(&trial.digest).await.is_ok();
        let blobs = self.delete_blob(&trial.config_digest).await.is_ok();
        Ok(Prepared { image, small, large, deletes: Deletes { manifests, blobs } })
    }

    /// Begins the head of a request to this repository; of one to the registry itself if `what` is empty.
    fn begin(&mut self, method: &[u8], what: &[u8], which: &[u8]) {
        self.out.clear();
        self.out.extend_from_slice(method);
        self.out.extend_from_slice(b" /v2/");
        if !what.is_empty() {
            self.out.extend_from_slice(self.lane.shared.repository.as_bytes());
            self.out.push(b'/');
            self.out.extend_from_slice(what);
            self.out.extend_from_slice(which);
        }
        self.begin_headers();
    }

    fn begin_headers(&mut self) {
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        self.out.extend_from_slice(&self.lane.shared.headers);
        if let Some(line) = self.lane.shared.authorization() {
            self.out.extend_from_slice(&line);
        }
    }

    fn accept_manifests(&mut self) {
        for accepted in [MediaType::OCI_MANIFEST, MediaType::OCI_INDEX] {
            self.out.extend_from_slice(b"Accept: ");
            self.out.extend_from_slice(accepted.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn content(&mut self, media_type: &str, length: u64) {
        self.out.extend_from_slice(format!("Content-Type: {media_type}\r\nContent-Length: {length}\r\n").as_bytes());
    }

    /// Compares the digest that the last answer says, if it says one.
    fn same_digest(&self, step: &'static str, digest: &Digest) -> Done {
        let said = self.connection.as_ref().and_then(|connection| connection.field("docker-content-digest"));
        match said {
            Some(said) if said != digest.as_str().as_bytes() => Err(Failed { step, fault: Fault::WrongDigest }),
            _ => Ok(()),
        }
    }

    /// Sends the request whose head was made, and reads its answer.
    async fn call(&mut self, step: &'static str, wanted: &[u16], body: Body<'_>, expected: Expected<'_>) -> Done {
        self.out.extend_from_slice(b"\r\n");
        let failed = |fault| Failed { step, fault };
        let headless = self.out.starts_with(b"HEAD");
        let repeatable = headless || self.out.starts_with(b"GET");
        let size = body.len().max(match &expected {
            Expected::Length(length) | Expected::Digest(_, length) => *length,
            Expected::Bytes(body) => body.len(),
            _ => 0,
        });
        let patience = self.lane.shared.patience + Duration::from_secs(size / SLOWEST);
        let mut check = Check::new(expected);
        let answer = loop {
            self.connect().await.map_err(failed)?;
            let Some(connection) = &mut self.connection else { return Err(failed(Fault::Closed)) };
            let was_used = connection.is_used();
            let exchange = connection.exchange(&self.out, body, headless, &self.lane.scratch, &mut check);
            let result = tokio::time::timeout(patience, exchange).await.unwrap_or(Err(Fault::TimedOut));
            match result {
                Ok(answer) => break answer,
                Err(fault) => {
                    self.connection = None;
                    // An idle connection may be closed at any time, and that shows only now.
                    let closed = matches!(fault, Fault::Closed | Fault::Connection(_));
                    if !(closed && was_used && repeatable && check.is_untouched()) {
                        return Err(failed(fault));
                    }
                }
            }
        };
        if !answer.keeps
            && let Some(connection) = &mut self.connection
        {
            // Its head is still of interest.
            connection.retire();
        }
        if !wanted.contains(&answer.status) {
            return Err(failed(Fault::Status(answer.status)));
        }
        let received = check.finish().map_err(failed)?;
        let mut tally = self.lane.tally.borrow_mut();
        tally.requests += 1;
        tally.received += received;
        tally.sent += body.len();
        Ok(())
    }
}

/// The path of a location that is at `origin`, with its query.
fn path_of<'a>(location: &'a [u8], origin: &str) -> Option<&'a [u8]> {
    let path = location.strip_prefix(origin.as_bytes()).unwrap_or(location);
    // What begins with `http://h:5000` may go on as `http://h:50001/`.
    (path.starts_with(b"/") && path.iter().all(u8::is_ascii_graphic)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_port_that_begins_like_another_is_elsewhere() {
        let path = |location: &'static str| path_of(location.as_bytes(), "http://h:5000");
        assert_eq!(path("http://h:5000/v2/x?y=1"), Some(&b"/v2/x?y=1"[..]));
        assert_eq!(path("/v2/x"), Some(&b"/v2/x"[..]));
        for elsewhere in ["http://h:50001/v2/x", "http://h:5000", "https://h:5000/v2/x", "v2/x", "/v2/x y", ""] {
            assert_eq!(path(elsewhere), None, "{elsewhere}");
        }
    }
}
