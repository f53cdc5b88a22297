//! `polyarch login`.

use std::io::{IsTerminal as _, Read as _, Write as _};

use image::RegistryHost;
use settings::{Credentials, Secret, Stored};

use crate::args::Login;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Longest password that is read; tokens of cloud registries have some thousand characters.
const PASSWORD_MAX: u64 = 1 << 20;

/// Tries the login on the registry and keeps it.
pub(crate) fn run(arguments: &Login, context: &mut Context) -> Outcome {
    let host = &arguments.registry;
    let username = match &arguments.username {
        Some(username) => username.clone(),
        None => ask_for_username(host)?,
    };
    let password = if arguments.password_stdin { read_password()? } else { ask_for_password(host, context)? };
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

/// Whether there is a person to ask.
fn ask_a_person(what: &str, flag: &str) -> Outcome {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format!("no {what}, and standard input is not a terminal to ask for it")).hint(flag.to_owned()))
}

fn ask_for_username(host: &RegistryHost) -> Outcome<String> {
    ask_a_person("user name", "give it with `--username`")?;
    let _ = write!(std::io::stderr(), "User name for {host}: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| reading_failed(&error))?;
    match line.trim() {
        "" => Err(Failure::usage("no user name")),
        name => Ok(name.to_owned()),
    }
}

fn ask_for_password(host: &RegistryHost, context: &mut Context) -> Outcome<Secret> {
    ask_a_person("password", "give it with `--password-stdin`")?;
    #[cfg(unix)]
    crate::signals::terminal::remember();
    let prompt = format!("Password for {host}: ");
    // On a thread of its own, so that Ctrl-C is heard and the terminal's echo comes back.
    let password = context.block_on(async {
        match tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt)).await {
            Ok(password) => password,
            Err(stopped) => Err(std::io::Error::other(stopped)),
        }
    })?;
    some_password(password.map_err(|error| reading_failed(&error))?)
}

/// The whole of standard input, without the line feed that `echo` puts at its end.
fn read_password() -> Outcome<Secret> {
    let mut password = String::new();
    std::io::stdin().take(PASSWORD_MAX + 1).read_to_string(&mut password).map_err(|error| reading_failed(&error))?;
    if password.len() as u64 > PASSWORD_MAX {
        return Err(Failure::usage("the password has more than 1 MiB"));
    }
    let length = password.trim_end_matches(['\r', '\n']).len();
    password.truncate(length);
    some_password(password)
}

fn some_password(password: String) -> Outcome<Secret> {
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok(Secret::new(password))
}

fn reading_failed(error: &std::io::Error) -> Failure {
    Failure::chain(Exit::Failure, error).context("failed to read standard input")
}
