//! Under which name the program was started, and what follows from it.
//!
//! A link or copy named `docker-polyarch` in docker's `cli-plugins` directory makes `docker polyarch …` work. Docker
//! first asks `docker-polyarch docker-cli-plugin-metadata`, and then runs `docker-polyarch [GLOBAL FLAGS] polyarch …`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Name of the file that docker takes for the plugin.
const PLUGIN_FILE: &str = "docker-polyarch";
/// What docker asks a plugin first.
const METADATA_COMMAND: &str = "docker-cli-plugin-metadata";

/// How the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// By its own name.
    Standalone,
    /// By docker, as its plugin.
    DockerPlugin,
}

/// What is to be done, by the looks of the program's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Tell docker what this plugin is.
    PluginMetadata,
    /// Run a command line: what follows the program's name.
    Run(Program, Vec<OsString>),
}

impl Program {
    /// The words that a person types to get here, for usage lines.
    pub fn words(self) -> &'static str {
        match self {
            Self::Standalone => "polyarch",
            Self::DockerPlugin => "docker polyarch",
        }
    }

    /// The first of the words: what docker's messages begin with.
    pub(crate) fn binary(self) -> &'static str {
        match self {
            Self::Standalone => "polyarch",
            Self::DockerPlugin => "docker",
        }
    }
}

/// Takes the process's arguments, program name first, apart.
pub(crate) fn call(arguments: impl IntoIterator<Item = OsString>) -> Call {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let mut rest: Vec<OsString> = arguments.collect();
    if !is_plugin_file(&name) {
        return Call::Run(Program::Standalone, rest);
    }
    if rest.first().is_some_and(|first| first == METADATA_COMMAND) {
        return Call::PluginMetadata;
    }
    if let Some(own_name) = command_position(&rest).filter(|&at| rest[at] == "polyarch") {
        rest.remove(own_name);
    }
    Call::Run(Program::DockerPlugin, rest)
}

fn is_plugin_file(name: &OsStr) -> bool {
    let Some(file) = Path::new(name).file_name().and_then(OsStr::to_str) else { return false };
    file.strip_suffix(".exe").unwrap_or(file) == PLUGIN_FILE
}

/// Global flags that take a value, ours and docker's.
const FLAGS_WITH_VALUE: [&str; 11] = [
    "--config",
    "--data",
    "--context",
    "-c",
    "--host",
    "-H",
    "--log-level",
    "-l",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// Where the command stands: the first argument that is neither a global flag nor the value of one.
pub(crate) fn command_position(arguments: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        let Some(text) = argument.to_str() else { return Some(at) };
        if !text.starts_with('-') || text == "-" || text == "--" {
            return Some(at);
        }
        at += if FLAGS_WITH_VALUE.contains(&text) { 2 } else { 1 };
    }
    None
}

/// What docker wants to know of a plugin (docker/cli, `cli-plugins/metadata`).
pub(crate) fn plugin_metadata() -> serde_json::Value {
    serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "polyarch",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Multi-platform images: assemble, annotate, push, serve",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_of(line: &str) -> Call {
        call(line.split(' ').map(OsString::from))
    }

    fn run(program: Program, line: &str) -> Call {
        Call::Run(program, line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn own_name_changes_nothing() {
        assert_eq!(call_of("/usr/bin/polyarch manifest rm x"), run(Program::Standalone, "manifest rm x"));
        assert_eq!(call_of("polyarch polyarch"), run(Program::Standalone, "polyarch"));
    }

    #[test]
    fn plugin_name_strips_the_repeated_command() {
        for (line, rest) in [
            ("/x/docker-polyarch polyarch manifest rm x", "manifest rm x"),
            ("docker-polyarch.exe polyarch images", "images"),
            ("docker-polyarch --config polyarch polyarch images", "--config polyarch images"),
            ("docker-polyarch -D --host=tcp://x polyarch images", "-D --host=tcp://x images"),
            ("docker-polyarch images polyarch", "images polyarch"),
        ] {
            assert_eq!(call_of(line), run(Program::DockerPlugin, rest), "{line}");
        }
        assert_eq!(call_of("docker-polyarch docker-cli-plugin-metadata"), Call::PluginMetadata);
    }
}
