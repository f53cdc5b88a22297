//! Platforms: operating system, CPU architecture, variant (image-spec, `image-index.md`, "platform").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::null::null_is_empty;
use crate::text::{Shown, shown};

/// A platform as a descriptor or an image config states it. Fields keep the spelling of their source; compare with
/// [`Platform::normalized`], choose with [`PlatformMatcher`](crate::PlatformMatcher).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, `GOARCH` spelling.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub architecture: String,
    /// Operating system, `GOOS` spelling.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub os: String,
    /// Version of the operating system, for Windows its build number.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features of the operating system that are needed.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the CPU: `v7`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected `os/arch[/variant]`, such as `linux/arm64`")]
pub struct PlatformError(pub String);

/// Operating systems that may stand alone in a text, as Go names them.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

/// Architectures that may stand alone in a text, as Go names them.
const ARCHITECTURES: [&str; 15] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "sparc64", "wasm",
];

impl Platform {
    /// A platform without variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), ..Self::default() }
    }

    /// The machine this program was built for. The variant stays open: finding it out takes a look at the machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips" if cfg!(target_endian = "little") => "mipsle",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture).normalized()
    }

    /// Parses containerd's notation, `os[(version[+feature…])]/arch[/variant]`, and normalises.
    ///
    /// A lone architecture is one of Linux, whatever machine this is; a lone operating system is that of this machine's
    /// architecture.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        Self::parse_parts(text).map(|platform| platform.normalized()).ok_or_else(|| PlatformError(shown(text)))
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let (os, options) = match parts[0].split_once('(') {
            Some((os, rest)) => (os, Some(rest.strip_suffix(')')?)),
            None => (parts[0], None),
        };
        if !is_word(os) || !parts[1..].iter().all(|part| is_word(part)) {
            return None;
        }
        let mut platform = match parts[1..] {
            [] => {
                let lone = Self::new(os, os).normalized();
                if SYSTEMS.contains(&lone.os.as_str()) {
                    Self { os: lone.os, ..Self::host() }
                } else if ARCHITECTURES.contains(&lone.architecture.as_str()) && options.is_none() {
                    Self { os: "linux".to_owned(), ..lone }
                } else {
                    return None;
                }
            }
            [architecture] => Self::new(os, architecture),
            [architecture, variant] => Self { variant: variant.to_owned(), ..Self::new(os, architecture) },
            _ => return None,
        };
        let mut options = options.unwrap_or_default().split('+');
        platform.os_version = decode_option(options.next().unwrap_or_default())?;
        for feature in options {
            platform.os_features.push(decode_option(feature).filter(|feature| !feature.is_empty())?);
        }
        Some(platform)
    }

    /// The same platform in its canonical spelling: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`,
    /// features are sorted.
    ///
    /// containerd's rules, and beyond them the names that `uname` and Debian have for the same machines and the
    /// variants `armv7`, `armv8`, which stand in published lists.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_lowercase() {
            os if os == "macos" => "darwin".to_owned(),
            os => os,
        };
        let (architecture, variant) = (self.architecture.to_lowercase(), self.variant.to_lowercase());
        let (architecture, variant) = canonical_cpu(&architecture, &variant);
        let mut os_features = self.os_features.clone();
        os_features.sort_unstable();
        os_features.dedup();
        Self {
            architecture: architecture.to_owned(),
            os,
            os_version: self.os_version.clone(),
            os_features,
            variant: variant.to_owned(),
        }
    }
}

fn canonical_cpu<'a>(architecture: &'a str, variant: &'a str) -> (&'a str, &'a str) {
    match architecture {
        "i386" | "i486" | "i586" | "i686" | "x86" => ("386", ""),
        "x86_64" | "x86-64" | "amd64" => ("amd64", if variant == "v1" { "" } else { variant }),
        "aarch64" | "arm64" | "arm64v8" => ("arm64", canonical_arm64(variant)),
        "armel" | "armv6" | "armv6l" | "arm32v6" => ("arm", "v6"),
        "armhf" | "armv7" | "armv7l" | "arm32v7" => ("arm", "v7"),
        "armv5l" | "armv5tel" | "armv5tejl" | "arm32v5" => ("arm", "v5"),
        "armv8l" => ("arm", "v8"),
        "arm" => ("arm", canonical_arm(variant)),
        "ppc64el" => ("ppc64le", variant),
        "mipsel" => ("mipsle", variant),
        "mips64el" => ("mips64le", variant),
        "loongarch64" => ("loong64", variant),
        other => (other, variant),
    }
}

fn canonical_arm64(variant: &str) -> &str {
    match variant.strip_prefix("arm").unwrap_or(variant) {
        "8" | "v8" | "v8.0" => "",
        "9" | "9.0" | "v9.0" => "v9",
        other => other,
    }
}

