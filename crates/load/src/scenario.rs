//! What can be measured.

use std::fmt;
use std::str::FromStr;

/// A scenario: what all clients do as fast as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    /// `GET /v2/`.
    Ping,
    /// A manifest by tag.
    ManifestByTag,
    /// A manifest by digest.
    ManifestByDigest,
    /// `HEAD` of a manifest by tag.
    ManifestHead,
    /// The first page of the tags.
    Tags,
    /// A blob of 1 KiB.
    SmallBlob,
    /// A large blob, 100 MiB unless asked for otherwise.
    LargeBlob,
    /// An image: a layer of 64 KiB and a config that nobody has, a manifest, a tag.
    ImagePush,
    /// A large blob that nobody has.
    LargePush,
    /// Pulls, looks, lists, pushes, moved tags, deletions.
    Mixed,
}

impl Scenario {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 10] = [
        Self::Ping,
        Self::ManifestByTag,
        Self::ManifestByDigest,
        Self::ManifestHead,
        Self::Tags,
        Self::SmallBlob,
        Self::LargeBlob,
        Self::ImagePush,
        Self::LargePush,
        Self::Mixed,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::ManifestByTag => "manifest-by-tag",
            Self::ManifestByDigest => "manifest-by-digest",
            Self::ManifestHead => "manifest-head",
            Self::Tags => "tags",
            Self::SmallBlob => "small-blob",
            Self::LargeBlob => "large-blob",
            Self::ImagePush => "image-push",
            Self::LargePush => "large-push",
            Self::Mixed => "mixed",
        }
    }

    /// How many clients there are unless asked for otherwise.
    pub fn clients(self) -> usize {
        match self {
            Self::LargeBlob | Self::ImagePush => 4,
            Self::LargePush => 1,
            _ => 16,
        }
    }

    /// What one operation of it is.
    pub fn about(self) -> &'static str {
        match self {
            Self::Ping => "get `/v2/`",
            Self::ManifestByTag => "get a manifest by tag",
            Self::ManifestByDigest => "get a manifest by digest",
            Self::ManifestHead => "ask for a manifest's digest",
            Self::Tags => "list the first 100 tags",
            Self::SmallBlob => "get a blob of 1 KiB",
            Self::LargeBlob => "get a large blob",
            Self::ImagePush => "push a layer of 64 KiB, a config and a manifest that are new",
            Self::LargePush => "push a large blob that is new",
            Self::Mixed => "pull, look, list, push, move a tag, delete",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|scenario| scenario.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// What a client does at a time: what a scenario is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Kind {
    /// `GET /v2/`.
    Ping,
    /// A manifest by tag.
    ManifestByTag,
    /// A manifest by digest.
    ManifestByDigest,
    /// `HEAD` of a manifest by tag.
    ManifestHead,
    /// The first page of the tags.
    Tags,
    /// A blob of 1 KiB.
    SmallBlob,
    /// A large blob.
    LargeBlob,
    /// A new image.
    ImagePush,
    /// A large new blob.
    LargePush,
    /// An image: manifest, config and layer.
    Pull,
    /// An image whose tag was elsewhere before.
    Push,
    /// A tag put on another image that is there.
    TagMove,
    /// An image deleted by digest, and looked for in vain afterwards.
    Delete,
}

impl Kind {
    /// How many there are.
    pub(crate) const COUNT: usize = 13;

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::ManifestByTag => "manifest-by-tag",
            Self::ManifestByDigest => "manifest-by-digest",
            Self::ManifestHead => "manifest-head",
            Self::Tags => "tags",
            Self::SmallBlob => "small-blob",
            Self::LargeBlob => "large-blob",
            Self::ImagePush => "image-push",
            Self::LargePush => "large-push",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::TagMove => "tag-move",
            Self::Delete => "delete",
        }
    }

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Ping,
        Self::ManifestByTag,
        Self::ManifestByDigest,
        Self::ManifestHead,
        Self::Tags,
        Self::SmallBlob,
        Self::LargeBlob,
        Self::ImagePush,
        Self::LargePush,
        Self::Pull,
        Self::Push,
        Self::TagMove,
        Self::Delete,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_scenarios() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
        assert!("all".parse::<Scenario>().unwrap_err().starts_with("expected one of ping, manifest-by-tag"));
    }

    #[test]
    fn kinds_are_numbered_in_their_order() {
        assert!(Kind::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
    }
}
