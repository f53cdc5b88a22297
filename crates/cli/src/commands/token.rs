//! `polyarch token`.

use registry::Identities;

use super::identity_file;
use crate::args::Token;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Makes a token, and prints the line that the server knows it by, or puts that into a file.
pub(crate) fn run(arguments: &Token, context: &mut Context) -> Outcome {
    let name = &arguments.name;
    Identities::check_name(name).map_err(Failure::usage)?;
    if let (Some(file), true) = (&arguments.add_to, arguments.dry_run) {
        // No token is made: one that is shown and kept nowhere would be taken for a good one.
        context.output.line(format_args!("would add a token of `{name}` to `{}`", file.display()));
        return Ok(());
    }
    let token = Identities::random_token()
        .ok_or_else(|| Failure::new(Exit::Failure, "failed to make a token: the system gave no random bytes"))?;
    let line = Identities::token_line(name, &token);
    if let Some(file) = &arguments.add_to {
        identity_file::add(file, &line)?;
        context.output.line(token);
        context.output.note(format_args!("added a token of `{name}` to `{}`", file.display()));
    } else {
        context.output.lines([token, line]);
    }
    Ok(())
}
