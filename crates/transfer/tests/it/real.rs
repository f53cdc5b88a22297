//! The same over real sockets: registries of the lab, the local store and layouts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::{Document, RegistryHost, Target};
use lab::images::{self, Flavour, Image, Index};
use lab::{Auth, Fault, FaultKind, Lab};
use polyarch_transfer::{CopyRequest, DocumentOutcome, Options, Plan, Silent, copy};
use registry_client::{ClientOptions, CredentialSource, RegistryClient};
use settings::{CredentialError, Credentials, Secret};
use store::{ImageStore, Location, Stores};

use crate::memory::tag;

/// `user` and `secret` for everybody who asks.
struct Known;

impl CredentialSource for Known {
    fn lookup(&self, _: &RegistryHost) -> Result<Credentials, CredentialError> {
        Ok(Credentials::Basic { username: "user".to_owned(), password: Secret::new("secret") })
    }
}

fn secured() -> Lab {
    Lab::builder()
        .tls(true)
        .auth(Auth::bearer("user", "secret"))
        .latency(Duration::from_millis(20), Duration::from_millis(20))
        .start()
}

fn stores(data_dir: &Path) -> Stores {
    let mut options = ClientOptions { insecure: true, ..ClientOptions::default() };
    options.retry.attempts = 1;
    Stores::new(RegistryClient::new(options, Arc::new(Known)), data_dir.to_owned())
}

async fn open(stores: &Stores, lab: &Lab, repository: &str) -> Arc<dyn ImageStore> {
    let location = Location::parse(&format!("{}/{repository}:v1", lab.host())).unwrap();
    stores.open_for_writing(&location).await.unwrap()
}

async fn at(stores: &Stores, location: &str) -> Arc<dyn ImageStore> {
    stores.open_for_writing(&Location::parse(location).unwrap()).await.unwrap()
}

/// Four images of a config and five layers, and their index.
fn four() -> Index {
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"];
    let images: Vec<Image> = platforms.iter().map(|platform| images::image(platform, 5, Flavour::Oci)).collect();
    images::index(&images, Flavour::Oci)
}

fn list_plan(index: &Index, origin: &Arc<dyn ImageStore>, target: &Arc<dyn ImageStore>) -> Plan {
    let mut plan = Plan::new(Arc::clone(target));
    for image in &index.images {
        plan.add_image(image.document.clone(), Arc::clone(origin)).unwrap();
    }
    plan.add_index(index.document.clone()).unwrap();
    plan.tag(index.digest(), tag("v1")).unwrap();
    plan
}

