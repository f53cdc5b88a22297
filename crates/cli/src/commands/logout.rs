//! `polyarch logout`.

use crate::args::Logout;
use crate::context::Context;
use crate::output::Outcome;

/// Forgets the login.
pub(crate) fn run(arguments: &Logout, context: &mut Context) -> Outcome {
    let host = &arguments.registry;
    let credentials = context.credentials()?;
    if arguments.dry_run {
        let known = !credentials.lookup(host)?.is_anonymous();
        let what = if known { "the login is known and would be forgotten" } else { "there is no login to forget" };
        context.output.line(format_args!("{host}: {what}"));
        return Ok(());
    }
    if credentials.logout(host)? {
        context.output.line(format_args!("forgot the login to {host}"));
    } else {
        context.output.line(format_args!("there was no login to {host}"));
    }
    Ok(())
}
