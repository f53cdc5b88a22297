//! `polyarch manifest ls`.

use lists::DraftSummary;

use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::{Outcome, escape_line, table};

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "ls",
    synopsis: "[OPTIONS]",
    about: "List the drafts",
    details: "",
    arity: Arity::Nothing,
    flags: &[
        Flag { name: "json", short: None, kind: Kind::Switch, help: "Print a JSON report" },
        Flag { name: "quiet", short: Some('q'), kind: Kind::Switch, help: "Print names alone" },
    ],
};

/// Lists them.
pub(super) fn run(values: &Values, context: &mut Context) -> Outcome {
    let drafts = lists::list(&context.drafts()?)?;
    if values.switch("json") {
        return context.output.json(&drafts);
    }
    for problem in drafts.iter().flat_map(|draft| &draft.problems) {
        context.output.warning(problem);
    }
    if values.switch("quiet") {
        context.output.lines(drafts.iter().map(name));
        return Ok(());
    }
    let row = |draft: &DraftSummary| {
        let images: Vec<_> = draft.entries.iter().filter(|entry| entry.attestation_of.is_none()).collect();
        let platforms: Vec<String> = images.iter().map(|entry| entry.platform.to_string()).collect();
        vec![name(draft), images.len().to_string(), platforms.join(", ")]
    };
    context.output.lines(table(&["LIST", "IMAGES", "PLATFORMS"], drafts.iter().map(row)));
    Ok(())
}

/// The name of the list, or of its directory where no name leads to it.
fn name(draft: &DraftSummary) -> String {
    match &draft.reference {
        Some(reference) => reference.to_string(),
        None => escape_line(&draft.path.display().to_string()).into_owned(),
    }
}
