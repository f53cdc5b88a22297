//! Certificates that people keep in files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::RegistryHost;

use crate::docker_config::go_io;
use crate::environment::{EnvVar, Environment};
use crate::shown::Shown;

/// Where Docker looks, unless it runs rootless.
const DOCKER: &str = "/etc/docker/certs.d";
/// Where the containers tools look.
const CONTAINERS: &str = "/etc/containers/certs.d";

/// Files for the TLS of one host. None of them has been opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// PEM files of certificate authorities to trust beside the system's.
    pub ca_pems: Vec<PathBuf>,
    /// Client certificates, each with its key; both PEM.
    pub client_pairs: Vec<(PathBuf, PathBuf)>,
}

/// What takes the place of the system's certificate authorities. `None`: the system's own.
///
/// As in Go the two are independent: naming a file leaves the system's directories in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustRoots {
    /// `SSL_CERT_FILE`.
    pub file: Option<PathBuf>,
    /// `SSL_CERT_DIR`, taken apart.
    pub directories: Option<Vec<PathBuf>>,
}

impl TrustRoots {
    /// What `environment` says.
    pub fn new(environment: &Environment) -> Self {
        Self {
            file: environment.path(EnvVar::SslCertFile).map(Path::to_owned),
            directories: environment.get_os(EnvVar::SslCertDir).map(|list| {
                std::env::split_paths(list).filter(|directory| !directory.as_os_str().is_empty()).collect()
            }),
        }
    }
}

/// A `certs.d` directory that cannot be used. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFilesError {
    /// A client certificate without its key.
    #[error(
        "missing key {} for client certificate {}. CA certificates must use the extension .crt",
        Shown(key),
        Shown(certificate)
    )]
    MissingKey {
        /// The directory.
        directory: PathBuf,
        /// The key's file name.
        key: String,
        /// The certificate's file name.
        certificate: String,
    },
    /// A key without its client certificate.
    #[error("missing client certificate {} for key {}", Shown(certificate), Shown(key))]
    MissingCertificate {
        /// The directory.
        directory: PathBuf,
        /// The certificate's file name.
        certificate: String,
        /// The key's file name.
        key: String,
    },
    /// The directory is there but cannot be read.
    #[error("open {}: {}", directory.display(), go_io(source))]
    Unreadable {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl TlsFilesError {
    /// What to try.
    pub fn hint(&self) -> String {
        match self {
            Self::MissingKey { directory, key, certificate } => format!(
                "put `{}` into `{}`, or name `{}` with the extension `.crt` if it is a certificate authority",
                Shown(key),
                directory.display(),
                Shown(certificate)
            ),
            Self::MissingCertificate { directory, certificate, .. } => {
                format!("put `{}` into `{}`", Shown(certificate), directory.display())
            }
            Self::Unreadable { directory, .. } => {
                format!("make `{}` readable, or remove it", directory.display())
            }
        }
    }
}

/// The `certs.d` directories of this machine and user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    directories: Vec<PathBuf>,
}

impl TlsFiles {
    /// Docker's directory, then those of the containers tools, which Docker does not read. The first that has a
    /// directory for a host is used for it, and the others are not: what works with Docker works the same here.
    pub fn new(environment: &Environment) -> Self {
        let of_user = environment.xdg(EnvVar::XdgConfigHome, ".config");
        let is_rootless = environment.get_os(EnvVar::RootlesskitStateDir).is_some();
        let docker = match &of_user {
            Some(parent) if is_rootless => parent.join("docker/certs.d"),
            _ => PathBuf::from(DOCKER),
        };
        let of_user = of_user.map(|parent| parent.join("containers/certs.d"));
        Self { directories: [Some(docker), of_user, Some(PathBuf::from(CONTAINERS))].into_iter().flatten().collect() }
    }

    /// Just these `certs.d` directories.
    pub fn in_directories(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// The files for `host`, in the order of their names; nothing where no directory is named after it.
    pub fn host_tls(&self, host: &RegistryHost) -> Result<HostTls, TlsFilesError> {
        // Windows has no colons in file names; Docker leaves them out there.
        let name = if cfg!(windows) { host.as_str().replace(':', "") } else { host.as_str().to_owned() };
        for parent in &self.directories {
            let directory = parent.join(&name);
            match read(&directory) {
                Ok(None) => {}
                Ok(Some(names)) => return sort_out(&directory, &names),
                Err(source) => return Err(TlsFilesError::Unreadable { directory, source }),
            }
        }
        Ok(HostTls::default())
    }
}

/// The names in a directory, sorted. `None`: it is not there.
fn read(directory: &Path) -> io::Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is no text cannot end with one of the extensions and have a partner.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(Some(names))
}

