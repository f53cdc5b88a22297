//! Who one is to a registry.

use std::path::PathBuf;

use image::RegistryHost;

use crate::credential_helper::HelperFailure;
use crate::secret::Secret;

/// The key of Docker Hub in every credential store of Docker.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The key under which Docker keeps the credentials of `host`: [`HUB_KEY`] for Docker Hub, else the host itself.
pub fn server_key(host: &RegistryHost) -> &str {
    match host.as_str() {
        "docker.io" | "index.docker.io" => HUB_KEY,
        other => other,
    }
}

/// What a registry or its token server is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// A user name and a password: Basic authentication, and `account` with Basic at a token server.
    Basic {
        /// The user name.
        username: String,
        /// The password or access token.
        password: Secret,
    },
    /// A refresh token for the token server's `grant_type=refresh_token`.
    IdentityToken(Secret),
    /// A Bearer token that is used as it is; no token server is asked.
    RegistryToken(Secret),
}

impl Credentials {
    /// Whether there is nothing to show.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

/// Why credentials could not be found, kept or forgotten. The texts read well after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A token that cannot stand in a header, so that sending it could send something else too.
    #[error("use the token for `{host}`: it has a control character in it")]
    ControlCharacter {
        /// The registry.
        host: RegistryHost,
    },
    /// A user name that cannot be kept.
    #[error("keep the login: the user name {0}")]
    Username(&'static str),
    /// A user name without a password, which Docker takes for no login.
    #[error("keep the login: the password is empty")]
    EmptyPassword,
    /// A file could not be read or written.
    #[error("{action} `{}`", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be, so that it is not edited.
    #[error("edit `{}`: {fault}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A credential helper did not do what it was asked to.
    #[error("{action} credentials for `{host}` with the credential helper `{program}`")]
    Helper {
        /// What was being done: `store` or `erase`.
        action: &'static str,
        /// The registry.
        host: RegistryHost,
        /// The helper's program.
        program: String,
        /// What went wrong.
        source: HelperFailure,
    },
}

impl CredentialError {
    /// What a person can try, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ControlCharacter { host } => Some(format!("log in to `{host}` again")),
            Self::Username(_) | Self::EmptyPassword | Self::File { .. } => None,
            Self::Malformed { path, .. } => Some(format!("mend `{}`, or move it away", path.display())),
            Self::Helper { program, source, .. } => match source {
                HelperFailure::NotInPath => Some(format!(
                    "install `{program}`, or take it out of `credsStore` and `credHelpers` in `config.json`"
                )),
                _ => None,
            },
        }
    }
}
