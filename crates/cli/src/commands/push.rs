//! `polyarch push`.

use store::Location;

use super::copying::Copying;
use crate::args::Push;
use crate::context::Context;
use crate::output::Outcome;

/// Sends a local image to a registry, or into an image layout.
pub(crate) fn run(arguments: &Push, context: &mut Context) -> Outcome {
    let own_name = || Location::Registry(arguments.image.clone());
    let copying = Copying {
        from: Location::Local(arguments.image.clone()),
        to: arguments.target.clone().unwrap_or_else(own_name),
        selection: Some(&arguments.selection),
        insecure: arguments.transfer.insecure,
        again: arguments.again,
    };
    copying.run_and_tell(&arguments.transfer, context)
}
