//! `polyarch manifest push`.

use image::{Digest, Tag};
use lists::{ListError, PushRequest};

use super::report::tell;
use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "push",
    synopsis: "[OPTIONS] MANIFEST_LIST",
    about: "Push a draft, and what it refers to, to its registry",
    details: "",
    arity: Arity::Exactly(1),
    flags: &[
        Flag {
            name: "digest-file",
            short: None,
            kind: Kind::Text("file"),
            help: "Write the digest of the pushed list to a file",
        },
        Flag { name: "dry-run", short: None, kind: Kind::Switch, help: "Print the steps that would be done, and stop" },
        Flag { name: "insecure", short: None, kind: Kind::Switch, help: "Allow plain HTTP and unverified TLS" },
        Flag { name: "purge", short: Some('p'), kind: Kind::Switch, help: "Remove the draft once it is pushed" },
        Flag {
            name: "tag",
            short: Some('t'),
            kind: Kind::Each("tag"),
            help: "Push under this tag as well; may be repeated",
        },
    ],
};

/// Pushes it.
pub(super) fn run(values: &Values, context: &mut Context) -> Outcome {
    let [list] = values.arguments() else { return Ok(()) };
    let tag =
        |text: &String| Tag::parse(text).map_err(|_| Failure::new(Exit::Failure, format!("`{text}` is not a tag")));
    let request = PushRequest {
        list: list.clone(),
        tags: values.list("tag").iter().map(tag).collect::<Outcome<_>>()?,
        purge: values.switch("purge"),
    };
    let drafts = context.drafts()?;
    let stores = context.stores(values.switch("insecure"))?;
    let plan = context.block_on(lists::plan_push(&request, &drafts, &stores))??;
    if values.switch("dry-run") {
        tell(plan.notes(), &mut context.output);
        context.output.raw(plan.plan().to_string().as_bytes());
        return Ok(());
    }
    let result = context.block_on(plan.run(&transfer::Options::default(), &transfer::Silent))?;
    let report = result.inspect_err(|error| tell_pushed_before(error, context))?;
    tell(&report.notes, &mut context.output);
    for child in &report.children {
        context.output.line(format_args!("Pushed ref {} with digest: {}", child.reference, child.digest));
    }
    context.output.line(&report.digest);
    match values.text("digest-file") {
        Some(file) => write_digest(file, &report.digest),
        None => Ok(()),
    }
}

/// Docker prints a line for each image as it is pushed, so those before a failure stand there too.
fn tell_pushed_before(error: &ListError, context: &mut Context) {
    let ListError::Push { source } = error else { return };
    for document in source.done().into_iter().flat_map(|done| &done.documents) {
        for put in document.puts.iter().filter(|put| put.tag.is_none()) {
            let digest = put.reported_digest.as_ref().unwrap_or(&document.digest);
            context.output.line(format_args!("Pushed ref {} with digest: {digest}", put.to));
        }
    }
}

/// Written plainly: it may be a pipe or a device.
fn write_digest(file: &str, digest: &Digest) -> Outcome {
    std::fs::write(file, digest.to_string()).map_err(|error| {
        Failure::chain(Exit::Failure, &error).context(format!("the list was pushed, but `{file}` could not be written"))
    })
}
