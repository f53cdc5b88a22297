//! Plans: how many calls they make, how deep they are, and what happens when a call fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::memory::{Call, TICK, World, counts, index, index_of, manifest, tag};
use image::{Descriptor, Digest, Document, MediaType};
use polyarch_transfer::{Action, DocumentOutcome, Event, Options, Outcome, Plan, PlanError, Silent, TransferError};
use store::{ImageStore, StoreErrorKind};

/// A plan for four images of `from` and their index at `to:v1`.
fn plan(world: &Arc<World>, images: &[Document], from: &str, to: &str) -> Plan {
    let mut plan = Plan::new(world.store(to));
    let index = index_of(images);
    for image in images {
        plan.add_image(image.clone(), world.store(from)).unwrap();
    }
    plan.add_index(index.clone()).unwrap();
    plan.tag(index.digest(), tag("v1")).unwrap();
    plan
}

fn wide() -> Options {
    Options { concurrency: 100, ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn a_list_in_the_repository_of_its_images_is_one_call() {
    let world = World::new();
    let images = world.seed_four("r.io/app");
    let report = plan(&world, &images, "r.io/app", "r.io/app").run(&wide(), &Silent).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("put", 1)]));
    assert!(report.documents[..4].iter().all(|document| document.outcome == DocumentOutcome::InPlace));
    assert_eq!(report.documents[4].outcome, DocumentOutcome::Pushed);
    assert_eq!(report.documents[4].puts[0].to, "r.io/app:v1");
    assert_eq!(report.documents[4].reported_digest(), Some(index_of(&images).digest()));
}

#[tokio::test(start_paused = true)]
async fn a_list_in_another_repository_takes_thirty_calls_four_deep() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let plan = plan(&world, &images, "r.io/src", "r.io/dst");
    let report = plan.run(&wide(), &Silent).await.unwrap();
    // With the token this is the budget of 31.
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("head", 1), ("place", 24), ("put", 5)]));
    assert_eq!(world.ticks(), 4);
    assert_eq!((report.blobs.planned, report.blobs.mounted, report.blobs.copied), (24, 24, 0));
    assert!(report.documents.iter().all(|document| document.outcome == DocumentOutcome::Pushed));
    let list = index_of(&images);
    let added: Vec<_> = images.iter().chain([&list]).map(Document::digest).collect();
    assert_eq!(report.documents.iter().map(|document| &document.digest).collect::<Vec<_>>(), added);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_asks_once() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    plan(&world, &images, "r.io/src", "r.io/dst").run(&wide(), &Silent).await.unwrap();
    world.take_log();
    let report = plan(&world, &images, "r.io/src", "r.io/dst").run(&wide(), &Silent).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("head", 1)]));
    assert!(report.documents.iter().all(|document| document.outcome == DocumentOutcome::AlreadyThere));
    assert_eq!(report.blobs_done(), 24);
}

#[tokio::test(start_paused = true)]
async fn to_another_registry_images_are_asked_for_and_blobs_copied() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let report = plan(&world, &images, "r.io/src", "other.io/dst").run(&wide(), &Silent).await.unwrap();
    assert_eq!(
        counts(&world.take_log()),
        BTreeMap::from([("head", 5), ("place", 24), ("blob", 24), ("upload", 24), ("put", 5)])
    );
    // head root, head images, place, blob, upload, put images, put index
    assert_eq!(world.ticks(), 7);
    assert_eq!((report.blobs.mounted, report.blobs.copied), (0, 24));
    assert!(report.blobs.copied_bytes > 0);
    let (blobs, documents, tags) = world.contents("other.io/dst");
    assert_eq!((blobs.len(), documents.len(), tags.len()), (24, 5, 1));
}

#[tokio::test(start_paused = true)]
async fn only_the_image_that_changed_is_moved() {
    let world = World::new();
    let mut images = world.seed_four("r.io/src");
    plan(&world, &images, "r.io/src", "other.io/dst").run(&wide(), &Silent).await.unwrap();
    world.take_log();
    images[1] = world.seed_image("r.io/src", "linux/arm64", 5, "changed");
    let report = plan(&world, &images, "r.io/src", "other.io/dst").run(&wide(), &Silent).await.unwrap();
    assert_eq!(
        counts(&world.take_log()),
        BTreeMap::from([("head", 5), ("place", 6), ("blob", 6), ("upload", 6), ("put", 2)])
    );
    let outcomes: Vec<_> = report.documents.iter().map(|document| document.outcome).collect();
    let (there, pushed) = (DocumentOutcome::AlreadyThere, DocumentOutcome::Pushed);
    assert_eq!(outcomes, [there, pushed, there, there, pushed]);
}

