//! Kinds of values: how each is written in a file, a variable or a flag.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a settings file has after a `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Texts(Vec<String>),
    /// Something that no setting is, by its name in TOML.
    Other(&'static str),
}

impl Raw {
    /// For messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "`true` or `false`",
            Self::Texts(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

/// How a flag takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag`, or `--flag=false`.
    Switch,
    /// `--flag VALUE`.
    One,
    /// `--flag VALUE`, several times; in a variable separated by commas.
    Several,
}

/// Something that a setting can be. An error says what was expected.
pub(super) trait Value: Sized + Default {
    const KIND: Kind = Kind::One;

    fn from_text(text: &str) -> Result<Self, String>;

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            // What is a number and nothing else may be written as one.
            Raw::Integer(number) => Self::from_text(&number.to_string()),
            other => match Self::from_text("") {
                Err(expected) => Err(format!("{expected}, not {}", other.kind())),
                Ok(_) => Err(format!("expected a text, not {}", other.kind())),
            },
        }
    }

    /// As it is written in a file. `None`: it is not set.
    fn toml(&self) -> Option<String>;

    /// Takes a relative path for one below `directory`.
    fn place(&mut self, _directory: &Path) {}
}

impl Value for bool {
    const KIND: Kind = Kind::Switch;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected `true` or `false`".to_owned()),
        }
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            other => Err(format!("expected `true` or `false`, not {}", other.kind())),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A number from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub NonZeroU32);

impl Default for Count {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

impl Value for Count {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "expected a number from 1 on".to_owned())
    }

    fn toml(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

impl Value for String {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("expected a text that is not empty".to_owned()) } else { Ok(text.to_owned()) }
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            other => Err(format!("expected a text, not {}", other.kind())),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(Self::from(text)) }
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            other => Err(format!("expected a path, not {}", other.kind())),
        }
    }

    fn toml(&self) -> Option<String> {
        // One that is no text cannot stand in a file; `ServeSettings::toml` refuses it before.
        self.to_str().map(quoted)
    }

    fn place(&mut self, directory: &Path) {
        if self.is_relative() {
            *self = directory.join(&*self);
        }
    }
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::Several;

    fn from_text(text: &str) -> Result<Self, String> {
        let texts: Self = text.split(',').map(|text| text.trim().to_owned()).collect();
        if texts.iter().any(String::is_empty) {
            Err("expected texts, separated by commas".to_owned())
        } else {
            Ok(texts)
        }
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Texts(texts) if texts.iter().any(String::is_empty) => Err("expected a list of texts".to_owned()),
            Raw::Texts(texts) => Ok(texts.clone()),
            other => Err(format!("expected a list of texts, not {}", other.kind())),
        }
    }

    fn toml(&self) -> Option<String> {
        let texts: Vec<String> = self.iter().map(|text| quoted(text)).collect();
        (!texts.is_empty()).then(|| format!("[{}]", texts.join(", ")))
    }
}

/// What need not be set.
impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_text(text).map(Some)
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        T::from_raw(raw).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(T::toml)
    }

    fn place(&mut self, directory: &Path) {
        if let Some(value) = self {
            value.place(directory);
        }
    }
}

/// What can be turned off, by the word `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T> Default for OrOff<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Value> Value for OrOff<T> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        T::from_text(text).map(|value| Self(Some(value))).map_err(|expected| format!("{expected}, or `off`"))
    }

    fn toml(&self) -> Option<String> {
        match &self.0 {
            Some(value) => value.toml(),
            None => Some(quoted("off")),
        }
    }
}

/// An address and a port, or a name that has one, with a port. It is looked up when it is listened on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address(pub String);

impl Value for Address {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self(text.to_owned())),
            _ => Err("expected an address and a port, such as `127.0.0.1:5000`".to_owned()),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl Value for Size {
    fn from_text(text: &str) -> Result<Self, String> {
        let expected = || "expected a size such as `4MiB` or `10GB`".to_owned();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| expected())?;
        let unit = text[digits..].trim_start();
        let factor = match SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => return Err(expected()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(expected)
    }

    fn toml(&self) -> Option<String> {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        // The fewest digits.
        let (unit, factor) = SIZES.iter().filter(fits).max_by_key(|(_, factor)| *factor).copied().unwrap_or(("B", 1));
        Some(quoted(&format!("{}{unit}", self.0 / factor)))
    }
}

const SPANS: [(&str, u64); 7] = [
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("min", 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

impl Value for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        let expected = || "expected a duration such as `90s`, `1h30m` or `7d`".to_owned();
        let mut rest = text.trim();
        let mut sum: u64 = 0;
        loop {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| expected())?;
            rest = rest[digits..].trim_start();
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, after) = rest.split_at(letters);
            let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
            sum = number.checked_mul(*factor).and_then(|more| sum.checked_add(more)).ok_or_else(expected)?;
            rest = after.trim_start();
            if rest.is_empty() {
                return Ok(Self::from_millis(sum));
            }
        }
    }

    fn toml(&self) -> Option<String> {
        let total = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        // A day is said in hours and a minute in seconds by whoever set it so; the largest that fits is as good.
        let fits = |(name, factor): &&(&str, u64)| *name != "w" && *name != "min" && total.is_multiple_of(*factor);
        let (unit, factor) = SPANS.iter().find(fits).copied().unwrap_or(("ms", 1));
        Some(quoted(&if total == 0 { "0s".to_owned() } else { format!("{}{unit}", total / factor) }))
    }
}

/// Reads a duration as settings have it: `90s`, `1h30m`, `7d`. An error says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    Duration::from_text(text)
}

