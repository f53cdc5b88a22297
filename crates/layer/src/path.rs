//! Paths in archives: foreign text that wants to be a place on a disk.

use std::fmt;

/// Longest path, in bytes.
const LENGTH: usize = 4096;
/// Most components, and longest one in bytes.
const DEPTH: usize = 256;
const NAME: usize = 255;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It starts at the root of the machine.
    #[error("it is absolute")]
    Absolute,
    /// It leads upwards.
    #[error("it has a `..`")]
    Parent,
    /// It has a zero byte.
    #[error("it has a zero byte")]
    Zero,
    /// It, a name in it or its depth is beyond what systems take.
    #[error("it is too long or too deep")]
    TooLong,
    /// Nothing is left of it.
    #[error("it is empty")]
    Empty,
}

/// The names a path consists of, without `.` and doubled slashes. None at all for the root of the archive.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > LENGTH {
        return Err(PathError::TooLong);
    }
    if path[0] == b'/' {
        return Err(PathError::Absolute);
    }
    if path.contains(&0) {
        return Err(PathError::Zero);
    }
    let names: Vec<&[u8]> = path.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.contains(&&b".."[..]) {
        return Err(PathError::Parent);
    }
    if names.len() > DEPTH || names.iter().any(|name| name.len() > NAME) {
        return Err(PathError::TooLong);
    }
    Ok(names)
}

/// Shows bytes of a path in a message: what is not printable is escaped, a long one is cut.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in String::from_utf8_lossy(self.0).chars().enumerate() {
            if count == 160 {
                return f.write_str("…");
            }
            write!(f, "{}", c.escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_root_have_components() {
        assert_eq!(components(b"./usr//bin/./app/").unwrap(), [&b"usr"[..], b"bin", b"app"]);
        assert_eq!(components(b"..a/b..").unwrap(), [&b"..a"[..], b"b.."]);
        assert_eq!(components(b"./").unwrap(), [&b""[..]; 0]);
        for (bad, why) in [
            (&b""[..], PathError::Empty),
            (b"/etc", PathError::Absolute),
            (b"//etc", PathError::Absolute),
            (b"..", PathError::Parent),
            (b"a/../../b", PathError::Parent),
            (b"a/..", PathError::Parent),
            (b"a\0b", PathError::Zero),
        ] {
            assert_eq!(components(bad), Err(why), "{}", Shown(bad));
        }
        assert_eq!(components(&[b'a'; 256]), Err(PathError::TooLong));
        assert_eq!(components("a/".repeat(257).as_bytes()), Err(PathError::TooLong));
        assert_eq!(components("a/".repeat(2049).as_bytes()), Err(PathError::TooLong));
    }

    #[test]
    fn a_hostile_name_does_no_harm_in_a_message() {
        assert_eq!(Shown(b"a\x1b[2J\xff").to_string(), "a\\u{1b}[2J\u{fffd}");
        assert!(Shown(&[b'x'; 4000]).to_string().len() < 200);
    }
}
