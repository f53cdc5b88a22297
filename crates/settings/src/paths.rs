//! Where files are kept.

use std::path::{Path, PathBuf};

use crate::environment::{EnvVar, Environment};

/// What was given on the command line; it wins over the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFlags {
    /// `--config`: Docker's configuration directory.
    pub docker_config: Option<PathBuf>,
    /// `--data`: the data directory.
    pub data: Option<PathBuf>,
}

/// The directories of this user. None of them need exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Docker's configuration directory: flag, `DOCKER_CONFIG`, `~/.docker`.
    pub docker_config_dir: PathBuf,
    /// The data directory: flag, `POLYARCH_DATA`, `$XDG_DATA_HOME/polyarch`, `~/.local/share/polyarch`.
    pub data_dir: PathBuf,
    /// The cache directory: `POLYARCH_CACHE`, `$XDG_CACHE_HOME/polyarch`, `~/.cache/polyarch`. `None` where nothing says
    /// where it could be: then nothing is cached.
    pub cache_dir: Option<PathBuf>,
}

/// A directory that is needed and that nothing names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathsError {
    /// There is no home directory to put it under.
    #[error("no place for {what}: there is no home directory, and neither `{flag}` nor `{variable}` is given")]
    NoHome {
        /// What has no place.
        what: &'static str,
        /// The flag that would name one.
        flag: &'static str,
        /// The variable that would name one.
        variable: &'static str,
    },
}

impl PathsError {
    /// What to try.
    pub fn hint(&self) -> String {
        match self {
            Self::NoHome { flag, variable, .. } => format!("set `{variable}`, give `{flag}`, or set `HOME`"),
        }
    }
}

impl Paths {
    /// Finds the directories; nothing is made or opened.
    pub fn new(environment: &Environment, flags: &PathFlags) -> Result<Self, PathsError> {
        let docker_config_dir = given(environment, flags.docker_config.as_deref(), EnvVar::DockerConfig)
            .or_else(|| environment.home().map(|home| home.join(".docker")))
            .ok_or(PathsError::NoHome {
                what: "docker's configuration",
                flag: "--config",
                variable: EnvVar::DockerConfig.name(),
            })?;
        let data_dir = Self::data_dir(environment, flags)?;
        let cache_dir = environment
            .path(EnvVar::PolyarchCache)
            .map(Path::to_owned)
            .or_else(|| environment.xdg(EnvVar::XdgCacheHome, ".cache").map(|parent| parent.join("polyarch")));
        Ok(Self { docker_config_dir, data_dir, cache_dir })
    }

    /// The data directory alone, for who needs no other.
    pub fn data_dir(environment: &Environment, flags: &PathFlags) -> Result<PathBuf, PathsError> {
        given(environment, flags.data.as_deref(), EnvVar::PolyarchData)
            .or_else(|| environment.xdg(EnvVar::XdgDataHome, ".local/share").map(|parent| parent.join("polyarch")))
            .ok_or(PathsError::NoHome { what: "data", flag: "--data", variable: EnvVar::PolyarchData.name() })
    }
}

/// An empty flag is no flag: `--config "$UNSET"` must not mean the current directory.
fn given(environment: &Environment, flag: Option<&Path>, variable: EnvVar) -> Option<PathBuf> {
    flag.filter(|path| !path.as_os_str().is_empty()).or_else(|| environment.path(variable)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn paths(pairs: Pairs, config: Option<&str>, data: Option<&str>) -> Result<Paths, PathsError> {
        let environment = pairs.iter().copied().collect();
        Paths::new(&environment, &PathFlags { docker_config: config.map(Into::into), data: data.map(Into::into) })
    }

    #[test]
    fn flag_wins_over_variable_wins_over_xdg_wins_over_home() {
        let home: Pairs = &[("HOME", "/h")];
        let xdg: Pairs = &[("HOME", "/h"), ("XDG_DATA_HOME", "/xd"), ("XDG_CACHE_HOME", "/xc")];
        let all: Pairs = &[
            ("HOME", "/h"),
            ("XDG_DATA_HOME", "/xd"),
            ("DOCKER_CONFIG", "/dc"),
            ("POLYARCH_DATA", "/pd"),
            ("POLYARCH_CACHE", "/pc"),
        ];
        let empty: Pairs = &[("HOME", "/h"), ("DOCKER_CONFIG", "")];
        for (pairs, flags, [config, data, cache]) in [
            (home, [None, None], ["/h/.docker", "/h/.local/share/polyarch", "/h/.cache/polyarch"]),
            (xdg, [None, None], ["/h/.docker", "/xd/polyarch", "/xc/polyarch"]),
            (all, [None, None], ["/dc", "/pd", "/pc"]),
            (all, [Some("/fc"), Some("/fd")], ["/fc", "/fd", "/pc"]),
            (empty, [Some(""), Some("")], ["/h/.docker", "/h/.local/share/polyarch", "/h/.cache/polyarch"]),
        ] {
            let found = paths(pairs, flags[0], flags[1]).unwrap();
            assert_eq!(found.docker_config_dir, Path::new(config), "{pairs:?}");
            assert_eq!(found.data_dir, Path::new(data), "{pairs:?}");
            assert_eq!(found.cache_dir.as_deref(), Some(Path::new(cache)), "{pairs:?}");
        }
    }

    #[test]
    fn without_a_home_the_error_names_flag_and_variable() {
        let error = paths(&[], None, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no place for docker's configuration: there is no home directory, and neither `--config` nor \
             `DOCKER_CONFIG` is given"
        );
        assert_eq!(error.hint(), "set `DOCKER_CONFIG`, give `--config`, or set `HOME`");
        let found = paths(&[], Some("/c"), Some("/d")).unwrap();
        assert_eq!(found.cache_dir, None);
    }
}
