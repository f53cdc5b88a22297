//! The pages of `docs/` that are made of the program itself: a test compares them with what is committed.

use std::fmt::Write as _;

use settings::EnvVar;
use settings::serve::{settings_page, variables_table};

use crate::exit::Exit;
use crate::program::Program;
use crate::{args, manifest};

/// How wide help texts are in the pages, whatever terminal the test runs in.
const WIDTH: usize = 100;

/// A page: path below `docs/`, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Path below `docs/`.
    pub path: String,
    /// Markdown.
    pub text: String,
}

/// All pages.
pub fn pages() -> Vec<Page> {
    let mut pages = vec![
        Page { path: "exit-codes.md".to_owned(), text: exit_codes() },
        Page { path: "environment.md".to_owned(), text: environment() },
        Page { path: "settings.md".to_owned(), text: settings() },
    ];
    pages.extend(commands());
    pages
}

fn exit_codes() -> String {
    let mut text = String::from(
        "# Exit codes\n\n\
         Scripts may rely on them.\n\n\
         | code | meaning |\n| ---: | --- |\n",
    );
    for exit in Exit::ALL {
        // Writing to a `String` cannot fail, here and below.
        let _ = writeln!(text, "| {} | {} |", exit.code(), exit.meaning());
    }
    text.push_str(
        "\n`polyarch manifest` keeps to docker's three: 0 done, 1 did not work (a wrong number of arguments and an\n\
         unknown subcommand too), 125 a flag was not understood. `polyarch manifest` alone prints its help on stderr and\n\
         ends with 0, as docker does. Signals end it with 130 and 143.\n\n\
         A reader that goes away (`polyarch images | head -1`) is not an error: the code is what the work deserves.\n",
    );
    text
}

fn environment() -> String {
    let mut text = String::from(
        "# Environment variables\n\n\
         Every variable that polyarch reads. One that is set but empty counts as not set. Flags win over variables.\n\n",
    );
    text.push_str(&EnvVar::markdown());
    text.push_str("\n## Settings of the registry server\n\n");
    text.push_str(&variables_table());
    text
}

fn settings() -> String {
    let mut text = String::from(
        "# Settings of `polyarch serve`\n\n\
         A flag wins over a variable, a variable over the settings file, the file over the default. The file is TOML and is named\n\
         by `--config` or `POLYARCH_CONFIG`; a key that is not listed here is refused. The variable of a setting is its flag in\n\
         capitals after `POLYARCH_SERVE_`, so that of `--tls-cert` is `POLYARCH_SERVE_TLS_CERT`; that of `--data` is `POLYARCH_DATA`.\n\
         `polyarch serve --print-config` prints what it comes to, as a file, and where each value came from. How they are used:\n\
         [run your own registry](book/serve.md).\n\n\
         * Durations are written `90s`, `5m`, `1h30m`, `7d`; sizes `4MiB`, `10GB`.\n\
         * Relative paths in the file are below the directory that the file is in.\n\
         * A switch is `true` or `false`; its flag alone means `true`.\n\n",
    );
    text.push_str(&settings_page());
    text
}

fn commands() -> Vec<Page> {
    let mut root = args::command().bin_name(Program::Standalone.words()).term_width(WIDTH);
    // Global flags are in every command's help only once the tree is built.
    root.build();
    let mut contents = String::from(
        "# Commands\n\n\
         What `--help` prints, command by command. As a plugin of docker (`docker polyarch …`) the words are the same.\n\n\
         | command | what it does |\n| --- | --- |\n",
    );
    let mut pages = Vec::new();
    // clap puts a command that was changed last.
    let (manifest, others): (Vec<_>, Vec<_>) =
        root.get_subcommands().partition(|command| command.get_name() == "manifest");
    for command in manifest.into_iter().chain(others) {
        let name = command.get_name();
        if name == "help" {
            continue;
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(contents, "| [`{name}`]({name}.md) | {about} |");
        let text = if name == "manifest" { manifest_page() } else { page(name, &helps(command)) };
        pages.push(Page { path: format!("commands/{name}.md"), text });
    }
    let _ = write!(contents, "\n```text\n{}```\n", help(&root));
    pages.insert(0, Page { path: "commands/README.md".to_owned(), text: contents });
    pages
}

fn help(command: &clap::Command) -> String {
    let text = command.clone().term_width(WIDTH).render_help().to_string();
    // clap pads some lines.
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// The help of a command, and of those below it.
fn helps(command: &clap::Command) -> Vec<String> {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    std::iter::once(help(command)).chain(below.map(help)).collect()
}

fn manifest_page() -> String {
    let mut text = String::from("# polyarch manifest\n");
    for (verb, help) in manifest::help_texts(Program::Standalone) {
        let title = if verb.is_empty() { String::new() } else { format!("\n## {verb}\n") };
        let _ = write!(text, "{title}\n```text\n{help}```\n");
    }
    text.push_str(
        "\nWhat each word does, and where it does more than docker's: [docker manifest](../docker-manifest.md).\n",
    );
    text
}

fn page(name: &str, helps: &[String]) -> String {
    let mut text = format!("# polyarch {name}\n");
    for help in helps {
        let _ = write!(text, "\n```text\n{help}```\n");
    }
    text
}
