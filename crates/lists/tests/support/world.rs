//! A lab, a user's configuration directory, and what it takes to work on both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RegistryHost;
use lab::{Auth, Lab};
use polyarch_lists::{
    AnnotateReport, AnnotateRequest, CreateReport, CreateRequest, Drafts, InspectForm, InspectReport, InspectRequest,
    ListError, PushReport, PushRequest,
};
use registry_client::{ClientOptions, RegistryClient, RetryPolicy};
use settings::{CredentialStore, Credentials, Secret, TrustRoots};
use store::Stores;
use transfer::{Options, Silent};

use super::Said;

pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) config: tempfile::TempDir,
    pub(crate) drafts: Drafts,
    pub(crate) stores: Stores,
    pub(crate) data: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(lab: Lab) -> Self {
        let [config, data, cache] = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
        let stores = stores(&lab, data.path(), cache.path());
        Self { drafts: Drafts::new(config.path()), lab, config, stores, data, cache }
    }

    /// With another client and other credentials.
    pub(crate) fn strict(lab: Lab, ca: Option<PathBuf>, credentials: Credentials) -> Self {
        let mut world = Self::new(lab);
        let mut options = options(&world.lab, world.cache.path());
        // As if the lab were somewhere on the net, and nobody trusted but `ca`.
        options.lenient_loopback = false;
        options.trust_roots = TrustRoots { file: Some(ca.unwrap_or_default()), directories: Some(Vec::new()) };
        let known = CredentialStore::empty().with(world.lab.registry_host(), credentials);
        world.stores = Stores::new(RegistryClient::new(options, Arc::new(known)), world.data.path().to_owned());
        world
    }

    /// Plain HTTP, no credentials.
    pub(crate) fn plain() -> Self {
        Self::new(Lab::start())
    }

    /// What most registries on the net are.
    pub(crate) fn bearer() -> Self {
        Self::new(Lab::builder().tls(true).auth(Auth::bearer("user", "secret")).start())
    }

    /// As if the program had ended and was started again: what was learnt stays, tokens do not.
    pub(crate) fn again(&mut self) {
        self.stores = stores(&self.lab, self.data.path(), self.cache.path());
        self.lab.clear_log();
    }

    pub(crate) fn at(&self, repository_and_tag: &str) -> String {
        format!("{}/{repository_and_tag}", self.lab.host())
    }

    pub(crate) async fn create(&self, list: &str, images: &[&str]) -> Result<CreateReport, ListError> {
        self.create_with(list, images, |_| ()).await
    }

    /// Names without a host are in the lab.
    pub(crate) async fn create_with(
        &self,
        list: &str,
        images: &[&str],
        change: impl FnOnce(&mut CreateRequest),
    ) -> Result<CreateReport, ListError> {
        let mut request = CreateRequest {
            list: self.at(list),
            images: images.iter().map(|image| self.name(image)).collect(),
            ..CreateRequest::default()
        };
        change(&mut request);
        polyarch_lists::create(&request, &self.drafts, &self.stores).await
    }

    pub(crate) fn name(&self, image: &str) -> String {
        if ["local:", "oci:", "sha256:"].iter().any(|marker| image.starts_with(marker)) || image.contains("127.0.0.1") {
            image.to_owned()
        } else {
            self.at(image)
        }
    }

    pub(crate) fn annotate(
        &self,
        list: &str,
        image: &str,
        change: impl FnOnce(&mut AnnotateRequest),
    ) -> Result<AnnotateReport, ListError> {
        let mut request =
            AnnotateRequest { list: self.at(list), image: self.name(image), ..AnnotateRequest::default() };
        change(&mut request);
        polyarch_lists::annotate(&request, &self.drafts)
    }

    pub(crate) async fn inspect(&self, image: &str, form: InspectForm) -> Result<InspectReport, ListError> {
        let request = InspectRequest { list: None, image: self.name(image), form };
        polyarch_lists::inspect(&request, &self.drafts, &self.stores).await
    }

    pub(crate) async fn shown(&self, image: &str, form: InspectForm) -> String {
        String::from_utf8(self.inspect(image, form).await.expect("it is there").output).expect("text")
    }

    pub(crate) async fn push(&self, list: &str) -> Result<PushReport, ListError> {
        self.push_with(list, |_| ()).await
    }

    pub(crate) async fn push_with(
        &self,
        list: &str,
        change: impl FnOnce(&mut PushRequest),
    ) -> Result<PushReport, ListError> {
        let mut request = PushRequest { list: self.at(list), ..PushRequest::default() };
        change(&mut request);
        polyarch_lists::push(&request, &self.drafts, &self.stores, &Options::default(), &Silent).await
    }

    /// What docker's command line would print for the same words, of those that the tests use.
    pub(crate) async fn manifest(&self, words: &[&str]) -> Said {
        let (flags, arguments): (Vec<&str>, Vec<&str>) =
            words[1..].iter().copied().partition(|word| word.starts_with('-'));
        let has = |flag: &str| flags.contains(&flag);
        let texts = |from: &[&str]| -> Vec<String> { from.iter().map(|&text| text.to_owned()).collect() };
        let said = match words[0] {
            "create" => {
                let request = CreateRequest {
                    list: arguments[0].to_owned(),
                    images: texts(&arguments[1..]),
                    amend: has("--amend"),
                    strict: true,
                    ..CreateRequest::default()
                };
                let report = polyarch_lists::create(&request, &self.drafts, &self.stores).await;
                report.map(|report| format!("Created manifest list {}\n", report.list))
            }
            "inspect" => {
                let (list, image) = match *arguments {
                    [list, image] => (Some(list.to_owned()), image),
                    _ => (None, arguments[0]),
                };
                let form = if has("-v") { InspectForm::Verbose } else { InspectForm::Plain };
                let request = InspectRequest { list, image: image.to_owned(), form };
                let report = polyarch_lists::inspect(&request, &self.drafts, &self.stores).await;
                report.map(|report| String::from_utf8(report.output).expect("text"))
            }
            "push" => {
                let request = PushRequest { list: arguments[0].to_owned(), tags: Vec::new(), purge: has("--purge") };
                let report =
                    polyarch_lists::push(&request, &self.drafts, &self.stores, &Options::default(), &Silent).await;
                report.map(|report| {
                    let lines = report
                        .children
                        .iter()
                        .map(|child| format!("Pushed ref {} with digest: {}\n", child.reference, child.digest));
                    lines.collect::<Vec<_>>().concat() + &format!("{}\n", report.digest)
                })
            }
            other => panic!("{other} is not one of the words"),
        };
        match said {
            Ok(out) => Said { out, err: String::new(), code: Some(0) },
            Err(error) => Said { out: String::new(), err: format!("{error}\n"), code: Some(1) },
        }
    }
}

fn stores(lab: &Lab, data: &Path, cache: &Path) -> Stores {
    let host: RegistryHost = lab.registry_host();
    let secret = Credentials::Basic { username: "user".into(), password: Secret::from("secret") };
    let known = CredentialStore::empty().with(host, secret);
    Stores::new(RegistryClient::new(options(lab, cache), Arc::new(known)), data.to_owned())
}

fn options(lab: &Lab, cache: &Path) -> ClientOptions {
    ClientOptions {
        cache_dir: Some(cache.to_owned()),
        trust_roots: TrustRoots { file: lab.ca_pem_path(), directories: None },
        // What is to fail in a test shall not be tried for seconds.
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        ..ClientOptions::default()
    }
}
