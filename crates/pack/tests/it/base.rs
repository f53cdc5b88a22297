//! Images on a base.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::{Digest, Document};
use polyarch_pack::{Base, PackError, pack};
use store::ImageStore;

use crate::workshop::{Workshop, blob, config, document, elf, entries, tag};

/// Packs a base of its own kind into `store` and gives it what a base has.
async fn base(shop: &Workshop, store: &Arc<dyn ImageStore>, platforms: &[&str]) -> (Base, Document) {
    let mut request = shop.request(platforms);
    request.place = "/bin/base".parse().unwrap();
    request.cmd = Some(vec!["--help".to_owned()]);
    request.env = vec!["PATH=/bin".parse().unwrap(), "LANG=C".parse().unwrap()];
    request.user = Some("nobody".to_owned());
    request.labels = BTreeMap::from([("from".to_owned(), "base".to_owned())]);
    shop.pack(&request, store).await;
    let root = document(store, tag("v1")).await;
    (Base { store: Arc::clone(store), target: tag("v1").into() }, root)
}

#[tokio::test]
async fn layers_are_referenced_and_the_config_is_continued() {
    let shop = Workshop::new();
    let store = shop.local("base").await;
    let (base, root) = base(&shop, &store, &["linux/amd64", "linux/arm64", "linux/arm/v7"]).await;
    let mut request = shop.request(&["linux/arm64", "linux/amd64"]);
    request.base = Some(base);
    request.env = vec!["LANG=en".parse().unwrap()];
    let target = shop.local("team/app").await;
    let report = shop.pack(&request, &target).await;
    // The base's two layers are shared within the store; its configs are not needed.
    assert_eq!((report.transfer.blobs.mounted, report.transfer.blobs.copied), (2, 4));

    let image = document(&target, report.images[0].manifest.digest.clone()).await;
    let manifest = image.manifest().unwrap();
    assert_eq!(manifest.layers.len(), 2);
    let below = document(&store, root.index().unwrap().manifests[1].digest.clone()).await;
    assert_eq!(manifest.layers[0], below.manifest().unwrap().layers[0]);
    assert_eq!(manifest.annotations["org.opencontainers.image.base.digest"].as_str().unwrap(), below.digest().as_str());
    assert!(!manifest.annotations.contains_key("org.opencontainers.image.base.name"), "a name of this machine");
    assert_eq!(report.images[0].base.as_ref(), Some(below.digest()));
    // No parents: the base may have them with other modes.
    let size = elf("linux/arm64", None).len();
    let own = entries(&target, &manifest.layers[1]).await;
    assert_eq!(own, BTreeMap::from([("app".to_owned(), format!("755 {size} 0"))]));

    let config = config(&target, &image).await;
    assert_eq!(
        config["config"],
        serde_json::json!({
            "User": "nobody", "Env": ["PATH=/bin", "LANG=en"], "Entrypoint": ["/app"], "Labels": {"from": "base"},
        })
    );
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    let history: Vec<&str> =
        config["history"].as_array().unwrap().iter().map(|entry| entry["created_by"].as_str().unwrap()).collect();
    assert_eq!(history, ["polyarch pack: /bin/base", "polyarch pack: /app"]);
}

#[tokio::test]
async fn a_platform_that_the_base_lacks_is_named() {
    let shop = Workshop::new();
    let store = shop.layout("base");
    let (base, _) = base(&shop, &store, &["linux/amd64", "linux/arm64"]).await;
    let mut request = shop.request(&["linux/amd64", "linux/riscv64"]);
    request.base = Some(base);
    let error = pack(&request).await.unwrap_err();
    assert!(error.to_string().starts_with("put `linux/riscv64` on the base image oci:"), "{error}");
    assert!(error.to_string().ends_with(":v1: it has `linux/amd64`, `linux/arm64`"), "{error}");
    assert_eq!(error.hint().unwrap(), "leave the platform out, or take another base");
}

#[tokio::test]
async fn a_base_that_is_one_image_serves_its_platform() {
    let shop = Workshop::new();
    let store = shop.local("base").await;
    let (_, root) = base(&shop, &store, &["linux/arm64"]).await;
    let only = root.index().unwrap().manifests[0].digest.clone();
    let mut request = shop.request(&["linux/arm64"]);
    request.base = Some(Base { store: Arc::clone(&store), target: only.into() });
    let report = shop.pack(&request, &shop.local("app").await).await;
    assert_eq!(report.images.len(), 1);
    request.binaries = vec![shop.binary("linux/amd64")];
    let error = pack(&request).await.unwrap_err();
    assert!(error.to_string().ends_with("it has `linux/arm64`"), "{error}");
}