fn sort_out(directory: &Path, names: &[String]) -> Result<HostTls, TlsFilesError> {
    let mut tls = HostTls::default();
    let is_there = |name: &String| names.binary_search(name).is_ok();
    for name in names {
        match name.rsplit_once('.') {
            Some((_, "crt")) => tls.ca_pems.push(directory.join(name)),
            Some((stem, "cert")) => {
                let key = format!("{stem}.key");
                if !is_there(&key) {
                    let certificate = name.clone();
                    return Err(TlsFilesError::MissingKey { directory: directory.to_owned(), key, certificate });
                }
                tls.client_pairs.push((directory.join(name), directory.join(key)));
            }
            Some((stem, "key")) => {
                let certificate = format!("{stem}.cert");
                if !is_there(&certificate) {
                    let key = name.clone();
                    return Err(TlsFilesError::MissingCertificate {
                        directory: directory.to_owned(),
                        certificate,
                        key,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    fn directories(pairs: &[(&str, &str)]) -> Vec<String> {
        let environment = pairs.iter().copied().collect();
        TlsFiles::new(&environment).directories.iter().map(|path| path.display().to_string()).collect()
    }

    /// What is found in a directory with these files.
    fn found(files: &[&str]) -> Result<HostTls, TlsFilesError> {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("h:5000");
        fs::create_dir(&directory).unwrap();
        for file in files {
            fs::write(directory.join(file), "").unwrap();
        }
        let tls = TlsFiles::in_directories(vec![parent.path().to_owned()]).host_tls(&host("h:5000"))?;
        let name = |path: &PathBuf| PathBuf::from(path.strip_prefix(&directory).unwrap());
        Ok(HostTls {
            ca_pems: tls.ca_pems.iter().map(name).collect(),
            client_pairs: tls.client_pairs.iter().map(|(cert, key)| (name(cert), name(key))).collect(),
        })
    }

    #[test]
    fn where_it_is_looked_for() {
        assert_eq!(directories(&[]), ["/etc/docker/certs.d", "/etc/containers/certs.d"]);
        assert_eq!(
            directories(&[("HOME", "/h")]),
            ["/etc/docker/certs.d", "/h/.config/containers/certs.d", "/etc/containers/certs.d"]
        );
        assert_eq!(
            directories(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("ROOTLESSKIT_STATE_DIR", "/r")]),
            ["/c/docker/certs.d", "/c/containers/certs.d", "/etc/containers/certs.d"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn extensions_say_what_a_file_is() {
        assert_eq!(
            found(&["b.crt", "a.crt", "c.cert", "c.key", "a.b.cert", "a.b.key", "notes.txt", "pem"]).unwrap(),
            HostTls {
                ca_pems: vec!["a.crt".into(), "b.crt".into()],
                client_pairs: vec![("a.b.cert".into(), "a.b.key".into()), ("c.cert".into(), "c.key".into())],
            }
        );
        assert_eq!(found(&[]).unwrap(), HostTls::default());
    }

    #[cfg(unix)]
    #[test]
    fn half_a_pair_is_told_in_dockers_words() {
        let error = found(&["ca.crt", "a.cert"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "missing key a.key for client certificate a.cert. CA certificates must use the extension .crt"
        );
        assert!(error.hint().starts_with("put `a.key` into `"), "{}", error.hint());
        let error = found(&["a.key"]).unwrap_err();
        assert_eq!(error.to_string(), "missing client certificate a.cert for key a.key");
    }

    #[cfg(unix)]
    #[test]
    fn a_host_is_its_name_and_port_and_the_first_directory_counts() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        for (directory, file) in [("one/h", "one.crt"), ("two/h", "two.crt"), ("two/h:5000", "port.crt")] {
            fs::create_dir_all(at(directory)).unwrap();
            fs::write(at(directory).join(file), "").unwrap();
        }
        let files = TlsFiles::in_directories(vec![at("none"), at("one"), at("two")]);
        assert_eq!(files.host_tls(&host("h")).unwrap().ca_pems, [at("one/h/one.crt")]);
        assert_eq!(files.host_tls(&host("h:5000")).unwrap().ca_pems, [at("two/h:5000/port.crt")]);
        assert_eq!(files.host_tls(&host("h:5001")).unwrap(), HostTls::default());
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("h");
        fs::write(&directory, "").unwrap();
        let error = TlsFiles::in_directories(vec![parent.path().to_owned()]).host_tls(&host("h")).unwrap_err();
        assert_eq!(error.to_string(), format!("open {}: not a directory", directory.display()));
    }

    #[cfg(unix)]
    #[test]
    fn variables_name_other_roots() {
        let environment: Environment = [("SSL_CERT_FILE", "/f.pem"), ("SSL_CERT_DIR", "/a::/b")].into_iter().collect();
        let roots = TrustRoots::new(&environment);
        assert_eq!(roots.file.as_deref(), Some(Path::new("/f.pem")));
        assert_eq!(roots.directories.unwrap(), [Path::new("/a"), Path::new("/b")]);
        assert_eq!(TrustRoots::new(&Environment::default()), TrustRoots::default());
    }
}
