//! Who a request came from, where a proxy stands in between (RFC 7239, and `X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HeaderName;

use crate::network::Network;

/// Proxies whose word on where a request came from is taken. Anybody can write these headers, so nobody else's is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TrustedProxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// The header that they write. Only this one counts: the other may be passed on as a client wrote it.
    pub header: ForwardedHeader,
}

/// A header that says where a request came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.1, 10.0.0.7`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1, for="[2001:db8::1]:443"`
    Forwarded,
}

/// Most addresses that are looked at: nobody has more proxies in a row.
const LONGEST: usize = 32;

impl TrustedProxies {
    /// Whether it is one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Where a request came from: read from its end, the first address that is no trusted proxy. What cannot be read ends
    /// the way: then it is the last proxy that could be.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.networks.is_empty() || !self.contain(client) {
            return client;
        }
        let (name, forwarded) = match self.header {
            ForwardedHeader::XForwardedFor => (HeaderName::from_static("x-forwarded-for"), false),
            ForwardedHeader::Forwarded => (http::header::FORWARDED, true),
        };
        let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
        for hop in hops.take(LONGEST) {
            let node = if forwarded { parameter_for(hop) } else { Some(hop.trim()) };
            let Some(address) = node.and_then(address) else { break };
            client = address;
            if !self.contain(client) {
                break;
            }
        }
        client
    }
}

/// The value of `for` in one element of `Forwarded`.
fn parameter_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value.trim());
    let value = found.next().filter(|_| found.next().is_none())?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(header: ForwardedHeader, networks: &[&str], peer: &str, lines: &[(&'static str, &str)]) -> String {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        TrustedProxies { networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_listed_proxies_are_believed() {
        let by = |networks: &[&str], peer, value| {
            client(ForwardedHeader::XForwardedFor, networks, peer, &[("x-forwarded-for", value)])
        };
        assert_eq!(by(&[], "10.0.0.1", "192.0.2.1"), "10.0.0.1");
        assert_eq!(by(&["10.0.0.0/8"], "192.0.2.9", "192.0.2.1"), "192.0.2.9");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(by(&["10.0.0.0/8"], "::ffff:10.0.0.1", "192.0.2.1"), "192.0.2.1");
        // What stands before the first that is not listed was written by nobody in particular.
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", "127.0.0.1, 192.0.2.1, 10.0.0.2"), "192.0.2.1");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", "192.0.2.1, unknown"), "10.0.0.1");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", ""), "10.0.0.1");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", "[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", "192.0.2.1:5555"), "192.0.2.1");
        let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2, 10.0.0.2")];
        assert_eq!(client(ForwardedHeader::XForwardedFor, &["10.0.0.0/8"], "10.0.0.1", &lines), "192.0.2.2");
        let long = vec!["10.0.0.2"; 1000].join(",");
        assert_eq!(by(&["10.0.0.0/8"], "10.0.0.1", &format!("192.0.2.1,{long}")), "10.0.0.2");
    }

    #[test]
    fn the_header_that_the_proxy_does_not_write_does_not_count() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")];
        let by = |header| client(header, &["10.0.0.0/8"], "10.0.0.1", &lines);
        assert_eq!(by(ForwardedHeader::XForwardedFor), "192.0.2.1");
        assert_eq!(by(ForwardedHeader::Forwarded), "192.0.2.2");
        let by = |value| client(ForwardedHeader::Forwarded, &["10.0.0.0/8"], "10.0.0.1", &[("forwarded", value)]);
        assert_eq!(by("for=192.0.2.7;proto=https;by=10.0.0.1"), "192.0.2.7");
        assert_eq!(by("proto=https; For=\"[2001:db8::7]:4711\""), "2001:db8::7");
        assert_eq!(by("for=192.0.2.7, for=10.0.0.2"), "192.0.2.7");
        assert_eq!(by("for=_hidden"), "10.0.0.1");
        assert_eq!(by("for=192.0.2.7;for=192.0.2.8"), "10.0.0.1");
        assert_eq!(by("proto=https"), "10.0.0.1");
    }
}
