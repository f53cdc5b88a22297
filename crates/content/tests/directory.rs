//! The data directory: who may read it, which versions of it are understood, what is cleared away.

mod support;

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, SystemTime};

use image::Digest;
use polyarch_content::disk::DiskBlobStore;
use polyarch_content::{
    BlobContent, BlobStore, ContentError, ContentStore, DeleteOptions, LeftoverKind, Options, Problem, UploadContent,
};
use support::{assert_sound, get, is_whole, noise, open, push, put, repository, source, tag};

const LARGE: usize = 200_000;

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("deep/data");
    let store = open(&root).await;
    push(&store, &repository("app"), Some("v1"), LARGE, 1).await;
    let mut open_directories = vec![root];
    while let Some(path) = open_directories.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            if entry.file_type().unwrap().is_dir() {
                assert_eq!(mode, 0o700, "{:?}", entry.path());
                open_directories.push(entry.path());
            } else {
                assert_eq!(mode, 0o600, "{:?}", entry.path());
            }
        }
    }
}

#[tokio::test]
async fn a_blob_is_a_file_named_by_its_digest() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let bytes = noise(LARGE, 1);
    let digest = put(&store, &repository("app"), &bytes).await;
    let path = directory.path().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    assert_eq!(fs::read(path).unwrap(), bytes);
}

#[tokio::test]
async fn a_later_schema_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await);
    let database = directory.path().join("metadata.sqlite3");
    rusqlite::Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = ContentStore::open(directory.path(), Options::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("has metadata of version 99, but this program knows versions up to 4"), "{text}");
    assert!(text.contains("use the program that wrote it, or a later one"), "{text}");
}

