//! `auth.json` of Podman, Buildah and Skopeo: asked last, read only.
//!
//! Described in containers-auth.json(5).

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::docker_config::{self, DockerConfig};
use crate::environment::{EnvVar, Environment};
use crate::shown::Shown;

/// The places, and what stands in them once somebody has asked.
#[derive(Debug, Default)]
pub(crate) struct AuthFiles {
    paths: Vec<PathBuf>,
    files: OnceLock<Vec<AuthFile>>,
}

/// One file that is there.
#[derive(Debug)]
pub(crate) struct AuthFile {
    pub(crate) path: PathBuf,
    pub(crate) config: DockerConfig,
}

impl AuthFiles {
    /// `REGISTRY_AUTH_FILE` alone if it is set, else the file of this session and the one of this user.
    pub(crate) fn new(environment: &Environment) -> Self {
        let paths = match environment.path(EnvVar::RegistryAuthFile) {
            Some(path) => vec![path.to_owned()],
            None => [environment.runtime_dir(), environment.xdg(EnvVar::XdgConfigHome, ".config")]
                .into_iter()
                .flatten()
                .map(|directory| directory.join("containers/auth.json"))
                .collect(),
        };
        Self { paths, files: OnceLock::new() }
    }

    /// The files that are there, read at the first call. What is broken is told to `warn`, and the rest counts.
    pub(crate) fn read(&self, warn: impl Fn(String)) -> &[AuthFile] {
        self.files.get_or_init(|| {
            let read = |path: &PathBuf| {
                let faults = match docker_config::read(path) {
                    Ok(None) => return None,
                    Ok(Some(bytes)) => {
                        let (config, faults) = DockerConfig::parse(&bytes);
                        if let Some(fault) = faults.first() {
                            warn(complaint(path, fault));
                        }
                        return Some(AuthFile { path: path.clone(), config });
                    }
                    Err(fault) => fault,
                };
                warn(complaint(path, &faults.to_string()));
                None
            };
            self.paths.iter().filter_map(read).collect()
        })
    }
}

fn complaint(path: &std::path::Path, fault: &str) -> String {
    format!("warning: credential file `{}`: {fault}", Shown(&path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(pairs: &[(&str, &str)]) -> Vec<String> {
        let environment = pairs.iter().copied().collect();
        AuthFiles::new(&environment).paths.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn where_it_is_looked_for() {
        assert!(paths(&[]).is_empty());
        assert_eq!(paths(&[("HOME", "/h")]), ["/h/.config/containers/auth.json"]);
        assert_eq!(
            paths(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1"), ("XDG_CONFIG_HOME", "/c")]),
            ["/run/user/1/containers/auth.json", "/c/containers/auth.json"]
        );
        assert_eq!(paths(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a.json")]), ["/a.json"]);
    }

    #[test]
    fn broken_files_are_told_once_and_absent_ones_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.json");
        let shown = path.display().to_string();
        let environment: Environment = [("REGISTRY_AUTH_FILE", shown.as_str())].into_iter().collect();
        let told = std::cell::RefCell::new(Vec::new());
        let warn = |warning| told.borrow_mut().push(warning);
        assert!(AuthFiles::new(&environment).read(warn).is_empty());
        assert!(told.borrow().is_empty());

        std::fs::write(&path, "[").unwrap();
        let files = AuthFiles::new(&environment);
        assert_eq!(files.read(warn).len(), 1);
        assert_eq!(files.read(warn).len(), 1);
        assert_eq!(told.take(), [format!("warning: credential file `{shown}`: unexpected EOF")]);

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(AuthFiles::new(&environment).read(warn).is_empty());
        assert_eq!(told.take(), [format!("warning: credential file `{shown}`: is a directory")]);
    }
}
