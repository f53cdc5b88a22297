//! `polyarch bench`.

use std::sync::Arc;

use load::{Amount, Latency, LoadError, LoadOptions, Measured, Plan, Progress, Report, Soak, SoakReport, Stop};
use registry_client::{ClientOptions, RegistryClient};

use crate::args::{Bench, BenchRegistry, BenchWhat};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, Output, chain, count, table};
use crate::signals::{Signals, end_process};

pub(crate) fn run(arguments: &Bench, context: &mut Context) -> Outcome {
    match &arguments.what {
        BenchWhat::Registry(arguments) => registry(arguments, context),
    }
}

fn registry(arguments: &BenchRegistry, context: &mut Context) -> Outcome {
    let options = options(arguments)?;
    if arguments.dry_run {
        context.output.lines(Plan::new(&options).steps.iter().map(ToString::to_string));
        return Ok(());
    }
    let client = client(arguments, context)?;
    let runtime = Context::server_runtime()?;
    let output = &mut context.output;
    let (report, signal) = runtime.block_on(async {
        let mut signals = Signals::new()
            .map_err(|error| Failure::chain(Exit::Failure, &error).context("failed to wait for signals"))?;
        let stop = Stop::default();
        let mut tell = |progress: Progress<'_>| tell(output, progress);
        let running = load::run(&options, &client, &stop, &mut tell);
        tokio::pin!(running);
        let signal = tokio::select! {
            report = &mut running => return Ok::<_, Failure>((report?, None)),
            signal = signals.next() => signal,
        };
        // The first signal ends the measurement and lets it clear away what it pushed; the second one does not wait.
        stop.ask();
        tokio::spawn(end_process());
        Ok((running.await?, Some(signal)))
    })?;
    context.tell_warnings();
    let output = &mut context.output;
    if arguments.json {
        output.json(&report)?;
    } else {
        print(output, &report);
    }
    if let Some(cleanup) = &report.cleanup {
        let left = (cleanup.manifests - cleanup.manifests_deleted, cleanup.blobs - cleanup.blobs_deleted);
        if left != (0, 0) {
            let refused: Vec<String> = cleanup.refused.iter().map(|(what, n)| format!("{what} ({n} times)")).collect();
            let why =
                if refused.is_empty() { "the registry does not delete them".to_owned() } else { refused.join(", ") };
            output.warning(format_args!(
                "{} and {} are still in `{}/{}`: {why}",
                count(left.0, "manifest", "manifests"),
                count(left.1, "blob", "blobs"),
                report.registry,
                report.repository
            ));
        }
    }
    match (signal, report.errors()) {
        (Some(signal), _) => Err(Failure::new(signal.exit(), "interrupted")),
        (None, 0) => Ok(()),
        (None, errors) => {
            let all = errors + report.operations();
            Err(Failure::new(Exit::Failure, format!("{errors} of {all} operations went wrong")))
        }
    }
}

fn options(arguments: &BenchRegistry) -> Outcome<LoadOptions> {
    let mut options = LoadOptions::new(arguments.registry.host.clone())?;
    if let Some(repository) = &arguments.repository {
        options.repository = repository.clone();
    }
    if !arguments.scenario.is_empty() {
        options.scenarios.clone_from(&arguments.scenario);
    }
    options.clients = arguments.clients.map(|clients| clients as usize);
    options.amount = arguments.requests.map_or(Amount::For(arguments.duration), Amount::Operations);
    options.large = arguments.large_size;
    options.threads = arguments.threads.map_or(options.threads, usize::from);
    options.verify = arguments.verify;
    options.keep = arguments.keep;
    options.pid = arguments.pid;
    options.soak = arguments.soak.map(|duration| Soak {
        duration,
        connections: arguments.connections as usize,
        rate: arguments.rate,
    });
    Ok(options)
}

fn client(arguments: &BenchRegistry, context: &mut Context) -> Outcome<RegistryClient> {
    let mut options = ClientOptions { insecure: arguments.insecure, ..ClientOptions::new(context.environment()) };
    if arguments.registry.plain {
        options.plain_http.insert(arguments.registry.host.clone());
    }
    Ok(RegistryClient::new(options, Arc::clone(&context.credentials()?) as _))
}

