//! The environment as a value, and the catalogue of every variable that is read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a variable is about; the table of the documentation is ordered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Where files are kept.
    Files,
    /// Who one is to a registry.
    Credentials,
    /// Whom to trust.
    Tls,
    /// How to reach a registry.
    Network,
    /// What goes into images.
    Images,
    /// What the registry server reads beside its settings.
    Server,
    /// What is printed and how.
    Output,
}

impl Group {
    /// The heading in the documentation.
    pub fn title(self) -> &'static str {
        match self {
            Self::Files => "Files",
            Self::Credentials => "Credentials",
            Self::Tls => "TLS",
            Self::Network => "Network",
            Self::Images => "Images",
            Self::Server => "The registry server",
            Self::Output => "Output",
        }
    }
}

/// One list is the enum, the names, the documentation and `ALL`: they cannot drift apart.
macro_rules! catalogue {
    ($($variant:ident, $group:ident, [$($name:literal),+], $doc:literal;)+) => {
        /// Every environment variable that polyarch reads. What is not here is not read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EnvVar {
            $(#[doc = $doc] $variant,)+
        }

        impl EnvVar {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its spellings; the first that is set counts.
            pub fn names(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($name),+],)+ }
            }

            /// One line on what it does, in Markdown.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }

            /// What it is about.
            pub fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group,)+ }
            }
        }
    };
}

catalogue! {
    PolyarchData, Files, ["POLYARCH_DATA"],
        "Data directory: local images, and what `polyarch serve` keeps. `--data` wins over it. Without both: `$XDG_DATA_HOME/polyarch`.";
    PolyarchCache, Files, ["POLYARCH_CACHE"],
        "Cache directory: what was learnt about registries, never secrets. Without it: `$XDG_CACHE_HOME/polyarch`. It may be deleted at any time.";
    DockerConfig, Files, ["DOCKER_CONFIG"],
        "Docker's configuration directory: `config.json` and the manifest lists under `manifests/`. `--config` wins over it. Without both: `~/.docker`.";
    XdgDataHome, Files, ["XDG_DATA_HOME"],
        "Parent of the default data directory. Without it: `~/.local/share`. Ignored if it is not absolute.";
    XdgCacheHome, Files, ["XDG_CACHE_HOME"],
        "Parent of the default cache directory. Without it: `~/.cache`. Ignored if it is not absolute.";
    XdgConfigHome, Files, ["XDG_CONFIG_HOME"],
        "Parent of `containers/auth.json`, `containers/certs.d` and, under rootlesskit, `docker/certs.d`. Without it: `~/.config`. Ignored if it is not absolute.";
    XdgRuntimeDir, Files, ["XDG_RUNTIME_DIR"],
        "Parent of `containers/auth.json`, where Podman, Buildah and Skopeo keep their logins.";
    Home, Files, ["HOME"],
        "The home directory, from which the defaults above follow. Without it: the one of the user database.";
    DockerAuthConfig, Credentials, ["DOCKER_AUTH_CONFIG"],
        "Credentials as JSON, `{\"auths\":{\"HOST\":{\"auth\":\"BASE64\"}}}`. Asked first; hosts that it does not name fall back to `config.json`.";
    RegistryAuthFile, Credentials, ["REGISTRY_AUTH_FILE"],
        "A credentials file of Podman, Buildah and Skopeo, asked last, in place of `$XDG_RUNTIME_DIR/containers/auth.json`.";
    Path, Credentials, ["PATH"],
        "Where credential helpers (`docker-credential-…`) are looked for.";
    SslCertFile, Tls, ["SSL_CERT_FILE"],
        "A PEM file of certificate authorities, in place of the system's bundle.";
    SslCertDir, Tls, ["SSL_CERT_DIR"],
        "Directories of PEM files, separated by colons, in place of the system's directories.";
    RootlesskitStateDir, Tls, ["ROOTLESSKIT_STATE_DIR"],
        "Set by rootless Docker: `$XDG_CONFIG_HOME/docker/certs.d` takes the place of `/etc/docker/certs.d`.";
    HttpProxy, Network, ["HTTP_PROXY", "http_proxy"],
        "The proxy for `http://` requests. Never used for loopback.";
    HttpsProxy, Network, ["HTTPS_PROXY", "https_proxy"],
        "The proxy for `https://` requests. Never used for loopback.";
    AllProxy, Network, ["ALL_PROXY", "all_proxy"],
        "The proxy for requests whose scheme has none of its own. Docker does not read this one.";
    NoProxy, Network, ["NO_PROXY", "no_proxy"],
        "Hosts that are reached directly, separated by commas: names with their subdomains, addresses, CIDR ranges, each with or without a port; `*` is all.";
    RequestMethod, Network, ["REQUEST_METHOD"],
        "If set, this process is a CGI script and anybody who sends it a request can set `HTTP_PROXY`: that one is not used then.";
    SourceDateEpoch, Images, ["SOURCE_DATE_EPOCH"],
        "The time, in seconds since 1970, that is written into images in place of the default.";
    PolyarchConfig, Server, ["POLYARCH_CONFIG"],
        "The settings file of `polyarch serve`. `--config` after `serve` wins over it.";
    ListenFds, Server, ["LISTEN_FDS"],
        "Set by systemd with `LISTEN_PID`: the server takes the socket that was handed on, in place of `--listen`.";
    ListenPid, Server, ["LISTEN_PID"],
        "Set by systemd: the process that `LISTEN_FDS` is meant for. In another one it means nothing.";
    NotifySocket, Server, ["NOTIFY_SOCKET"],
        "Set by systemd: where it is told that the server listens, reloads and stops.";
    WatchdogUsec, Server, ["WATCHDOG_USEC"],
        "Set by systemd: microseconds within which it is told that the server is alive.";
    NoColor, Output, ["NO_COLOR"],
        "If set, nothing is coloured.";
    CliColor, Output, ["CLICOLOR"],
        "`0`: nothing is coloured. Anything else: a terminal that `TERM` does not know gets colours too.";
    CliColorForce, Output, ["CLICOLOR_FORCE"],
        "If set, help is coloured even where it does not go to a terminal.";
    Term, Output, ["TERM"],
        "The kind of terminal; `dumb` gets no colours.";
    Ci, Output, ["CI"],
        "If set, a terminal counts as one that knows colours, whatever `TERM` says.";
    Columns, Output, ["COLUMNS"],
        "The width of help where it does not go to a terminal.";
    PolyarchLog, Output, ["POLYARCH_LOG"],
        "What is logged on stderr: `error`, `warn`, `info`, `debug`, `trace`, or per crate, `polyarch_registry_client=debug`.";
}