#[tokio::test(start_paused = true)]
async fn a_shared_layer_moves_once_and_blocks_both_images() {
    let world = World::new();
    let shared = world.seed_blob("r.io/src", MediaType::OCI_LAYER_GZIP, "base");
    let mut plan = Plan::new(world.store("r.io/dst"));
    for salt in ["a", "b"] {
        let config = world.seed_blob("r.io/src", MediaType::OCI_CONFIG, format!("{{\"salt\":\"{salt}\"}}"));
        plan.add_image(manifest(&config, &[shared.clone(), shared.clone()]), world.store("r.io/src")).unwrap();
    }
    plan.run(&wide(), &Silent).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("head", 2), ("place", 3), ("put", 2)]));
    let step = plan.steps().iter().find(|step| *step.action.digest() == shared.digest).unwrap();
    let needed_by = plan.steps().iter().filter(|other| other.needs.contains(&step.number)).count();
    assert_eq!(needed_by, 2);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_another_image_of_the_plan_has_at_the_target_stays() {
    let world = World::new();
    let shared = world.seed_blob("r.io/dst", MediaType::OCI_LAYER_GZIP, "base");
    let there = manifest(&world.seed_blob("r.io/dst", MediaType::OCI_CONFIG, "{}"), std::slice::from_ref(&shared));
    world.seed_document("r.io/dst", &there, None);
    let config = world.seed_blob("other.io/src", MediaType::OCI_CONFIG, "{\"a\":1}");
    let mut plan = Plan::new(world.store("r.io/dst"));
    plan.add_image(manifest(&config, std::slice::from_ref(&shared)), world.store("other.io/src")).unwrap();
    plan.add_image(there, world.store("r.io/dst")).unwrap();
    plan.run(&wide(), &Silent).await.unwrap();
    let log = world.take_log();
    assert_eq!(
        log.iter().filter(|call| call.verb == "place").map(|call| &call.what).collect::<Vec<_>>(),
        [config.digest.as_str()]
    );
}

#[tokio::test(start_paused = true)]
async fn foreign_layers_stay_where_they_are() {
    let world = World::new();
    let config = world.seed_blob("r.io/src", MediaType::OCI_CONFIG, "{}");
    let mut foreign =
        Descriptor::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest::sha256(b"elsewhere"), 9);
    foreign.urls = vec!["https://elsewhere.example/layer".to_owned()];
    let mut plan = Plan::new(world.store("other.io/dst"));
    plan.add_image(manifest(&config, &[foreign]), world.store("r.io/src")).unwrap();
    plan.run(&wide(), &Silent).await.unwrap();
    assert_eq!(counts(&world.take_log())["place"], 1);
}

#[tokio::test(start_paused = true)]
async fn tags_come_last_and_together() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let mut plan = plan(&world, &images, "r.io/src", "r.io/dst");
    let index = index_of(&images);
    plan.tag(index.digest(), tag("latest")).unwrap();
    plan.tag(images[0].digest(), tag("amd64")).unwrap();
    let report = plan.run(&wide(), &Silent).await.unwrap();
    let log = world.take_log();
    let when = |what: &str| log.iter().find(|call| call.verb == "put" && call.what == what).unwrap().at;
    assert_eq!((when("v1"), when("latest")), (3, 3));
    // An image that an index of the plan lists is there by digest before; its tag waits with the others.
    assert_eq!((when(images[0].digest().as_str()), when("amd64")), (2, 3));
    assert_eq!(report.documents[0].puts.len(), 2);
    let tags: Vec<_> = report.documents[4].puts.iter().filter_map(|put| put.tag.clone()).collect();
    assert_eq!(tags, [tag("v1"), tag("latest")]);
}

