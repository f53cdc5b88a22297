//! Credentials.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use registry::{SigningKey, TokenOptions, TokenServer, fuzzing};

/// A token server, and a token of it.
fn server() -> &'static (TokenServer, String) {
    static SERVER: OnceLock<(TokenServer, String)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server =
            TokenServer::new(SigningKey::generate().expect("a key"), TokenOptions::default()).expect("a server");
        let token = fuzzing::issue(&server, "bob").expect("a token");
        (server, token)
    })
}

/// `Authorization`, scopes, tokens that nobody signed, sets of keys. The first byte says which.
pub(crate) fn tokens(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 7 {
        0 => header(rest),
        1 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                let entries = fuzzing::scopes(text);
                assert!(entries.is_none_or(|entries| entries <= 100));
            }
        }
        2 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                assert_eq!(fuzzing::token(&server().0, text), None, "{text:?}");
            }
        }
        // Head and claims of anybody's making, and a signature that fits nothing.
        3 => {
            let mut parts: Vec<String> =
                rest.splitn(3, |byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
            assert_eq!(fuzzing::token(&server().0, &parts.join(".")), None);
            // Under the head of a real one, too, and with its signature.
            let real: Vec<&str> = server().1.split('.').collect();
            real[0].clone_into(&mut parts[0]);
            assert_eq!(fuzzing::token(&server().0, &parts.join(".")), None);
            if parts.len() == 3 && parts[1] != real[1] {
                real[2].clone_into(&mut parts[2]);
                assert_eq!(fuzzing::token(&server().0, &parts.join(".")), None);
            }
        }
        4 => {
            if let Some(keys) = fuzzing::keys(rest) {
                assert!((1..=200).contains(&keys), "{keys} keys");
            }
        }
        // A token has one form.
        5 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            if let Some(parts) = fuzzing::parts(text) {
                assert_eq!(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."), text);
            }
        }
        // A real one, with changes.
        _ => {
            let (server, token) = server();
            let mut changed = token.clone().into_bytes();
            for change in rest.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % changed.len();
                changed[at] = change[2];
            }
            let Ok(text) = std::str::from_utf8(&changed) else { return };
            if fuzzing::token(server, text).is_some() {
                assert_eq!(text, token, "a changed token is taken");
            }
        }
    }
}

fn header(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in bytes.split(|byte| *byte == b'\n').take(3) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(AUTHORIZATION, value);
        }
    }
    let one = headers.get_all(AUTHORIZATION).iter().count() == 1;
    if let Some((name, password)) = fuzzing::basic(&headers) {
        assert!(one, "of two credentials neither counts");
        assert!(!name.contains(':'));
        let plain = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&plain).expect("base64 is a header"));
        assert_eq!(fuzzing::basic(&headers), Some((name, password)));
    }
}
