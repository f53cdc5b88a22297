//! Rounds as a table.

use load::{Measured, Scenario};

use crate::rounds::Results;
use crate::server::Peer;

/// Prints a line for each scenario; ratios are those of the medians.
pub(crate) fn print(peers: &[Peer], results: &Results, hash: f64) {
    let names = || peers.iter().map(|peer| peer.name.clone());
    let mut heading = vec!["scenario".to_owned(), "clients".to_owned(), "unit".to_owned()];
    heading.extend(names());
    if peers.len() > 1 {
        heading.push("times as fast".to_owned());
    }
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
        if let [ours, theirs] = &speeds[..] {
            cells.push(format!("{:.1}", median(ours) / median(theirs)));
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
    // No push is faster than the hash of what is pushed.
    for (_, servers) in results.iter().filter(|(scenario, _)| *scenario == Scenario::LargePush) {
        for (peer, rounds) in peers.iter().zip(servers) {
            let speed = median(&sorted(rounds.iter().map(|round| round.megabytes_per_second)));
            println!("large-push, {}: {:.2} of the speed of SHA-256", peer.name, speed / hash);
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
