//! What it costs to begin.

use std::time::{Duration, Instant};

use lab::Lab;
use settings::Credentials;

use crate::support::{client_with, in_repository, options, tag};

#[tokio::test]
async fn a_client_is_ready_at_once() {
    let lab = Lab::builder().tls(true).start();
    let begun = Instant::now();
    let client = client_with(options(), &lab, Credentials::Anonymous);
    let app = in_repository(&client, &lab, "app");
    assert!(begun.elapsed() < Duration::from_millis(5), "nothing is read or opened: {:?}", begun.elapsed());
    app.head_manifest(&tag("v1")).await.unwrap();
    // The whole exchange with a cold connection and without optimisation. The benchmarks have the figure that counts.
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}
