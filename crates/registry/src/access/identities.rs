//! Who is known, and how they show it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bcrypt::HashParts;

use crate::access::policy::{ANONYMOUS, EVERYBODY_KNOWN};

/// How long a password that was right is taken for right without hashing it again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Passwords that are remembered at once.
const MOST_REMEMBERED: usize = 1024;
/// Work factors that are taken: below is no protection, above one log-in costs seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;
/// The work factor of a password that nobody has, if no file says what is usual here.
const USUAL_COST: u32 = 10;

/// What bcrypt hashes of a password.
const LONGEST_PASSWORD: usize = 72;

type Hash = [u8; 32];

/// What is wrong with a file of identities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("line {line}: {reason}")]
pub struct IdentityError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong. Nothing secret is in it.
    pub reason: String,
}

/// Users with passwords, and tokens. Cheap to copy.
#[derive(Clone)]
pub struct Identities(Arc<Table>);

struct Table {
    users: BTreeMap<String, String>,
    tokens: HashMap<Hash, Arc<str>>,
    /// For each name, something that changes whenever one of its passwords or tokens does.
    stamps: BTreeMap<String, String>,
    /// What a password is compared with if its user is unknown, so that the answer takes as long as for others.
    nobody: String,
    /// Key of what is remembered: what is in memory cannot be compared with a list of passwords prepared elsewhere.
    salt: [u8; 32],
    /// Name and password, hashed, and until when they are right. Goes away with the table when that is replaced.
    remembered: Mutex<HashMap<Hash, Instant>>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("users", &self.0.users.len())
            .field("tokens", &self.0.tokens.len())
            .finish_non_exhaustive()
    }
}

impl Default for Identities {
    /// Nobody.
    fn default() -> Self {
        Self::assemble(BTreeMap::new(), HashMap::new(), USUAL_COST)
    }
}

