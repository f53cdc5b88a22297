//! `polyarch manifest inspect`.

use lists::{InspectForm, InspectRequest, Origin};

use super::report::tell;
use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::Outcome;

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "inspect",
    synopsis: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Print an image manifest or a list",
    details: "\
With two arguments an image of a draft is printed. With one it is the draft of that name, and if there is none,
what the registry has.",
    arity: Arity::Between(1, 2),
    flags: &[
        Flag { name: "insecure", short: None, kind: Kind::Switch, help: "Allow plain HTTP and unverified TLS" },
        Flag { name: "raw", short: None, kind: Kind::Switch, help: "Print the document to the byte as it is" },
        Flag {
            name: "verbose",
            short: Some('v'),
            kind: Kind::Switch,
            help: "Print descriptors and image manifests as well",
        },
    ],
};

/// Prints it.
pub(super) fn run(values: &Values, context: &mut Context) -> Outcome {
    let (list, image) = match values.arguments() {
        [list, image] => (Some(list.clone()), image.clone()),
        [image] => (None, image.clone()),
        _ => return Ok(()),
    };
    let form = match (values.switch("raw"), values.switch("verbose")) {
        (true, _) => InspectForm::Raw,
        (false, true) => InspectForm::Verbose,
        (false, false) => InspectForm::Plain,
    };
    let request = InspectRequest { list, image, form };
    let drafts = context.drafts()?;
    let stores = context.stores(values.switch("insecure"))?;
    let report = context.block_on(lists::inspect(&request, &drafts, &stores))??;
    if report.origin == Origin::Draft {
        // Scripts that read both streams get from a draft what docker gives them, and no more.
        report.notes.iter().for_each(|note| context.output.note_for_people(format_args!("note: {note}")));
    } else {
        tell(&report.notes, &mut context.output);
    }
    context.output.raw(&report.output);
    Ok(())
}
