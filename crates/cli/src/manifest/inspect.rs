//! `polyarch manifest inspect`.

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
pub(super) fn run(_values: &Values, _context: &mut Context) -> Outcome {
    Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet"))
}
