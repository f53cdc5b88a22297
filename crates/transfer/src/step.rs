//! Steps: what a plan is made of, for people and for machines.

use std::fmt;

use image::{Digest, MediaType, Platform, Tag};
use serde::Serialize;

/// One step of a plan.
///
/// Its `Display` is one line for people, its serialised form an object whose `action` says which kind it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Number of the step in its plan, from 1.
    pub number: usize,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Numbers of the steps that have to be done before.
    pub needs: Vec<usize>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Action {
    /// Asks whether a document is at the target already; if it is, the steps in `skips` are left out.
    Check {
        /// Where it is looked for, as a person would write it.
        at: String,
        /// Digest that must be there.
        digest: Digest,
        /// Numbers of the steps that a yes saves.
        skips: Vec<usize>,
    },
    /// Links a blob from another repository of the same medium; where that is refused its bytes are copied.
    Mount {
        /// Digest of the blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Its media type.
        media_type: MediaType,
        /// The repository that has it.
        from: String,
    },
    /// Copies the bytes of a blob, unless the target has them.
    Copy {
        /// Digest of the blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Its media type.
        media_type: MediaType,
        /// Where it is read from.
        from: String,
    },
    /// Writes a document under its digest.
    Put {
        /// Where to, as a person would write it.
        to: String,
        /// Digest of the document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Its media type.
        media_type: MediaType,
        /// The platform that an index of the plan states for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
    },
    /// Writes a document under a tag.
    Tag {
        /// Where to, as a person would write it.
        to: String,
        /// The tag.
        tag: Tag,
        /// Digest of the document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Its media type.
        media_type: MediaType,
    },
}

impl Action {
    /// The word for it: the `action` of the serialised form, and the verb of the printed line.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Mount { .. } => "mount",
            Self::Copy { .. } => "copy",
            Self::Put { .. } => "put",
            Self::Tag { .. } => "tag",
        }
    }

    /// Digest of what it is about.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Check { digest, .. }
            | Self::Mount { digest, .. }
            | Self::Copy { digest, .. }
            | Self::Put { digest, .. }
            | Self::Tag { digest, .. } => digest,
        }
    }

    /// Bytes of content that it moves if nothing can be saved; a mount is counted as nothing.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Check { .. } | Self::Mount { .. } => 0,
            Self::Copy { size, .. } | Self::Put { size, .. } | Self::Tag { size, .. } => *size,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} ", self.verb())?;
        match self {
            Self::Check { at, digest, skips } => {
                f.write_str(at)?;
                if !at.ends_with(digest.as_str()) {
                    write!(f, " for {digest}")?;
                }
                if skips.is_empty() { Ok(()) } else { write!(f, ": if it is there, skip {}", Numbers(skips)) }
            }
            Self::Mount { digest, size, from, .. } | Self::Copy { digest, size, from, .. } => {
                write!(f, "{digest} ({}) from {from}", ByteSize(*size))
            }
            Self::Put { to, size, platform, .. } => {
                write!(f, "{to} ({})", ByteSize(*size))?;
                platform.as_ref().map_or(Ok(()), |platform| write!(f, " {platform}"))
            }
            Self::Tag { to, digest, size, .. } => write!(f, "{to} as {digest} ({})", ByteSize(*size)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = f.width().unwrap_or(0);
        write!(f, "{:>width$}  {}", self.number, self.action)?;
        if self.needs.is_empty() { Ok(()) } else { write!(f, ", after {}", Numbers(&self.needs)) }
    }
}

/// Step numbers, with runs written as ranges: `1-4, 7`.
struct Numbers<'a>(&'a [usize]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        while let Some(&first) = rest.first() {
            let run = rest.iter().zip(first..).take_while(|(number, expected)| **number == *expected).count();
            let last = first + run - 1;
            match run {
                1 => write!(f, "{separator}{first}")?,
                2 => write!(f, "{separator}{first}, {last}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            (rest, separator) = (&rest[run..], ", ");
        }
        Ok(())
    }
}

/// A number of bytes for people, in powers of ten: `999 B`, `1.2 kB`, `34.5 MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        // In tenths, so that nothing is lost to floating point.
        let mut tenths = u128::from(self.0) * 10;
        for (i, unit) in UNITS.iter().enumerate() {
            tenths = (tenths + 500) / 1000;
            if tenths < 10_000 || i + 1 == UNITS.len() {
                return write!(f, "{}.{} {unit}", tenths / 10, tenths % 10);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_a_tenth() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1049, "1.0 kB"),
            (1050, "1.1 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), want, "{bytes}");
        }
    }

    #[test]
    fn runs_of_numbers_are_ranges() {
        assert_eq!(Numbers(&[1]).to_string(), "1");
        assert_eq!(Numbers(&[1, 2, 4, 5, 6, 9]).to_string(), "1, 2, 4-6, 9");
    }

    #[test]
    fn a_check_by_digest_names_it_once() {
        let digest = Digest::sha256(b"x");
        let check = |at: String| Action::Check { at, digest: digest.clone(), skips: vec![2, 3] }.to_string();
        assert_eq!(check(format!("r.io/app@{digest}")), format!("check r.io/app@{digest}: if it is there, skip 2, 3"));
        assert_eq!(
            check("r.io/app:v1".to_owned()),
            format!("check r.io/app:v1 for {digest}: if it is there, skip 2, 3")
        );
    }

    #[test]
    fn a_step_is_one_line_and_one_object() {
        let digest = Digest::sha256(b"x");
        let step = Step {
            number: 7,
            action: Action::Copy {
                digest: digest.clone(),
                size: 1500,
                media_type: MediaType::from(MediaType::OCI_LAYER_GZIP),
                from: "local:app".to_owned(),
            },
            needs: vec![1, 2, 3],
        };
        assert_eq!(format!("{step:2}"), format!(" 7  copy  {digest} (1.5 kB) from local:app, after 1-3"));
        assert_eq!(
            serde_json::to_string(&step).unwrap(),
            format!(
                r#"{{"number":7,"action":"copy","digest":"{digest}","size":1500,"mediaType":"{}","from":"local:app","needs":[1,2,3]}}"#,
                MediaType::OCI_LAYER_GZIP
            )
        );
    }
}
