//! The command line as clap types: no behaviour, no defaults that need looking at the machine.
//!
//! `manifest` stands here for completions, help and the reference only: its own arguments are read by
//! [`crate::manifest`], the way docker reads them.

mod bench;
mod identity;
mod images;
mod keep;
mod pack;
mod registry;
mod serve;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub(crate) use bench::{Bench, BenchRegistry, BenchWhat};
pub(crate) use identity::{Htpasswd, Token};
pub(crate) use images::{Images, Pull, Push, Remove, Selection, Tag, Transfer, Unpack};
pub(crate) use keep::{Fsck, Gc, History, Restore, Wanted};
pub(crate) use pack::Pack;
pub(crate) use registry::{Login, Logout};
pub(crate) use serve::Serve;

/// Multi-platform container images: assemble, annotate, push, store and serve them, without a daemon
#[derive(Debug, Parser)]
#[command(name = "polyarch", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Docker's configuration directory: logins, and the drafts of `manifest` [default: ~/.docker]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory: local images, and what `serve` keeps [default: ~/.local/share/polyarch]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Say on stderr what is being done
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,
}

/// Flags that docker hands on to its plugins and that mean nothing here: there is no engine to talk to.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DockerGlobals {
    #[arg(short = 'c', long, hide = true)]
    context: Option<String>,
    #[arg(short = 'H', long, hide = true)]
    host: Vec<String>,
    #[arg(short = 'l', long, hide = true)]
    log_level: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls: Option<String>,
    #[arg(long, hide = true)]
    tlscacert: Option<String>,
    #[arg(long, hide = true)]
    tlscert: Option<String>,
    #[arg(long, hide = true)]
    tlskey: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tlsverify: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put images of several platforms under one name, with the words of `docker manifest`
    #[command(disable_help_flag = true)]
    Manifest,
    /// Make a multi-platform image of prebuilt binaries
    Pack(Pack),
    /// Send a local image to a registry
    Push(Push),
    /// Fetch an image into the local store
    Pull(Pull),
    /// List the images of the local store
    Images(Images),
    /// Give a local image another name
    Tag(Tag),
    /// Remove names from the local store
    Rm(Remove),
    /// Put the file system of an image into a directory
    Unpack(Unpack),
    /// Run a registry
    Serve(Serve),
    /// Show where a tag pointed, when, and who moved it
    History(History),
    /// Move a tag back to where it pointed
    Restore(Restore),
    /// Delete what nothing needs from a data directory
    Gc(Gc),
    /// Check every byte and every edge of a data directory, and repair it
    #[command(after_help = "Ends with 0 if nothing is wrong, or nothing any more, and with 7 if something is.")]
    Fsck(Fsck),
    /// Make the line that lets a user into a registry with a password
    Htpasswd(Htpasswd),
    /// Make a token for a registry, and the line that it is known by there
    Token(Token),
    /// Measure how fast a registry is
    Bench(Bench),
    /// Log in to a registry
    Login(Login),
    /// Forget the login to a registry
    Logout(Logout),
    /// Print a script that completes command lines in a shell
    Completion(Completion),
    /// Print the version
    Version(Version),
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Print an object with what this binary is made of
    #[arg(long)]
    pub(crate) json: bool,
}

/// The whole command line as clap knows it, with the verbs of `manifest` filled in.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_subcommand("manifest", |manifest| {
        manifest.subcommands(crate::manifest::clap_commands()).disable_help_subcommand(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    /// Command lines in the help of a command and of those below it, with what says whose they are.
    fn examples(command: &clap::Command, path: &str) -> Vec<(String, String)> {
        let own = format!("{path} {}", command.get_name()).trim().to_owned();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, listed) = help.split_once("Examples:\n").unwrap_or_default();
        let listed =
            listed.lines().take_while(|line| !line.is_empty()).map(|line| (own.clone(), line.trim().to_owned()));
        listed.chain(command.get_subcommands().flat_map(|below| examples(below, &own))).collect()
    }

    #[test]
    fn examples_of_help_are_taken_by_the_parser() {
        let all = examples(&command(), "");
        for (of, line) in &all {
            // What a shell does with it.
            let own = line.split(['<', '>', '|']).next().unwrap_or_default();
            let words: Vec<&str> = own.split_whitespace().collect();
            assert!(own.starts_with(&format!("{of} ")) || own == of, "an example of `{of}`: {line}");
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for name in ["pack", "push", "pull", "images", "unpack", "serve", "restore", "gc", "htpasswd", "token", "login"]
        {
            let own = format!("polyarch {name}");
            let count = all.iter().filter(|(of, _)| *of == own).count();
            assert!((2..=3).contains(&count), "{count} examples of `{name}`");
        }
    }
}
