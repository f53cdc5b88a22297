//! Clients and two collections at once, step by step in an order that a seed decides: nothing that a tag needs is lost,
//! nothing is half there.
//!
//! The races that every registry must survive, and who runs them here:
//!
//! | race | in the model |
//! |---|---|
//! | a manifest is pushed while a sweep deletes its blob | every push; layers are shared, collected at once |
//! | a blob is said to be there, then swept, then a manifest names it | [`How::Head`] |
//! | a mount during a sweep | [`How::Mount`] |
//! | an index is pushed long after its children | [`Operation::Index`]: its children have no tag until then |
//! | a tag goes while an index names its document | [`Operation::Index`] tags and untags a child |
//! | a subject comes after its referrer | [`Operation::Refer`] |
//! | two processes sweep | two stores, each with its own connection and blob store |
//! | clocks that disagree | ages jump before some rounds |
//!
//! Deep and shared indexes are in `tests/garbage.rs`, a push between any two steps of a removal in `tests/claims.rs`. `CONTENT_TEST_INTERLEAVINGS=100000` runs so many rounds,
//! from the seed `CONTENT_TEST_SEED` on.

#[path = "support/scheduler.rs"]
mod scheduler;
#[allow(dead_code)] // its faults are for another test
#[path = "support/simulated.rs"]
mod simulated;
mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use image::{Digest, Document, MediaType, Tag};
use polyarch_content::disk::{Disk, DiskBlobStore};
use polyarch_content::sqlite::SqliteMetadataStore;
use polyarch_content::{ContentError, ContentStore, DeleteOptions, GcOptions, Options, PutOptions, RepositoryId};
use scheduler::{Random, Task, run};
use simulated::Simulated;
use support::{descriptor, index, manifest, noise, put, repository, tag};

/// Rounds that run unless more are asked for.
const ROUNDS: u64 = 2_000;
const CLIENTS: usize = 3;

/// How a client sees to it that a blob is there.
#[derive(Clone, Copy, Debug)]
enum How {
    Upload,
    Head,
    Mount,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Push(How),
    Index(How),
    Refer(How),
    /// An image that nobody tags.
    Litter(How),
    Untag,
    Delete,
}

/// One client: its own images over layers that it shares with all others, and one tag.
struct Client {
    number: usize,
    repository: RepositoryId,
    other: RepositoryId,
    tag: Tag,
    config: Bytes,
    images: Vec<(Document, Vec<Bytes>)>,
    referrer: Document,
}

impl Client {
    fn new(number: usize) -> Self {
        let name = |number: usize| repository(["app", "web"][number % 2]);
        let config = Bytes::from(format!(r#"{{"client":{number}}}"#));
        // Two in files, one in the metadata.
        let layers = [noise(300, 1), noise(400, 2), noise(20, 3)];
        let images = [(0, 1), (1, 2), (2, 0)].map(|(first, second)| {
            let layers = [&layers[first], &layers[second]];
            let blobs = vec![layers[0].clone(), config.clone(), layers[1].clone()];
            (manifest(&config, &layers), blobs)
        });
        Self {
            number,
            repository: name(number),
            other: name(number + 1),
            tag: tag(&format!("t{number}")),
            referrer: referrer(&config, &images[0].0),
            config,
            images: images.into(),
        }
    }

    async fn blob(&self, store: &ContentStore, how: How, bytes: &Bytes) -> Result<(), ContentError> {
        let digest = Digest::sha256(bytes);
        let there = match how {
            How::Upload => false,
            How::Head => store.blob(&self.repository, &digest).await?.is_some(),
            How::Mount => store.mount_blob(&self.repository, &digest, &self.other).await?.is_some(),
        };
        if !there {
            put(store, &self.repository, bytes).await;
        }
        Ok(())
    }

    /// Pushes as clients do. What a collection took in between, it may push again, unless young things are kept.
    async fn push(
        &self,
        store: &ContentStore,
        how: How,
        image: usize,
        tag: Option<&Tag>,
        kept: bool,
    ) -> Result<Digest, String> {
        let (document, blobs) = &self.images[image];
        loop {
            for bytes in blobs {
                self.blob(store, how, bytes).await.map_err(|error| error.to_string())?;
            }
            match store.put_document(&self.repository, document, &PutOptions::tagged(tag)).await {
                Ok(_) => return Ok(document.digest().clone()),
                Err(ContentError::References(_)) if !kept => {}
                Err(error) => return Err(format!("client {} could not push: {error}", self.number)),
            }
        }
    }

    /// Runs an operation, and returns where its tag must point then.
    async fn run(
        &self,
        store: &ContentStore,
        operation: Operation,
        before: Option<Digest>,
        kept: bool,
    ) -> Result<Option<Digest>, String> {
        let text = |error: ContentError| error.to_string();
        match operation {
            Operation::Push(how) => Ok(Some(self.push(store, how, self.number % 3, Some(&self.tag), kept).await?)),
            Operation::Litter(how) => {
                self.push(store, how, 2, None, kept).await?;
                Ok(before)
            }
            Operation::Index(how) => loop {
                let helper = tag(&format!("child{}", self.number));
                self.push(store, how, 0, None, kept).await?;
                self.push(store, how, 1, Some(&helper), kept).await?;
                let list = index(&[&self.images[0].0, &self.images[1].0]);
                let put = store.put_document(&self.repository, &list, &PutOptions::tagged(Some(&self.tag))).await;
                store.delete_tag(&self.repository, &helper).await.map_err(text)?;
                match put {
                    Ok(_) => return Ok(Some(list.digest().clone())),
                    Err(ContentError::References(_)) if !kept => {}
                    Err(error) => return Err(format!("client {} could not push an index: {error}", self.number)),
                }
            },
            Operation::Refer(how) => loop {
                let referrer = &self.referrer;
                self.blob(store, how, &self.config).await.map_err(text)?;
                let early = store.put_document(&self.repository, referrer, &PutOptions::default()).await;
                let subject = self.push(store, how, 0, Some(&self.tag), kept).await?;
                let page = store.referrers(&self.repository, &subject, None, None, 9).await.map_err(text)?;
                match (early, page.items.iter().any(|item| item.digest == *referrer.digest())) {
                    (Ok(_), true) => return Ok(Some(subject)),
                    (Ok(_) | Err(ContentError::References(_)), _) if !kept => {}
                    (early, there) => return Err(format!("a referrer: {early:?}, there: {there}")),
                }
            },
            Operation::Untag => {
                store.delete_tag(&self.repository, &self.tag).await.map_err(text)?;
                Ok(None)
            }
            Operation::Delete => {
                let Some(digest) = before else { return Ok(None) };
                store.delete_document(&self.repository, &digest, DeleteOptions::careful()).await.map_err(text)?;
                Ok(None)
            }
        }
    }
}

fn referrer(config: &Bytes, subject: &Document) -> Document {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[],"subject":{}}}"#,
        MediaType::OCI_MANIFEST,
        descriptor(MediaType::OCI_CONFIG, config),
        serde_json::to_string(&subject.descriptor()).unwrap()
    );
    Document::new(None, text.into_bytes()).unwrap()
}

