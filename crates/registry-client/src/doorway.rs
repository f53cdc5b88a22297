//! How a repository is reached, for whoever opens connections of their own: `polyarch bench` does.

use http::Method;
use rustls::ClientConfig;
use settings::Secret;
use url::Url;

use crate::call::{Call, Place};
use crate::error::{ClientError, ErrorKind, Verb};
use crate::repository::Repository;
use crate::scope::{Access, ScopeSet};

/// What a connection to a repository needs.
#[derive(Debug)]
#[non_exhaustive]
pub struct Doorway {
    /// Scheme, host and port of the registry.
    pub url: Url,
    /// TLS as the client would speak it, for HTTP/1.1 only; `None`: the registry is reached in plain HTTP.
    pub tls: Option<ClientConfig>,
    /// The value of `Authorization`, if the registry asks for one. A token in it lives for some minutes.
    pub authorization: Option<Secret>,
}

impl Repository {
    /// How this repository is reached and written to, as far as the requests before this one have shown it. A token that
    /// is still good is given again, so this may be asked often.
    pub async fn doorway(&self) -> Result<Doorway, ClientError> {
        let registry = self.registry();
        let place = Place::Path("/".to_owned());
        let mut scopes = ScopeSet::repository(self.name(), Access::Push);
        scopes.add_repository(self.name(), Access::Delete);
        let call = Call::new(Verb::CheckLogin, Method::GET, place, scopes);
        let context = registry.context(&call)?;
        let ticket = registry.ticket(&context, &call.scopes).await?;
        let failed = |reason: String| ClientError::from(context.failure(ErrorKind::Configuration).detail(reason));
        let url = registry.url(ticket.scheme, &call.place).map_err(|error| failed(error.to_string()))?;
        let tls = if url.scheme() == "https" {
            let mut config = registry
                .wire
                .transports
                .client_config(&registry.wire.options, &url)
                .map_err(|error| failed(error.reason))?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(config)
        } else {
            None
        };
        let authorization = ticket.authorization.as_ref().and_then(|value| value.to_str().ok()).map(Secret::from);
        Ok(Doorway { url, tls, authorization })
    }
}
