//! `polyarch manifest annotate`.

use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::Outcome;

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "annotate",
    synopsis: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Say more about one image of a draft",
    details: "",
    arity: Arity::Exactly(2),
    flags: &[
        Flag {
            name: "annotation",
            short: None,
            kind: Kind::Each("name=value"),
            help: "Set an annotation of the image's entry",
        },
        Flag { name: "arch", short: None, kind: Kind::Text("string"), help: "Set the architecture" },
        Flag {
            name: "clear",
            short: None,
            kind: Kind::Commas("fields"),
            help: "Empty a field: os-version, os-features, variant, annotations, annotation.NAME",
        },
        Flag { name: "dry-run", short: None, kind: Kind::Switch, help: "Print the entry that would result, and stop" },
        Flag { name: "os", short: None, kind: Kind::Text("string"), help: "Set the operating system" },
        Flag {
            name: "os-features",
            short: None,
            kind: Kind::Commas("strings"),
            help: "Add features that the operating system must have",
        },
        Flag {
            name: "os-version",
            short: None,
            kind: Kind::Text("string"),
            help: "Set the version of the operating system",
        },
        Flag {
            name: "platform",
            short: None,
            kind: Kind::Text("platform"),
            help: "Set all at once: os/arch[/variant]",
        },
        Flag { name: "variant", short: None, kind: Kind::Text("string"), help: "Set the variant of the architecture" },
    ],
};

/// Edits the entry.
pub(super) fn run(_values: &Values, _context: &mut Context) -> Outcome {
    Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet"))
}
