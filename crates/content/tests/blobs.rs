//! Blobs and upload sessions.

mod support;

use std::pin::pin;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{Algorithm, Digest};
use polyarch_content::{ByteSource, ContentError, DeleteOptions, RepositoryId, Scope, UploadContent, UploadId};
use support::{assert_sound, broken_source, get, noise, open, put, repository, source};
use tokio::sync::oneshot;

const LARGE: usize = 1_300_000;

#[tokio::test]
async fn small_and_large_blobs_come_back_as_they_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for (seed, length) in [0, 1, 65_536, 65_537, 262_144, LARGE].into_iter().enumerate() {
        let bytes = noise(length, seed as u64 + 1);
        let digest = put(&store, &app, &bytes).await;
        assert_eq!(get(&store, &app, &digest).await.unwrap(), bytes, "{length}");
    }
    let store = open(directory.path()).await;
    assert_eq!(get(&store, &app, &Digest::sha256(b"")).await.unwrap(), Bytes::new());
    assert_sound(&store).await;
    let report = store.verify().await.unwrap();
    assert_eq!((report.blobs, report.leftovers.len()), (6, 0));
}

#[tokio::test]
async fn ranges_are_cut_to_the_blob() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for length in [1000, LARGE] {
        let bytes = noise(length, 7);
        let digest = put(&store, &app, &bytes).await;
        let blob = store.blob(&app, &digest).await.unwrap().unwrap();
        for range in [0..10, 500..1000, 999..5_000_000, 5_000_000..6_000_000, 300..300] {
            let mut read = Vec::new();
            let mut stream = store.read_blob(&blob, Some(range.clone())).await.unwrap();
            while let Some(chunk) = stream.next().await {
                read.extend_from_slice(&chunk.unwrap());
            }
            let want = &bytes[(range.start as usize).min(length)..(range.end as usize).min(length)];
            assert_eq!(read, want, "{range:?} of {length}");
        }
    }
}

/// The other half of a transfer failed, or somebody pressed Ctrl-C: the bytes so far used to stay on the disk.
#[tokio::test]
async fn a_blob_whose_writer_goes_away_in_the_middle_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let bytes = noise(LARGE, 3);
    let endless = || Box::pin(source(&bytes).chain(futures_util::stream::pending()));
    let digest = Digest::sha256(&bytes);
    let put = store.put_blob(&app, &digest, None, endless());
    let staged = || {
        let files = std::fs::read_dir(directory.path().join("uploads")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let mut seen = 0;
    tokio::select! {
        _ = put => panic!("the source has no end"),
        () = async {
            while seen == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                seen = staged();
            }
        } => {}
    }
    assert!(seen > 0);
    assert_eq!(staged(), 0);
    let digest = support::put(&store, &app, &bytes).await;
    assert_eq!(get(&store, &app, &digest).await.unwrap(), bytes);
}

#[tokio::test]
async fn wrong_digest_wrong_size_and_a_broken_source_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for length in [100, LARGE] {
        let bytes = noise(length, 3);
        let (right, wrong) = (Digest::sha256(&bytes), Digest::sha256(b"other"));
        let error = store.put_blob(&app, &wrong, None, source(&bytes)).await.unwrap_err();
        assert!(matches!(error, ContentError::DigestMismatch { .. }), "{error}");
        let error = store.put_blob(&app, &right, Some(5), source(&bytes)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{length} bytes came, expected 5"));
        let error = store.put_blob(&app, &right, None, broken_source(&bytes)).await.unwrap_err();
        assert_eq!(error.to_string(), "the bytes stopped coming: the line went dead");
        assert_eq!(store.blob(&app, &right).await.unwrap(), None);
    }
    let report = store.verify().await.unwrap();
    assert!(report.is_sound() && report.blobs == 0 && report.leftovers.is_empty(), "{report:?}");
}

