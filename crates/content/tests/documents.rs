//! Documents, tags, edges and listings.

mod support;

use std::time::Duration;

use bytes::Bytes;
use image::{Digest, Document, MediaType, Target};
use polyarch_content::{
    ContentError, DeleteOptions, GcOptions, PutOptions, ReferencePolicy, ReferenceReason, RepositoryId, Scope,
    TagCondition,
};
use support::{assert_sound, descriptor, get, index, is_whole, manifest, noise, open, push, put, repository, tag};

#[tokio::test]
async fn a_document_comes_back_to_the_letter() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let image = push(&store, &app, Some("v1"), 100, 1).await;
    for target in [Target::from(tag("v1")), Target::from(image.digest().clone())] {
        let stored = store.document(&app, &target).await.unwrap().unwrap();
        assert_eq!(&stored.bytes, image.bytes());
        assert_eq!(&stored.digest, image.digest());
        assert_eq!(stored.media_type.as_str(), MediaType::OCI_MANIFEST);
        assert_eq!(stored.to_document().unwrap().digest(), image.digest());
        let record = store.resolve(&app, &target).await.unwrap().unwrap();
        assert_eq!((record.digest, record.size), (image.digest().clone(), image.size()));
    }
    for (repository, target) in [
        (repository("other"), Target::from(tag("v1"))),
        (app.clone(), tag("v2").into()),
        (app.clone(), Digest::sha256(b"?").into()),
    ] {
        assert_eq!(store.document(&repository, &target).await.unwrap(), None);
        assert_eq!(store.resolve(&repository, &target).await.unwrap(), None);
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let (config, here, gone) = (noise(10, 1), noise(20, 2), noise(30, 3));
    put(&store, &app, &here).await;
    let image = manifest(&config, &[&here, &gone, &gone]);
    let Err(ContentError::References(problems)) = store.put_document(&app, &image, &PutOptions::default()).await else {
        panic!("it was taken")
    };
    let missing: Vec<_> = problems.iter().map(|problem| (problem.digest.clone(), problem.reason)).collect();
    assert_eq!(
        missing,
        [
            (Digest::sha256(&config), ReferenceReason::MissingBlob),
            (Digest::sha256(&gone), ReferenceReason::MissingBlob)
        ]
    );
    assert_eq!(problems[0].to_string(), format!("blob `{}` is not in the repository", Digest::sha256(&config)));
    assert_eq!(store.resolve(&app, &image.digest().clone().into()).await.unwrap(), None);

    let child = push(&store, &app, None, 100, 5).await;
    let list = index(&[&child, &image]);
    let error = store.put_document(&app, &list, &PutOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("manifest `{}` is not in the repository", image.digest()));
    let mut sparse = PutOptions::tagged(Some(&tag("list")));
    sparse.references = ReferencePolicy::Sparse;
    assert!(store.put_document(&app, &list, &sparse).await.unwrap().created);
    assert!(!store.put_document(&app, &list, &sparse).await.unwrap().created);
    assert_sound(&store).await;
}

