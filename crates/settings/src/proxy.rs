//! Which requests go through which proxy.
//!
//! The rules are those of Go's `net/http`, so of Docker: `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::environment::{EnvVar, Environment};
use crate::secret::Secret;
use crate::shown::Shown;

/// A proxy server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    url: Url,
    login: Option<(String, Secret)>,
}

impl ProxyServer {
    /// `http://proxy:3128`, or `proxy:3128` for short.
    fn parse(text: &str) -> Option<Self> {
        // `proxy:3128` is a URL too, of the scheme `proxy`: it wants a host to be meant as one.
        let mut url = Url::parse(text).ok().filter(Url::has_host);
        if url.is_none() && !text.contains("://") {
            url = Url::parse(&format!("http://{text}")).ok().filter(Url::has_host);
        }
        let mut url = url?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let login = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decoded(url.username()), Secret::new(decoded(url.password().unwrap_or_default()))));
        url.set_username("").and_then(|()| url.set_password(None)).ok()?;
        Some(Self { url, login })
    }

    /// Its URL without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// User and password, if it wants them.
    pub fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password))
    }
}

/// The rules of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    http: Option<ProxyServer>,
    https: Option<ProxyServer>,
    direct: Direct,
    warnings: Vec<String>,
}

/// What `NO_PROXY` says.
#[derive(Clone, Debug, Default)]
struct Direct {
    everything: bool,
    rules: Vec<Rule>,
}

/// One element of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Addresses whose first bits are these.
    Range(IpAddr, u8),
    /// One address, at one port or all.
    Address(IpAddr, Option<u16>),
    /// A domain with a leading dot, and whether the domain itself is meant beside what is below it.
    Domain(String, bool, Option<u16>),
}

impl ProxyRules {
    /// No proxy for anything.
    pub fn none() -> Self {
        Self::default()
    }

    /// The proxy for a request to `url`. `None`: directly. Loopback is always reached directly.
    pub fn proxy_for(&self, url: &Url) -> Option<&ProxyServer> {
        let server = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        let is_direct = self.direct.applies(&url.host()?, url.port_or_known_default());
        (!is_direct).then_some(server)
    }

    /// What in the variables could not be used, as lines for stderr.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn server(&mut self, environment: &Environment, variable: EnvVar) -> Option<ProxyServer> {
        let text = environment.get(variable)?;
        let server = ProxyServer::parse(text);
        if server.is_none() {
            // The value may hold a password.
            let name = Shown(variable.name());
            self.warnings.push(format!("warning: `{name}` is not the address of a proxy; going without it"));
        }
        server
    }
}

impl From<&Environment> for ProxyRules {
    fn from(environment: &Environment) -> Self {
        let mut rules = Self::default();
        // In a CGI script `HTTP_PROXY` is a header of whoever sends the request: it is named `Proxy`.
        let is_cgi = environment.get_os(EnvVar::RequestMethod).is_some();
        rules.http = if is_cgi { None } else { rules.server(environment, EnvVar::HttpProxy) };
        rules.https = rules.server(environment, EnvVar::HttpsProxy);
        if rules.http.is_none() || rules.https.is_none() {
            let other = rules.server(environment, EnvVar::AllProxy);
            rules.http = rules.http.or_else(|| other.clone());
            rules.https = rules.https.or(other);
        }
        rules.direct = environment.get(EnvVar::NoProxy).map(Direct::parse).unwrap_or_default();
        rules
    }
}

impl Direct {
    fn parse(list: &str) -> Self {
        let mut direct = Self::default();
        for element in list.split(',').map(|element| element.trim().to_lowercase()).filter(|e| !e.is_empty()) {
            if element == "*" {
                return Self { everything: true, rules: Vec::new() };
            }
            direct.rules.extend(Rule::parse(&element));
        }
        direct
    }

