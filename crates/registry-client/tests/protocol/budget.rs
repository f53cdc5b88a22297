//! What whole commands may cost: requests, the longest chain of them, connections. The verbs are put together here as the
//! commands put them together.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use image::Tag;
use lab::images::{Flavour, Image, image, index};
use lab::{Alpn, Auth, Lab, Tls};
use polyarch_registry_client::{Access, ClientOptions, RegistryClient};

use crate::support::{client_with, in_repository, name, options, tag, user};

const ARCHES: [&str; 4] = ["amd64", "arm64", "s390x", "riscv64"];

struct Bench {
    lab: Lab,
    cache: tempfile::TempDir,
    images: Vec<Image>,
}

impl Bench {
    fn new(alpn: Alpn) -> Self {
        let step = Duration::from_millis(20);
        // Connections of HTTP/1.1 are made while others are in use: the time that they take is no part of the chain.
        let connection = if alpn == Alpn::Both { step } else { Duration::ZERO };
        let lab = Lab::builder()
            .tls(Tls { enabled: true, alpn, ..Tls::default() })
            .auth(Auth::bearer("user", "secret"))
            .latency(step, connection)
            .start();
        let images: Vec<_> = ARCHES.iter().map(|arch| image(&format!("linux/{arch}"), 5, Flavour::Oci)).collect();
        for (image, arch) in images.iter().zip(ARCHES) {
            image.push(&lab, "app", Some(arch));
        }
        Self { lab, cache: tempfile::tempdir().unwrap(), images }
    }

    /// A new process: nothing but the cache directory is left of the one before.
    fn process(&self) -> RegistryClient {
        self.lab.clear_log();
        let options = ClientOptions { cache_dir: Some(self.cache.path().to_owned()), ..options() };
        client_with(options, &self.lab, user())
    }

    async fn create(&self) {
        let app = in_repository(&self.process(), &self.lab, "app");
        let targets = ARCHES.map(tag);
        let manifests = try_join_all(targets.iter().map(|target| app.get_manifest(target))).await.unwrap();
        let configs = manifests.iter().map(|document| &document.manifest().unwrap().config);
        try_join_all(configs.map(|config| app.read_blob(config, 1 << 20))).await.unwrap();
    }
}

#[tokio::test]
async fn create_and_push_into_the_same_repository() {
    for alpn in [Alpn::Both, Alpn::Http1] {
        let bench = Bench::new(alpn);
        bench.create().await;
        assert_eq!((bench.lab.count(), bench.lab.depth()), (10, 4), "{:?}", bench.lab.lines());
        if alpn == Alpn::Both {
            assert_eq!(bench.lab.connections(), 1);
        }

        let app = in_repository(&bench.process(), &bench.lab, "app");
        let list = index(&bench.images, Flavour::Oci);
        app.put_manifest(&list.document, Some(&Tag::parse("multi").unwrap())).await.unwrap();
        assert_eq!((bench.lab.count(), bench.lab.depth(), bench.lab.connections()), (2, 2, 1));

        let app = in_repository(&bench.process(), &bench.lab, "app");
        app.get_manifest(&tag("multi")).await.unwrap();
        assert_eq!((bench.lab.count(), bench.lab.connections()), (2, 1), "inspect: 3 if nothing were known");
    }
}

#[tokio::test]
async fn push_into_another_repository() {
    for alpn in [Alpn::Both, Alpn::Http1] {
        let bench = Bench::new(alpn);
        bench.create().await;

        let client = bench.process();
        let copy = in_repository(&client, &bench.lab, "copy");
        copy.expect(Access::Push);
        in_repository(&client, &bench.lab, "app").expect(Access::Pull);
        let multi = Tag::parse("multi").unwrap();
        assert!(copy.head_manifest(&multi.clone().into()).await.unwrap().is_none());
        let from = name("app");
        let blobs: Vec<_> = bench.images.iter().flat_map(|image| &image.blobs).collect();
        let placed = join_all(blobs.iter().map(|(blob, bytes)| copy.push_blob(blob, Some(&from), bytes))).await;
        assert!(placed.iter().all(Result::is_ok), "{placed:?}");
        try_join_all(bench.images.iter().map(|image| copy.put_manifest(&image.document, None))).await.unwrap();
        let list = index(&bench.images, Flavour::Oci);
        copy.put_manifest(&list.document, Some(&multi)).await.unwrap();
        assert_eq!(bench.lab.count(), 31, "{:?}", bench.lab.lines());
        if alpn == Alpn::Both {
            assert_eq!((bench.lab.depth(), bench.lab.connections()), (5, 1), "token, look, mounts, children, list");
        }
    }
}
