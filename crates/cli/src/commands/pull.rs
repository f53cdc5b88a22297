//! `polyarch pull`.

use store::Location;

use super::copying::Copying;
use crate::args::Pull;
use crate::context::Context;
use crate::output::{Failure, Outcome};

/// Fetches an image into the local store.
pub(crate) fn run(arguments: &Pull, context: &mut Context) -> Outcome {
    let Some(name) = arguments.name.as_ref().or(arguments.image.reference()).cloned() else {
        return Err(Failure::usage(format!("no name to keep `{}` under", arguments.image))
            .hint("put a name behind it: an image of a layout has none of its own".to_owned()));
    };
    let copying = Copying {
        from: arguments.image.clone(),
        to: Location::Local(name),
        selection: Some(&arguments.selection),
        insecure: arguments.transfer.insecure,
        again: false,
    };
    copying.run_and_tell(&arguments.transfer, context)
}