impl Identities {
    /// Reads a file of users as `htpasswd -B` writes it (`name:$2y$…`), and one of tokens (`name:sha256:<hex>`, as
    /// [`Identities::token_line`] makes it). Either may be empty; empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`IdentityError`] for the first line that is not understood, of whichever file.
    pub fn parse(htpasswd: &str, tokens: &str) -> Result<Self, IdentityError> {
        let mut users = BTreeMap::new();
        let mut cost = None;
        for (line, text) in lines(htpasswd) {
            let fail = |reason: String| IdentityError { line, reason };
            let (name, hash) = text.split_once(':').ok_or_else(|| fail("has no `:` after a name".to_owned()))?;
            check_name(name).map_err(fail)?;
            let parts = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix));
            let parts = parts.then(|| HashParts::from_str(hash).ok()).flatten();
            let parts = parts.ok_or_else(|| {
                fail(format!("the password of `{name}` is not hashed by bcrypt; `htpasswd -B` does that"))
            })?;
            if !COSTS.contains(&parts.get_cost()) {
                let (low, high) = (COSTS.start(), COSTS.end());
                return Err(fail(format!("the bcrypt cost of `{name}` is not between {low} and {high}")));
            }
            cost = cost.max(Some(parts.get_cost()));
            if users.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(fail(format!("`{name}` is there twice")));
            }
        }
        let mut hashes = HashMap::new();
        for (line, text) in lines(tokens) {
            let fail = |reason: String| IdentityError { line, reason };
            let form = || fail("is not of the form `name:sha256:<64 hex digits>`".to_owned());
            let (name, rest) = text.split_once(':').ok_or_else(form)?;
            check_name(name).map_err(fail)?;
            let hash = rest.strip_prefix("sha256:").and_then(from_hex).ok_or_else(form)?;
            if hashes.insert(hash, name.into()).is_some() {
                return Err(fail("the same token is there twice".to_owned()));
            }
        }
        Ok(Self::assemble(users, hashes, cost.unwrap_or(USUAL_COST)))
    }

    fn assemble(users: BTreeMap<String, String>, tokens: HashMap<Hash, Arc<str>>, cost: u32) -> Self {
        let mut salt = [0; 32];
        // Without randomness what is remembered is still only hashes, in the memory of this process.
        if getrandom::fill(&mut salt).is_err() {
            tracing::warn!("the system gave no random bytes");
        }
        // The form of a hash; that any password fits this one is as likely as for any other.
        let nobody = format!("$2b${cost:02}${}{}", "x".repeat(21) + "u", "x".repeat(30) + "u");
        let mut credentials: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, hash) in &users {
            credentials.entry(name).or_default().push(hash.clone());
        }
        for (hash, name) in &tokens {
            credentials.entry(name).or_default().push(hex(hash));
        }
        let stamp = |mut texts: Vec<String>| {
            texts.sort_unstable();
            hex(&sha256(&[texts.join("\n").as_bytes()]))
        };
        let stamps = credentials.into_iter().map(|(name, texts)| (name.to_owned(), stamp(texts))).collect();
        Self(Arc::new(Table { users, tokens, stamps, nobody, salt, remembered: Mutex::default() }))
    }

    /// The line of a file of tokens that makes `token` one of `name`. A token must be long and random: it is hashed
    /// fast.
    pub fn token_line(name: &str, token: &str) -> String {
        format!("{name}:sha256:{}", hex(&sha256(&[token.as_bytes()])))
    }

    /// A token that nobody can guess. `None`: the system gave no random bytes.
    pub fn random_token() -> Option<String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).ok()?;
        Some(format!("polyarch_{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// The line of a file of users that lets in `name` with `password`. Takes as long as hashing does.
    ///
    /// # Errors
    /// Why the name or the password cannot be used.
    pub fn password_line(name: &str, password: &str) -> Result<String, String> {
        Self::check_name(name)?;
        if password.is_empty() || password.contains('\0') {
            return Err("the password is empty or has a zero byte".to_owned());
        }
        // What follows would be no part of the hash.
        if password.len() > LONGEST_PASSWORD {
            return Err(format!("the password has more than {LONGEST_PASSWORD} bytes, of which bcrypt hashes no more"));
        }
        let hash = bcrypt::hash(password, USUAL_COST).map_err(|error| error.to_string())?;
        Ok(format!("{name}:{hash}"))
    }

    /// Whether somebody can be called that in a file of users or tokens.
    ///
    /// # Errors
    /// Why not.
    pub fn check_name(name: &str) -> Result<(), String> {
        check_name(name)?;
        // What follows a `:` is the password, and a line is trimmed.
        if name.contains(':') || name.trim() != name || name.starts_with('#') {
            return Err("a name has no `:`, does not begin with `#`, and no blank is around it".to_owned());
        }
        Ok(())
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.users.is_empty() && self.0.tokens.is_empty()
    }

    /// Whose token this is.
    pub(crate) fn token(&self, token: &str) -> Option<Arc<str>> {
        self.0.tokens.get(&sha256(&[token.as_bytes()])).cloned()
    }

    /// The state of somebody's credentials. `None`: nobody is called that.
    pub(crate) fn stamp(&self, name: &str) -> Option<String> {
        self.0.stamps.get(name).cloned()
    }

    /// Whether a password or token was right a moment ago, or can be checked at once.
    pub(crate) fn known_at_once(&self, name: &str, password: &str) -> bool {
        if self.token(password).is_some_and(|owner| *owner == *name) {
            return true;
        }
        let remembered = self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&self.remember_as(name, password)).is_some_and(|until| *until > Instant::now())
    }

    /// Whether a password is right. Takes as long as bcrypt does, whether or not the user is known.
    pub(crate) fn check_slowly(&self, name: &str, password: &str) -> bool {
        let hash = self.0.users.get(name);
        let right = bcrypt::verify(password, hash.unwrap_or(&self.0.nobody)).unwrap_or(false);
        // bcrypt repeats a password with a zero byte after it: `a`, and `a` zero `a`, are the same to it.
        let right = right && hash.is_some() && !password.contains('\0');
        if right {
            let now = Instant::now();
            let mut remembered = self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MOST_REMEMBERED {
                remembered.retain(|_, until| *until > now);
            }
            if remembered.len() < MOST_REMEMBERED {
                remembered.insert(self.remember_as(name, password), now + REMEMBERED);
            }
        }
        right
    }

    fn remember_as(&self, name: &str, password: &str) -> Hash {
        let length = (name.len() as u64).to_be_bytes();
        sha256(&[&self.0.salt, &length, name.as_bytes(), password.as_bytes()])
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn check_name(name: &str) -> Result<(), String> {
    if name == ANONYMOUS || name == EVERYBODY_KNOWN {
        return Err(format!("nobody can be called `{name}`: it has a meaning in policies"));
    }
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err("a name has 1 to 255 bytes, and no control characters".to_owned());
    }
    Ok(())
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &parts.concat()).as_ref());
    hash
}