fn canonical_arm(variant: &str) -> &str {
    match variant.strip_prefix("arm").unwrap_or(variant) {
        "" | "7" => "v7",
        "5" => "v5",
        "6" => "v6",
        "8" => "v8",
        other => other,
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Version and features may hold any character, the five that have a meaning as `%XX`.
fn decode_option(text: &str) -> Option<String> {
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%".contains(&b)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let (hex, tail) = rest.split_at_checked(2)?;
            let hex = std::str::from_utf8(hex).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Writes a version or feature so that [`decode_option`] reads it back; what is not printable is escaped for good.
fn write_option(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '%' | '+' | '(' | ')' | '/' => write!(f, "%{:02X}", u32::from(c))?,
            c => write!(f, "{}", Shown(c.encode_utf8(&mut [0; 4])))?,
        }
    }
    Ok(())
}

/// `os/arch[/variant]`, with `os(version+feature)` where those are stated; [`Platform::parse`] reads it.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(&self.os))?;
        if !self.os_version.is_empty() || !self.os_features.is_empty() {
            f.write_str("(")?;
            write_option(f, &self.os_version)?;
            for feature in &self.os_features {
                f.write_str("+")?;
                write_option(f, feature)?;
            }
            f.write_str(")")?;
        }
        write!(f, "/{}", Shown(&self.architecture))?;
        if !self.variant.is_empty() {
            write!(f, "/{}", Shown(&self.variant))?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_normalise() {
        for (input, want) in [
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v8.0", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8.2", "linux/arm64/v8.2"),
            ("linux/arm64/9.0", "linux/arm64/v9"),
            ("linux/arm64/armv8", "linux/arm64"),
            ("linux/arm64v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/arm/armv7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/armv7l", "linux/arm/v7"),
            ("linux/armv6l", "linux/arm/v6"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("Linux/AMD64/V2", "linux/amd64/v2"),
            ("linux/i386", "linux/386"),
            ("linux/i686", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/ppc64el", "linux/ppc64le"),
            ("linux/loongarch64", "linux/loong64"),
            ("linux/unheard-of/x9", "linux/unheard-of/x9"),
            ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.1)/amd64"),
            ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
            ("windows(+b+a)/amd64", "windows(+a+b)/amd64"),
            ("linux(a%2Bb)/amd64", "linux(a%2Bb)/amd64"),
        ] {
            assert_eq!(Platform::parse(input).unwrap().to_string(), want, "{input}");
        }
        for bad in [
            "",
            "/",
            "linux/",
            "linux/a b",
            "a/b/c/d",
            "linux\n/amd64",
            "linux(/amd64",
            "linux(1)x/amd64",
            "linux(a b)/amd64",
            "linux(%zz)/amd64",
            "linux(%f)/amd64",
            "linux(%ff)/amd64",
            "linux(1+)/amd64",
            "*/amd64",
            "nonsense",
            "arm64(1)",
            "linux/arm64/",
        ] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lone_word_is_completed() {
        assert_eq!(Platform::parse("aarch64").unwrap(), Platform::new("linux", "arm64"));
        assert_eq!(Platform::parse("armhf").unwrap().to_string(), "linux/arm/v7");
        let windows = Platform::parse("windows(10.0.20348)").unwrap();
        assert_eq!(windows.architecture, Platform::host().architecture);
        assert_eq!((windows.os.as_str(), windows.os_version.as_str()), ("windows", "10.0.20348"));
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        for os in ["linux", "macOS", "", "windows"] {
            for architecture in ["amd64", "arm64", "AARCH64", "arm", "armhf", "i386", "386", "x", ""] {
                for variant in ["", "v1", "8", "v8.0", "9", "armv7", "V9.0", "x"] {
                    let mut platform = Platform::new(os, architecture);
                    variant.clone_into(&mut platform.variant);
                    let once = platform.normalized();
                    assert_eq!(once.normalized(), once, "{platform}");
                }
            }
        }
    }

    #[test]
    fn what_a_document_says_is_shown_without_harm() {
        let platform = Platform { os_version: "\u{1b}[2J".to_owned(), ..Platform::new("li\u{7}nux", "amd64") };
        assert_eq!(platform.to_string(), "li\\u{7}nux(\\u{1b}[2J)/amd64");
    }

    #[test]
    fn null_is_what_go_writes_for_nothing() {
        let text = r#"{"architecture":null,"os":"linux","os.version":null,"os.features":null,"variant":null}"#;
        let platform: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(platform, Platform::new("linux", ""));
    }

    #[test]
    fn fields_of_a_document_keep_their_spelling() {
        let text = r#"{"architecture":"ARM64","os":"Linux","os.version":"1","os.features":["b","a"],"variant":"8"}"#;
        let platform: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&platform).unwrap(), text);
    }
}
