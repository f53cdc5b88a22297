//! `WWW-Authenticate` (RFC 9110, section 11.6.1; distribution's token specification).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use crate::scope::ScopeSet;

/// Most challenges that are looked at.
const MOST: usize = 16;
/// Longest realm or service that is believed.
const LONGEST: usize = 2048;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token of a token server.
    Bearer {
        bearer: Bearer,
        /// What the token must allow.
        scopes: ScopeSet,
        /// Whether a token was shown that does not allow enough.
        insufficient: bool,
    },
}

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
}

impl Bearer {
    /// Takes texts from a header or from the cache. `None`: the realm is not an HTTP URL.
    pub(crate) fn new(realm: &str, service: Option<&str>) -> Option<Self> {
        if realm.len() > LONGEST || service.is_some_and(|service| service.len() > LONGEST) {
            return None;
        }
        let realm = Url::parse(realm).ok()?;
        let usable = matches!(realm.scheme(), "http" | "https")
            && realm.has_host()
            && realm.username().is_empty()
            && realm.password().is_none();
        usable.then(|| Self { realm, service: service.map(str::to_owned) })
    }
}

/// The challenge to answer: Bearer rather than Basic, the first that can be used. `None`: there is none.
pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = false;
    for raw in
        headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).flat_map(parse).take(MOST)
    {
        if raw.scheme.eq_ignore_ascii_case("bearer") {
            let Some(bearer) = raw.get("realm").and_then(|realm| Bearer::new(realm, raw.get("service"))) else {
                continue;
            };
            return Some(Challenge::Bearer {
                bearer,
                scopes: raw.get("scope").map(ScopeSet::parse).unwrap_or_default(),
                insufficient: raw.get("error") == Some("insufficient_scope"),
            });
        }
        basic |= raw.scheme.eq_ignore_ascii_case("basic");
    }
    basic.then_some(Challenge::Basic)
}

/// One challenge as it was written.
#[derive(Debug, PartialEq, Eq)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header. What cannot be read ends the list; what was read before it counts.
fn parse(header: &str) -> Vec<Raw> {
    let mut rest = Scanner(header);
    let mut challenges: Vec<Raw> = Vec::new();
    loop {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        let Some(word) = rest.token() else { return challenges };
        rest.spaces();
        if rest.eat('=') {
            // `key=value` belongs to the challenge before it; `=` at the end of a token68 does not get here.
            rest.spaces();
            let Some(value) = rest.value() else { return challenges };
            let Some(challenge) = challenges.last_mut() else { return challenges };
            if challenge.parameters.len() < MOST {
                challenge.parameters.push((word.to_owned(), value));
            }
        } else if challenges.len() < MOST {
            challenges.push(Raw { scheme: word.to_owned(), parameters: Vec::new() });
        } else {
            return challenges;
        }
    }
}

struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn spaces(&mut self) {
        self.skip(|c| c == ' ' || c == '\t');
    }

    fn eat(&mut self, c: char) -> bool {
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self
            .0
            .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
            .unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    fn value(&mut self) -> Option<String> {
        if !self.eat('"') {
            // Realms without quotes are seen in the wild; they contain characters that no token may have.
            let end = self.0.find([',', ' ', '\t']).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(value.to_owned());
        }
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        choose(&headers)
    }

    #[test]
    fn hub() {
        let challenge = of(&[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        ]);
        let Some(Challenge::Bearer { bearer, scopes, insufficient }) = challenge else { panic!("{challenge:?}") };
        assert_eq!(bearer.realm.as_str(), "https://auth.docker.io/token");
        assert_eq!(bearer.service.as_deref(), Some("registry.docker.io"));
        assert_eq!(scopes.to_string(), "repository:a/b:pull,push");
        assert!(!insufficient);
    }

    #[test]
    fn bearer_is_chosen_whatever_the_order_and_form() {
        for lines in [
            &[r#"Basic realm="x", Bearer realm="https://t/""#][..],
            &[r#"Bearer realm="https://t/", Basic realm="x""#],
            &[r#"Basic realm="a, Bearer b=\"c\"""#, r#"bearer REALM = "https://t/""#],
            &["Negotiate, Bearer realm=https://t/,service=s , Basic"],
            &[r#"Bearer error="insufficient_scope" , realm="https://t/","#],
            &[r#"Bearer service="s", Bearer realm="https://t/""#],
        ] {
            let challenge = of(lines);
            let Some(Challenge::Bearer { bearer, .. }) = challenge else { panic!("{lines:?}: {challenge:?}") };
            assert_eq!(bearer.realm.as_str(), "https://t/");
        }
        assert_eq!(of(&[r#"Basic realm="Registry""#]), Some(Challenge::Basic));
        assert_eq!(of(&["Basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn insufficient_scope_is_seen() {
        let challenge = of(&[r#"Bearer realm="https://t/",scope="repository:a:push",error="insufficient_scope""#]);
        assert!(matches!(challenge, Some(Challenge::Bearer { insufficient: true, .. })));
    }

    #[test]
    fn hostile_headers_are_no_challenge() {
        for line in [
            "",
            ",,,,",
            "=",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            r#"Bearer realm="https://t/"#,
            r#"Bearer realm="https://t/\"#,
            r#"Bearer realm="ftp://t/""#,
            r#"Bearer realm="file:///etc/passwd""#,
            r#"Bearer realm="https://user:pass@t/""#,
            r#"Bearer realm="/token""#,
            r#"realm="https://t/""#,
            "Negotiate dG9rZW4=",
            "\"",
        ] {
            assert_eq!(of(&[line]), None, "{line}");
        }
        let many = "Bearer a=b, ".repeat(100_000);
        assert_eq!(parse(&many).len(), MOST);
        let long = format!(r#"Bearer realm="https://t/{}""#, "x".repeat(LONGEST));
        assert_eq!(of(&[&long]), None);
    }
}
