//! Signed tokens as they travel: three parts of base64url with a full stop between them (RFC 7515, section 7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest token that is looked at.
const LONGEST: usize = 16 << 10;

/// A token, taken apart. Nothing in it has been checked.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    pub(crate) head: Vec<u8>,
    pub(crate) claims: Vec<u8>,
    /// What is signed.
    pub(crate) message: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart; `None` if it is none, or is too long for one.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if !resembles(token) {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (head, claims) = message.split_once('.')?;
        // Strict: no padding, no blanks, no bits left over. One token has one form.
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        Some(Self {
            head: decode(head)?,
            claims: decode(claims)?,
            message: message.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

/// Whether a text may be a token: nothing that somebody would choose as a password looks like that.
pub(crate) fn resembles(text: &str) -> bool {
    // The beginning is `{"`, encoded.
    text.len() <= LONGEST && text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Puts a token together.
pub(crate) fn compact(head: &[u8], claims: &[u8], sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<String> {
    let mut text = URL_SAFE_NO_PAD.encode(head);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    let signature = sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_form() {
        let token = compact(b"{\"alg\":\"x\"}", b"{}", |message| Some(message[..2].to_vec())).unwrap();
        assert_eq!(token, "eyJhbGciOiJ4In0.e30.ZXk");
        let parsed = Compact::parse(&token).unwrap();
        assert_eq!(
            (&*parsed.head, &*parsed.claims, &*parsed.signature),
            (&b"{\"alg\":\"x\"}"[..], &b"{}"[..], &b"ey"[..])
        );
        assert_eq!(parsed.message, b"eyJhbGciOiJ4In0.e30");
        for bad in [
            "",
            "..",
            "ey..",
            "eyJhbGciOiJ4In0.e30",
            "eyJhbGciOiJ4In0.e30.ZXk.ZXk",
            "eyJhbGciOiJ4In0.e30.ZXk=",
            "eyJhbGciOiJ4In0.e30.ZXl",
            "eyJhbGciOiJ4In0.e3 0.ZXk",
            "eyJhbGciOiJ4In0.e30.ZXk\n",
            "eyJhbGciOiJ4In0.e30.+/k",
        ] {
            // `ey..` has empty claims, which are no JSON: others refuse it.
            assert!(Compact::parse(bad).is_none_or(|token| token.claims.is_empty()), "{bad}");
        }
        assert!(Compact::parse(&format!("eyJhbGciOiJ4In0.e30.{}", "A".repeat(LONGEST))).is_none());
    }
}
