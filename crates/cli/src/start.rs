//! From the process's arguments to its exit code.

use std::ffi::{OsStr, OsString};

use clap::{Args as _, FromArgMatches as _};
use settings::Environment;

use crate::args::{Cli, Command, DockerGlobals};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, Output};
use crate::program::{Call, Program, call, command_position, plugin_metadata};
use crate::{args, commands, manifest};

/// Runs one command line and says what to exit with. Everything that is printed has been printed.
pub fn start(arguments: impl IntoIterator<Item = OsString>, environment: Environment) -> Exit {
    let mut output = Output::of_process();
    match call(arguments) {
        Call::PluginMetadata => {
            let outcome = output.json(&plugin_metadata());
            finish(&mut output, outcome, ERROR)
        }
        Call::Run(program, line) => run(program, line, environment, output),
    }
}

/// What stands before an error of every command but `manifest`.
const ERROR: &str = "error: ";

fn run(program: Program, mut line: Vec<OsString>, environment: Environment, output: Output) -> Exit {
    // What follows `manifest` is read by `manifest`: clap sees the rest.
    let manifest_line = match command_position(&line) {
        Some(at) if line[at] == "manifest" => Some(line.split_off(at + 1)),
        _ => None,
    };
    let cli = match parse(program, line) {
        Ok(cli) => cli,
        Err(error) => {
            return tell_usage(&error, output);
        }
    };
    let mut context = Context::new(program, environment, cli.global, output);
    log_to_stderr(&mut context);
    let (outcome, prefix) = match (cli.command, manifest_line) {
        (Command::Manifest, manifest_line) => {
            // Docker reads its configuration before anything else. Without a home whoever needs one says so.
            let _ = context.credentials();
            (manifest::run(manifest_line.unwrap_or_default(), &mut context), "")
        }
        (command, _) => (commands::run(command, &mut context), ERROR),
    };
    context.tell_warnings();
    finish(&mut context.output, outcome, prefix)
}

fn parse(program: Program, line: Vec<OsString>) -> Result<Cli, clap::Error> {
    // After `serve` it is a settings file; before, what docker hands on to every plugin.
    let settings_file = command_position(&line).is_some_and(|at| line[at..].iter().any(|word| is_config(word)));
    let mut command = args::command().bin_name(program.words());
    if program == Program::DockerPlugin {
        command = DockerGlobals::augment_args(command);
    }
    let matches = command.try_get_matches_from(std::iter::once(OsString::from("polyarch")).chain(line))?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Serve(serve), false) = (&mut cli.command, settings_file) {
        serve.flags.config = None;
    }
    Ok(cli)
}

fn is_config(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| word == "--config" || word.starts_with("--config="))
}

/// Prints clap's words: help as it is, with its colours; a mistake without, because it quotes the arguments.
fn tell_usage(error: &clap::Error, mut output: Output) -> Exit {
    if error.use_stderr() {
        output.note(error.render().to_string().trim_end());
        return Exit::Usage;
    }
    // There is nobody to tell that help could not be printed.
    let _ = error.print();
    Exit::Success
}

fn finish(output: &mut Output, outcome: Outcome, prefix: &str) -> Exit {
    match outcome.and_then(|()| output.finish()) {
        Ok(()) => Exit::Success,
        // Who pressed Ctrl-C knows why it ended.
        Err(failure) if failure.exit.is_signal() => failure.exit,
        Err(failure) => {
            output.failure(&failure, prefix);
            failure.exit
        }
    }
}

/// Nothing is set up unless it was asked for: a subscriber costs a millisecond.
fn log_to_stderr(context: &mut Context) {
    let Some(filter) = context.log_filter() else { return };
    log(&filter, &mut context.output);
}

/// Writes what a filter lets through to stderr.
pub(crate) fn log(filter: &str, output: &mut Output) {
    match tracing_subscriber::EnvFilter::try_new(filter) {
        Ok(filter) => {
            let format = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
            // Another subscriber can only be there in a test that starts several runs.
            let _ = format.with_ansi(false).try_init();
        }
        Err(error) => {
            let failure = Failure::chain(Exit::Usage, &error);
            output.warning(format_args!("`POLYARCH_LOG` is not understood: {}", failure.message));
        }
    }
}