#[tokio::test]
async fn some_platforms_of_an_index_must_be_there_and_others_need_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let here = push(&store, &app, None, 100, 1).await;
    let gone = manifest(&noise(10, 2), &[]);
    let list = |children: &[(&Document, Option<&str>)]| {
        let children: Vec<String> = children
            .iter()
            .map(|(child, platform)| {
                let mut child = child.descriptor();
                child.platform = platform.map(|text| text.parse().unwrap());
                serde_json::to_string(&child).unwrap()
            })
            .collect();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            MediaType::OCI_INDEX,
            children.join(",")
        );
        Document::new(None, text.into_bytes()).unwrap()
    };
    let mut options = PutOptions::default();
    options.references =
        ReferencePolicy::Platforms(["linux/amd64", "linux/arm64"].map(|text| text.parse().unwrap()).into());
    for (missing, taken) in [
        (Some("linux/s390x"), true),
        (Some("linux/arm/v7"), true),
        (Some("unknown/unknown"), true),
        (Some("linux/arm64"), false),
        (Some("linux/arm64/v8"), false),
        (None, false),
    ] {
        let list = list(&[(&here, Some("linux/amd64")), (&gone, missing)]);
        match store.put_document(&app, &list, &options).await {
            Ok(outcome) => assert!(taken && outcome.created, "{missing:?}"),
            Err(ContentError::References(problems)) => {
                assert!(
                    !taken && problems.len() == 1 && problems[0].digest == *gone.digest(),
                    "{missing:?}: {problems:?}"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Blobs are another matter, but for the policy that asks for nothing.
    assert!(matches!(store.put_document(&app, &gone, &options).await, Err(ContentError::References(_))));
    options.references = ReferencePolicy::Sparse;
    assert!(store.put_document(&app, &gone, &options).await.unwrap().created);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_blob_that_comes_after_its_manifest_belongs_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (app, other) = (repository("app"), repository("other"));
    let (config, layer) = (noise(10, 1), noise(20, 2));
    // Registries need not hold such a layer, but may.
    let image = String::from_utf8(manifest(&config, &[&layer]).bytes().to_vec()).unwrap();
    let image = image.replace("image.layer.v1", "image.layer.nondistributable.v1");
    let image = Document::new(None, image.into_bytes()).unwrap();
    put(&store, &app, &config).await;
    store.put_document(&app, &image, &PutOptions::default()).await.unwrap();
    let mounted = put(&store, &other, &layer).await;
    assert!(store.mount_blob(&app, &mounted, &other).await.unwrap().is_some());
    for digest in [Digest::sha256(&config), mounted] {
        let error = store.delete_blob(&app, &digest, DeleteOptions::careful()).await.unwrap_err();
        assert!(matches!(error, ContentError::StillReferenced { .. }), "{error}");
    }
    assert!(store.delete_document(&app, image.digest(), DeleteOptions::careful()).await.unwrap().is_some());
    assert_sound(&store).await;
}

/// An index that names layers, as caches of builds do. One that came later used to be taken by a collection.
#[tokio::test]
async fn a_blob_that_comes_after_its_index_belongs_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let mut collections = GcOptions::default();
    (collections.keep_unused_blobs, collections.sweep_after) = (Duration::ZERO, Duration::ZERO);
    let linux = "linux/amd64".parse().unwrap();
    for (policy, platform, seed) in [
        (ReferencePolicy::Sparse, "", 1),
        (ReferencePolicy::Platforms([linux].into()), r#","platform":{"os":"windows","architecture":"amd64"}"#, 2),
    ] {
        let blob = noise(100, seed);
        let entry = descriptor(MediaType::OCI_LAYER_GZIP, &blob).replace('}', &format!("{platform}}}"));
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entry}]}}"#, MediaType::OCI_INDEX);
        let cache = Document::new(None, text.into_bytes()).unwrap();
        let mut options = PutOptions::tagged(Some(&tag(&format!("cache{seed}"))));
        let error = store.put_document(&app, &cache, &options).await.unwrap_err();
        assert_eq!(error.to_string(), format!("blob `{}` is not in the repository", Digest::sha256(&blob)));
        options.references = policy;
        store.put_document(&app, &cache, &options).await.unwrap();
        assert_sound(&store).await;
        let digest = put(&store, &app, &blob).await;
        assert_sound(&store).await;
        let error = store.delete_blob(&app, &digest, DeleteOptions::careful()).await.unwrap_err();
        assert!(matches!(error, ContentError::StillReferenced { .. }), "{error}");
        for _ in 0..3 {
            store.collect_garbage(&collections).await.unwrap();
        }
        assert_eq!(get(&store, &app, &digest).await, Some(blob));
    }
}

#[tokio::test]
async fn a_size_that_is_not_the_blobs_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let config = noise(10, 1);
    put(&store, &app, &config).await;
    let image = manifest(&config, &[]);
    let lying = String::from_utf8(image.bytes().to_vec()).unwrap().replace(r#""size":10"#, r#""size":11"#);
    let lying = Document::new(None, lying.into_bytes()).unwrap();
    let error = store.put_document(&app, &lying, &PutOptions::default()).await.unwrap_err();
    let digest = Digest::sha256(&config);
    assert_eq!(error.to_string(), format!("the descriptor of `{digest}` states size 11, but it has 10 bytes"));
}

