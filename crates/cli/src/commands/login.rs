//! `polyarch login`.

use std::io::Write as _;

use image::RegistryHost;
use settings::{Credentials, Stored};

use super::password;
use crate::args::Login;
use crate::context::Context;
use crate::output::{Failure, Outcome};

/// Tries the login on the registry and keeps it.
pub(crate) fn run(arguments: &Login, context: &mut Context) -> Outcome {
    let host = &arguments.registry;
    let username = match &arguments.username {
        Some(username) => username.clone(),
        None => ask_for_username(host)?,
    };
    let password = if arguments.password_stdin {
        password::read()?
    } else {
        password::ask(format!("Password for {host}: "), context)?
    };
    let credentials = Credentials::Basic { username: username.clone(), password: password.clone() };
    let client = context.client(arguments.insecure)?;
    context.block_on(client.check_login(host, &credentials))??;
    if arguments.dry_run {
        context.output.line(format_args!("{host} lets {username} in; nothing was kept"));
        return Ok(());
    }
    let stored = context.credentials()?.login(host, &username, &password)?;
    context.output.line(format_args!("logged in to {host} as {username}"));
    match stored {
        Stored::Helper(helper) => context.output.note(format_args!("the password is kept by `{helper}`")),
        Stored::File(path) => {
            context.output.note(format_args!("the password is kept in `{}`, readable by you alone", path.display()));
        }
    }
    Ok(())
}

fn ask_for_username(host: &RegistryHost) -> Outcome<String> {
    password::ask_a_person("user name", "give it with `--username`")?;
    let _ = write!(std::io::stderr(), "User name for {host}: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| password::reading_failed(&error))?;
    match line.trim() {
        "" => Err(Failure::usage("no user name")),
        name => Ok(name.to_owned()),
    }
}
