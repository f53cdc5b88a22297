//! What a token of an issuer must say, and what it says of somebody (RFC 7519, section 4.1; RFC 8725).

use std::time::Duration;

use serde_json::{Map, Value};

use crate::access::issuers::IssuerOptions;
use crate::access::json;
use crate::access::signatures::Algorithm;

/// Seconds that the clock of an issuer may differ from ours.
const SKEW: f64 = 60.0;
/// Bytes of the longest name.
const LONGEST: usize = 255;
/// Most groups of somebody.
const MOST_GROUPS: usize = 1000;
/// What a token's head says of its kind, if anything. Other kinds are for other purposes, and prove nothing here.
const KINDS: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// What is in no head that we take: keys and certificates that a token brings along to be checked with, and changes to
/// what the rest of it means.
const FOREIGN: [&str; 8] = ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip", "enc"];

/// How a token says that it is signed.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) algorithm: Algorithm,
    pub(crate) id: Option<String>,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = json::object(bytes)?;
        if FOREIGN.iter().any(|name| head.contains_key(*name)) {
            return None;
        }
        if let Some(kind) = head.get("typ") {
            let kind = kind.as_str()?;
            KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind))?;
        }
        let id = match head.get("kid") {
            None => None,
            Some(id) => Some(id.as_str()?.to_owned()),
        };
        Some(Self { algorithm: Algorithm::named(head.get("alg")?.as_str()?)?, id })
    }
}

/// What a token says of somebody.
#[derive(Debug, PartialEq)]
pub(crate) struct Said<'a> {
    pub(crate) name: &'a str,
    pub(crate) groups: Vec<&'a str>,
    /// When it ends, in seconds of Unix time.
    pub(crate) until: u64,
}

/// Reads a token whose signature is right. The error says what is wrong with it.
pub(crate) fn read<'a>(
    claims: &'a Map<String, Value>,
    options: &IssuerOptions,
    now: u64,
) -> Result<Said<'a>, &'static str> {
    let now = now as f64;
    let until = date(claims, "exp")?.ok_or("it has no end")? + SKEW;
    if now >= until {
        return Err("its time is over");
    }
    for name in ["nbf", "iat"] {
        if date(claims, name)?.is_some_and(|begin| begin > now + SKEW) {
            return Err("its time has not begun");
        }
    }
    let is_for_us =
        |audience: &Value| audience.as_str().is_some_and(|text| options.audience.iter().any(|us| us == text));
    let for_us = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().all(Value::is_string) && audiences.iter().any(is_for_us),
        Some(audience) => is_for_us(audience),
        None => false,
    };
    if !for_us {
        return Err("it is not for this registry");
    }
    if claims.get("iss").and_then(Value::as_str) != Some(&options.issuer) {
        return Err("it is of another issuer");
    }
    let name = find(claims, &options.name_claim).and_then(Value::as_str).ok_or("it does not say who somebody is")?;
    if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
        return Err("its name is empty, too long, or has control characters");
    }
    let groups = match options.groups_claim.as_deref().and_then(|claim| find(claims, claim)) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(group)) => vec![&**group],
        Some(Value::Array(groups)) if groups.len() <= MOST_GROUPS => {
            groups.iter().map(Value::as_str).collect::<Option<_>>().ok_or("its groups are not all texts")?
        }
        Some(_) => return Err("its groups are not a list of texts, or too many"),
    };
    let until = Duration::try_from_secs_f64(until).map_or(u64::MAX, |until| until.as_secs());
    Ok(Said { name, groups, until })
}

/// A claim by its name, or by a pointer to it.
fn find<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    let Some(pointer) = claim.strip_prefix('/') else { return claims.get(claim) };
    let (first, rest) = pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
    let first = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    match rest {
        None => Some(first),
        Some(rest) => first.pointer(&format!("/{rest}")),
    }
}