/// Where a client's tag must point, and whether its image must have its referrer.
#[derive(Clone, Default)]
struct Expected {
    tag: Option<Digest>,
    referrer: bool,
}

struct World {
    disk: Simulated,
    database: rusqlite::Connection,
    _directory: tempfile::TempDir,
    stores: [ContentStore; 2],
    clients: Vec<Client>,
    expected: Vec<Expected>,
}

impl World {
    fn new(disk: &Simulated) -> Self {
        // Nothing here is about durability: memory is faster, where there is a file system in it.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = || {
            let blobs = DiskBlobStore::over(Path::new("/data"), Arc::new(disk.clone())).unwrap();
            let database = directory.path().join("metadata.sqlite3");
            let metadata = SqliteMetadataStore::open(&database, Duration::from_secs(5)).unwrap();
            let mut options = Options::default();
            options.inline_limit = 64;
            ContentStore::over(Arc::new(blobs), Arc::new(metadata), options)
        };
        let stores = [store(), store()];
        let clients = (0..CLIENTS).map(Client::new).collect();
        let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
        let expected = vec![Expected::default(); CLIENTS];
        Self { disk: disk.clone(), database, _directory: directory, stores, clients, expected }
    }

    /// All that is there looks older or younger by up to a day.
    fn jump(&self, random: &mut Random) {
        let by = i64::try_from(random.below(172_800_000)).unwrap() - 86_400_000;
        for statement in [
            "UPDATE documents SET referenced_at = referenced_at + ?1",
            "UPDATE repository_blobs SET added_at = added_at + ?1",
            "UPDATE condemned_documents SET condemned_at = condemned_at + ?1",
            "UPDATE condemned_blobs SET condemned_at = condemned_at + ?1",
        ] {
            self.database.execute(statement, [by]).unwrap();
        }
    }

    /// One interleaving. Returns its order.
    fn round(&mut self, seed: u64) -> Result<u64, String> {
        let mut random = Random::new(seed);
        // In some rounds what is young is kept: then a client never has to push anything twice.
        let kept = random.below(4) == 0;
        if !kept && random.below(16) == 0 {
            self.jump(&mut random);
        }
        let mut options = GcOptions::default();
        options.batch = 1 + random.below(3);
        options.sweep_after = Duration::ZERO;
        if !kept {
            options.keep_untagged = Duration::ZERO;
            options.keep_unused_blobs = Duration::ZERO;
            options.keep_history = Duration::ZERO;
        }
        let how = |random: &mut Random| [How::Upload, How::Head, How::Mount][random.below(3)];
        let operations: Vec<_> = (0..CLIENTS)
            .map(|_| match random.below(8) {
                0 | 1 => Operation::Push(how(&mut random)),
                2 => Operation::Index(how(&mut random)),
                3 => Operation::Refer(how(&mut random)),
                4 => Operation::Litter(how(&mut random)),
                5 => Operation::Delete,
                _ => Operation::Untag,
            })
            .collect();
        let (stores, clients, options) = (&self.stores, &self.clients, &options);
        let mut ends = vec![None; CLIENTS];
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for (((client, operation), expected), end) in clients.iter().zip(&operations).zip(&self.expected).zip(&mut ends)
        {
            tasks.push(Box::pin(async move {
                let store = &stores[client.number % 2];
                *end = Some(client.run(store, *operation, expected.tag.clone(), kept).await?);
                Ok(())
            }));
        }
        for store in stores {
            tasks.push(Box::pin(async move {
                store.collect_garbage(options).await.map(drop).map_err(|error| error.to_string())
            }));
        }
        let ran = run(tasks, &mut random);
        let what = format!("seed {seed}, kept {kept}, {operations:?}");
        ran.result.map_err(|error| format!("{error} ({what})"))?;
        for ((expected, end), operation) in self.expected.iter_mut().zip(ends).zip(&operations) {
            let tag = end.flatten();
            let same = tag == expected.tag;
            expected.referrer = matches!(operation, Operation::Refer(_)) || (expected.referrer && same);
            expected.tag = tag;
        }
        self.check(seed).map_err(|error| format!("{error} ({what})"))?;
        Ok(ran.order)
    }

    /// Looks at all that is there, past the store: it would rescue what it is asked for.
    fn check(&self, seed: u64) -> Result<(), String> {
        for (client, expected) in self.clients.iter().zip(&self.expected) {
            let found = self.texts(
                "SELECT d.digest FROM tags t JOIN documents d ON d.id = t.document
                 JOIN repositories r ON r.id = t.repository WHERE r.name = ?1 AND t.name = ?2",
                &[client.repository.name.as_str(), client.tag.as_str()],
            );
            let wanted: Vec<_> = expected.tag.iter().map(|digest| digest.as_str().to_owned()).collect();
            if found != wanted {
                return Err(format!("tag `{}` points to {found:?} and not to {wanted:?}", client.tag));
            }
            let referrer = self.texts(
                "SELECT d.digest FROM documents d JOIN repositories r ON r.id = d.repository
                 WHERE r.name = ?1 AND d.digest = ?2",
                &[client.repository.name.as_str(), client.referrer.digest().as_str()],
            );
            if expected.referrer && referrer.is_empty() {
                return Err(format!("the referrer of tag `{}` is lost", client.tag));
            }
        }
        let broken = self.texts(
            "SELECT d.digest || ' needs ' || e.blob FROM blob_edges e JOIN documents d ON d.id = e.document
             WHERE NOT EXISTS (SELECT 1 FROM repository_blobs h WHERE h.repository = d.repository AND h.blob = e.blob)
             UNION ALL
             SELECT d.digest || ' needs ' || e.child FROM child_edges e JOIN documents d ON d.id = e.parent
             WHERE EXISTS (SELECT 1 FROM tags t WHERE t.document = d.id)
             AND NOT EXISTS (SELECT 1 FROM documents c WHERE c.repository = d.repository AND c.digest = e.child)",
            &[],
        );
        if !broken.is_empty() {
            return Err(format!("lost: {broken:?}"));
        }
        for digest in self.texts("SELECT digest FROM blobs WHERE bytes IS NULL", &[]) {
            let hex = digest.trim_start_matches("sha256:");
            let path = Path::new("/data/blobs/sha256").join(&hex[..2]).join(hex);
            if self.disk.open_to_read(&path).is_err() {
                return Err(format!("the bytes of `{digest}` are lost"));
            }
        }
        if seed.is_multiple_of(256) {
            let runtime = tokio::runtime::Handle::current();
            let report = runtime.block_on(self.stores[0].verify()).map_err(|error| error.to_string())?;
            if !report.is_sound() {
                return Err(format!("{:?}", report.problems));
            }
        }
        Ok(())
    }

    fn texts(&self, query: &str, values: &[&str]) -> Vec<String> {
        let mut statement = self.database.prepare_cached(query).unwrap();
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

/// A number that whoever runs the test gave.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_order_of_steps_loses_anything() {
    let rounds = given("CONTENT_TEST_INTERLEAVINGS").unwrap_or(ROUNDS);
    let first = given("CONTENT_TEST_SEED").unwrap_or(0);
    let halves: Vec<_> = [first..first + rounds / 2, first + rounds / 2..first + rounds]
        .into_iter()
        .map(|seeds| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
                let _inside = runtime.enter();
                let mut world = World::new(&Simulated::default());
                seeds.map(|seed| world.round(seed).unwrap_or_else(|error| panic!("{error}"))).collect::<HashSet<_>>()
            })
        })
        .collect();
    let orders: HashSet<_> = halves.into_iter().flat_map(|half| half.join().unwrap()).collect();
    assert!(orders.len() as u64 > rounds * 9 / 10, "only {} different orders in {rounds} rounds", orders.len());
}
