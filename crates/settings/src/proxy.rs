//! Which requests go through which proxy.

use url::Url;

use crate::environment::Environment;
use crate::secret::Secret;

/// A proxy server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    url: Url,
    login: Option<(String, Secret)>,
}

impl ProxyServer {
    /// Its URL without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// User and password, if it wants them.
    pub fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password))
    }
}

/// The rules of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, as Go's.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {}

impl ProxyRules {
    /// No proxy for anything.
    pub fn none() -> Self {
        Self::default()
    }

    /// The proxy for a request to `url`. `None`: directly.
    pub fn proxy_for(&self, _url: &Url) -> Option<&ProxyServer> {
        None
    }

    /// What in the variables could not be used, as lines for stderr.
    pub fn warnings(&self) -> &[String] {
        &[]
    }
}

impl From<&Environment> for ProxyRules {
    fn from(_environment: &Environment) -> Self {
        Self::default()
    }
}
