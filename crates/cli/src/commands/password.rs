//! Passwords that are typed, or come on standard input.

use std::io::{IsTerminal as _, Read as _};

use settings::Secret;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Longest password that is read; tokens of cloud registries have some thousand characters.
const PASSWORD_MAX: u64 = 1 << 20;

/// Whether there is a person to ask.
pub(super) fn ask_a_person(what: &str, flag: &str) -> Outcome {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format!("no {what}, and standard input is not a terminal to ask for it")).hint(flag.to_owned()))
}

/// Asks on the terminal.
pub(super) fn ask(prompt: String, context: &mut Context) -> Outcome<Secret> {
    ask_a_person("password", "give it with `--password-stdin`")?;
    #[cfg(unix)]
    crate::signals::terminal::remember();
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
pub(super) fn read() -> Outcome<Secret> {
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

/// Standard input came to a bad end.
pub(super) fn reading_failed(error: &std::io::Error) -> Failure {
    Failure::chain(Exit::Failure, error).context("failed to read standard input")
}
