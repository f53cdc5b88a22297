//! The scenarios that were written by hand.

mod annotate;
mod create;
mod errors;
mod inspect;
mod push;
mod references;
mod store;
mod transport;
mod usage;

use crate::script::Scenario;

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    [
        usage::all(),
        references::all(),
        create::all(),
        annotate::all(),
        inspect::all(),
        errors::all(),
        push::all(),
        store::all(),
        transport::all(),
    ]
    .concat()
}

fn plain(name: &str, lines: &str) -> Scenario {
    Scenario::new(name, lines)
}
