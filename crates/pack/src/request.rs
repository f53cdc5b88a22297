//! What a person asks for, checked as it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use image::{Platform, PlatformError, RepositoryName, Tag, Target};
use layer::Compression;
use serde::{Serialize, Serializer};
use store::ImageStore;

/// What to pack.
#[derive(Clone, Debug)]
pub struct PackRequest {
    /// One binary per platform, in the order in which the index shall list them.
    pub binaries: Vec<Binary>,
    /// Where the binary stands in the image: [`ImagePath::of_repository`] by default.
    pub place: ImagePath,
    /// The image that it is put on; `None`: nothing but the binary and `files`.
    pub base: Option<Base>,
    /// Entry point; `None`: the binary. An empty one takes the base's away.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments; `None`: none, the base's are for another entry point.
    pub cmd: Option<Vec<String>>,
    /// Environment variables; they replace the base's of the same name.
    pub env: Vec<Variable>,
    /// Labels; they replace the base's of the same name.
    pub labels: BTreeMap<String, String>,
    /// User, or the base's.
    pub user: Option<String>,
    /// Working directory, or the base's.
    pub workdir: Option<ImagePath>,
    /// Ports, beside the base's.
    pub expose: Vec<Port>,
    /// Files and directories for every platform, in a layer below the binary.
    pub files: Vec<FileSpec>,
    /// How new layers are compressed.
    pub compression: Compression,
    /// Seconds since 1970 for every time in the image (`SOURCE_DATE_EPOCH`); `None`: 0.
    pub source_date_epoch: Option<u64>,
    /// Where layers are spooled until they are in a store, in files without a name that no crash leaves behind.
    pub scratch: PathBuf,
}

impl PackRequest {
    /// A request with nothing but binaries and where they stand.
    pub fn new(binaries: Vec<Binary>, place: ImagePath, scratch: impl Into<PathBuf>) -> Self {
        Self {
            binaries,
            place,
            base: None,
            entrypoint: None,
            cmd: None,
            env: Vec::new(),
            labels: BTreeMap::new(),
            user: None,
            workdir: None,
            expose: Vec::new(),
            files: Vec::new(),
            compression: Compression::Gzip,
            source_date_epoch: None,
            scratch: scratch.into(),
        }
    }
}

/// The image that others are put on.
#[derive(Clone, Debug)]
pub struct Base {
    /// Where it is.
    pub store: Arc<dyn ImageStore>,
    /// Which document.
    pub target: Target,
}

/// Why an argument is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Not `PLATFORM=PATH`.
    #[error("`{0}` is not a binary: expected `PLATFORM=PATH`, such as `linux/arm64=target/app`")]
    Binary(String),
    /// The platform of a binary.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Not `SRC:DST`.
    #[error("`{0}` is not a file to add: expected `SRC:DST`, such as `etc/app.conf:/etc/app.conf`")]
    File(String),
    /// Not a path in an image.
    #[error("`{0}` is not a path in an image: {1}")]
    ImagePath(String, &'static str),
    /// Not `KEY=VALUE`.
    #[error("`{0}` is not a variable: expected `KEY=VALUE`")]
    Variable(String),
    /// Not a port.
    #[error("`{0}` is not a port: expected `PORT` or `PORT/tcp`, `PORT/udp`, `PORT/sctp`")]
    Port(String),
}

/// Keeps control characters and overlong texts out of messages.
fn shown(text: &str) -> String {
    text.chars().take(160).flat_map(char::escape_debug).collect()
}

/// A binary and the platform it is for: `linux/arm64=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The platform, normalised.
    pub platform: Platform,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for Binary {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once('=') {
            // `linux` alone would be a guess at the architecture.
            Some((platform, path)) if !path.is_empty() && platform.contains('/') => {
                Ok(Self { platform: Platform::parse(platform)?, path: path.into() })
            }
            _ => Err(SpecError::Binary(shown(text))),
        }
    }
}

/// A file or directory to add: `SRC:DST`.
///
/// A `DST` that ends with `/` is a directory that gets `SRC` under its own name; else `SRC` becomes `DST`. `SRC/.` is
/// what is in the directory `SRC`: `rootfs/.:/` fills the image from the root on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// What to add.
    pub source: PathBuf,
    /// Where it stands in the image.
    pub destination: ImagePath,
}

impl FromStr for FileSpec {
    type Err = SpecError;

    /// The last colon separates, so that a path of Windows can stand before it.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let error = || SpecError::File(shown(text));
        let (source, destination) = text.rsplit_once(':').ok_or_else(error)?;
        if source.is_empty() || destination.is_empty() {
            return Err(error());
        }
        let contents = source == "." || source.ends_with("/.");
        let source = PathBuf::from(source);
        let destination = match (destination.ends_with('/'), source.file_name().and_then(|name| name.to_str())) {
            (true, Some(name)) if !contents => ImagePath::parse(&format!("{destination}{name}"))?,
            (true, None) if !contents => return Err(error()),
            _ => ImagePath::parse(destination)?,
        };
        Ok(Self { source, destination })
    }
}

/// A path in an image: absolute, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePath(String);