/// All documents and blobs of an index are in a repository of a lab, to the byte.
fn assert_complete(lab: &Lab, repository: &str, index: &Index) {
    let documents = index.images.iter().map(|image| &image.document).chain([&index.document]);
    for document in documents {
        assert_eq!(lab.manifest(repository, document.digest().as_str()).as_ref(), Some(document.bytes()));
    }
    for (descriptor, bytes) in index.images.iter().flat_map(|image| &image.blobs) {
        assert_eq!(lab.blob(repository, &descriptor.digest).as_ref(), Some(bytes));
    }
    assert_eq!(lab.resolve(repository, "v1").as_ref(), Some(index.digest()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_another_repository_is_within_the_budget_of_requests() {
    let (lab, dir) = (secured(), tempfile::tempdir().unwrap());
    let index = four();
    index.push(&lab, "src", None);
    let stores = stores(dir.path());
    let (source, target) = (open(&stores, &lab, "src").await, open(&stores, &lab, "dst").await);
    list_plan(&index, &source, &target).run(&Options::default(), &Silent).await.unwrap();
    assert_complete(&lab, "dst", &index);
    // The challenge is not learnt yet: 401 and token, then the look at the tag, 24 mounts, 4 images, the index.
    assert_eq!(lab.count(), 32, "{:#?}", lab.lines());
    assert_eq!(lab.count_of("", "/token"), 1);
    assert_eq!(lab.count_of("POST", "mount="), 24);
    assert_eq!(lab.depth(), 6);

    lab.clear_log();
    let report = list_plan(&index, &source, &target).run(&Options::default(), &Silent).await.unwrap();
    assert_eq!(lab.count(), 1);
    assert_eq!(report.documents_done(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_to_another_registry_and_again() {
    let (from, to, dir) = (secured(), secured(), tempfile::tempdir().unwrap());
    let index = four();
    index.push(&from, "team/app", Some("v1"));
    let stores = stores(dir.path());
    let (source, target) = (open(&stores, &from, "team/app").await, open(&stores, &to, "mirror/app").await);
    let request = CopyRequest::new(source, Target::Tag(tag("v1")), target, vec![tag("v1")]);
    copy(&request, &Options::default(), &Silent).await.unwrap();
    assert_complete(&to, "mirror/app", &index);
    // 401 and token, root, 4 images, 24 blobs.
    assert_eq!(from.count(), 31, "{:#?}", from.lines());
    // 401 and token, tag, 4 images, 24 blobs that are small enough for one request, 5 documents.
    assert_eq!(to.count(), 36, "{:#?}", to.lines());
    assert_eq!(to.count_of("PATCH", ""), 0);

    from.clear_log();
    to.clear_log();
    copy(&request, &Options::default(), &Silent).await.unwrap();
    assert_eq!((from.count(), to.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_push_is_finished_by_the_second_run() {
    let (from, to, dir) = (Lab::start(), Lab::start(), tempfile::tempdir().unwrap());
    let index = four();
    index.push(&from, "app", Some("v1"));
    let stores = stores(dir.path());
    let (source, target) = (open(&stores, &from, "app").await, open(&stores, &to, "app").await);
    to.fault(Fault::on("PUT", "/manifests/", FaultKind::status(403)).nth(3).once());
    let request = CopyRequest::new(source, Target::Tag(tag("v1")), target, vec![tag("v1")]);
    let error = copy(&request, &Options::default(), &Silent).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("transfer to {}/app (", to.host())), "{error}");
    assert!(error.done().unwrap().documents_done() < 5);
    assert_eq!(to.resolve("app", "v1"), None);
    let report = copy(&request, &Options::default(), &Silent).await.unwrap().report;
    assert_complete(&to, "app", &index);
    assert!(report.documents.iter().any(|document| document.outcome == DocumentOutcome::AlreadyThere));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_mounts_are_refused_blobs_are_copied_in_the_session_that_was_opened() {
    let lab = Lab::builder().quirks(lab::Quirks::no_mounts()).start();
    let dir = tempfile::tempdir().unwrap();
    let index = four();
    index.push(&lab, "src", None);
    let stores = stores(dir.path());
    let (source, target) = (open(&stores, &lab, "src").await, open(&stores, &lab, "dst").await);
    let report = list_plan(&index, &source, &target).run(&Options::default(), &Silent).await.unwrap();
    assert_eq!(report.blobs.copied, 24);
    assert_complete(&lab, "dst", &index);
    assert_eq!(lab.count_of("POST", "/blobs/uploads/"), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn around_the_house_and_back_every_byte_is_the_same() {
    let (from, to, dir) = (Lab::start(), Lab::start(), tempfile::tempdir().unwrap());
    let index = four();
    index.push(&from, "app", Some("v1"));
    let stores = stores(&dir.path().join("data"));
    let layout = format!("oci:{}:v1", dir.path().join("layout").display());
    let way: [Arc<dyn ImageStore>; 5] = [
        open(&stores, &from, "app").await,
        at(&stores, "local:app:v1").await,
        at(&stores, &layout).await,
        at(&stores, "local:other/app:v1").await,
        open(&stores, &to, "app").await,
    ];
    for pair in way.windows(2) {
        let (source, target) = (Arc::clone(&pair[0]), Arc::clone(&pair[1]));
        let request = CopyRequest::new(source, Target::Tag(tag("v1")), target, vec![tag("v1")]);
        copy(&request, &Options::default(), &Silent).await.unwrap();
        let arrived: Document = pair[1].document(&tag("v1").into()).await.unwrap();
        assert_eq!(arrived.bytes(), index.document.bytes());
        let again = copy(&request, &Options::default(), &Silent).await.unwrap();
        assert_eq!(again.report.documents.len(), 1, "nothing to do: {:?}", again.report);
    }
    assert_complete(&to, "app", &index);
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_one_name_in_the_local_store_are_not_taken_for_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::start();
    let image = images::image("linux/amd64", 2, Flavour::Docker);
    image.push(&lab, "app", Some("v1"));
    let stores = stores(dir.path());
    let way = [
        open(&stores, &lab, "app").await,
        at(&stores, "local:one.example/app:v1").await,
        at(&stores, "local:two.example/app:v1").await,
    ];
    for pair in way.windows(2) {
        let (source, target) = (Arc::clone(&pair[0]), Arc::clone(&pair[1]));
        let request = CopyRequest::new(source, Target::Tag(tag("v1")), target, vec![tag("v1")]);
        copy(&request, &Options::default(), &Silent).await.unwrap();
        assert_eq!(pair[1].document(&tag("v1").into()).await.unwrap().digest(), image.digest());
        assert!(pair[1].has_blob(&image.blobs[0].0).await.unwrap());
    }
}
