//! `polyarch manifest push`.

use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::Outcome;

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
pub(super) fn run(_values: &Values, _context: &mut Context) -> Outcome {
    Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet"))
}
