//! `polyarch completion SHELL`.

use crate::args::{self, Completion};
use crate::context::Context;

/// Prints the script.
pub(crate) fn run(arguments: &Completion, context: &mut Context) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut args::command(), "polyarch", &mut script);
    context.output.raw(&script);
}
