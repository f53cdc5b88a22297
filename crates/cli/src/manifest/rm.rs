//! `polyarch manifest rm`.

use image::Reference;
use lists::{Drafts, ListError, RemoveEntriesRequest};

use super::scratch::Scratch;
use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "rm",
    synopsis: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Remove drafts, or single images from a draft",
    details: "Nothing is removed from a registry.",
    arity: Arity::AtLeast(1),
    flags: &[
        Flag { name: "dry-run", short: None, kind: Kind::Switch, help: "Print what would be removed, and stop" },
        Flag {
            name: "entry",
            short: None,
            kind: Kind::Each("manifest"),
            help: "Remove only this image from the draft; may be repeated",
        },
    ],
};

/// Removes them.
pub(super) fn run(values: &Values, context: &mut Context) -> Outcome {
    let names = values.arguments();
    let drafts = context.drafts()?;
    let dry_run = values.switch("dry-run");
    let entries = values.list("entry");
    if !entries.is_empty() {
        return remove_entries(names, entries, dry_run, &drafts, context);
    }
    let failures: Vec<ListError> =
        if dry_run { try_to_remove(names, &drafts, context) } else { lists::remove(names, &drafts).failures };
    if failures.is_empty() {
        return Ok(());
    }
    // One line each, as docker prints them.
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(Failure::new(Exit::Failure, lines.join("\n")))
}

fn remove_entries(
    names: &[String],
    entries: &[String],
    dry_run: bool,
    drafts: &Drafts,
    context: &mut Context,
) -> Outcome {
    let [list] = names else {
        return Err(Failure::new(Exit::Failure, "`--entry` removes images of one draft, but several were named"));
    };
    let request = RemoveEntriesRequest { list: list.clone(), entries: entries.to_vec() };
    if !dry_run {
        lists::remove_entries(&request, drafts)?;
        return Ok(());
    }
    let scratch = Scratch::of(list, drafts)?;
    let report = lists::remove_entries(&request, &scratch.drafts)?;
    for entry in report.removed {
        context.output.line(format_args!("would remove {entry} from {}", report.list));
    }
    Ok(())
}

/// Says what would be removed; what could not be is given back.
fn try_to_remove(names: &[String], drafts: &Drafts, context: &mut Context) -> Vec<ListError> {
    let mut failures = Vec::new();
    for name in names {
        match find(name, drafts) {
            Ok(list) => context.output.line(format_args!("would remove {list}")),
            Err(error) => failures.push(error),
        }
    }
    failures
}

fn find(name: &str, drafts: &Drafts) -> Result<Reference, ListError> {
    let list = Reference::parse(name).map_err(|source| ListError::Name { text: name.to_owned(), source })?;
    if drafts.exists(&list)? { Ok(list) } else { Err(ListError::NoSuchLocal(list.to_string())) }
}
