//! `polyarch manifest rm`.

use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::Outcome;

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
pub(super) fn run(_values: &Values, _context: &mut Context) -> Outcome {
    Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet"))
}
