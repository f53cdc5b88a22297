//! Rounds as a table.

use load::{Measured, Scenario};

use crate::rounds::Results;
use crate::server::Peer;

/// Prints a line for each scenario; ratios are those of the medians.
///
/// `hash` and `disk` are what no large push can be faster than, in megabytes a second.
pub(crate) fn print(peers: &[Peer], results: &Results, hash: f64, disk: f64) {
    let names = || peers.iter().map(|peer| peer.name.clone());
    let mut heading = vec!["scenario".to_owned(), "clients".to_owned(), "unit".to_owned()];
    heading.extend(names());
    heading.extend(names().skip(1).map(|name| format!("times as fast as {name}")));
    heading.extend(names().map(|name| format!("CPU per operation, {name}")));
    heading.push(format!("p99, {}", peers[0].name));
    heading.push("errors".to_owned());
    row(&heading);
    row(&heading.iter().map(|_| "--:".to_owned()).collect::<Vec<_>>());
    for (scenario, servers) in results {
        let in_bytes = matches!(scenario, Scenario::LargeBlob | Scenario::LargePush);
        let speed = |round: &Measured| if in_bytes { round.megabytes_per_second } else { round.per_second };
        let speeds: Vec<Vec<f64>> = servers.iter().map(|rounds| sorted(rounds.iter().map(speed))).collect();
        let unit = if in_bytes { "MB/s" } else { "/s" };
        let mut cells = vec![scenario.to_string(), servers[0][0].clients.to_string(), unit.to_owned()];
        cells.extend(speeds.iter().map(|speeds| format!("{:.0}–{:.0}", speeds[0], speeds[speeds.len() - 1])));
        if let [ours, others @ ..] = &speeds[..] {
            cells.extend(others.iter().map(|theirs| format!("{:.1}", median(ours) / median(theirs))));
        }
        cells.extend(servers.iter().map(|rounds| {
            let costs = rounds.iter().filter_map(|round| Some(round.server?.microseconds_per_operation));
            cost(median(&sorted(costs)))
        }));
        let p99 = median(&sorted(servers[0].iter().map(|round| round.latency_ms.p99)));
        cells.push(format!("{p99:.2} ms"));
        // Whose they are: a ratio is that of what went well.
        let errors = servers.iter().map(|rounds| rounds.iter().map(Measured::error_count).sum::<u64>().to_string());
        cells.push(errors.collect::<Vec<_>>().join(" / "));
        row(&cells);
    }
    println!();
    for (_, servers) in results.iter().filter(|(scenario, _)| *scenario == Scenario::LargePush) {
        for (peer, rounds) in peers.iter().zip(servers) {
            let speed = median(&sorted(rounds.iter().map(|round| round.megabytes_per_second)));
            let (of_hash, of_disk) = (speed / hash, speed / disk);
            println!("large-push, {}: {of_hash:.2} of the speed of SHA-256, {of_disk:.2} of the disk's", peer.name);
        }
    }
}

fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

fn cost(microseconds: f64) -> String {
    if microseconds < 1000.0 { format!("{microseconds:.0} µs") } else { format!("{:.1} ms", microseconds / 1000.0) }
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
