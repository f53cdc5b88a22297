//! Which addresses may be posted to.
//!
//! Who can write a URL into the settings could reach, from inside, what is not meant to be reached from outside: a database, a
//! router, the credentials that a cloud hands out at a well-known address. So only public addresses are connected to, and
//! only with TLS, unless the settings list them. What counts is the address that is really connected to, judged
//! each time: a name may point somewhere else each time it is asked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use url::Host;

use super::endpoint::{Endpoint, EndpointError};
use crate::network::{Network, NetworkError};

/// An exception: a host or a range of addresses, with a port or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    what: Destination,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Host(String),
    Network(Network),
}

/// A text that is no exception.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowedError {
    /// It is neither a host nor a range.
    #[error("`{0}` is no host, address or range, as in `hooks.internal:8080`, `10.0.0.7` or `10.0.0.0/8`")]
    Shape(String),
    /// It is a range that is not written right.
    #[error(transparent)]
    Network(NetworkError),
}

impl FromStr for Allowed {
    type Err = AllowedError;

    fn from_str(text: &str) -> Result<Self, AllowedError> {
        let shape = || AllowedError::Shape(text.chars().take(100).flat_map(char::escape_debug).collect());
        match text.parse::<Network>() {
            Ok(network) => return Ok(Self { what: Destination::Network(network), port: None }),
            Err(error @ NetworkError::Bits { .. }) => return Err(AllowedError::Network(error)),
            Err(_) => {}
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { what: Destination::Network(address.ip().into()), port: Some(address.port()) });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| shape())?)),
            None => (text, None),
        };
        if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let address: IpAddr = inner.parse().map_err(|_| shape())?;
            return Ok(Self { what: Destination::Network(address.into()), port });
        }
        // As a URL has it, so that both can be compared. A host that is all digits would be an address there.
        match Host::parse(host) {
            Ok(Host::Domain(name)) if !host.contains(['*', '/', '@']) => {
                Ok(Self { what: Destination::Host(name), port })
            }
            _ => Err(shape()),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Destination::Host(host) => f.write_str(host)?,
            Destination::Network(network) => network.fmt(f)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Allowed {
    fn allows_host(&self, host: &Host<&str>, port: u16) -> bool {
        let same = matches!((&self.what, host), (Destination::Host(name), Host::Domain(host)) if name == host);
        same && self.port.is_none_or(|allowed| allowed == port)
    }

    fn allows_address(&self, address: IpAddr, port: u16) -> bool {
        let inside = matches!(&self.what, Destination::Network(network) if network.contains(address));
        inside && self.port.is_none_or(|allowed| allowed == port)
    }
}

/// Whether an address of an endpoint may be connected to.
pub(super) fn may_connect(endpoint: &Endpoint, address: IpAddr, allow: &[Allowed]) -> Result<(), &'static str> {
    let (host, port) = (endpoint.host(), endpoint.port());
    if allow.iter().any(|allowed| allowed.allows_host(&host, port) || allowed.allows_address(address, port)) {
        return Ok(());
    }
    if !is_public(address) {
        return Err("its address is not a public one");
    }
    if endpoint.is_encrypted() { Ok(()) } else { Err("it is not encrypted") }
}

/// What can be said of an endpoint before its name is looked up.
pub(super) fn check(endpoint: &Endpoint, allow: &[Allowed]) -> Result<(), EndpointError> {
    let host = endpoint.host();
    let judged = match host {
        Host::Ipv4(address) => may_connect(endpoint, address.into(), allow),
        Host::Ipv6(address) => may_connect(endpoint, address.into(), allow),
        // Its address may be one of a range that is listed.
        Host::Domain(_) if endpoint.is_encrypted() => Ok(()),
        Host::Domain(_) => {
            let port = endpoint.port();
            let perhaps =
                |allowed: &Allowed| allowed.allows_host(&host, port) || matches!(allowed.what, Destination::Network(_));
            if allow.iter().any(perhaps) { Ok(()) } else { Err("it is not encrypted") }
        }
    };
    judged.map_err(|reason| EndpointError::Refused { endpoint: endpoint.to_string(), reason })
}

