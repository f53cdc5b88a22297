//! A registry without a command line: `serve ADDRESS DIRECTORY [sparse]`. For tests with foreign clients.
#![allow(clippy::print_stderr)]

use polyarch_registry::{Options, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let directory = arguments.next().unwrap_or_else(|| "target/serve".to_owned());
    let mut options = Options::default();
    if arguments.next().as_deref() == Some("sparse") {
        options.references = content::ReferencePolicy::Sparse.into();
    }
    let content = content::ContentStore::open(directory, content::Options::default()).await?;
    let server = Server::bind(address, options, content).await?;
    eprintln!("listening on http://{}", server.local_addr());
    server.serve(std::future::pending()).await;
    Ok(())
}