/// A time in seconds, with or without a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds)),
            _ => Err("one of its times is no number of seconds"),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 2_000_000_000;

    fn options() -> IssuerOptions {
        let mut options = IssuerOptions::new("https://issuer.example", "https://issuer.example/keys", "registry");
        options.groups_claim = Some("groups".to_owned());
        options
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer.example", "aud": "registry", "sub": "alice", "exp": NOW + 300 })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    fn right(claims: &Value) -> bool {
        read(claims.as_object().unwrap(), &options(), NOW).is_ok()
    }

    #[test]
    fn times_audience_issuer_and_name_must_be_right() {
        assert!(right(&claims()));
        for (name, value, want) in [
            ("exp", json!(NOW - 59), true),
            ("exp", json!(NOW - 60), false),
            ("exp", json!(NOW as f64 + 0.5), true),
            ("exp", json!(1e300), true),
            ("exp", json!(u64::MAX), true),
            ("exp", json!(-1), false),
            ("exp", json!(-1e300), false),
            ("exp", json!((NOW + 300).to_string()), false),
            ("exp", json!(null), false),
            ("exp", json!(true), false),
            ("nbf", json!(NOW + 60), true),
            ("nbf", json!(NOW + 61), false),
            ("nbf", json!("soon"), false),
            ("iat", json!(NOW - 100_000), true),
            ("iat", json!(NOW + 61), false),
            ("iat", json!([]), false),
            ("aud", json!(["other", "registry"]), true),
            ("aud", json!(["other"]), false),
            ("aud", json!([]), false),
            ("aud", json!([["registry"]]), false),
            ("aud", json!(["registry", 1]), false),
            ("aud", json!({ "registry": 1 }), false),
            ("aud", json!("Registry"), false),
            ("aud", json!("registry "), false),
            ("aud", json!(null), false),
            ("iss", json!("https://issuer.example/"), false),
            ("iss", json!(["https://issuer.example"]), false),
            ("sub", json!(""), false),
            ("sub", json!(7), false),
            ("sub", json!("a\nb"), false),
            ("sub", json!("x".repeat(256)), false),
            ("sub", json!("repo:team/app:ref:refs/heads/main"), true),
            ("groups", json!("one"), true),
            ("groups", json!(["one", "two"]), true),
            ("groups", json!(null), true),
            ("groups", json!(["one", 2]), false),
            ("groups", json!({}), false),
            ("groups", json!(vec!["x"; 1001]), false),
        ] {
            assert_eq!(right(&with(name, value.clone())), want, "{name} {value}");
        }
        for name in ["iss", "aud", "sub", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            assert!(!right(&claims), "{name}");
        }
        let said = with("groups", json!(["one", "two"]));
        let said = read(said.as_object().unwrap(), &options(), NOW).unwrap();
        assert_eq!(said, Said { name: "alice", groups: vec!["one", "two"], until: NOW + 360 });
    }

    #[test]
    fn claims_are_found_by_name_or_by_pointer() {
        let claims = json!({ "https://a.example/x": "1", "a": { "b": { "c/d": "2" } }, "a.b": "3", "list": ["4"] });
        for (claim, want) in [
            ("https://a.example/x", Some("1")),
            ("/a/b/c~1d", Some("2")),
            ("a.b", Some("3")),
            ("/a.b", Some("3")),
            ("/list/0", Some("4")),
            ("/a/b", None),
            ("/a/none/c", None),
            ("/", None),
            ("//", None),
            ("a", None),
        ] {
            assert_eq!(find(claims.as_object().unwrap(), claim).and_then(Value::as_str), want, "{claim}");
        }
    }

    #[test]
    fn a_head_that_brings_its_own_key_or_is_not_signed_is_refused() {
        let parse = |head: &Value| Head::parse(head.to_string().as_bytes());
        for (name, _) in [("RS256", 0), ("PS512", 0), ("ES384", 0), ("EdDSA", 0)] {
            assert!(parse(&json!({ "alg": name, "kid": "a", "typ": "at+JWT", "x5t": "thumb" })).is_some(), "{name}");
        }
        for bad in [
            json!({}),
            json!({ "alg": "none" }),
            json!({ "alg": "None" }),
            json!({ "alg": "" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "HS512" }),
            json!({ "alg": "rs256" }),
            json!({ "alg": "RSA-OAEP" }),
            json!({ "alg": ["RS256"] }),
            json!({ "alg": "RS256", "kid": 1 }),
            json!({ "alg": "RS256", "kid": null }),
            json!({ "alg": "RS256", "typ": "logout+jwt" }),
            json!({ "alg": "RS256", "typ": "dpop+jwt" }),
            json!({ "alg": "RS256", "typ": 1 }),
            json!({ "alg": "RS256", "jwk": {} }),
            json!({ "alg": "RS256", "jku": "https://forger.example/keys" }),
            json!({ "alg": "RS256", "x5c": [] }),
            json!({ "alg": "RS256", "x5u": "https://forger.example/chain" }),
            json!({ "alg": "RS256", "crit": ["exp"] }),
            json!({ "alg": "RS256", "b64": false }),
            json!({ "alg": "RS256", "zip": "DEF" }),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
        assert!(Head::parse(br#"{"alg":"RS256","alg":"none"}"#).is_none());
    }
}
