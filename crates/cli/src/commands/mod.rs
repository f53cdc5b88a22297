//! One file per command: arguments → request → report → output.

mod bench;
mod completion;
mod copying;
mod data;
mod fsck;
mod gc;
mod history;
mod htpasswd;
mod identity_file;
mod images;
mod listing;
mod login;
mod logout;
mod moves;
mod pack;
mod password;
mod pull;
mod push;
mod restore;
mod rm;
mod serve;
mod tag;
mod token;
mod unpack;
mod version;

use crate::args::Command;
use crate::context::Context;
use crate::output::Outcome;

/// Runs a command.
pub(crate) fn run(command: Command, context: &mut Context) -> Outcome {
    match command {
        // `manifest` reads its own command line, see `start`.
        Command::Manifest => crate::manifest::run(Vec::new(), context),
        Command::Completion(arguments) => {
            completion::run(&arguments, context);
            Ok(())
        }
        Command::Version(arguments) => version::run(&arguments, context),
        Command::Login(arguments) => login::run(&arguments, context),
        Command::Logout(arguments) => logout::run(&arguments, context),
        Command::Push(arguments) => push::run(&arguments, context),
        Command::Pull(arguments) => pull::run(&arguments, context),
        Command::Images(arguments) => images::run(&arguments, context),
        Command::Tag(arguments) => tag::run(&arguments, context),
        Command::Rm(arguments) => rm::run(&arguments, context),
        Command::Unpack(arguments) => unpack::run(&arguments, context),
        Command::Pack(arguments) => pack::run(&arguments, context),
        Command::Bench(arguments) => bench::run(&arguments, context),
        Command::Serve(arguments) => serve::run(&arguments, context),
        Command::History(arguments) => history::run(&arguments, context),
        Command::Restore(arguments) => restore::run(&arguments, context),
        Command::Gc(arguments) => gc::run(&arguments, context),
        Command::Fsck(arguments) => fsck::run(&arguments, context),
        Command::Htpasswd(arguments) => htpasswd::run(&arguments, context),
        Command::Token(arguments) => token::run(&arguments, context),
    }
}
