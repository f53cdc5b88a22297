//! `polyarch manifest ls`.

use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::output::Outcome;

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
pub(super) fn run(_values: &Values, _context: &mut Context) -> Outcome {
    Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet"))
}
