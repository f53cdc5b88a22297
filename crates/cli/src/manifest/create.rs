//! `polyarch manifest create`.

use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::Outcome;

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
            name: "strict",
            short: None,
            kind: Kind::Switch,
            help: "Refuse a MANIFEST that is a list, as docker does",
        },
    ],
};

/// Makes or amends the draft.
pub(super) fn run(_values: &Values, _context: &mut Context) -> Outcome {
    Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet"))
}