impl EnvVar {
    /// The name that the documentation uses.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The catalogue as Markdown: one table for each group. `docs/environment.md` is made of it.
    pub fn markdown() -> String {
        use fmt::Write as _;

        let mut text = String::new();
        let mut last = None;
        for variable in Self::ALL {
            if last != Some(variable.group()) {
                last = Some(variable.group());
                // Writing to a `String` does not fail.
                let _ = write!(
                    text,
                    "{}## {}\n\n| variable | what it does |\n| --- | --- |\n",
                    if text.is_empty() { "" } else { "\n" },
                    variable.group().title()
                );
            }
            let names: Vec<String> = variable.names().iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(text, "| {} | {} |", names.join(", "), variable.doc().replace('|', "\\|"));
        }
        text
    }
}

/// The environment of a process as a value that is handed in. No library reads the process's own.
///
/// A variable that is set but empty counts as not set, as in Docker.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    fallback: Fallback,
}

/// What the system knows where the variables say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fallback {
    home: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process. For the binary's `main` alone: everything else is given an `Environment`.
    pub fn from_process() -> Self {
        // `home_dir` asks the user database where `HOME` is not set, as Docker does.
        let mut fallback = Fallback { home: std::env::home_dir(), runtime_dir: None };
        #[cfg(target_os = "linux")]
        {
            // The containers tools' own place where there is no session, as for root.
            let user = rustix::process::getuid().as_raw().to_string();
            fallback.runtime_dir = Some(Path::new("/run/containers").join(user));
        }
        Self { variables: std::env::vars_os().collect(), fallback }
    }

    /// The value of `variable`, if it is set, not empty and text.
    pub fn get(&self, variable: EnvVar) -> Option<&str> {
        self.get_os(variable).and_then(OsStr::to_str)
    }

    /// The value of `variable` as the system keeps it, if it is set and not empty.
    pub fn get_os(&self, variable: EnvVar) -> Option<&OsStr> {
        variable
            .names()
            .iter()
            .filter_map(|name| self.variables.get(OsStr::new(name)))
            .find(|value| !value.is_empty())
            .map(OsString::as_os_str)
    }

    /// The value of `variable` as a path, if it is set and not empty.
    pub fn path(&self, variable: EnvVar) -> Option<&Path> {
        self.get_os(variable).map(Path::new)
    }

    /// The value of the variable of a setting, if it is set and not empty.
    pub(crate) fn named(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(OsString::as_os_str)
    }

    /// The home directory, if it is known.
    pub fn home(&self) -> Option<&Path> {
        self.path(EnvVar::Home).or(self.fallback.home.as_deref())
    }

    /// Every variable there is, for a child process.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// `XDG_RUNTIME_DIR`, or what the containers tools use without it.
    pub(crate) fn runtime_dir(&self) -> Option<PathBuf> {
        self.path(EnvVar::XdgRuntimeDir).or(self.fallback.runtime_dir.as_deref()).map(Path::to_owned)
    }

    /// An XDG base directory: `variable` if it is an absolute path, else `default` under the home directory.
    pub(crate) fn xdg(&self, variable: EnvVar, default: &str) -> Option<PathBuf> {
        self.path(variable)
            .filter(|path| path.is_absolute())
            .map(Path::to_owned)
            .or_else(|| self.home().map(|home| home.join(default)))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, fallback: Fallback::default() }
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_spelling_that_is_set_counts_and_empty_is_not_set() {
        let environment: Environment =
            [("HTTP_PROXY", ""), ("http_proxy", "low:1"), ("HTTPS_PROXY", "UP:1"), ("https_proxy", "low:2")]
                .into_iter()
                .collect();
        assert_eq!(environment.get(EnvVar::HttpProxy), Some("low:1"));
        assert_eq!(environment.get(EnvVar::HttpsProxy), Some("UP:1"));
        assert_eq!(environment.get(EnvVar::NoProxy), None);
    }

    #[test]
    fn names_are_unique_and_groups_stay_together() {
        let mut names: Vec<_> = EnvVar::ALL.iter().flat_map(|variable| variable.names()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(EnvVar::ALL.is_sorted_by_key(|variable| variable.group()));
        for variable in EnvVar::ALL {
            assert!(!variable.doc().contains('\n') && variable.doc().ends_with('.'), "{variable:?}");
        }
    }

    #[test]
    fn the_table_names_every_variable() {
        let table = EnvVar::markdown();
        assert!(
            table.starts_with("## Files\n\n| variable | what it does |\n| --- | --- |\n| `POLYARCH_DATA` |"),
            "{table}"
        );
        assert!(table.contains("\n\n## Network\n\n"), "{table}");
        assert!(table.contains("| `HTTP_PROXY`, `http_proxy` | The proxy for"), "{table}");
        for variable in EnvVar::ALL {
            assert!(table.contains(&format!("| `{}`", variable.name())), "{variable:?}");
        }
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let environment: Environment = [("DOCKER_AUTH_CONFIG", "hunter2")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), "{\"DOCKER_AUTH_CONFIG\"}");
    }

    #[test]
    fn a_relative_xdg_directory_is_ignored() {
        let environment: Environment = [("HOME", "/h"), ("XDG_DATA_HOME", "here")].into_iter().collect();
        assert_eq!(environment.xdg(EnvVar::XdgDataHome, ".local/share"), Some(PathBuf::from("/h/.local/share")));
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt as _;

        let odd = OsString::from_vec(b"/d\xff".to_vec());
        let environment: Environment = [(OsString::from("POLYARCH_DATA"), odd.clone())].into_iter().collect();
        assert_eq!(environment.get(EnvVar::PolyarchData), None);
        assert_eq!(environment.path(EnvVar::PolyarchData), Some(Path::new(&odd)));
    }
}