#[tokio::test]
async fn a_dynamic_binary_on_a_base_is_no_reason_to_warn() {
    let shop = Workshop::new();
    let store = shop.local("base").await;
    let (base, _) = base(&shop, &store, &["linux/amd64"]).await;
    let mut request = shop.request(&["linux/amd64"]);
    request.binaries[0].path = shop.file("dynamic", elf("linux/amd64", Some("/lib64/ld.so")));
    request.base = Some(base);
    assert!(pack(&request).await.unwrap().warnings().is_empty());
}

/// Writes an image of Docker's types, with what one finds in configs of old engines.
async fn docker_base(store: &Arc<dyn ImageStore>, diff_ids: usize) -> Base {
    let put = |bytes: Vec<u8>, media_type: &str| {
        let descriptor = image::Descriptor::new(media_type, Digest::sha256(&bytes), bytes.len() as u64);
        async move {
            store.place_blob(&descriptor, &Given(bytes)).await.unwrap();
            descriptor
        }
    };
    let diff_id = Digest::sha256(b"plain");
    let ids: Vec<String> = (0..diff_ids).map(|_| format!("\"{diff_id}\"")).collect();
    let text = format!(
        concat!(
            r#"{{"architecture":"arm","container_config":{{"Cmd":["x"]}},"os":"linux","variant":"v6","#,
            r#""config":{{"Healthcheck":{{"Interval":30000000000,"x":1.50}},"cmd":["old"],"OnBuild":null}},"#,
            r#""rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ),
        ids.join(",")
    );
    let config = put(text.into_bytes(), "application/vnd.docker.container.image.v1+json").await;
    let layer = put(b"compressed".to_vec(), "application/vnd.docker.image.rootfs.diff.tar.gzip").await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": image::MediaType::DOCKER_MANIFEST, "config": config, "layers": [layer],
    });
    let manifest = Document::new(None, manifest.to_string()).unwrap();
    store.put_document(&manifest, Some(&tag("docker"))).await.unwrap();
    Base { store: Arc::clone(store), target: tag("docker").into() }
}

struct Given(Vec<u8>);

#[async_trait::async_trait]
impl store::BlobOrigin for Given {
    fn mount_from(&self) -> Option<&image::RepositoryName> {
        None
    }

    async fn open(&self) -> Result<store::BlobReader, store::StoreError> {
        let bytes = bytes::Bytes::from(self.0.clone());
        Ok(Box::pin(futures_util::stream::iter([Ok(bytes)])))
    }
}

#[tokio::test]
async fn a_base_of_docker_s_types_is_named_in_those_of_oci_and_keeps_what_is_unknown() {
    let shop = Workshop::new();
    let store = shop.local("base").await;
    let mut request = shop.request(&["linux/arm/v7"]);
    request.base = Some(docker_base(&store, 1).await);
    let report = shop.pack(&request, &store).await;
    let image = document(&store, report.images[0].manifest.digest.clone()).await;
    let types: Vec<&str> = image.manifest().unwrap().layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [image::MediaType::OCI_LAYER_GZIP; 2]);
    let config = blob(&store, &image.manifest().unwrap().config).await;
    let config = String::from_utf8(config).unwrap();
    // The base for ARMv6 runs on ARMv7, and the image is one for ARMv7.
    assert!(config.contains(r#""architecture":"arm","container_config":{"Cmd":["x"]},"os":"linux","variant":"v7","#));
    assert!(config.contains(r#""Healthcheck":{"Interval":30000000000,"x":1.50},"OnBuild":null,"Entrypoint":["/app"]"#));
    assert!(!config.contains("old"), "{config}");
}

#[tokio::test]
async fn a_base_whose_config_and_manifest_disagree_is_refused() {
    let shop = Workshop::new();
    let store = shop.local("base").await;
    let mut request = shop.request(&["linux/arm/v7"]);
    request.base = Some(docker_base(&store, 2).await);
    let error = pack(&request).await.unwrap_err();
    assert!(matches!(error, PackError::BaseBroken { .. }));
    assert!(error.to_string().ends_with("its manifest has 1 layers, its config 2"), "{error}");
}
