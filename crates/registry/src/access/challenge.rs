//! `WWW-Authenticate`: how a client is to show who it is.

use http::StatusCode;
use std::fmt::Write as _;

use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::access::Access;
use crate::access::caller::{Need, unauthorized};
use crate::access::token_endpoint::PATH;
use crate::refusal::Refusal;

/// Marks requests that came over TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encrypted;

/// What a refused client is told.
#[derive(Debug)]
pub(crate) struct Challenge<'a> {
    access: &'a Access,
    parts: &'a Parts,
    need: Need<'a>,
}

impl<'a> Challenge<'a> {
    pub(crate) fn new(access: &'a Access, parts: &'a Parts, need: Need<'a>) -> Self {
        Self { access, parts, need }
    }

    /// A refusal that asks to come back with a token, or with a password where there is no token server.
    pub(crate) fn refuse(&self, message: &str, error: Option<&str>) -> Refusal {
        match self.bearer(error) {
            None => unauthorized(message),
            Some(value) => {
                Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message).header(header::WWW_AUTHENTICATE, value)
            }
        }
    }

    fn bearer(&self, error: Option<&str>) -> Option<HeaderValue> {
        let tokens = self.access.tokens()?;
        let realm = if let Some(realm) = &tokens.options.realm {
            realm.clone()
        } else {
            let scheme = if self.parts.extensions.get::<Encrypted>().is_some() { "https" } else { "http" };
            format!("{scheme}://{}{PATH}", host(self.parts)?)
        };
        let mut text = format!("Bearer realm=\"{realm}\",service=\"{}\"", tokens.options.service);
        for (name, value) in [("scope", self.need.scope().as_deref()), ("error", error)] {
            if let Some(value) = value {
                let _ = write!(text, ",{name}=\"{value}\"");
            }
        }
        HeaderValue::from_str(&text).ok()
    }
}

/// The address that the client used, if it is one: it is told nothing but what it said itself, and nothing that breaks
/// out of its quotes. What a proxy adds (`X-Forwarded-Host`) anybody can, and does not count.
fn host(parts: &Parts) -> Option<&str> {
    let host = if let Some(authority) = parts.uri.authority() {
        authority.as_str()
    } else {
        let mut values = parts.headers.get_all(header::HOST).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)?
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (!host.is_empty() && host.len() <= 255 && host.bytes().all(fits)).then_some(host)
}
