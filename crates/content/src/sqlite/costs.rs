//! What a request asks of the database costs the same however much there is: SQLite's own steps are counted.
//!
//! These cost more with more of one thing, and are not here: a pull as of an instant and a restore, with the moves of that
//! tag since; a list of referrers of one type, with those of other types to the same subject; a catalogue, with repositories
//! that are empty; the count of upload sessions, with those. What a collection looks at comes in steps of a bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use image::{Algorithm, Digest, Document, MediaType, RepositoryName, Tag};
use rusqlite::Connection;

use super::connections::connect;
use super::failure::Failure;
use super::{blobs, documents, garbage, history, listing, schema, uploads};
use crate::metadata_store::{BlobContent, BlobRecord, DeleteOptions, PutOptions, TagCondition};
use crate::{ContentError, RepositoryId, Scope, UploadId};

const FEW: usize = 20;
const MANY: usize = 1000;
/// Less than there are few of anything.
const PAGE: usize = 10;

fn repository(name: &str) -> RepositoryId {
    RepositoryId::served(RepositoryName::parse(name).unwrap())
}

fn tag(name: &str) -> Tag {
    Tag::parse(name).unwrap()
}

/// An upload session of a repository.
fn upload(name: &str) -> UploadId {
    UploadId::parse(&format!("00000000-0000-4000-8000-{:0>12x}", name.len() + usize::from(name.as_bytes()[0]))).unwrap()
}

/// A blob that all images share, as they do an empty config.
fn shared() -> BlobRecord {
    blob("{}")
}

fn blob(text: &'static str) -> BlobRecord {
    let content = BlobContent::Inline(text.as_bytes().into());
    BlobRecord { digest: Digest::sha256(text.as_bytes()), size: text.len() as u64, content }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

fn document(media_type: &'static str, text: String) -> Document {
    Document::new(Some(&MediaType::new(media_type)), text).unwrap()
}

fn manifest(number: usize, subject: Option<&Document>) -> Document {
    let config = descriptor(MediaType::OCI_CONFIG, &shared().digest, shared().size);
    let subject = subject.map_or_else(String::new, |subject| {
        format!(r#""subject":{},"#, descriptor(MediaType::OCI_MANIFEST, subject.digest(), subject.size()))
    });
    let text = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[],{subject}"annotations":{{"number":"{number}"}}}}"#
    );
    document(MediaType::OCI_MANIFEST, text)
}

fn index(number: usize, child: &Document) -> Document {
    let child = descriptor(MediaType::OCI_MANIFEST, child.digest(), child.size());
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{child}],"annotations":{{"number":"{number}"}}}}"#);
    document(MediaType::OCI_INDEX, text)
}

/// A database, and how many steps it made so far.
struct Counted {
    connection: Connection,
    _directory: tempfile::TempDir,
    steps: Arc<AtomicU64>,
}

impl Counted {
    /// A busy repository with `many` of everything that a repository can have, a calm one with one of each, and `many`
    /// others that share a blob with both.
    fn with(many: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = connect(&directory.path().join("metadata.sqlite3"), Duration::ZERO).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        schema::migrate(&mut connection).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        for (name, many) in [("busy", many), ("calm", 1)] {
            Self::fill(&connection, &repository(name), many);
        }
        for number in 0..many {
            let other = repository(&format!("other/{number}"));
            blobs::add(&connection, &other, &shared(), None).unwrap();
            documents::put(&connection, &other, &manifest(number, None), &PutOptions::default(), None).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        connection.progress_handler(1, Some(count)).unwrap();
        Self { connection, _directory: directory, steps }
    }

    fn fill(connection: &Connection, repository: &RepositoryId, many: usize) {
        for blob in [shared(), blob("unused")] {
            blobs::add(connection, repository, &blob, None).unwrap();
        }
        let put = |document: &Document, name: &str| {
            documents::put(connection, repository, document, &PutOptions::tagged(Some(&tag(name))), None).unwrap();
        };
        let first = manifest(0, None);
        for number in 0..many {
            let image = manifest(number, None);
            put(&image, &format!("v{number}"));
            // An index of its own, a referrer to the first, a move of one tag, a tag to one image.
            put(&index(number, &image), &format!("index{number}"));
            put(&manifest(number, Some(&first)), &format!("referrer{number}"));
            put(&image, "moving");
            put(&index(0, &first), &format!("first-index{number}"));
            documents::tag(connection, repository, first.digest(), &tag(&format!("first{number}")), None).unwrap();
            uploads::start(connection, repository, &UploadId::random().unwrap(), Algorithm::Sha256).unwrap();
        }
        uploads::start(connection, repository, &upload(repository.name.as_str()), Algorithm::Sha256).unwrap();
        // An image without anything that leads to it.
        documents::put(connection, repository, &manifest(many, None), &PutOptions::default(), None).unwrap();
    }

    /// The steps of an operation, which is undone afterwards.
    fn steps<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Failure>) -> u64 {
        self.connection.execute_batch("SAVEPOINT measured").unwrap();
        let before = self.steps.load(Ordering::Relaxed);
        match operation(&self.connection) {
            Ok(_) | Err(Failure::Content(ContentError::StillReferenced { .. })) => {}
            Err(failure) => panic!("{failure:?}"),
        }
        let steps = self.steps.load(Ordering::Relaxed) - before;
        self.connection.execute_batch("ROLLBACK TO measured; RELEASE measured").unwrap();
        steps
    }

