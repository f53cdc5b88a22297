//! What is measured: four images of one config and five layers, made into a list and pushed, and a list looked at.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Auth, Lab, images};

use crate::measure::{Cost, Tool};

const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"];
const USER: (&str, &str) = ("user", "password");

#[derive(Clone, Copy, Debug)]
enum Scenario {
    SameRepository,
    OtherRepository,
    Inspect,
}

/// What one round cost.
struct Round {
    time: Duration,
    peak_kib: u64,
    requests: usize,
    connections: u64,
    depth: usize,
}

/// From the start of the process until its first request has arrived, over plain HTTP on loopback.
pub(crate) fn start_up(tool: &Tool, rounds: usize) {
    let mut times: Vec<Duration> = (0..rounds.max(10))
        .map(|_| {
            let lab = Lab::start();
            let home = tempfile::tempdir().expect("a temporary directory");
            images::image("linux/amd64", 1, images::Flavour::Oci).push(&lab, "bench/app", Some("v1"));
            let reference = lab.reference("bench/app", "v1");
            // The first run learns that the host speaks HTTP; the second one is measured.
            tool.run(home.path(), Path::new("/dev/null"), &["manifest", "inspect", "--insecure", &reference]);
            lab.clear_log();
            let started = Instant::now();
            tool.run(home.path(), Path::new("/dev/null"), &["manifest", "inspect", "--insecure", &reference]);
            lab.log().first().expect("a request was sent").started - started
        })
        .collect();
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "\n{}: start-up to first request: min {:.1} ms, median {:.1} ms, max {:.1} ms",
        tool.name,
        ms(times[0]),
        ms(times[times.len() / 2]),
        ms(times[times.len() - 1])
    );
}

pub(crate) fn run_all(polyarch: &Tool, docker: Option<&Tool>, address: Option<IpAddr>, rounds: usize) {
    println!("| scenario | latency | tool | requests | connections | depth | min | median | max | peak memory |");
    println!("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|");
    for scenario in [Scenario::SameRepository, Scenario::OtherRepository, Scenario::Inspect] {
        for latency in [Duration::ZERO, Duration::from_millis(30)] {
            // In turn, so that a change of the machine's speed meets both.
            let tools: Vec<&Tool> = std::iter::once(polyarch).chain(docker).collect();
            let mut results: Vec<Vec<Round>> = tools.iter().map(|_| Vec::new()).collect();
            for _ in 0..rounds {
                for (tool, results) in tools.iter().zip(&mut results) {
                    results.push(round(tool, scenario, latency, address));
                }
            }
            for (tool, rounds) in tools.iter().zip(&mut results) {
                print(tool, scenario, latency, rounds);
            }
        }
    }
}

fn print(tool: &Tool, scenario: Scenario, latency: Duration, rounds: &mut [Round]) {
    rounds.sort_by_key(|round| round.time);
    let median = &rounds[rounds.len() / 2];
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let peak = rounds.iter().map(|round| round.peak_kib).max().unwrap_or(0);
    println!(
        "| {} | {} ms | {} | {} | {} | {} | {} | {} | {} | {:.1} MiB |",
        match scenario {
            Scenario::SameRepository => "create + push, same repository",
            Scenario::OtherRepository => "create + push, other repository",
            Scenario::Inspect => "inspect an index",
        },
        latency.as_millis(),
        tool.name,
        median.requests,
        median.connections,
        median.depth,
        seconds(rounds[0].time),
        seconds(median.time),
        seconds(rounds[rounds.len() - 1].time),
        peak as f64 / 1024.0,
    );
}

fn round(tool: &Tool, scenario: Scenario, latency: Duration, address: Option<IpAddr>) -> Round {
    let mut builder = Lab::builder().tls(true).auth(Auth::bearer(USER.0, USER.1)).latency(latency, latency);
    if let Some(address) = address {
        builder = builder.address(address);
    }
    let lab = builder.start();
    let home = tempfile::tempdir().expect("a temporary directory");
    log_in(home.path(), &lab);
    let ca = lab.ca_pem_path().expect("TLS is on");
    let made: Vec<_> = PLATFORMS
        .iter()
        .enumerate()
        .map(|(seed, platform)| images::maker(platform).layers(5).size(900_000).seed(seed as u64 + 1).make())
        .collect();

    let mut cost = Cost::default();
    let mut run = |arguments: &[&str]| {
        let step = tool.run(home.path(), &ca, arguments);
        cost.time += step.time;
        cost.peak_kib = cost.peak_kib.max(step.peak_kib);
    };
    match scenario {
        Scenario::Inspect => {
            images::index(&made, images::Flavour::Docker).push(&lab, "bench/app", Some("v1"));
            lab.clear_log();
            run(&["manifest", "inspect", &lab.reference("bench/app", "v1")]);
        }
        Scenario::SameRepository | Scenario::OtherRepository => {
            let sources: Vec<String> = made
                .iter()
                .zip(["amd64", "arm64", "armv7", "s390x"])
                .map(|(image, name)| {
                    let repository = match scenario {
                        Scenario::OtherRepository => format!("bench/app-{name}"),
                        _ => "bench/app".to_owned(),
                    };
                    image.push(&lab, &repository, Some(name));
                    lab.reference(&repository, name)
                })
                .collect();
            lab.clear_log();
            let list = lab.reference("bench/app", "v1");
            let mut arguments = vec!["manifest", "create", list.as_str()];
            arguments.extend(sources.iter().map(String::as_str));
            run(&arguments);
            run(&["manifest", "push", &list]);
            assert!(lab.manifest("bench/app", "v1").is_some(), "the list was pushed");
        }
    }
    Round {
        time: cost.time,
        peak_kib: cost.peak_kib,
        requests: lab.count(),
        connections: lab.connections(),
        depth: lab.depth(),
    }
}

fn log_in(home: &Path, lab: &Lab) {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", USER.0, USER.1));
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, lab.host());
    std::fs::create_dir_all(home.join(".docker")).expect("a directory below the temporary one");
    std::fs::write(home.join(".docker/config.json"), config).expect("a file below the temporary directory");
}