    fn applies(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        let (name, address) = match host {
            Host::Domain(name) => {
                // A final dot says that a name is complete; it is the same name.
                let name = name.trim_end_matches('.').to_lowercase();
                let address = name.parse().ok();
                (name, address)
            }
            Host::Ipv4(address) => (address.to_string(), Some(IpAddr::V4(*address))),
            Host::Ipv6(address) => (address.to_string(), Some(IpAddr::V6(*address))),
        };
        let is_loopback = name == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback());
        is_loopback || self.everything || self.rules.iter().any(|rule| rule.applies(&name, address, port))
    }
}

impl Rule {
    /// `None` for what means nothing, as `:80`.
    fn parse(element: &str) -> Option<Self> {
        if let Some((address, bits)) = element.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>())
            && bits <= if address.is_ipv4() { 32 } else { 128 }
        {
            return Some(Self::Range(address, bits));
        }
        let (host, port) = split_port(element);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        // `*.domain` and `.domain` are what is below it, `domain` is itself too.
        let below = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        match below.strip_prefix('.') {
            Some("") => None,
            Some(_) => Some(Self::Domain(ascii(below), false, port)),
            None if below.is_empty() => None,
            None => Some(Self::Domain(format!(".{}", ascii(below)), true, port)),
        }
    }

    fn applies(&self, name: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let right_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Self::Range(range, bits) => address.is_some_and(|address| is_in(address.to_canonical(), *range, *bits)),
            Self::Address(one, wanted) => {
                address.is_some_and(|address| address.to_canonical() == *one) && right_port(wanted)
            }
            Self::Domain(domain, itself, wanted) => {
                (name.ends_with(domain.as_str()) || (*itself && name == &domain[1..])) && right_port(wanted)
            }
        }
    }
}

/// `host:80`, `[::1]:80`, `host`, `::1`. A port that is no number belongs to a host that nobody has.
fn split_port(element: &str) -> (&str, Option<u16>) {
    match element.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().map_or((element, None), |port| (host, Some(port)))
        }
        _ => (element, None),
    }
}

/// A domain as it stands in a URL: `bücher.example` is `xn--bcher-kva.example`.
fn ascii(domain: &str) -> String {
    let (dot, rest) = if let Some(rest) = domain.strip_prefix('.') { (".", rest) } else { ("", domain) };
    match Host::parse(rest) {
        Ok(Host::Domain(name)) => format!("{dot}{name}"),
        _ => domain.to_owned(),
    }
}

