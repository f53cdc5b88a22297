//! `polyarch manifest`: docker's words, docker's flags, docker's exit codes.
//!
//! Errors are printed bare, as docker prints them, and the exit code is 0, 1 or 125: scripts that were written for
//! `docker manifest` cannot tell the difference.

mod annotate;
mod create;
mod flags;
mod go;
mod inspect;
mod ls;
mod push;
mod report;
mod rm;
mod scratch;
mod usage;

use std::ffi::OsString;

use self::flags::{Flag, FlagError, Kind, Values};
use self::usage::{Arity, Verb};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// What a verb does once its arguments are read.
type Run = fn(&Values, &mut Context) -> Outcome;

/// All verbs, in the order of the help.
const VERBS: [(&Verb, Run); 6] = [
    (&annotate::VERB, annotate::run),
    (&create::VERB, create::run),
    (&inspect::VERB, inspect::run),
    (&ls::VERB, ls::run),
    (&push::VERB, push::run),
    (&rm::VERB, rm::run),
];

/// The verbs for clap, which completes and documents them.
pub(crate) fn clap_commands() -> Vec<clap::Command> {
    VERBS.iter().map(|(verb, _)| usage::clap_command(verb)).collect()
}

/// Help of the group and of each verb, for the reference.
pub(crate) fn help_texts(program: crate::Program) -> Vec<(String, String)> {
    let mut texts = vec![(String::new(), usage::group_help(program, &VERBS.map(|(verb, _)| verb)))];
    texts.extend(VERBS.iter().map(|(verb, _)| (verb.name.to_owned(), verb.help(program))));
    texts
}

/// Runs what follows `manifest` on the command line.
pub(crate) fn run(line: Vec<OsString>, context: &mut Context) -> Outcome {
    let program = context.program();
    let line = line
        .into_iter()
        .map(|argument| {
            argument.into_string().map_err(|argument| {
                let shown = argument.to_string_lossy();
                usage::group_flag_failure(program, &format!("argument is not text: {}", go::quote(&shown)))
            })
        })
        .collect::<Result<Vec<String>, Failure>>()?;
    match find_verb(&line) {
        Some((at, verb, run)) => {
            // Docker prints no usage for a mistake between `manifest` and the verb.
            let before = flags::parse(&[], &line[..at]).map_err(|FlagError(text)| Failure::new(Exit::Failure, text))?;
            run_verb(verb, run, &line[at + 1..], before.switch("help"), context)
        }
        None => run_group(&line, context),
    }
}

fn run_verb(verb: &Verb, run: Run, line: &[String], help: bool, context: &mut Context) -> Outcome {
    let program = context.program();
    let values = flags::parse(verb.flags, line).map_err(|FlagError(text)| verb.flag_failure(program, &text))?;
    if help || values.switch("help") {
        context.output.raw(verb.help(program).as_bytes());
        return Ok(());
    }
    verb.check_arity(program, &values)?;
    run(&values, context).map_err(|failure| match failure.exit {
        signal if signal.is_signal() => failure,
        _ => Failure { exit: Exit::Failure, ..failure },
    })
}

/// `manifest` without a verb that is known.
fn run_group(line: &[String], context: &mut Context) -> Outcome {
    let program = context.program();
    let values = flags::parse(&[], line).map_err(|FlagError(text)| usage::group_flag_failure(program, &text))?;
    let help = usage::group_help(program, &VERBS.map(|(verb, _)| verb));
    match values.arguments().first() {
        _ if values.switch("help") => context.output.raw(help.as_bytes()),
        Some(name) => return Err(usage::unknown_verb(program, name)),
        // Docker's form: on stderr, after an empty line, and yet exit code 0.
        None => context.output.note(format_args!("\n{}", help.trim_end())),
    }
    Ok(())
}

/// Finds the verb the way docker does: an unknown flag without `=` takes the next argument for its value.
fn find_verb(line: &[String]) -> Option<(usize, &'static Verb, Run)> {
    let mut is_value = false;
    for (at, argument) in line.iter().enumerate() {
        let dashes = argument.len() - argument.trim_start_matches('-').len();
        let is_flag = argument.len() > 1 && dashes > 0;
        if is_flag && !argument.contains('=') && (dashes > 1 || argument.len() == 2) {
            is_value = argument != "--help" && argument != "-h";
        } else if is_value {
            is_value = false;
        } else if !is_flag {
            let (verb, run) = VERBS.iter().find(|(verb, _)| verb.name == argument)?;
            return Some((at, verb, *run));
        }
    }
    None
}
