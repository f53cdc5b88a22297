//! `polyarch tag`.

use store::Location;

use super::copying::Copying;
use crate::args::Tag;
use crate::context::Context;
use crate::output::Outcome;

/// Gives a local image more names. Silent, as docker is.
pub(crate) fn run(arguments: &Tag, context: &mut Context) -> Outcome {
    for name in &arguments.names {
        let copying = Copying {
            from: Location::Local(arguments.image.clone()),
            to: Location::Local(name.clone()),
            selection: None,
            insecure: false,
            again: false,
        };
        if arguments.dry_run {
            let plan = copying.plan(context)?;
            context.output.raw(plan.plan.to_string().as_bytes());
        } else {
            copying.run(context)?;
        }
    }
    Ok(())
}