#[tokio::test]
async fn a_subject_and_foreign_layers_need_not_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let config = noise(10, 1);
    put(&store, &app, &config).await;
    let subject = Digest::sha256(b"nobody has this");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}],"annotations":{{"b":"1","a":"2"}},
            "subject":{{"mediaType":"{}","digest":"{subject}","size":5}},"artifactType":"text/x"}}"#,
        MediaType::OCI_MANIFEST,
        descriptor(MediaType::OCI_CONFIG, &config),
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", &Bytes::from_static(b"far")),
        MediaType::OCI_MANIFEST,
    );
    let document = Document::new(None, text.into_bytes()).unwrap();
    store.put_document(&app, &document, &PutOptions::default()).await.unwrap();
    let page = store.referrers(&app, &subject, None, None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let referrer = &page.items[0];
    assert_eq!(&referrer.digest, document.digest());
    assert_eq!(referrer.artifact_type.as_deref(), Some("text/x"));
    assert_eq!(referrer.annotations.as_deref(), Some(r#"{"b":"1","a":"2"}"#));
    assert!(store.referrers(&app, &subject, Some("text/y"), None, 10).await.unwrap().items.is_empty());
    assert_eq!(store.referrers(&app, &subject, Some("text/x"), None, 10).await.unwrap().items.len(), 1);
    let after = store.referrers(&app, &subject, None, Some(document.digest()), 10).await.unwrap();
    assert!(after.items.is_empty() && !after.more);
}

#[tokio::test]
async fn a_tag_only_moves_from_where_it_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let one = push(&store, &app, None, 100, 1).await;
    let two = push(&store, &app, None, 100, 2).await;
    let v1 = tag("v1");
    let attempt = async |document: &Document, condition: TagCondition| {
        let mut options = PutOptions::tagged(Some(&v1));
        options.condition = condition;
        store.put_document(&app, document, &options).await
    };
    let refused = attempt(&one, TagCondition::Present).await.unwrap_err();
    assert_eq!(refused.to_string(), "tag `v1` does not exist");
    assert_eq!(attempt(&one, TagCondition::Absent).await.unwrap().moved, [(v1.clone(), None)]);
    let refused = attempt(&two, TagCondition::Absent).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("tag `v1` points to `{}`", one.digest()));
    attempt(&two, TagCondition::OneOf(vec![two.digest().clone()])).await.unwrap_err();
    let moved = attempt(&two, TagCondition::OneOf(vec![one.digest().clone()])).await.unwrap().moved;
    assert_eq!(moved, [(v1.clone(), Some(one.digest().clone()))]);
    assert!(store.tag(&app, one.digest(), &tag("v0")).await.unwrap());
    assert!(!store.tag(&app, &Digest::sha256(b"?"), &tag("v0")).await.unwrap());
    let now = store.resolve(&app, &tag("v0").into()).await.unwrap().unwrap();
    assert_eq!(&now.digest, one.digest());
}

#[tokio::test]
async fn of_two_who_move_a_tag_at_once_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (open(directory.path()).await, open(directory.path()).await);
    let app = repository("app");
    let first = push(&here, &app, Some("v1"), 100, 0).await;
    let one = push(&here, &app, None, 100, 1).await;
    let two = push(&here, &app, None, 100, 2).await;
    let mut options = PutOptions::tagged(Some(&tag("v1")));
    options.condition = TagCondition::OneOf(vec![first.digest().clone()]);
    let (a, b) = tokio::join!(here.put_document(&app, &one, &options), there.put_document(&app, &two, &options));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
}