/// Whether an address is one that anybody in the world may have a service at.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            // Only what is handed out as global unicast, and of that nothing that stands for another address (Teredo, 6to4)
            // or for documentation.
            (0x2000..0x4000).contains(&first)
                && !(first == 0x2001 && second < 0x0200)
                && !(first == 0x2001 && second == 0x0db8)
                && first != 0x2002
                && !(first == 0x3fff && second < 0x1000)
        }
    }
}

/// Ranges of the registry of special-purpose addresses (RFC 6890 and its successors).
const SPECIAL: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Clouds hand out credentials here.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
    // Public by its number, and yet what talks to each machine in Azure from inside.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL.iter().any(|(range, prefix)| (address.to_bits() ^ range.to_bits()) >> (32 - prefix) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
            "fec0::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "2001:200::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn exceptions_are_for_what_they_name() {
        let judge = |url: &str, address: &str, allow: &[&str]| {
            let allow: Vec<Allowed> = allow.iter().map(|text| text.parse().unwrap()).collect();
            may_connect(&Endpoint::new(url).unwrap(), address.parse().unwrap(), &allow).is_ok()
        };
        assert!(judge("https://hooks.example/", "1.1.1.1", &[]));
        assert!(!judge("http://hooks.example/", "1.1.1.1", &[]));
        assert!(judge("http://hooks.example/", "1.1.1.1", &["hooks.example"]));
        assert!(judge("http://Hooks.Example/", "10.0.0.1", &["hooks.EXAMPLE"]));
        assert!(!judge("http://hooks.example/", "10.0.0.1", &["hooks.example:8080"]));
        assert!(judge("http://hooks.example:8080/", "10.0.0.1", &["hooks.example:8080"]));
        assert!(!judge("https://rebound.example/", "127.0.0.1", &["hooks.example"]));
        assert!(judge("https://any.example/", "10.1.2.3", &["10.0.0.0/8"]));
        assert!(!judge("https://any.example/", "172.16.0.1", &["10.0.0.0/8"]));
        assert!(!judge("https://any.example/", "127.0.0.1", &["10.0.0.0/8", "[::1]:443"]));
        assert!(judge("https://[::1]/", "::1", &["[::1]:443"]));
        assert!(!judge("https://[::1]:444/", "::1", &["[::1]:443"]));
        assert!(judge("http://127.0.0.1:9/", "127.0.0.1", &["127.0.0.1:9"]));
        assert!(!judge("https://sub.hooks.example/", "10.0.0.1", &["hooks.example"]));
    }

    #[test]
    fn addresses_in_urls_are_judged_at_once_however_they_are_written() {
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/",
            "https://0/",
            "https://[fe80::1]/",
            "http://1.1.1.1/",
            "http://hooks.example/",
        ] {
            let endpoint = Endpoint::new(url).unwrap();
            assert!(check(&endpoint, &[]).is_err(), "{url}");
        }
        check(&Endpoint::new("https://hooks.example/").unwrap(), &[]).unwrap();
        let error = check(&Endpoint::new("https://127.0.0.1/T0P").unwrap(), &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the webhook to `https://127.0.0.1` is refused: its address is not a public one; `webhook-allow` can list it"
        );
    }

    #[test]
    fn what_is_no_exception_is_refused() {
        for text in ["", "*", "*.example", "a b", "http://h/", "h:", "h:x", "h:70000", "10.0.0.0/40", "[::1", "u@h"] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
        assert!(matches!("10.0.0.1/8".parse::<Allowed>(), Err(AllowedError::Network(_))));
        for text in ["hooks.internal", "hooks.internal:80", "10.0.0.0/8", "10.0.0.1:80", "fd00::/8"] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), text);
        }
    }
}