impl ImagePath {
    /// Checks the text and drops doubled slashes.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let error = |why| SpecError::ImagePath(shown(text), why);
        let Some(relative) = text.strip_prefix('/') else {
            return Err(error("it must begin with `/`"));
        };
        if text.contains('\0') {
            return Err(error("it has a NUL character"));
        }
        let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| *part == "." || *part == "..") {
            return Err(error("it has `.` or `..`"));
        }
        Ok(Self(format!("/{}", parts.join("/"))))
    }

    /// `/NAME` for the repository `…/NAME`.
    pub fn of_repository(repository: &RepositoryName) -> Self {
        let name = repository.as_str().rsplit('/').next().unwrap_or_default();
        Self(format!("/{name}"))
    }

    /// The path, which begins with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as it stands in an archive, without the slash.
    pub fn in_archive(&self) -> &str {
        &self.0[1..]
    }
}

impl FromStr for ImagePath {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ImagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// An environment variable: `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Variable {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(SpecError::Variable(shown(text))),
        }
    }
}

/// A port that is exposed: `8080`, `53/udp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

impl FromStr for Port {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let error = || SpecError::Port(shown(text));
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| known.eq_ignore_ascii_case(protocol));
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        match (number.parse(), protocol) {
            (Ok(number), Some(protocol)) if number > 0 && digits => Ok(Self { number, protocol }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// The tag of one platform's image: `v1-amd64`, `v1-arm-v7`, `v1-freebsd-amd64`.
pub fn platform_tag(tag: &Tag, platform: &Platform) -> Result<Tag, image::ReferenceError> {
    let mut text = tag.to_string();
    let system = if platform.os == "linux" { "" } else { &platform.os };
    for part in [system, &platform.architecture, &platform.variant] {
        if !part.is_empty() {
            text.push('-');
            text.push_str(part);
        }
    }
    Tag::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: FromStr<Err = SpecError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn binaries() {
        let binary: Binary = "linux/aarch64=a=b".parse().unwrap();
        assert_eq!((binary.platform.to_string().as_str(), binary.path.to_str().unwrap()), ("linux/arm64", "a=b"));
        assert_eq!(
            said::<Binary>("app"),
            "`app` is not a binary: expected `PLATFORM=PATH`, such as `linux/arm64=target/app`"
        );
        assert!(said::<Binary>("linux/amd64=").contains("is not a binary"));
        assert!(said::<Binary>("linux=x").contains("is not a binary"));
        assert!(said::<Binary>("linux/=x").contains("is not a platform"));
    }

    #[test]
    fn files() {
        for (text, source, destination) in [
            ("a:/b", "a", "/b"),
            ("C:\\x:/b", "C:\\x", "/b"),
            ("dir/a:/etc/", "dir/a", "/etc/a"),
            ("dir:/srv//www", "dir", "/srv/www"),
            ("dir/.:/", "dir/.", "/"),
            (".:/srv/", ".", "/srv"),
        ] {
            let spec: FileSpec = text.parse().unwrap();
            assert_eq!((spec.source.to_str().unwrap(), spec.destination.as_str()), (source, destination), "{text}");
        }
        for (text, why) in [
            ("a", "expected `SRC:DST`"),
            (":/b", "expected `SRC:DST`"),
            ("a:", "expected `SRC:DST`"),
            ("a:b", "it must begin with `/`"),
            ("a:/../b", "it has `.` or `..`"),
            ("..:/", "expected `SRC:DST`"),
        ] {
            assert!(said::<FileSpec>(text).contains(why), "{text}: {}", said::<FileSpec>(text));
        }
    }

    #[test]
    fn paths_in_images() {
        assert_eq!(ImagePath::parse("//a//b/").unwrap().as_str(), "/a/b");
        assert_eq!(ImagePath::of_repository(&RepositoryName::parse("team/app").unwrap()).as_str(), "/app");
        assert_eq!(ImagePath::parse("//").unwrap().as_str(), "/");
        assert!(said::<ImagePath>("/a\0").contains("NUL"));
    }

    #[test]
    fn ports_and_variables() {
        assert_eq!("80".parse::<Port>().unwrap().to_string(), "80/tcp");
        assert_eq!("53/UDP".parse::<Port>().unwrap().to_string(), "53/udp");
        for bad in ["", "0", "+80", "65536", "80/icmp", "80/", "a"] {
            assert!(said::<Port>(bad).contains("is not a port"), "{bad}");
        }
        assert_eq!("A=b=c".parse::<Variable>().unwrap(), Variable { name: "A".into(), value: "b=c".into() });
        for bad in ["A", "=b", ""] {
            assert!(said::<Variable>(bad).contains("is not a variable"), "{bad}");
        }
    }

    #[test]
    fn tags_of_platforms() {
        let tag = Tag::parse("v1").unwrap();
        for (platform, want) in [
            ("linux/amd64", "v1-amd64"),
            ("linux/arm/v7", "v1-arm-v7"),
            ("linux/arm64/v8", "v1-arm64"),
            ("freebsd/amd64", "v1-freebsd-amd64"),
        ] {
            assert_eq!(platform_tag(&tag, &Platform::parse(platform).unwrap()).unwrap().as_str(), want);
        }
        assert!(platform_tag(&Tag::parse(&"t".repeat(128)).unwrap(), &Platform::new("linux", "amd64")).is_err());
    }
}