fn hex(hash: &Hash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> String {
        format!("# users\n\nbob:{}\n", bcrypt::hash("secret", 4).unwrap())
    }

    #[test]
    fn passwords_and_tokens() {
        let tokens = Identities::token_line("ci", "long and random");
        let identities = Identities::parse(&bob(), &tokens).unwrap();
        assert!(!identities.known_at_once("bob", "secret"));
        assert!(identities.check_slowly("bob", "secret"));
        assert!(identities.known_at_once("bob", "secret"));
        for (name, password) in [("bob", "Secret"), ("bob", ""), ("bo", "bsecret"), ("ci", "secret"), ("", "")] {
            assert!(!identities.known_at_once(name, password), "{name} {password}");
            assert!(!identities.check_slowly(name, password), "{name} {password}");
        }
        assert!(identities.known_at_once("ci", "long and random"));
        assert!(!identities.known_at_once("bob", "long and random"));
        assert_eq!(identities.token("long and random").as_deref(), Some("ci"));
        assert_eq!(identities.token("secret"), None);
        assert!(!format!("{identities:?}").contains("bob"));
    }

    #[test]
    fn lines_that_are_made_are_understood() {
        let token = Identities::random_token().unwrap();
        assert_ne!(token, Identities::random_token().unwrap());
        let line = Identities::password_line("bob", "secret").unwrap();
        let identities = Identities::parse(&line, &Identities::token_line("ci", &token)).unwrap();
        assert!(identities.check_slowly("bob", "secret"));
        assert_eq!(identities.token(&token).as_deref(), Some("ci"));
        for name in ["", "a:b", "*", "anonymous", " a", "a ", "#a", "a\nb"] {
            Identities::password_line(name, "secret").unwrap_err();
        }
        for password in ["", "a\0b", &"x".repeat(73)] {
            Identities::password_line("bob", password).unwrap_err();
        }
    }

    #[test]
    fn a_password_that_bcrypt_repeats_is_not_the_same() {
        let identities = Identities::parse(&bob(), "").unwrap();
        assert!(!identities.check_slowly("bob", "secret\0secret"));
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let file = format!("bob:{}\n", bcrypt::hash("secret", 6).unwrap());
        let identities = Identities::parse(&file, "").unwrap();
        // The hash that stands for nobody is one that bcrypt really computes.
        assert_eq!(HashParts::from_str(&identities.0.nobody).unwrap().get_cost(), 6);
        assert!(matches!(bcrypt::verify("x", &identities.0.nobody), Ok(false)));
        let time = |name| {
            let begun = Instant::now();
            assert!(!identities.check_slowly(name, "wrong"));
            begun.elapsed()
        };
        // Short ones, many times: the fastest is one that nothing came between.
        let best = |name| (0..30).map(|_| time(name)).min().unwrap();
        let (known, unknown) = (best("bob"), best("alice"));
        assert!(unknown > known / 3, "{unknown:?} {known:?}");
    }

    #[test]
    fn what_is_no_bcrypt_is_refused() {
        let good = bcrypt::hash("x", 4).unwrap();
        for (text, want) in [
            ("bob".to_owned(), "line 1: has no `:` after a name"),
            ("\nbob:plain".to_owned(), "line 2: the password of `bob` is not hashed by bcrypt"),
            ("bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), "line 1: the password of `bob` is not hashed"),
            ("bob:$apr1$a$b".to_owned(), "line 1: the password of `bob` is not hashed by bcrypt"),
            (
                format!("bob:{}", good.replace("$04$", "$31$")),
                "line 1: the bcrypt cost of `bob` is not between 4 and 16",
            ),
            (format!("anonymous:{good}"), "line 1: nobody can be called `anonymous`"),
            (format!("*:{good}"), "line 1: nobody can be called `*`"),
            (format!(":{good}"), "line 1: a name has 1 to 255 bytes"),
            (format!("a:{good}\na:{good}"), "line 2: `a` is there twice"),
        ] {
            let error = Identities::parse(&text, "").unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
        let line = Identities::token_line("a", "t");
        for bad in ["a:t", "a:sha256:12", &format!("{line}\n{line}"), &line.replace("sha256", "md5")] {
            Identities::parse("", bad).unwrap_err();
        }
    }
}
