//! Who one is to a registry.

use std::path::PathBuf;

use image::RegistryHost;

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

/// Why credentials could not be found, kept or forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
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
}

impl CredentialError {
    /// What a person can try, if there is something.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