#[tokio::test]
async fn a_server_of_an_earlier_version_may_go_on_while_a_later_program_opens_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    let image = push(&store, &app, Some("v1"), 10, 1).await;
    // As version 3 wrote edges.
    let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    database
        .execute_batch("CREATE TABLE old AS SELECT document, blob FROM blob_edges; DELETE FROM blob_edges")
        .unwrap();
    let edges =
        database.execute("INSERT OR IGNORE INTO blob_edges (document, blob) SELECT document, blob FROM old", []);
    assert_eq!(edges.unwrap(), 2);
    let error = store.delete_blob(&app, &image.children()[1].digest, DeleteOptions::careful()).await.unwrap_err();
    assert!(matches!(error, ContentError::StillReferenced { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_data_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = ContentStore::open(&file, Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("failed to open the data directory `"), "{error}");
    fs::write(directory.path().join("metadata.sqlite3"), "this is not a database, not at all, by no means").unwrap();
    let error = ContentStore::open(directory.path(), Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("metadata.sqlite3"), "{error}");
}

#[tokio::test]
async fn many_processes_may_make_it_at_once() {
    // Who changes the database to a write-ahead log meets the others at a different step each time.
    for _ in 0..100 {
        let directory = tempfile::tempdir().unwrap();
        let opening = (0..8).map(|_| ContentStore::open(directory.path(), Options::default()));
        for store in futures_util::future::join_all(opening).await {
            store.unwrap();
        }
    }
}

#[tokio::test]
async fn leftovers_go_when_they_are_old_and_nobody_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let uploads = directory.path().join("uploads");
    let store = open(directory.path()).await;
    let app = repository("app");
    let begin = async |seed| {
        let id = store.start_upload(&app, None).await.unwrap().id;
        let upload = store.append_upload(&app, &id, None, source(&noise(LARGE, seed))).await.unwrap();
        let UploadContent::Staged(stage) = upload.content else { panic!("{upload:?}") };
        (id, uploads.join(stage.as_str()))
    };
    let (_, expired) = begin(1).await;
    let (fresh_id, fresh) = begin(2).await;
    let orphan = uploads.join("00000000-0000-4000-8000-000000000001");
    let locked = uploads.join("00000000-0000-4000-8000-000000000002");
    let young = uploads.join("00000000-0000-4000-8000-000000000003");
    let foreign = uploads.join("README");
    for path in [&orphan, &locked, &young, &foreign] {
        fs::write(path, "left over").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    for path in [&expired, &fresh, &orphan, &locked, &foreign] {
        OpenOptions::new().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let writer = OpenOptions::new().write(true).open(&locked).unwrap();
    writer.lock().unwrap();
    drop(store);
    let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    let stage = expired.file_name().unwrap().to_str().unwrap();
    database.execute("UPDATE uploads SET updated_at = 1000 WHERE stage = ?1", [stage]).unwrap();
    drop(database);

    let store = open(directory.path()).await;
    for (path, stays) in
        [(&expired, false), (&orphan, false), (&fresh, true), (&locked, true), (&young, true), (&foreign, true)]
    {
        assert_eq!(path.exists(), stays, "{path:?} of {:?}", files(&uploads));
    }
    assert_eq!(store.upload(&app, &fresh_id).await.unwrap().offset, LARGE as u64);
    let mut leftovers: Vec<_> = store.verify().await.unwrap().leftovers.into_iter().map(|item| item.name).collect();
    leftovers.sort();
    // Not the one that is locked: somebody writes to it.
    let names = [&young, &foreign].map(|path| format!("uploads/{}", path.file_name().unwrap().to_str().unwrap()));
    assert_eq!(leftovers, names);
}

#[tokio::test]
async fn stages_made_ahead_of_need_go_with_their_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    put(&store, &repository("app"), &noise(LARGE, 1)).await;
    assert!(!files(&directory.path().join("uploads")).is_empty());
    drop(store);
    assert_eq!(files(&directory.path().join("uploads")), Vec::<String>::new());
}

#[tokio::test]
async fn a_rename_that_a_power_cut_undid_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    let bytes = noise(LARGE, 1);
    let digest = put(&store, &app, &bytes).await;
    let blob = store.blob(&app, &digest).await.unwrap().unwrap();
    let BlobContent::Stored(placement) = &blob.content else { panic!("{blob:?}") };
    let staged = directory.path().join("uploads").join(&**placement.0.as_ref().unwrap());
    let named = directory.path().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    fs::rename(&named, &staged).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    OpenOptions::new().write(true).open(&staged).unwrap().set_modified(long_ago).unwrap();
    drop(store);
    // It is old and nobody writes to it, but it is no leftover.
    let store = open(directory.path()).await;
    assert!(staged.exists());
    assert_eq!(get(&store, &app, &digest).await.unwrap(), bytes);
    assert!(named.exists() && !staged.exists());
    let report = store.verify().await.unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
}

#[tokio::test]
async fn settling_makes_names_durable_and_gives_back_what_was_undone() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    let digest = put(&store, &app, &noise(LARGE, 1)).await;
    let blob = store.blob(&app, &digest).await.unwrap().unwrap();
    let BlobContent::Stored(placement) = &blob.content else { panic!("{blob:?}") };
    let staged = directory.path().join("uploads").join(&**placement.0.as_ref().unwrap());
    let named = directory.path().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    fs::rename(&named, &staged).unwrap();
    DiskBlobStore::open(directory.path()).unwrap().settle(&[blob]).await.unwrap();
    assert!(named.exists() && !staged.exists());
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_check_finds_what_is_damaged_and_a_push_mends_it() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    let image = push(&store, &app, Some("v1"), LARGE, 1).await;
    let layer = image.manifest().unwrap().layers[0].digest.clone();
    let path = directory.path().join("blobs/sha256").join(&layer.hex()[..2]).join(layer.hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let problems = store.verify().await.unwrap().problems;
    let actual = Digest::sha256(&bytes);
    assert_eq!(problems, [Problem::BlobDamaged { digest: layer.clone(), actual, size: LARGE as u64 }]);
    fs::remove_file(&path).unwrap();
    let problems = store.verify().await.unwrap().problems;
    assert_eq!(problems, [Problem::BlobMissing { digest: layer.clone() }]);
    let blob = store.blob(&app, &layer).await.unwrap().unwrap();
    let error = store.read_blob(&blob, None).await.err().unwrap();
    assert!(error.to_string().starts_with(&format!("blob `{layer}` is recorded but its bytes are not there")));
    push(&store, &app, Some("v1"), LARGE, 1).await;
    assert_sound(&store).await;
    assert!(is_whole(&store, &app, &tag("v1").into()).await);
}

#[tokio::test]
async fn a_blob_that_no_row_speaks_of_is_a_leftover_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    push(&store, &app, Some("v1"), LARGE, 1).await;
    let digest = Digest::sha256(b"x");
    let shard = directory.path().join("blobs/sha256").join(&digest.hex()[..2]);
    fs::create_dir_all(&shard).unwrap();
    fs::write(shard.join(digest.hex()), "x").unwrap();
    let report = store.verify().await.unwrap();
    assert!(report.is_sound());
    assert_eq!(report.leftovers.into_iter().map(|item| item.kind).collect::<Vec<_>>(), [LeftoverKind::Blob(digest)]);
}