#[tokio::test]
async fn of_one_who_moves_a_tag_and_one_who_deletes_it_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (open(directory.path()).await, open(directory.path()).await);
    let app = repository("app");
    let next = push(&here, &app, None, 100, 0).await;
    for seed in 1..9 {
        let first = push(&here, &app, Some("v1"), 100, seed).await;
        let mut options = PutOptions::tagged(Some(&tag("v1")));
        options.condition = TagCondition::OneOf(vec![first.digest().clone()]);
        let name = tag("v1");
        let deletion = there.delete_tag_if(&app, &name, &options.condition);
        let (moved, deleted) = tokio::join!(here.put_document(&app, &next, &options), deletion);
        let now = here.resolve(&app, &name.clone().into()).await.unwrap().map(|record| record.digest);
        match (moved, deleted) {
            (Ok(_), Err(ContentError::TagMoved { current, .. })) => {
                assert_eq!((current, now.as_ref()), (now.clone(), Some(next.digest())));
            }
            (Err(ContentError::TagMoved { current, .. }), Ok(was)) => {
                assert_eq!((current, was.as_ref(), now), (None, Some(first.digest()), None));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(here.delete_tag_if(&app, &tag("none"), &TagCondition::Present).await.unwrap(), None);
}

#[tokio::test]
async fn deleting_takes_the_tags_along_but_not_from_under_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let child = push(&store, &app, Some("child"), 100, 1).await;
    let inner = index(&[&child]);
    store.put_document(&app, &inner, &PutOptions::default()).await.unwrap();
    let outer = index(&[&inner]);
    store.put_document(&app, &outer, &PutOptions::tagged(Some(&tag("v1")))).await.unwrap();
    for document in [&child, &inner] {
        let error = store.delete_document(&app, document.digest(), DeleteOptions::careful()).await.unwrap_err();
        let want = format!("`{}` is part of `{} (v1)`", document.digest(), outer.digest());
        assert_eq!(error.to_string(), want);
    }
    let layer = child.manifest().unwrap().layers[0].digest.clone();
    let error = store.delete_blob(&app, &layer, DeleteOptions::careful()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{layer}` is part of `{}`", child.digest()));
    assert_eq!(store.delete_tag(&app, &tag("v1")).await.unwrap().as_ref(), Some(outer.digest()));
    assert_eq!(store.delete_tag(&app, &tag("v1")).await.unwrap(), None);
    let tags = store.delete_document(&app, child.digest(), DeleteOptions::careful()).await.unwrap();
    assert_eq!(tags, Some(vec![tag("child")]));
    assert_eq!(store.resolve(&app, &tag("child").into()).await.unwrap(), None);
    assert_eq!(store.delete_document(&app, child.digest(), DeleteOptions::careful()).await.unwrap(), None);
    let tags = store.delete_document(&app, inner.digest(), DeleteOptions::default()).await.unwrap();
    assert_eq!(tags, Some(Vec::new()));
    assert!(store.delete_blob(&app, &layer, DeleteOptions::careful()).await.unwrap());
    assert_sound(&store).await;
}

#[tokio::test]
async fn indexes_that_lead_in_a_circle_end_no_search() {
    // A digest cannot be made to fit, but a sparse index can name what comes later; shared children are the common case.
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let mut level = vec![push(&store, &app, None, 100, 1).await];
    for _ in 0..12 {
        let list = index(&[&level[0], level.last().unwrap()]);
        store.put_document(&app, &list, &PutOptions::default()).await.unwrap();
        level.insert(0, list);
    }
    store.tag(&app, level[0].digest(), &tag("top")).await.unwrap();
    let leaf = level.last().unwrap().digest();
    let error = store.delete_document(&app, leaf, DeleteOptions::careful()).await.unwrap_err();
    assert!(error.to_string().contains("(top)"), "{error}");
}

#[tokio::test]
async fn listings_go_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    assert_eq!(store.tags(&app, None, 10).await.unwrap(), None);
    let image = push(&store, &app, None, 100, 1).await;
    assert!(store.tags(&app, None, 10).await.unwrap().unwrap().items.is_empty());
    for name in ["b", "a", "C", "1.0", "_x"] {
        store.tag(&app, image.digest(), &tag(name)).await.unwrap();
    }
    let names = async |after: Option<&str>, limit| {
        let page = store.tags(&app, after, limit).await.unwrap().unwrap();
        (page.items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), page.more)
    };
    assert_eq!(names(None, 10).await, ("1.0 C _x a b".to_owned(), false));
    assert_eq!(names(None, 5).await, ("1.0 C _x a b".to_owned(), false));
    assert_eq!(names(None, 2).await, ("1.0 C".to_owned(), true));
    assert_eq!(names(Some("C"), 2).await, ("_x a".to_owned(), true));
    assert_eq!(names(Some("D"), 9).await, ("_x a b".to_owned(), false));
    assert_eq!(names(None, 0).await, (String::new(), true));
    assert_eq!(names(Some("zz"), usize::MAX).await, (String::new(), false));
}

#[tokio::test]
async fn served_and_local_repositories_never_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let local = |host: &str, name: &str| RepositoryId::local(host.parse().unwrap(), name.parse().unwrap());
    for id in
        [repository("b"), repository("a/x"), local("r.io", "a"), local("docker.io", "library/z"), local("r.io", "b")]
    {
        push(&store, &id, Some("v1"), 100, 1).await;
    }
    store.start_upload(&repository("nothing-yet"), None).await.unwrap();
    let names = async |scope, after: Option<&str>, limit| {
        let page = store.repositories(scope, after, limit).await.unwrap();
        page.items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Scope::Served, None, 10).await, "a/x b");
    assert_eq!(names(Scope::Served, Some("a/x"), 10).await, "b");
    assert_eq!(names(Scope::Local, None, 10).await, "docker.io/library/z r.io/a r.io/b");
    assert_eq!(names(Scope::Local, None, 2).await, "docker.io/library/z r.io/a");
    assert_eq!(names(Scope::Local, Some("r.io/a"), 2).await, "r.io/b");
    assert!(is_whole(&store, &local("r.io", "b"), &tag("v1").into()).await);
    assert_eq!(store.resolve(&local("other.io", "b"), &tag("v1").into()).await.unwrap(), None);
}
