//! Arguments of `serve`: one flag for each setting.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use settings::serve::{Kind, SETTINGS, ServeFlags, Setting};

/// Arguments of `serve`.
#[derive(Debug)]
pub(crate) struct Serve {
    /// Flags as they were given.
    pub(crate) flags: ServeFlags,
    /// Print the settings and stop.
    pub(crate) print_config: bool,
}

/// Docker's configuration is of no use to a server: its flag is the settings file's here, by the same name within clap.
const CONFIG: &str = "config";
const PRINT_CONFIG: &str = "print-config";

/// What all commands have, and take for themselves.
const GLOBAL: &str = "data";

const EXAMPLES: &str = "\
Examples:
  polyarch serve
  polyarch serve --listen 0.0.0.0:5000 --tls-cert cert.pem --tls-key key.pem --htpasswd users
  polyarch serve --config /etc/polyarch/polyarch.toml --print-config

Each option is also a key of the settings file and a variable: docs/settings.md";

impl Args for Serve {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Settings file, as TOML");
        let print = Arg::new(PRINT_CONFIG)
            .long(PRINT_CONFIG)
            .action(ArgAction::SetTrue)
            .help("Print the settings as a file, and where each came from; serve nothing");
        let flags = SETTINGS.iter().filter(|setting| setting.flag != GLOBAL).map(argument);
        command.arg(config).arg(print).args(flags).after_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let default = match (setting.default, setting.kind) {
        ("", _) | ("false", Kind::Switch) => String::new(),
        (default, _) => format!(" [default: {default}]"),
    };
    let check = setting.check;
    let parser = ValueParser::from(move |text: &str| check(text).map(|()| text.to_owned()));
    let argument =
        Arg::new(setting.flag).long(setting.flag).value_parser(parser).help(setting.doc.to_owned() + &default);
    let argument = match setting.table {
        "" => argument,
        table => argument.help_heading(heading(table)),
    };
    match setting.kind {
        Kind::Switch => argument
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true),
        Kind::One => argument.value_name(setting.placeholder),
        Kind::Several => argument.value_name(setting.placeholder).action(ArgAction::Append),
    }
}

/// What a table of the file is called in help.
fn heading(table: &'static str) -> &'static str {
    match table {
        "tls" => "TLS",
        "access" => "Access",
        "token-server" => "Token server",
        "garbage" => "Garbage collection",
        "log" => "Logs",
        "metrics" => "Metrics",
        "disk" => "Disk",
        "limits" => "Limits",
        other => other,
    }
}

impl FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| setting.flag != GLOBAL) {
            if let Some(given) = matches.get_many::<String>(setting.flag) {
                values.push((setting.flag, given.cloned().collect()));
            }
        }
        let config = matches.get_one::<PathBuf>(CONFIG).cloned();
        let data = matches.try_get_one::<PathBuf>(GLOBAL).ok().flatten().cloned();
        Ok(Self { flags: ServeFlags { config, data, values }, print_config: matches.get_flag(PRINT_CONFIG) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
