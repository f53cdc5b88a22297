//! What was written, for those who want to know: audit, metrics, webhooks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use content::RepositoryId;
use image::{Digest, MediaType, RepositoryName, Tag};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exchange::RequestId;

/// Something that was written, and is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its own name: no other event has it.
    pub(crate) id: Arc<str>,
    /// When.
    pub(crate) time: Timestamp,
    /// The request that asked for it.
    pub(crate) request: RequestId,
    /// Whose request that was. `None`: nobody's in particular.
    pub(crate) actor: Option<Arc<str>>,
    /// Where it came from.
    pub(crate) peer: IpAddr,
    /// Where it was written.
    pub(crate) repository: RepositoryName,
    /// What.
    pub(crate) what: What,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A manifest was put, whether or not it was there before.
    ManifestPushed {
        /// Its digest.
        digest: Digest,
        /// The media type it was put with.
        media_type: MediaType,
        /// Its size in bytes.
        size: u64,
        /// The tags it was put with.
        tags: Vec<Tag>,
    },
    /// A tag points to something else than before, or is new.
    TagMoved {
        /// The tag.
        tag: Tag,
        /// Where it pointed before.
        from: Option<Digest>,
        /// Where it points now.
        to: Digest,
    },
    /// A tag is gone.
    TagDeleted {
        /// The tag.
        tag: Tag,
        /// Where it pointed.
        from: Option<Digest>,
    },
    /// A manifest is gone.
    ManifestDeleted {
        /// Its digest.
        digest: Digest,
    },
    /// A blob was uploaded, whether or not it was there before.
    BlobPushed {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A blob of another repository is in this one too.
    BlobMounted {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The other repository.
        from: RepositoryName,
    },
    /// A blob is gone from this repository.
    BlobDeleted {
        /// Its digest.
        digest: Digest,
    },
}

impl What {
    /// What they are called where they are written down.
    pub(crate) const NAMES: [&str; 7] = [
        "manifest-pushed",
        "tag-moved",
        "tag-deleted",
        "manifest-deleted",
        "blob-pushed",
        "blob-mounted",
        "blob-deleted",
    ];

    /// Its own one.
    pub(crate) fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::ManifestPushed { .. } => 0,
            Self::TagMoved { .. } => 1,
            Self::TagDeleted { .. } => 2,
            Self::ManifestDeleted { .. } => 3,
            Self::BlobPushed { .. } => 4,
            Self::BlobMounted { .. } => 5,
            Self::BlobDeleted { .. } => 6,
        }]
    }
}

impl Event {
    /// The event as a JSON object. Audit log and webhooks tell the same.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({
            "id": &*self.id,
            "time": self.time.to_string(),
            "request": self.request.as_str(),
            "actor": self.actor.as_deref(),
            "peer": self.peer,
            "repository": self.repository,
            "event": self.what.name(),
        });
        let more = match &self.what {
            What::ManifestPushed { digest, media_type, size, tags } => {
                json!({ "digest": digest, "mediaType": media_type.as_str(), "size": size, "tags": tags })
            }
            What::TagMoved { tag, from, to } => json!({ "tag": tag, "from": from, "to": to }),
            What::TagDeleted { tag, from } => json!({ "tag": tag, "from": from }),
            What::ManifestDeleted { digest } | What::BlobDeleted { digest } => json!({ "digest": digest }),
            What::BlobPushed { digest, size } => json!({ "digest": digest, "size": size }),
            What::BlobMounted { digest, size, from } => json!({ "digest": digest, "size": size, "from": from }),
        };
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    }
}

/// Somebody who wants to know what is written.
#[async_trait]
pub(crate) trait Observer: Send + Sync + fmt::Debug {
    /// Called after the write is durable and before it is answered: what takes long belongs somewhere else. The client
    /// may be gone; this is run to its end all the same.
    async fn observe(&self, event: &Arc<Event>);

    /// The same for all that one request wrote.
    async fn observe_all(&self, events: &[Arc<Event>]) {
        for event in events {
            self.observe(event).await;
        }
    }
}

/// All who want to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observers(Arc<[Arc<dyn Observer>]>);

impl Observers {
    pub(crate) fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        Self(observers.into())
    }
}

/// Where a write comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The request.
    pub(crate) request: RequestId,
    /// Whose request it is.
    pub(crate) actor: Option<Arc<str>>,
    /// Where it came from.
    pub(crate) peer: IpAddr,
}

impl Observers {
    /// Tells all of them, in the order of what this request wrote.
    pub(crate) async fn tell(&self, origin: &Origin, repository: &RepositoryId, written: Vec<What>) {
        if self.0.is_empty() {
            return;
        }
        let make = |what| {
            Arc::new(Event {
                id: name(),
                time: Timestamp::now(),
                request: origin.request.clone(),
                actor: origin.actor.clone(),
                peer: origin.peer,
                repository: repository.name.clone(),
                what,
            })
        };
        let events: Vec<_> = written.into_iter().map(make).collect();
        for observer in &*self.0 {
            observer.observe_all(&events).await;
        }
    }
}

/// A name that no other event has.
fn name() -> Arc<str> {
    let mut random = [0; 16];
    // Without randomness nothing else works either; the time tells events apart then.
    if getrandom::fill(&mut random).is_err() {
        random = Timestamp::now().as_nanosecond().to_be_bytes();
    }
    format!("{:032x}", u128::from_be_bytes(random)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let digest = Digest::sha256(b"");
        let event = Event {
            id: "1".into(),
            time: Timestamp::UNIX_EPOCH,
            request: RequestId::given("r-1").unwrap(),
            actor: Some("a\"b".into()),
            peer: [127, 0, 0, 1].into(),
            repository: "team/app".parse().unwrap(),
            what: What::TagMoved { tag: Tag::parse("v1").unwrap(), from: None, to: digest.clone() },
        };
        let want = json!({
            "id": "1", "time": "1970-01-01T00:00:00Z", "request": "r-1", "actor": "a\"b", "peer": "127.0.0.1",
            "repository": "team/app", "event": "tag-moved", "tag": "v1", "from": null, "to": digest,
        });
        assert_eq!(event.to_json(), want);
        assert_ne!(name(), name());
    }
}
