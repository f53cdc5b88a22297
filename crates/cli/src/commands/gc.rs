//! `polyarch gc`.

use std::time::SystemTime;

use content::{GcAction, GcItem, GcKind, GcOptions, GcReport};
use serde::Serialize;
use transfer::ByteSize;

use super::data::open;
use crate::args::Gc;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, count};

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    #[serde(flatten)]
    report: GcReport,
    items: Vec<Item>,
}

/// One thing that something is done to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    action: GcAction,
    kind: GcKind,
    repository: Option<String>,
    digest: String,
    size: u64,
    /// When it was pushed, tagged, referred to or mounted last.
    last_used: Option<String>,
    reason: String,
}

/// Condemns what nothing needs, and deletes what was condemned before.
pub(crate) fn run(arguments: &Gc, context: &mut Context) -> Outcome {
    let mut options = GcOptions::default();
    options.dry_run = arguments.dry_run;
    options.list = arguments.dry_run || arguments.json;
    options.keep_untagged_local = !arguments.untagged;
    for (given, option) in [
        (arguments.keep_history, &mut options.keep_history),
        (arguments.keep_untagged, &mut options.keep_untagged),
        (arguments.keep_unused_blobs, &mut options.keep_unused_blobs),
        (arguments.sweep_after, &mut options.sweep_after),
    ] {
        *option = given.unwrap_or(*option);
    }
    let data = context.paths()?.data_dir.clone();
    let now = SystemTime::now();
    let (report, items) = context.block_on(async {
        let content = open(&data, !arguments.dry_run).await?;
        let mut items = Vec::new();
        let collected = content.collect_garbage_telling(&options, &mut |item| items.push(item)).await;
        let report = collected.map_err(|error| {
            Failure::new(Exit::Failure, error.to_string())
                .context(format_args!("failed to collect garbage in `{}`", data.display()))
        })?;
        Ok::<_, Failure>((report, items))
    })??;
    if arguments.json {
        let items = items.iter().map(|item| described(item, now)).collect();
        return context.output.json(&Report { dry_run: arguments.dry_run, report, items });
    }
    context.output.lines(items.iter().map(|item| line(item, now)));
    let would = if arguments.dry_run { "would have " } else { "" };
    context.output.lines(summary(&report, would));
    Ok(())
}

fn described(item: &GcItem, now: SystemTime) -> Item {
    Item {
        action: item.action,
        kind: item.kind,
        repository: item.repository.as_ref().map(ToString::to_string),
        digest: item.digest.to_string(),
        size: item.size,
        last_used: item.since.map(content::instant_text),
        reason: reason(item, now),
    }
}

/// Why something is to go.
fn reason(item: &GcItem, now: SystemTime) -> String {
    let age = item.since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default();
    let age = age_text(age.as_secs());
    match item.kind {
        GcKind::Manifest => format!("no tag, nothing needs it, last referred to {age} ago"),
        GcKind::Blob => format!("no manifest needs it, pushed or mounted {age} ago"),
        _ => "no repository holds it".to_owned(),
    }
}

fn age_text(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A line of a plan.
fn line(item: &GcItem, now: SystemTime) -> String {
    let action = match item.action {
        GcAction::Condemn => "condemn",
        _ => "delete",
    };
    let kind = match item.kind {
        GcKind::Manifest => "manifest",
        GcKind::Blob => "blob",
        _ => "bytes",
    };
    let place = item.repository.as_ref().map(|repository| format!(" of {repository}")).unwrap_or_default();
    let (digest, size) = (&item.digest, ByteSize(item.size));
    format!("{action:<8} {kind:<9} {digest}{place} ({size}): {}", reason(item, now))
}

/// What it came to.
fn summary(report: &GcReport, would: &str) -> Vec<String> {
    let manifests = |number| count(number, "manifest", "manifests");
    let blobs = |number| count(number, "blob", "blobs");
    let kept = &report.kept;
    let mut lines = vec![
        format!("{would}condemned {} and {}", manifests(report.condemned_documents), blobs(report.condemned_blobs)),
        format!(
            "{would}deleted {} and {}, removed the bytes of {} ({})",
            manifests(report.swept_documents),
            blobs(report.swept_blobs),
            blobs(report.removed_blobs),
            ByteSize(report.removed_bytes)
        ),
    ];
    if report.pruned_moves > 0 {
        lines.push(format!("{would}forgotten {} of tags", count(report.pruned_moves, "move", "moves")));
    }
    let reasons: Vec<String> = [
        (kept.tagged, "with a tag"),
        (kept.needed, "that others need"),
        (kept.history, "that a tag left of late"),
        (kept.recent, "pushed or referred to of late"),
        (kept.untagged_local, "of the local store without a tag"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, why)| format!("{number} {why}"))
    .collect();
    if !reasons.is_empty() {
        lines.push(format!("manifests kept: {}", reasons.join(", ")));
    }
    let reasons: Vec<String> = [(kept.used_blobs, "that manifests need"), (kept.recent_blobs, "pushed of late")]
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, why)| format!("{number} {why}"))
        .collect();
    if !reasons.is_empty() {
        lines.push(format!("blobs kept: {}", reasons.join(", ")));
    }
    if kept.waiting > 0 {
        lines.push(format!("condemned before, not yet due: {}", kept.waiting));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::age_text;

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")] {
            assert_eq!(age_text(seconds), text);
        }
    }
}