#[tokio::test(start_paused = true)]
async fn when_the_first_tag_is_in_order_the_others_are_asked_before_they_are_written() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let first = plan(&world, &images, "r.io/src", "r.io/dst");
    first.run(&wide(), &Silent).await.unwrap();
    let again = || {
        let mut again = plan(&world, &images, "r.io/src", "r.io/dst");
        again.tag(index_of(&images).digest(), tag("latest")).unwrap();
        again
    };
    again().run(&wide(), &Silent).await.unwrap();
    world.take_log();
    again().run(&wide(), &Silent).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("head", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_what_was_done_and_a_second_run_finishes() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    world.fail("put", images[2].digest().as_str(), StoreErrorKind::Denied);
    let error = plan(&world, &images, "r.io/src", "other.io/dst").run(&wide(), &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), "transfer to other.io/dst (3 of 5 documents and 24 of 24 blobs were done)");
    assert_eq!(error.store_error().unwrap().kind, StoreErrorKind::Denied);
    assert_eq!(error.hint().unwrap(), "run it again: what was done is not sent twice");
    let TransferError::Step { step, done, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&step.action, Action::Put { digest, .. } if digest == images[2].digest()));
    let outcomes: Vec<_> = done.documents.iter().map(|document| document.outcome).collect();
    let (not_reached, pushed) = (DocumentOutcome::NotReached, DocumentOutcome::Pushed);
    assert_eq!(outcomes, [pushed, pushed, not_reached, pushed, not_reached]);
    assert!(world.contents("other.io/dst").2.is_empty(), "no tag before everything is there");

    world.heal();
    world.take_log();
    plan(&world, &images, "r.io/src", "other.io/dst").run(&wide(), &Silent).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("head", 5), ("place", 6), ("put", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_the_rest() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let layer = images[0].manifest().unwrap().layers[0].digest.to_string();
    world.fail("place", &layer, StoreErrorKind::Network);
    let narrow = Options { concurrency: 2, ..Options::default() };
    let error = plan(&world, &images, "r.io/src", "r.io/dst").run(&narrow, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("0 of 5 documents"), "{error}");
    let before = world.take_log().len();
    assert!(before < 6, "{before} calls");
    tokio::time::sleep(TICK * 50).await;
    assert!(world.take_log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_stops_everything() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let plan = plan(&world, &images, "r.io/src", "r.io/dst");
    let timed = tokio::time::timeout(TICK * 3 / 2, plan.run(&wide(), &Silent)).await;
    assert!(timed.is_err());
    world.take_log();
    tokio::time::sleep(TICK * 50).await;
    assert!(world.take_log().is_empty());
    assert!(world.contents("r.io/dst").1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn big_bodies_are_bounded_even_where_mounts_are_refused() {
    let world = World::new();
    world.never_mount("r.io");
    let images = world.seed_four("r.io/src");
    let options = Options { concurrency: 100, bodies: 3, big: 4 };
    for to in ["r.io/dst", "other.io/dst"] {
        let report = plan(&world, &images, "r.io/src", to).run(&options, &Silent).await.unwrap();
        assert_eq!(report.blobs.copied, 24, "{to}");
        assert_eq!(world.most_open_bodies(), 3, "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn steps_at_once_are_bounded() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let options = Options { concurrency: 5, ..Options::default() };
    plan(&world, &images, "r.io/src", "r.io/dst").run(&options, &Silent).await.unwrap();
    let mut at_once: BTreeMap<u64, usize> = BTreeMap::new();
    for call in world.take_log() {
        *at_once.entry(call.at).or_default() += 1;
    }
    assert_eq!(at_once.values().max(), Some(&5));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_asked_is_written_to() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    world.fail("head", "", StoreErrorKind::Unsupported);
    plan(&world, &images, "r.io/src", "r.io/dst").run(&wide(), &Silent).await.unwrap();
    world.heal();
    world.fail("head", "", StoreErrorKind::Network);
    let error = plan(&world, &images, "r.io/src", "r.io/new").run(&wide(), &Silent).await.unwrap_err();
    assert!(matches!(error, TransferError::Step { .. }));
}

/// The calls that the steps of a plan announce.
fn announced(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut calls: Vec<_> = plan
        .steps()
        .iter()
        .map(|step| match &step.action {
            Action::Check { at, .. } => ("head", at.clone()),
            Action::Mount { digest, .. } | Action::Copy { digest, .. } => ("place", digest.to_string()),
            Action::Put { to, .. } | Action::Tag { to, .. } => ("put", to.clone()),
        })
        .collect();
    calls.sort();
    calls
}

#[tokio::test(start_paused = true)]
async fn the_plan_that_is_printed_is_the_plan_that_runs() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    for to in ["r.io/dst", "other.io/dst", "r.io/src"] {
        let plan = plan(&world, &images, "r.io/src", to);
        let announced = announced(&plan);
        world.take_log();
        plan.run(&wide(), &Silent).await.unwrap();
        let target = world.store(to);
        let mut made: Vec<_> = world
            .take_log()
            .into_iter()
            .filter(|call| call.store == to && call.verb != "upload")
            .map(|Call { verb, what, .. }| match (verb, Digest::parse(&what)) {
                ("place", _) => (verb, what),
                (_, Ok(digest)) => (verb, target.spell(&digest.into())),
                (_, Err(_)) => (verb, target.spell(&tag(&what).into())),
            })
            .collect();
        made.sort();
        assert_eq!(made, announced, "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_reads_as_one_line_a_step() {
    let world = World::new();
    let image = world.seed_image("r.io/team/src", "linux/arm64", 1, "print");
    let mut entry = image.descriptor();
    entry.platform = Some("linux/arm64".parse().unwrap());
    let list = index(&[entry]);
    let mut plan = Plan::new(world.store("r.io/dst"));
    plan.add_image(image.clone(), world.store("r.io/team/src")).unwrap();
    plan.add_index(list.clone()).unwrap();
    plan.tag(list.digest(), tag("v1")).unwrap();
    let manifest = image.manifest().unwrap();
    let (config, layer) = (&manifest.config, &manifest.layers[0]);
    assert_eq!(
        plan.to_string(),
        format!(
            "1  check r.io/dst:v1 for {list}: if it is there, skip 2-5\n\
             2  mount {config} ({config_size} B) from team/src, after 1\n\
             3  mount {layer} ({layer_size} B) from team/src, after 1\n\
             4  put   r.io/dst@{image} ({image_size} B) linux/arm64, after 2, 3\n\
             5  tag   r.io/dst:v1 as {list} ({list_size} B), after 4\n",
            list = list.digest(),
            list_size = list.size(),
            config = config.digest,
            config_size = config.size,
            layer = layer.digest,
            layer_size = layer.size,
            image = image.digest(),
            image_size = image.size(),
        )
    );
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["target"], "r.io/dst");
    assert_eq!(json["steps"][0]["action"], "check");
    assert_eq!(json["steps"][0]["skips"], serde_json::json!([2, 3, 4, 5]));
    assert_eq!(json["steps"][3]["platform"]["architecture"], "arm64");
    assert_eq!(json["steps"][4]["tag"], "v1");
    assert_eq!(Plan::new(world.store("r.io/dst")).to_string(), "nothing to do\n");
}

#[tokio::test(start_paused = true)]
async fn every_step_begins_and_ends_in_the_events() {
    let world = World::new();
    let images = world.seed_four("r.io/src");
    plan(&world, &images[..1], "r.io/src", "other.io/dst").run(&wide(), &Silent).await.unwrap();
    let plan = plan(&world, &images, "r.io/src", "other.io/dst");
    let seen: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let moved: Mutex<BTreeMap<usize, (u64, u64)>> = Mutex::new(BTreeMap::new());
    let front = |event: &Event<'_>| {
        let mut seen = seen.lock().unwrap();
        match event {
            Event::Planned { steps } => seen.push(format!("planned {}", steps.len())),
            Event::Started { step } => seen.push(format!("started {}", step.number)),
            Event::Finished { step, outcome: Outcome::Skipped } => seen.push(format!("skipped {}", step.number)),
            Event::Finished { step, .. } => seen.push(format!("finished {}", step.number)),
            Event::Moved { step, done, total } => {
                moved.lock().unwrap().insert(step.number, (*done, *total));
            }
            Event::Failed { .. } => panic!("nothing fails"),
        }
    };
    plan.run(&wide(), &front).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen[0], format!("planned {}", plan.steps().len()));
    let mut skipped = 0;
    for step in plan.steps() {
        let number = step.number;
        let at = |word: &str| seen.iter().position(|line| *line == format!("{word} {number}"));
        match (at("started"), at("finished"), at("skipped")) {
            (Some(started), Some(finished), None) => assert!(started < finished),
            (None, None, Some(_)) => skipped += 1,
            other => panic!("step {number}: {other:?}"),
        }
    }
    assert_eq!(skipped, 7, "six blobs and a document of the image that is there");
    let moved = moved.into_inner().unwrap();
    assert_eq!(moved.len(), 18);
    assert!(moved.values().all(|(done, total)| done == total));
}

#[test]
fn what_cannot_be_planned_is_refused_by_name() {
    let rt = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = rt.enter();
    let world = World::new();
    let images = world.seed_four("r.io/src");
    let list = index_of(&images);
    let mut plan = Plan::new(world.store("r.io/dst"));
    let origin: Arc<dyn ImageStore> = world.store("r.io/src");
    assert!(matches!(plan.add_image(list.clone(), Arc::clone(&origin)), Err(PlanError::NotAnImage { .. })));
    assert!(matches!(plan.add_index(images[0].clone()), Err(PlanError::NotAnIndex { .. })));
    assert!(matches!(plan.tag(list.digest(), tag("v1")), Err(PlanError::UnknownDocument { .. })));
    let lying = {
        let manifest_view = images[0].manifest().unwrap();
        let mut layer = manifest_view.layers[0].clone();
        layer.size += 1;
        manifest(&manifest_view.config, &[layer])
    };
    plan.add_image(images[0].clone(), Arc::clone(&origin)).unwrap();
    assert!(matches!(plan.add_image(lying, origin), Err(PlanError::SizeConflict { .. })));
}
