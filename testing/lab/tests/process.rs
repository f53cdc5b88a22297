//! The lab as a process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[tokio::test]
async fn it_says_where_it_is_and_what_it_was_asked() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_polyarch-lab"))
        .args(["--image", "app:amd64=linux/amd64", "--layers", "2", "--blob", "big=1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut blob = String::new();
    output.read_line(&mut blob).unwrap();
    let mut host = String::new();
    output.read_line(&mut host).unwrap();
    let url = format!("http://{}", host.trim().strip_prefix("host=").unwrap());
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let digest = blob.trim().strip_prefix("blob=big@").unwrap();
    for path in ["/v2/app/manifests/amd64", &format!("/v2/big/blobs/{digest}")] {
        assert_eq!(client.get(format!("{url}{path}")).send().await.unwrap().status(), 200);
    }
    let log = client.get(format!("{url}/_lab/log")).send().await.unwrap().bytes().await.unwrap();
    let log: serde_json::Value = serde_json::from_slice(&log).unwrap();
    assert_eq!((log["count"].as_u64(), log["connections"].as_u64()), (Some(2), Some(1)));
    assert_eq!(log["requests"][0]["request"], "GET /v2/app/manifests/amd64");
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(process.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "requests=2 depth=2 connections=1\n");
}
