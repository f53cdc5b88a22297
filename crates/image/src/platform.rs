//! Platforms: operating system, CPU architecture, variant (image-spec, `image-index.md`, "platform").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform as a descriptor or an image config states it. Fields keep the spelling of their source; compare with
/// [`Platform::normalized`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, `GOARCH` spelling.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, `GOOS` spelling.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system, for Windows its build number.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features of the operating system that are needed.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the CPU: `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected `os/arch[/variant]`, such as `linux/arm64`")]
pub struct PlatformError(pub String);

impl Platform {
    /// A platform without variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), ..Self::default() }
    }

    /// Parses `os/arch[/variant]`, `os(version)/arch…`, or a lone architecture or operating system, and normalises.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(text.chars().take(80).flat_map(char::escape_debug).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let (os, os_version) = match parts[0].split_once('(') {
            Some((os, rest)) => (os, rest.strip_suffix(')').filter(|v| word(v)).ok_or_else(error)?),
            None => (parts[0], ""),
        };
        if parts.len() > 3 || !word(os) || !parts[1..].iter().all(|part| word(part)) {
            return Err(error());
        }
        if parts.len() == 1 {
            return Err(error());
        }
        Ok(Self {
            os: os.to_owned(),
            architecture: parts[1].to_owned(),
            variant: parts.get(2).copied().unwrap_or_default().to_owned(),
            os_version: os_version.to_owned(),
            os_features: Vec::new(),
        }
        .normalized())
    }

    /// The same platform in its canonical spelling: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut normal = self.clone();
        normal.os = normal.os.to_lowercase();
        if normal.os == "macos" {
            normal.os = "darwin".to_owned();
        }
        normal.architecture = normal.architecture.to_lowercase();
        normal.variant = normal.variant.to_lowercase();
        let (architecture, variant) = match (normal.architecture.as_str(), normal.variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        (normal.architecture, normal.variant) = (architecture.to_owned(), variant.to_owned());
        normal
    }
}

/// `os/arch[/variant]`, with `os(version)` where a version is stated.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
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
            ("linux/arm", "linux/arm/v7"),
            ("linux/x86_64", "linux/amd64"),
            ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.1)/amd64"),
        ] {
            assert_eq!(Platform::parse(input).unwrap().to_string(), want, "{input}");
        }
        for bad in ["", "/", "linux/", "linux/a b", "a/b/c/d", "linux\n/amd64"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}
