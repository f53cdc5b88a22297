//! `polyarch manifest create`.

use image::Platform;
use lists::{CreateRequest, InspectRequest};

use super::report::tell;
use super::scratch::Scratch;
use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "create",
    synopsis: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Begin a list in a local draft, from images in registries or in local stores",
    details: "\
A MANIFEST is an image in a registry, `local:NAME[:TAG]` for one in the local store, or `oci:DIR[:TAG]` for one
in an image layout. One that is itself a list brings all its images along, with their attestations.",
    arity: Arity::AtLeast(2),
    flags: &[
        Flag { name: "amend", short: Some('a'), kind: Kind::Switch, help: "Add to a draft that is there" },
        Flag { name: "dry-run", short: None, kind: Kind::Switch, help: "Print the list that would be made, and stop" },
        Flag { name: "insecure", short: None, kind: Kind::Switch, help: "Allow plain HTTP and unverified TLS" },
        Flag {
            name: "no-attestations",
            short: None,
            kind: Kind::Switch,
            help: "Leave attestations out of what a list brings along",
        },
        Flag {
            name: "platform",
            short: None,
            kind: Kind::Commas("platforms"),
            help: "Take only these of a list's images",
        },
        Flag {
            name: "refresh",
            short: None,
            kind: Kind::Switch,
            help: "With --amend: fetch images anew that the draft has already",
        },
        Flag {
            name: "strict",
            short: None,
            kind: Kind::Switch,
            help: "Refuse a MANIFEST that is a list, as docker does",
        },
    ],
};

/// Makes or amends the draft.
pub(super) fn run(values: &Values, context: &mut Context) -> Outcome {
    let Some((list, images)) = values.arguments().split_first() else { return Ok(()) };
    let request = CreateRequest {
        list: list.clone(),
        images: images.to_vec(),
        amend: values.switch("amend"),
        refresh: values.switch("refresh"),
        strict: values.switch("strict"),
        no_attestations: values.switch("no-attestations"),
        platforms: platforms(values.list("platform"))?,
    };
    let drafts = context.drafts()?;
    let stores = context.stores(values.switch("insecure"))?;
    if values.switch("dry-run") {
        let scratch = Scratch::of(list, &drafts)?;
        let report = context.block_on(lists::create(&request, &scratch.drafts, &stores))??;
        tell(&report.notes, &mut context.output);
        let show = InspectRequest { image: list.clone(), ..InspectRequest::default() };
        let shown = context.block_on(lists::inspect(&show, &scratch.drafts, &stores))??;
        context.output.raw(&shown.output);
        return Ok(());
    }
    let report = context.block_on(lists::create(&request, &drafts, &stores))??;
    tell(&report.notes, &mut context.output);
    context.output.line(format_args!("Created manifest list {}", report.list));
    Ok(())
}

/// Reads the values of `--platform`.
fn platforms(texts: &[String]) -> Outcome<Vec<Platform>> {
    let parse = |text: &String| Platform::parse(text).map_err(|error| Failure::chain(Exit::Failure, &error));
    texts.iter().map(parse).collect()
}
