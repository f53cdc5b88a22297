//! `polyarch pull`.

use store::Location;

use super::copying::Copying;
use crate::args::Pull;
use crate::context::Context;
use crate::output::Outcome;

/// Fetches an image into the local store.
pub(crate) fn run(arguments: &Pull, context: &mut Context) -> Outcome {
    let name = arguments.name.clone().unwrap_or_else(|| arguments.image.clone());
    let copying = Copying {
        from: Location::Registry(arguments.image.clone()),
        to: Location::Local(name),
        selection: Some(&arguments.selection),
        insecure: arguments.transfer.insecure,
    };
    copying.run_and_tell(&arguments.transfer, context)
}