    /// What requests do in a repository; `last` is the number of its image that nothing leads to.
    fn costs(&self, name: &str, last: usize) -> Vec<(String, u64)> {
        let repository = repository(name);
        let (free, tagged, fresh) = (manifest(last, None), manifest(last - 1, None), manifest(last + 1, None));
        let (begun, careful) = (upload(name), DeleteOptions::careful());
        let mut costs = Vec::new();
        let mut note = |what: &str, steps: u64| costs.push((format!("{what} in {name}"), steps));
        macro_rules! cost {
            ($what:literal, $connection:ident => $operation:expr) => {
                note($what, self.steps(|$connection| $operation))
            };
        }
        cost!("pull by tag", c => documents::document(c, &repository, &tag("v0").into()));
        cost!("pull by digest", c => documents::document(c, &repository, &free.digest().clone().into()));
        cost!("resolve a tag", c => documents::resolve(c, &repository, &tag("v0").into()));
        cost!("push", c => documents::put(c, &repository, &fresh, &PutOptions::tagged(Some(&tag("new"))), None));
        cost!("push again", c => documents::put(c, &repository, &tagged, &PutOptions::tagged(Some(&tag("v0"))), None));
        cost!("push an index", c => documents::put(c, &repository, &index(last, &free), &PutOptions::default(), None));
        cost!("push a referrer", c => {
            documents::put(c, &repository, &manifest(last, Some(&free)), &PutOptions::default(), None)
        });
        cost!("move a tag", c => documents::tag(c, &repository, free.digest(), &tag("v0"), None));
        cost!("delete an image", c => documents::delete(c, &repository, free.digest(), careful, None));
        cost!("refuse to delete", c => documents::delete(c, &repository, tagged.digest(), careful, None));
        cost!("refuse to delete what has many tags above", c => {
            documents::delete(c, &repository, manifest(0, None).digest(), careful, None)
        });
        cost!("delete a tag", c => {
            documents::delete_tag(c, &repository, &tag("v0"), &TagCondition::default(), None)
        });
        cost!("history", c => history::list(c, &repository, &tag("moving"), None, PAGE.min(last)));
        cost!("end of a history", c => history::list(c, &repository, &tag("moving"), Some(2), PAGE));
        cost!("tag at an instant", c => history::at(c, &repository, &tag("moving"), i64::MAX));
        cost!("list tags", c => listing::tags(c, &repository, None, PAGE));
        cost!("list repositories", c => listing::repositories(c, Scope::Served, None, PAGE));
        cost!("list referrers", c => {
            listing::referrers(c, &repository, manifest(0, None).digest(), None, None, PAGE)
        });
        cost!("look a blob up", c => blobs::blob(c, &repository, &shared().digest));
        cost!("push a blob", c => blobs::add(c, &repository, &blob("new"), None));
        cost!("push a blob again", c => blobs::add(c, &repository, &shared(), None));
        cost!("mount", c => blobs::mount(c, &self::repository("third"), &shared().digest, &repository));
        cost!("who holds a blob", c => blobs::holders(c, Scope::Served, &shared().digest, PAGE));
        cost!("delete a blob", c => blobs::delete(c, &repository, &blob("unused").digest, careful));
        cost!("refuse to delete a blob", c => blobs::delete(c, &repository, &shared().digest, careful));
        cost!("keep an image", c => garbage::rescue_document(c, &repository, free.digest()));
        cost!("keep a blob", c => garbage::rescue_blob(c, &repository, &shared().digest));
        cost!("begin an upload", c => uploads::start(c, &repository, &UploadId::random()?, Algorithm::Sha256));
        cost!("find an upload", c => uploads::find(c, &repository, &begun));
        cost!("end an upload", c => uploads::end(c, &repository, &begun));
        cost!("look for old uploads", c => uploads::any_older(c, 0));
        costs
    }
}

#[test]
fn a_request_costs_the_same_however_much_there_is() {
    let (few, many) = (Counted::with(FEW), Counted::with(MANY));
    for (name, last_of_few, last_of_many) in [("busy", FEW, MANY), ("calm", 1, 1)] {
        let costs = few.costs(name, last_of_few).into_iter().zip(many.costs(name, last_of_many));
        for ((what, few), (_, many)) in costs {
            assert!(few > 0, "{what}: nothing was counted");
            assert!(many <= few + few / 10, "{what}: {many} steps among {MANY}, {few} among {FEW}");
        }
    }
}