/// Reads a size in bytes as settings have it: `4MiB`, `10GB`. An error says what was expected.
pub fn size(text: &str) -> Result<u64, String> {
    Size::from_text(text).map(|size| size.0)
}

/// One of a few words; one list is the type, the words and what an error says.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident = $first_word:literal $(, $(#[$variant_doc:meta])* $variant:ident = $word:literal)* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $(#[$first_doc])* #[default] $first,
            $($(#[$variant_doc])* $variant,)*
        }

        impl Value for $name {
            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $first_word => Ok(Self::$first),
                    $($word => Ok(Self::$variant),)*
                    _ => Err(one_of(&[$first_word $(, $word)*])),
                }
            }

            fn toml(&self) -> Option<String> {
                Some(quoted(match self {
                    Self::$first => $first_word,
                    $(Self::$variant => $word,)*
                }))
            }
        }
    };
}

words! {
    /// Which of the images that an index lists must be there.
    References {
        /// All.
        Strict = "strict",
        /// Those for platforms that are listed elsewhere.
        Platforms = "platforms",
        /// None: what is not there may come later, or never.
        Sparse = "sparse",
    }
}

words! {
    /// How lines of the access log look.
    LogFormat {
        /// Words, for people.
        Text = "text",
        /// A JSON object each, for machines.
        Json = "json",
    }
}

words! {
    /// When lines of the audit log survive a power cut.
    AuditSync {
        /// A second later at most.
        Second = "second",
        /// Before the client is answered.
        Write = "write",
        /// When the operating system pleases.
        Never = "never",
    }
}

words! {
    /// How tokens are signed.
    KeyAlgorithm {
        /// ECDSA with P-256.
        Es256 = "ES256",
        /// RSA.
        Rs256 = "RS256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

words! {
    /// The header in which proxies say where a request came from.
    ForwardedBy {
        /// `X-Forwarded-For`.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

/// A file, or the standard output: `-`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Target {
    /// `-`.
    #[default]
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Value for Target {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("expected a path, or `-` for the standard output".to_owned()),
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            other => Err(format!("expected a path, or `-` for the standard output, not {}", other.kind())),
        }
    }

    fn toml(&self) -> Option<String> {
        match self {
            Self::Stdout => Some(quoted("-")),
            Self::File(path) => path.toml(),
        }
    }

    fn place(&mut self, directory: &Path) {
        if let Self::File(path) = self {
            path.place(directory);
        }
    }
}

/// A file, or an address with `://`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FileOrAddress(pub String);

impl Value for FileOrAddress {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("expected a path or an address".to_owned()) } else { Ok(Self(text.to_owned())) }
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            other => Err(format!("expected a path or an address, not {}", other.kind())),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }

    fn place(&mut self, directory: &Path) {
        if !self.0.contains("://")
            && let Some(path) = directory.join(&self.0).to_str()
        {
            path.clone_into(&mut self.0);
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("expected {} or {last}", before.join(", ")),
        _ => format!("expected {}", words.concat()),
    }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a `String` does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_and_written() {
        for (text, bytes, written) in [
            ("0", 0, "0B"),
            ("512", 512, "512B"),
            ("4MiB", 4 << 20, "4MiB"),
            ("4 mib", 4 << 20, "4MiB"),
            ("1536KiB", 1536 << 10, "1536KiB"),
            ("10GB", 10_000_000_000, "10GB"),
            ("1000000 B", 1_000_000, "1MB"),
        ] {
            assert_eq!(Size::from_text(text), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).toml(), Some(quoted(written)), "{text}");
        }
        for (text, seconds, written) in [
            ("90s", 90, "90s"),
            ("1h30m", 5400, "90m"),
            ("7d", 604_800, "7d"),
            ("2w", 1_209_600, "14d"),
            ("0s", 0, "0s"),
        ] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(Duration::from_text(text), Ok(duration), "{text}");
            assert_eq!(duration.toml(), Some(quoted(written)), "{text}");
        }
        assert_eq!(Duration::from_text("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(Duration::from_text("1min"), Duration::from_text("60s"));
        for bad in ["", "s", "90", "-1s", "1y", "1h30", "99999999999999999w", "1.5h", "h1"] {
            Duration::from_text(bad).unwrap_err();
        }
        for bad in ["", "MiB", "-1", "1.5GiB", "4 MiBs", "99999999999TiB"] {
            Size::from_text(bad).unwrap_err();
        }
    }

    #[test]
    fn what_is_of_another_kind_is_told_so() {
        let error = |raw| OrOff::<Duration>::from_raw(&raw).unwrap_err();
        assert_eq!(
            error(Raw::Boolean(true)),
            "expected a duration such as `90s`, `1h30m` or `7d`, or `off`, not `true` or `false`"
        );
        assert_eq!(bool::from_raw(&Raw::Text("yes".into())).unwrap_err(), "expected `true` or `false`, not a text");
        assert_eq!(PathBuf::from_raw(&Raw::Integer(3)).unwrap_err(), "expected a path, not a number");
        assert_eq!(References::from_text("lax").unwrap_err(), "expected `strict`, `platforms` or `sparse`");
        assert_eq!(OrOff::<Duration>::from_text("off"), Ok(OrOff(None)));
    }

    #[test]
    fn texts_come_out_of_their_quotes_as_they_went_in() {
        let odd = "a\"b\\c\n\t\u{1}\u{7f}é";
        let table: toml::Table = format!("x = {}", quoted(odd)).parse().unwrap();
        assert_eq!(table["x"].as_str(), Some(odd));
    }
}