fn is_in(address: IpAddr, range: IpAddr, bits: u8) -> bool {
    fn same(a: &[u8], b: &[u8], bits: u8) -> bool {
        let (whole, rest) = (usize::from(bits / 8), bits % 8);
        a[..whole] == b[..whole] && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0)
    }
    match (address, range) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets(), bits),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets(), bits),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pairs: &[(&str, &str)]) -> ProxyRules {
        ProxyRules::from(&pairs.iter().copied().collect::<Environment>())
    }

    fn proxy(rules: &ProxyRules, url: &str) -> String {
        rules.proxy_for(&Url::parse(url).unwrap()).map_or("-".to_owned(), |server| server.url().to_string())
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let both = rules(&[("HTTP_PROXY", "http://a:1"), ("https_proxy", "http://b:2")]);
        assert_eq!(proxy(&both, "http://h/"), "http://a:1/");
        assert_eq!(proxy(&both, "https://h/"), "http://b:2/");
        assert_eq!(proxy(&both, "ftp://h/"), "-");
        let all = rules(&[("HTTP_PROXY", "http://a:1"), ("ALL_PROXY", "socks5://c:3")]);
        assert_eq!(proxy(&all, "http://h/"), "http://a:1/");
        assert_eq!(proxy(&all, "https://h/"), "socks5://c:3");
        assert_eq!(proxy(&ProxyRules::none(), "https://h/"), "-");
        let cgi = rules(&[("HTTP_PROXY", "http://evil"), ("HTTPS_PROXY", "b:2"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(proxy(&cgi, "http://h/"), "-");
        assert_eq!(proxy(&cgi, "https://h/"), "http://b:2/");
    }

    #[test]
    fn a_proxy_may_be_short_and_may_want_a_login() {
        for (text, url, login) in [
            ("proxy", "http://proxy/", None),
            ("proxy:3128", "http://proxy:3128/", None),
            ("10.0.0.1:3128", "http://10.0.0.1:3128/", None),
            ("[::1]:3128", "http://[::1]:3128/", None),
            ("https://proxy", "https://proxy/", None),
            ("http://u:p%40ss@proxy:1", "http://proxy:1/", Some(("u", "p@ss"))),
            ("u:p@proxy:1", "http://proxy:1/", Some(("u", "p"))),
            ("http://u@proxy", "http://proxy/", Some(("u", ""))),
        ] {
            let server = ProxyServer::parse(text).unwrap();
            assert_eq!(server.url().as_str(), url, "{text}");
            assert_eq!(server.login().map(|(user, password)| (user, password.reveal())), login, "{text}");
            assert!(!format!("{server:?}").contains("p@ss"), "{server:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_value() {
        let broken = rules(&[("HTTPS_PROXY", "http://u:hunter2@:"), ("HTTP_PROXY", "http://ok")]);
        assert_eq!(broken.warnings(), ["warning: `HTTPS_PROXY` is not the address of a proxy; going without it"]);
        assert_eq!(proxy(&broken, "https://h/"), "-");
        assert_eq!(proxy(&broken, "http://h/"), "http://ok/");
    }

    #[test]
    fn loopback_is_reached_directly_whatever_is_said() {
        let rules = rules(&[("HTTP_PROXY", "p"), ("HTTPS_PROXY", "p")]);
        for url in [
            "http://localhost:5000/",
            "https://LOCALHOST/",
            "http://127.0.0.1:5000/",
            "http://127.9.9.9/",
            "https://[::1]:5000/",
            "https://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(proxy(&rules, url), "-", "{url}");
        }
        for url in ["http://localhost.example/", "http://128.0.0.1/", "https://[::2]/", "http://host.localhost/"] {
            assert_eq!(proxy(&rules, url), "http://p/", "{url}");
        }
    }

    #[test]
    fn exceptions() {
        for (list, url, direct) in [
            ("*", "https://h/", true),
            ("a, *", "https://h/", true),
            ("example.com", "https://example.com/", true),
            ("example.com", "https://sub.example.com/", true),
            ("example.com", "https://notexample.com/", false),
            ("EXAMPLE.com", "https://Example.COM/", true),
            ("example.com", "https://example.com./", true),
            (".example.com", "https://sub.example.com/", true),
            (".example.com", "https://example.com/", false),
            ("*.example.com", "https://sub.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*example.com", "https://example.com/", false),
            ("example.com:443", "https://example.com/", true),
            ("example.com:80", "https://example.com/", false),
            ("example.com:5000", "https://sub.example.com:5000/", true),
            (" a , example.com ", "https://example.com/", true),
            ("b\u{fc}cher.example", "https://b\u{fc}cher.example/", true),
            ("10.1.2.3", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3/", false),
            ("10.1.2.3", "https://10.1.2.33/", false),
            ("10.0.0.0/8", "https://10.200.1.1/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("10.128.0.0/9", "https://10.127.0.1/", false),
            ("10.128.0.0/9", "https://10.129.0.1/", true),
            ("0.0.0.0/0", "https://9.9.9.9/", true),
            ("10.0.0.0/33", "https://10.0.0.1/", false),
            ("10.0.0.0/8", "https://ten.example/", false),
            ("fd00::/8", "https://[fd12::1]:5000/", true),
            ("fd00::/8", "https://[fe80::1]/", false),
            ("fd12::1", "https://[fd12::1]/", true),
            ("[fd12::1]:5000", "https://[fd12::1]:5000/", true),
            ("[fd12::1]:5000", "https://[fd12::1]/", false),
            ("[fd12::1]", "https://[fd12::1]/", true),
            (":443", "https://h/", false),
            (".", "https://h/", false),
            ("", "https://h/", false),
            ("h:port", "https://h/", false),
        ] {
            let rules = rules(&[("HTTPS_PROXY", "p"), ("no_proxy", list)]);
            assert_eq!(proxy(&rules, url) == "-", direct, "{list} {url}");
        }
    }
}
