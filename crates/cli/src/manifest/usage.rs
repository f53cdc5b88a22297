//! Help and usage errors of `manifest`, laid out as docker lays them out.

use std::fmt::Write as _;

use super::flags::{Flag, HELP, Kind, Values};
use crate::exit::Exit;
use crate::output::Failure;
use crate::program::Program;

/// One subcommand of `manifest`: what its help says and what its command line may hold.
#[derive(Debug)]
pub(crate) struct Verb {
    /// Its name.
    pub(crate) name: &'static str,
    /// What stands behind the name in the usage line.
    pub(crate) synopsis: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    /// Paragraphs, already wrapped. May be empty.
    pub(crate) details: &'static str,
    /// How many arguments it takes.
    pub(crate) arity: Arity,
    /// Its flags, sorted by name as docker prints them.
    pub(crate) flags: &'static [Flag],
}

/// How many arguments a verb takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arity {
    /// So many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// From, to.
    Between(usize, usize),
    /// None.
    Nothing,
}

impl Verb {
    /// `polyarch manifest create`.
    fn path(&self, program: Program) -> String {
        format!("{} manifest {}", program.words(), self.name)
    }

    fn usage_line(&self, program: Program) -> String {
        format!("Usage:  {} {}", self.path(program), self.synopsis).trim_end().to_owned()
    }

    /// What `--help` prints.
    pub(crate) fn help(&self, program: Program) -> String {
        let mut text = format!("{}\n\n{}\n", self.usage_line(program), self.about);
        if !self.details.is_empty() {
            text.push('\n');
            text.push_str(self.details.trim_end());
            text.push('\n');
        }
        if !self.flags.is_empty() {
            text.push_str("\nOptions:\n");
            text.push_str(&flag_table(self.flags));
        }
        text
    }

    /// A mistake in the flags.
    pub(crate) fn flag_failure(&self, program: Program, message: &str) -> Failure {
        usage_failure(Exit::DockerUsage, message, &self.usage_line(program), "Run", &self.path(program))
    }

    /// Whether the number of arguments is right.
    pub(crate) fn check_arity(&self, program: Program, values: &Values) -> Result<(), Failure> {
        let count = values.arguments().len();
        let noun = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let (fits, wants, tail) = match self.arity {
            Arity::Exactly(n) => (count == n, format!("requires {n} {}", noun(n)), "Run"),
            Arity::AtLeast(n) => (count >= n, format!("requires at least {n} {}", noun(n)), "See"),
            Arity::Between(from, to) => {
                ((from..=to).contains(&count), format!("requires at least {from} and at most {to} {}", noun(to)), "Run")
            }
            Arity::Nothing => (count == 0, "accepts no arguments".to_owned(), "Run"),
        };
        if fits {
            return Ok(());
        }
        let path = self.path(program);
        let message = format!("{}: '{path}' {wants}", program.binary());
        Err(usage_failure(Exit::Failure, &message, &self.usage_line(program), tail, &path))
    }
}

/// What `manifest --help` prints.
pub(crate) fn group_help(program: Program, verbs: &[&Verb]) -> String {
    let words = program.words();
    let mut text = format!(
        "Usage:  {words} manifest COMMAND\n\n\
         Put images of several platforms under one name.\n\n\
         A manifest list is begun in a local draft (create), mended there (annotate), looked at (inspect)\n\
         and then pushed. Drafts are kept where docker keeps them, so both programs can work on one draft.\n\n\
         Commands:\n"
    );
    let width = verbs.iter().map(|verb| verb.name.len()).max().unwrap_or(0).max(11);
    for verb in verbs {
        line(&mut text, format_args!("  {:width$} {}", verb.name, verb.about));
    }
    line(&mut text, format_args!("\nRun '{words} manifest COMMAND --help' for more information on a command."));
    text
}

/// A flag that stands before any verb and is not known.
pub(crate) fn group_flag_failure(program: Program, message: &str) -> Failure {
    let path = format!("{} manifest", program.words());
    usage_failure(Exit::DockerUsage, message, &format!("Usage:  {path} COMMAND"), "Run", &path)
}

/// A verb that is not known.
pub(crate) fn unknown_verb(program: Program, name: &str) -> Failure {
    let path = format!("{} manifest", program.words());
    let message = format!("{}: unknown command: {path} {name}", program.binary());
    usage_failure(Exit::Failure, &message, &format!("Usage:  {path} COMMAND"), "Run", &path)
}

fn usage_failure(exit: Exit, message: &str, usage: &str, tail: &str, path: &str) -> Failure {
    Failure::new(exit, format!("{message}\n\n{usage}\n\n{tail} '{path} --help' for more information"))
}

/// `  -a, --amend      What it does`, the last column three blanks behind the longest flag.
fn flag_table(flags: &[Flag]) -> String {
    let left: Vec<String> = flags
        .iter()
        .map(|flag| {
            let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
            let value = match flag.kind {
                Kind::Switch => String::new(),
                Kind::Text(name) | Kind::Commas(name) | Kind::Each(name) => format!(" {name}"),
            };
            format!("  {short}--{}{value}", flag.name)
        })
        .collect();
    let width = left.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (left, flag) in left.iter().zip(flags) {
        line(&mut text, format_args!("{left:width$}{}", flag.help));
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

/// The verb as clap knows commands: for completions and for the generated reference, not for parsing.
pub(crate) fn clap_command(verb: &Verb) -> clap::Command {
    let mut command = clap::Command::new(verb.name).about(verb.about).disable_help_flag(true);
    if !verb.details.is_empty() {
        command = command.long_about(format!("{}\n\n{}", verb.about, verb.details.trim_end()));
    }
    for flag in verb.flags.iter().chain([&HELP]) {
        let mut argument = clap::Arg::new(flag.name).long(flag.name).help(flag.help);
        if let Some(short) = flag.short {
            argument = argument.short(short);
        }
        command = command.arg(match flag.kind {
            Kind::Switch => argument.action(clap::ArgAction::SetTrue),
            Kind::Text(name) => argument.value_name(name).action(clap::ArgAction::Set),
            Kind::Commas(name) | Kind::Each(name) => argument.value_name(name).action(clap::ArgAction::Append),
        });
    }
    let words = match verb.arity {
        Arity::Nothing => return command,
        Arity::Exactly(1) | Arity::AtLeast(1) => verb.synopsis.trim_start_matches("[OPTIONS] "),
        _ => "REFERENCE",
    };
    let name = words.split(' ').next().unwrap_or("REFERENCE");
    command.arg(clap::Arg::new("references").value_name(name).num_args(0..).help("See the usage line"))
}
