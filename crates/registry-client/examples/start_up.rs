//! What it costs to begin: `cargo run --release -p polyarch-registry-client --example start_up`.

use std::sync::Arc;
use std::time::Instant;

use image::{RegistryHost, RepositoryName, Tag, Target};
use polyarch_registry_client::{ClientOptions, RegistryClient};
use settings::CredentialStore;

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = RepositoryName::parse("app")?;
    let target = Target::Tag(Tag::parse("v1")?);
    // A lab at a distance of nothing; `lenient_loopback: false` makes the client read and use the system's roots.
    for (what, lenient_loopback) in [("lenient", true), ("verified by the system's roots", false)] {
        let lab = lab::Lab::builder().tls(true).start();
        let host = RegistryHost::parse(&lab.host())?;
        let begun = Instant::now();
        let options = ClientOptions { lenient_loopback, ..ClientOptions::default() };
        let client = RegistryClient::new(options, Arc::new(CredentialStore::empty()));
        let repository = client.repository(&host, &name);
        let made = begun.elapsed();
        let answer = repository.head_manifest(&target).await;
        let first = begun.elapsed();
        let begun = Instant::now();
        let _ = repository.head_manifest(&target).await;
        println!(
            "{what}: client {made:?}, first answer {first:?} ({}), second {:?}",
            answer.map_or_else(|error| format!("{:?}", error.kind()), |_| "answered".to_owned()),
            begun.elapsed()
        );
    }
    Ok(())
}
