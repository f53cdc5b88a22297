//! One file per command: arguments → request → report → output.

mod completion;
mod login;
mod logout;
mod version;

use crate::args::Command;
use crate::context::Context;
use crate::output::Outcome;

/// Runs a command.
pub(crate) fn run(command: Command, context: &mut Context) -> Outcome {
    match command {
        // `manifest` reads its own command line, see `start`.
        Command::Manifest => crate::manifest::run(Vec::new(), context),
        Command::Completion(arguments) => completion::run(&arguments, context),
        Command::Version(arguments) => version::run(&arguments, context),
        Command::Login(arguments) => login::run(&arguments, context),
        Command::Logout(arguments) => logout::run(&arguments, context),
        _ => Err(crate::output::Failure::new(crate::exit::Exit::Failure, "not built in yet")),
    }
}