/// What goes on, for people: scenarios take a while.
fn tell(output: &mut Output, progress: Progress<'_>) {
    match progress {
        Progress::Begins(step) => output.note_for_people(step),
        Progress::Soaking { elapsed, operations, errors, highest, resident } => {
            let memory = resident.map(|bytes| format!(", server {}", mebibytes(bytes))).unwrap_or_default();
            output.note(format_args!(
                "{} s: {operations} operations, {errors} errors, at most {}{memory}",
                elapsed.as_secs(),
                milliseconds(highest.as_secs_f64() * 1000.0)
            ));
        }
        _ => {}
    }
}

fn print(output: &mut Output, report: &Report) {
    let all: Vec<&Measured> = report.scenarios.iter().chain(report.soak.iter().map(|soak| &soak.load)).collect();
    if all.is_empty() {
        return;
    }
    let with_server = all.iter().any(|measured| measured.server.is_some());
    let mut heading = vec!["SCENARIO", "CLIENTS", "PER SECOND", "MB/S", "P50", "P90", "P99", "MAX", "ERRORS"];
    if with_server {
        heading.push("SERVER CPU");
    }
    let rows = all.iter().map(|measured| {
        let mut row = vec![
            measured.scenario.to_owned(),
            measured.clients.to_string(),
            rate(measured.per_second),
            rate(measured.megabytes_per_second),
        ];
        row.extend(latencies(&measured.latency_ms));
        row.push(measured.error_count().to_string());
        row.extend(measured.server.map(|server| microseconds(server.microseconds_per_operation)));
        row
    });
    output.lines(table(&heading, rows));
    for measured in &all {
        for (what, count) in &measured.errors {
            output.line(format_args!("{}: {what}: {count}", measured.scenario));
        }
    }
    if let Some(soak) = &report.soak {
        print_soak(output, soak);
    }
}

fn print_soak(output: &mut Output, soak: &SoakReport) {
    let rows = soak.load.parts.iter().map(|part| {
        let mut row = vec![part.kind.to_owned(), part.operations.to_string()];
        row.extend(latencies(&part.latency_ms));
        row
    });
    output.line("");
    output.lines(table(&["OPERATION", "COUNT", "P50", "P90", "P99", "MAX"], rows));
    let Some(memory) = &soak.memory else { return };
    output.line(format_args!(
        "server memory: {} in the second quarter of the time, {} in the last, at most {}: {}",
        mebibytes(memory.second_quarter),
        mebibytes(memory.last_quarter),
        mebibytes(memory.highest),
        if memory.flat { "flat" } else { "it grows" }
    ));
}

fn latencies(latency: &Latency) -> impl Iterator<Item = String> + use<> {
    [latency.p50, latency.p90, latency.p99, latency.max].into_iter().map(milliseconds)
}

fn milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        ..0.995 => format!("{milliseconds:.2} ms"),
        ..9.95 => format!("{milliseconds:.1} ms"),
        ..9999.5 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", milliseconds / 1000.0),
    }
}

fn microseconds(microseconds: f64) -> String {
    if microseconds < 1000.0 { format!("{microseconds:.0} µs") } else { milliseconds(microseconds / 1000.0) }
}

/// A number of which three digits matter.
fn rate(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Registry(error) => error.into(),
            error => {
                let hint = error.hint();
                Self::new(Exit::Failure, format!("failed to {}", chain(&error))).hint(hint)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_matter() {
        assert_eq!(milliseconds(0.1234), "0.12 ms");
        assert_eq!(milliseconds(1.26), "1.3 ms");
        assert_eq!(milliseconds(123.4), "123 ms");
        assert_eq!(milliseconds(12_345.0), "12.3 s");
        assert_eq!(microseconds(27.4), "27 µs");
        assert_eq!(rate(31_234.5), "31234");
        assert_eq!(rate(2.345), "2.35");
        assert_eq!(mebibytes(1 << 20), "1.0 MiB");
    }
}
