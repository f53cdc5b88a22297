//! `polyarch fsck`.

use std::path::Path;

use content::{DeletedBytes, Leftover, LeftoverKind, Mended, Problem, VerifyReport};
use serde::Serialize;
use transfer::ByteSize;

use super::data::open;
use crate::args::Fsck;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, count};

/// What was found, and what was done about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    manifests: u64,
    blobs: u64,
    bytes: u64,
    /// Whether nothing is wrong, or nothing any more.
    sound: bool,
    problems: Vec<Entry>,
    leftovers: Vec<Entry>,
    /// What the next collection removes.
    deleted: DeletedBytes,
}

/// A problem, or something that is left over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    kind: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Checks a data directory, and repairs it if that is asked for. Fails if something is wrong at its end.
pub(crate) fn run(arguments: &Fsck, context: &mut Context) -> Outcome {
    let data = context.paths()?.data_dir.clone();
    let repairs = arguments.repair && !arguments.dry_run;
    let (found, problems, leftovers) = context.block_on(async {
        let content = open(&data, false).await?;
        let failed = |error: content::ContentError| {
            let message = error.to_string();
            Failure::new(Exit::Failure, message).context(format_args!("failed to check `{}`", data.display()))
        };
        if repairs {
            let report = content.repair().await.map_err(failed)?;
            let some = |mended: Vec<Mended>| mended.into_iter().map(Some).collect::<Vec<_>>();
            Ok::<_, Failure>((report.found, some(report.problems), some(report.leftovers)))
        } else {
            let found = content.verify().await.map_err(failed)?;
            let (problems, leftovers) = (vec![None; found.problems.len()], vec![None; found.leftovers.len()]);
            Ok((found, problems, leftovers))
        }
    })??;
    let wrong = problems.iter().filter(|mended| !matches!(mended, Some(Mended::Done(_) | Mended::Gone))).count();
    let problems = found.problems.iter().zip(problems).map(|(problem, mended)| of_problem(problem, mended)).collect();
    let leftovers = found.leftovers.iter().zip(leftovers).map(|(item, mended)| of_leftover(item, mended)).collect();
    let report = Report {
        manifests: found.documents,
        blobs: found.blobs,
        bytes: found.bytes,
        sound: wrong == 0,
        problems,
        leftovers,
        deleted: found.deleted,
    };
    if arguments.json {
        context.output.json(&report)?;
    } else {
        context.output.lines(lines(&report, &found, arguments.dry_run));
    }
    if wrong == 0 { Ok(()) } else { Err(failure(wrong, arguments, &data)) }
}

fn failure(wrong: usize, arguments: &Fsck, data: &Path) -> Failure {
    let many = if wrong == 1 { "1 thing is wrong".to_owned() } else { format!("{wrong} things are wrong") };
    let failure = Failure::new(Exit::Invalid, format!("{many} in `{}`", data.display()));
    if arguments.repair && !arguments.dry_run {
        failure
    } else {
        failure.hint("`polyarch fsck --repair` puts right what can be; with `--dry-run` it says how".to_owned())
    }
}

fn outcome(mended: Option<Mended>) -> (&'static str, Option<String>) {
    match mended {
        None => ("found", None),
        Some(Mended::Done(how)) => ("repaired", Some(how)),
        Some(Mended::Left(why)) => ("left", Some(why)),
        Some(_) => ("gone", Some("others saw to it meanwhile".to_owned())),
    }
}

fn of_problem(problem: &Problem, mended: Option<Mended>) -> Entry {
    let (outcome, detail) = outcome(mended);
    Entry { kind: problem.kind(), what: problem.to_string(), size: None, outcome, detail }
}

fn of_leftover(item: &Leftover, mended: Option<Mended>) -> Entry {
    let (outcome, detail) = outcome(mended);
    let kind = match item.kind {
        LeftoverKind::Stage(_) => "upload",
        LeftoverKind::Blob(_) => "blob",
        _ => "unknown",
    };
    Entry { kind, what: item.name.clone(), size: Some(item.size), outcome, detail }
}

/// What a repair does with something that is left over.
fn remedy(item: &Leftover) -> &'static str {
    match item.kind {
        LeftoverKind::Stage(_) => "remove it",
        LeftoverKind::Blob(_) => "remove it, or move it to `quarantine/` if it is damaged",
        _ => "move it to `quarantine/`",
    }
}

fn lines(report: &Report, found: &VerifyReport, dry_run: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |entry: &Entry, title: String, remedy: &str| {
        lines.push(title);
        match (&entry.detail, entry.outcome) {
            (Some(detail), outcome) => lines.push(format!("  {outcome}: {detail}")),
            (None, _) if dry_run => lines.push(format!("  would {remedy}")),
            (None, _) => {}
        }
    };
    for (entry, problem) in report.problems.iter().zip(&found.problems) {
        tell(entry, format!("wrong: {}", entry.what), problem.remedy());
    }
    for (entry, item) in report.leftovers.iter().zip(&found.leftovers) {
        tell(entry, format!("left over: `{}` ({})", entry.what, ByteSize(item.size)), remedy(item));
    }
    let size = ByteSize(report.deleted.bytes);
    match report.deleted.files {
        0 => {}
        1 => lines.push(format!("1 file of a deleted blob ({size}) waits for the next collection")),
        files => lines.push(format!("{files} files of deleted blobs ({size}) wait for the next collection")),
    }
    lines.push(format!(
        "checked {} and {} ({}): {}",
        count(report.manifests, "manifest", "manifests"),
        count(report.blobs, "blob", "blobs"),
        ByteSize(report.bytes),
        match (report.problems.len(), report.sound) {
            (0, _) => "nothing is wrong",
            (_, true) => "all that was wrong is repaired",
            (_, false) => "not all is well",
        }
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let said = |manifests, blobs| {
            let report = Report {
                manifests,
                blobs,
                bytes: 7,
                sound: true,
                problems: Vec::new(),
                leftovers: Vec::new(),
                deleted: DeletedBytes::default(),
            };
            lines(&report, &VerifyReport::default(), false).concat()
        };
        assert_eq!(said(1, 2), "checked 1 manifest and 2 blobs (7 B): nothing is wrong");
        assert_eq!(said(0, 1), "checked 0 manifests and 1 blob (7 B): nothing is wrong");
    }
}