#[tokio::test]
async fn an_upload_session_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for (first, second) in [(10, 20), (10, LARGE), (LARGE, 10), (LARGE, LARGE), (0, 0)] {
            let (one, two) = (noise(first, 1), noise(second, 2));
            let whole = Bytes::from([&one[..], &two[..]].concat());
            let digest = Digest::of(algorithm, &whole);
            let store = open(directory.path()).await;
            let id = store.start_upload(&app, None).await.unwrap().id;
            let upload = store.append_upload(&app, &id, Some(0), source(&one)).await.unwrap();
            assert_eq!(upload.offset, first as u64);
            drop(store);
            let store = open(directory.path()).await;
            assert_eq!(store.upload(&app, &id).await.unwrap().offset, first as u64);
            let blob = store.finish_upload(&app, &id, Some(first as u64), Some(source(&two)), &digest).await.unwrap();
            assert_eq!(blob.size, (first + second) as u64);
            assert_eq!(get(&store, &app, &digest).await.unwrap(), whole);
            let error = store.upload(&app, &id).await.unwrap_err();
            assert!(matches!(error, ContentError::UploadUnknown(_)));
        }
    }
    let report = open(directory.path()).await.verify().await.unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
}

#[tokio::test]
async fn bytes_for_another_place_are_refused_and_the_session_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for length in [100, LARGE] {
        let bytes = noise(length, 9);
        let digest = Digest::sha256(&bytes);
        let id = store.start_upload(&app, None).await.unwrap().id;
        store.append_upload(&app, &id, None, source(&bytes)).await.unwrap();
        for at in [0, length as u64 - 1, length as u64 + 1] {
            let error = store.append_upload(&app, &id, Some(at), source(&bytes)).await.unwrap_err();
            assert!(matches!(error, ContentError::WrongOffset { .. }), "{error}");
            let error = store.finish_upload(&app, &id, Some(at), Some(source(&bytes)), &digest).await.unwrap_err();
            assert!(matches!(error, ContentError::WrongOffset { .. }), "{error}");
        }
        store.finish_upload(&app, &id, None, None, &digest).await.unwrap();
    }
}

#[tokio::test]
async fn what_came_before_the_line_went_dead_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for length in [100, LARGE] {
        let bytes = noise(length, 4);
        let id = store.start_upload(&app, None).await.unwrap().id;
        let error = store.append_upload(&app, &id, None, broken_source(&bytes)).await.unwrap_err();
        assert!(matches!(error, ContentError::Source(_)), "{error}");
        assert_eq!(store.upload(&app, &id).await.unwrap().offset, length as u64);
        // Nothing came at all: that was no success.
        let error = store.append_upload(&app, &id, None, broken_source(&Bytes::new())).await.unwrap_err();
        assert!(matches!(error, ContentError::Source(_)), "{error}");
        let rest = noise(50, 5);
        let whole = Bytes::from([&bytes[..], &rest[..]].concat());
        store
            .finish_upload(&app, &id, Some(length as u64), Some(source(&rest)), &Digest::sha256(&whole))
            .await
            .unwrap();
    }
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_session_belongs_to_its_repository_and_can_be_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (app, other) = (repository("app"), repository("other"));
    for length in [100, LARGE] {
        let bytes = noise(length, 4);
        let id = store.start_upload(&app, None).await.unwrap().id;
        assert!(matches!(
            store.append_upload(&other, &id, None, source(&bytes)).await,
            Err(ContentError::UploadUnknown(_))
        ));
        assert!(!store.cancel_upload(&other, &id).await.unwrap());
        store.append_upload(&app, &id, None, source(&bytes)).await.unwrap();
        assert!(store.cancel_upload(&app, &id).await.unwrap());
        assert!(!store.cancel_upload(&app, &id).await.unwrap());
        assert!(matches!(store.upload(&app, &id).await, Err(ContentError::UploadUnknown(_))));
    }
    assert!(matches!(store.upload(&app, &UploadId::random().unwrap()).await, Err(ContentError::UploadUnknown(_))));
    assert!(store.verify().await.unwrap().leftovers.is_empty());
}

