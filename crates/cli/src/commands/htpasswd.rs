//! `polyarch htpasswd`.

use registry::Identities;

use super::identity_file::{self, Kept};
use super::password;
use crate::args::Htpasswd;
use crate::context::Context;
use crate::output::{Failure, Outcome};

/// Prints the line of a user, or puts it into a file in place of the one that was there.
pub(crate) fn run(arguments: &Htpasswd, context: &mut Context) -> Outcome {
    let name = &arguments.user;
    Identities::check_name(name).map_err(Failure::usage)?;
    let secret = if arguments.password_stdin {
        password::read()?
    } else {
        let first = password::ask(format!("Password for {name}: "), context)?;
        if password::ask("The same again: ".to_owned(), context)? != first {
            return Err(Failure::usage("the two passwords differ"));
        }
        first
    };
    let line = Identities::password_line(name, secret.reveal()).map_err(Failure::usage)?;
    let Some(file) = &arguments.add_to else {
        context.output.line(line);
        return Ok(());
    };
    if arguments.dry_run {
        context.output.line(format_args!("would put the line of `{name}` into `{}`", file.display()));
        return Ok(());
    }
    match identity_file::put(file, name, &line)? {
        Kept::Added => context.output.note(format_args!("added `{name}` to `{}`", file.display())),
        Kept::Replaced => context.output.note(format_args!("changed the password of `{name}` in `{}`", file.display())),
    }
    Ok(())
}
