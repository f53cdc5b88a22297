//! URLs that a registry gives: upload sessions and next pages.

use url::Url;

use crate::error::{ClientError, ErrorKind};
use crate::wire::Context;

/// `reference` as it stands in `header`, relative to `base`, where the answer came from. The query is kept as it is: it
/// is the registry's own.
pub(crate) fn resolve(context: &Context, base: &Url, header: &str, reference: &str) -> Result<Url, ClientError> {
    let broken = |what: &str| {
        ClientError::from(context.failure(ErrorKind::InvalidResponse).detail(format!("`{header}` {what}")))
    };
    let mut url = base.join(reference).map_err(|_| broken("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(broken("is not an HTTP URL"));
    }
    if base.scheme() == "https" && url.scheme() == "http" {
        // A registry behind a proxy that ends TLS does not know that it is spoken to in HTTPS.
        if url.host() != base.host() || url.set_scheme("https").is_err() {
            return Err(broken("leads from HTTPS to plain HTTP"));
        }
    }
    // Neither fails for a URL that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::error::Verb;

    fn at(base: &str, location: &str) -> Result<String, ErrorKind> {
        let base = Url::parse(base).unwrap();
        let context = Context::new(Verb::StartUpload, Method::POST, &base);
        resolve(&context, &base, "Location", location).map(String::from).map_err(|error| error.kind())
    }

    #[test]
    fn locations_of_every_form() {
        let base = "https://r.io:444/v2/a/blobs/uploads/";
        assert_eq!(
            at(base, "/v2/a/blobs/uploads/u?_state=%2F+x").unwrap(),
            "https://r.io:444/v2/a/blobs/uploads/u?_state=%2F+x"
        );
        assert_eq!(at(base, "u1").unwrap(), "https://r.io:444/v2/a/blobs/uploads/u1");
        assert_eq!(at(base, "https://me:secret@up.example/x#f").unwrap(), "https://up.example/x");
        assert_eq!(at("http://r.io/v2/", "http://up.example/x").unwrap(), "http://up.example/x");
        for bad in ["http://up.example/x", "ftp://up.example/", "https://", "file:///etc/passwd"] {
            assert_eq!(at(base, bad), Err(ErrorKind::InvalidResponse), "{bad}");
        }
    }

    #[test]
    fn a_registry_behind_a_tls_proxy_may_not_know_its_scheme() {
        assert_eq!(at("https://r.io/v2/", "http://r.io/v2/u?a=b").unwrap(), "https://r.io/v2/u?a=b");
    }
}