#[tokio::test]
async fn a_wrong_digest_ends_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for length in [100, LARGE] {
        let bytes = noise(length, 4);
        let id = store.start_upload(&app, None).await.unwrap().id;
        store.append_upload(&app, &id, None, source(&bytes)).await.unwrap();
        let error = store.finish_upload(&app, &id, None, None, &Digest::sha256(b"x")).await.unwrap_err();
        assert!(matches!(error, ContentError::DigestMismatch { .. }), "{error}");
        assert!(matches!(store.upload(&app, &id).await, Err(ContentError::UploadUnknown(_))));
    }
    assert!(store.verify().await.unwrap().leftovers.is_empty());
}

#[tokio::test]
async fn two_writers_of_one_session_do_not_mix_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (open(directory.path()).await, open(directory.path()).await);
    let app = repository("app");
    let id = one.start_upload(&app, None).await.unwrap().id;
    let (first, second) = (noise(LARGE, 1), noise(LARGE, 2));
    one.append_upload(&app, &id, None, source(&first)).await.unwrap();
    let (a, b) = tokio::join!(
        one.append_upload(&app, &id, Some(LARGE as u64), source(&second)),
        two.append_upload(&app, &id, Some(LARGE as u64), source(&second)),
    );
    let (good, bad) = if a.is_ok() { (a, b) } else { (b, a) };
    assert_eq!(good.unwrap().offset, 2 * LARGE as u64);
    assert!(matches!(bad, Err(ContentError::UploadBusy(_) | ContentError::WrongOffset { .. })), "{bad:?}");
    let whole = Bytes::from([&first[..], &second[..]].concat());
    two.finish_upload(&app, &id, None, None, &Digest::sha256(&whole)).await.unwrap();
    assert_sound(&one).await;
}

/// `bytes` once `begin` says so; `asked` is told that somebody waits for them.
fn held_back(bytes: &Bytes, asked: oneshot::Sender<()>, begin: oneshot::Receiver<()>) -> ByteSource {
    let bytes = bytes.clone();
    Box::pin(stream::once(async move {
        let _ = asked.send(());
        let _ = begin.await;
        Ok(bytes)
    }))
}

/// A request whose first byte came after those of a later one used to cut these off, and from another process it could
/// put its own in their place.
#[tokio::test]
async fn who_comes_late_to_a_session_changes_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let one = open(directory.path()).await;
    let app = repository("app");
    let other = noise(LARGE, 3);
    for (seed, (length, two)) in
        [(LARGE, open(directory.path()).await), (LARGE, one.clone()), (100, one.clone())].into_iter().enumerate()
    {
        for finishes in [false, true] {
            let (first, second) = (noise(length, 10 + seed as u64), noise(length, 20 + u64::from(finishes)));
            let whole = Bytes::from([&first[..], &second[..]].concat());
            let at = Some(length as u64);
            let id = one.start_upload(&app, None).await.unwrap().id;
            one.append_upload(&app, &id, None, source(&first)).await.unwrap();
            let (asked, waits) = oneshot::channel();
            let (begin, begun) = oneshot::channel();
            let held = held_back(&other.slice(..length), asked, begun);
            let mut late = pin!(async {
                if finishes {
                    let ends = stream::iter([Err("the line went dead".into())]);
                    let held: ByteSource = if length == LARGE { Box::pin(held.chain(ends)) } else { held };
                    two.finish_upload(&app, &id, at, Some(held), &Digest::sha256(b"x")).await.map(drop)
                } else {
                    two.append_upload(&app, &id, at, held).await.map(drop)
                }
            });
            tokio::select! {
                early = &mut late => panic!("it does not wait: {early:?}"),
                asked = waits => asked.unwrap(),
            }
            one.append_upload(&app, &id, at, source(&second)).await.unwrap();
            begin.send(()).unwrap();
            let error = late.await.unwrap_err();
            assert!(matches!(error, ContentError::WrongOffset { .. } | ContentError::UploadBusy(_)), "{error}");
            assert_eq!(one.upload(&app, &id).await.unwrap().offset, 2 * length as u64);
            let digest = Digest::sha256(&whole);
            one.finish_upload(&app, &id, None, None, &digest).await.unwrap();
            assert!(get(&one, &app, &digest).await.unwrap() == whole, "other bytes have the digest");
        }
    }
    assert_sound(&one).await;
    assert_eq!(one.verify().await.unwrap().leftovers, []);
}

/// What a request wrote and did not live to write down is not part of a session, and of its blob neither.
#[tokio::test]
async fn bytes_past_the_offset_of_a_session_do_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for (seed, rest) in [(1, 0), (2, 10), (3, LARGE)] {
        let (first, rest) = (noise(LARGE, seed), noise(rest, 4));
        let id = store.start_upload(&app, None).await.unwrap().id;
        let upload = store.append_upload(&app, &id, None, source(&first)).await.unwrap();
        let UploadContent::Staged(stage) = upload.content else { panic!("{upload:?}") };
        let path = directory.path().join("uploads").join(stage.as_str());
        std::fs::write(path, [&first[..], &noise(1000, 5)].concat()).unwrap();
        assert_eq!(
            store.append_upload(&app, &id, None, source(&rest)).await.unwrap().offset,
            (LARGE + rest.len()) as u64
        );
        let digest = Digest::sha256(&[&first[..], &rest[..]].concat());
        store.finish_upload(&app, &id, None, None, &digest).await.unwrap();
    }
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_session_whose_bytes_a_power_cut_took_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    let id = store.start_upload(&app, None).await.unwrap().id;
    let upload = store.append_upload(&app, &id, None, source(&noise(LARGE, 1))).await.unwrap();
    let UploadContent::Staged(stage) = upload.content else { panic!("{upload:?}") };
    let file = std::fs::OpenOptions::new().write(true).open(directory.path().join("uploads").join(stage.as_str()));
    file.unwrap().set_len(1000).unwrap();
    let error = store.append_upload(&app, &id, None, source(&noise(10, 1))).await.unwrap_err();
    assert!(matches!(error, ContentError::UploadUnknown(_)), "{error}");
    assert!(store.verify().await.unwrap().leftovers.is_empty());
}

#[tokio::test]
async fn repositories_share_bytes_but_not_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (app, other) = (repository("app"), repository("other"));
    let local = RepositoryId::local("docker.io".parse().unwrap(), "library/app".parse().unwrap());
    for length in [100, LARGE] {
        let bytes = noise(length, 6);
        let digest = put(&store, &app, &bytes).await;
        assert_eq!(get(&store, &other, &digest).await, None);
        assert_eq!(store.mount_blob(&other, &digest, &local).await.unwrap(), None);
        assert!(store.mount_blob(&local, &digest, &app).await.unwrap().is_some());
        assert!(store.mount_blob(&other, &digest, &local).await.unwrap().is_some());
        let mut holders = store.holders(Scope::Served, &digest, 10).await.unwrap();
        holders.sort();
        assert_eq!(holders, [app.clone(), other.clone()]);
        assert_eq!(store.holders(Scope::Local, &digest, 10).await.unwrap(), std::slice::from_ref(&local));
        assert!(store.delete_blob(&app, &digest, DeleteOptions::careful()).await.unwrap());
        assert!(!store.delete_blob(&app, &digest, DeleteOptions::careful()).await.unwrap());
        assert_eq!(get(&store, &app, &digest).await, None);
        assert_eq!(get(&store, &other, &digest).await.unwrap(), bytes);
    }
    assert_sound(&store).await;
}
