//! `ls`: the local lists.

use std::path::PathBuf;

use image::{Digest, Platform, Reference};
use serde::Serialize;

use crate::drafts::{DraftDirectory, Drafts, read_directory};
use crate::entry::Entry;
use crate::error::ListError;
use crate::file_name::encode;

/// A local list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftSummary {
    /// The list's name, as far as it can be told: docker's store keeps only an encoded form, from which `:`, `/` and
    /// `-` cannot be told apart for certain. Whatever the name was, this one leads to the same list. `None`: the
    /// directory's name comes from no reference.
    #[serde(serialize_with = "as_text")]
    pub reference: Option<Reference>,
    /// The directory.
    pub path: PathBuf,
    /// Its entries, in the order in which they would be pushed.
    pub entries: Vec<EntrySummary>,
    /// What is wrong with it, if it is damaged.
    pub problems: Vec<String>,
}

/// An entry of a local list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntrySummary {
    /// The reference by which the entry is known.
    pub reference: String,
    /// Where it came from, if the reference does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Digest of the image manifest.
    pub digest: Digest,
    /// The platform that the list will state.
    pub platform: Platform,
    /// The image that it is an attestation of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation_of: Option<Digest>,
}

impl From<&Entry> for EntrySummary {
    fn from(entry: &Entry) -> Self {
        Self {
            reference: entry.reference().to_string(),
            source: entry.source().map(str::to_owned),
            digest: entry.descriptor().digest.clone(),
            platform: entry.platform(),
            attestation_of: entry.descriptor().attestation_of(),
        }
    }
}

#[expect(clippy::ref_option, reason = "serde hands out a reference to the field")]
fn as_text<S: serde::Serializer>(reference: &Option<Reference>, serializer: S) -> Result<S::Ok, S::Error> {
    reference.as_ref().map(ToString::to_string).serialize(serializer)
}

/// All local lists, sorted by the names of their directories, damaged ones among them.
pub fn list(drafts: &Drafts) -> Result<Vec<DraftSummary>, ListError> {
    Ok(drafts.directories()?.iter().map(summarise).collect())
}

fn summarise(directory: &DraftDirectory) -> DraftSummary {
    let (entries, problems) = read_directory(directory);
    DraftSummary {
        reference: decode(&directory.name, &entries),
        path: directory.path.clone(),
        entries: entries.iter().map(EntrySummary::from).collect(),
        problems,
    }
}

/// A reference that has `name` as its encoded form. Entries give hints: most lists are in the registry of their
/// images, many in their repository.
fn decode(name: &str, entries: &[Entry]) -> Option<Reference> {
    let (name, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, format!("@{}", digest.replacen('-', ":", 1))),
        None => (name, String::new()),
    };
    let good = |text: String| {
        Reference::parse(&text).ok().filter(|reference| {
            let known = encode(&reference.to_string());
            known == format!("{name}{}", encode(&digest)) && reference.digest().is_some() != digest.is_empty()
        })
    };
    // In the repository of one of its images: what is left is the tag.
    let by_repository = entries.iter().find_map(|entry| {
        let repository = entry.reference().name();
        let rest = name.strip_prefix(&encode(&repository))?;
        let tag = if rest.is_empty() { String::new() } else { format!(":{}", rest.strip_prefix('-')?) };
        good(format!("{repository}{tag}{digest}"))
    });
    if by_repository.is_some() {
        return by_repository;
    }
    let (encoded_host, rest) = name.split_once('_')?;
    let known_host = entries
        .iter()
        .map(|entry| entry.reference().registry().to_string())
        .find(|registry| encode(registry) == encoded_host);
    let host = known_host.unwrap_or_else(|| match encoded_host.rsplit_once('-') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => format!("{host}:{port}"),
        _ => encoded_host.to_owned(),
    });
    // The last hyphen is the colon before the tag, more often than not; a slash is likelier than an underscore.
    let hyphens: Vec<usize> = rest.match_indices('-').map(|(at, _)| at).collect();
    let splits = hyphens.iter().rev().map(|at| (&rest[..*at], format!(":{}", &rest[at + 1..])));
    let without_tag = (!digest.is_empty()).then(|| (rest, String::new()));
    splits.chain(without_tag).find_map(|(repository, tag)| {
        // A double underscore cannot be two slashes.
        let slashed = repository.replace("__", "\0").replace('_', "/").replace('\0', "__");
        good(format!("{host}/{slashed}{tag}{digest}")).or_else(|| good(format!("{host}/{repository}{tag}{digest}")))
    })
}

#[cfg(test)]
mod tests {
    use image::{Document, MediaType};

    use super::*;
    use crate::file_name::file_name;

    fn entry(reference: &str) -> Entry {
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","size":1,"digest":"{}"}},"layers":[]}}"#,
            Digest::sha256(b"")
        );
        let document = Document::new(Some(&MediaType::from(MediaType::OCI_MANIFEST)), manifest).unwrap();
        Entry::new(Reference::parse(reference).unwrap(), &document, Platform::default())
    }

    #[test]
    fn names_are_told_from_directories_as_far_as_can_be() {
        let digest = Digest::sha256(b"x");
        for (list, image) in [
            ("127.0.0.1:5111/t/app:multi", "127.0.0.1:5111/t/app:amd64"),
            ("r.io/t/app:v1-alpine", "r.io/t/app:amd64"),
            ("r.io/my-app:v1", "r.io/other:amd64"),
            ("my-host:80/a_b/c:v1", "my-host:80/a_b/c:amd64"),
            ("my-host/a/b:v1", "my-host/a/x:v1"),
            ("app", "app:amd64"),
            (&format!("r.io/t/app@{digest}"), "r.io/t/app:amd64"),
            (&format!("r.io/t/app:v1@{digest}"), "r.io/t/other:amd64"),
        ] {
            // `my-host` is a registry only if its name says so.
            let Ok(list) = Reference::parse(list) else { continue };
            let decoded = decode(&file_name(&list), &[entry(image)]).unwrap();
            assert_eq!(decoded.to_string(), list.to_string());
        }
    }

    #[test]
    fn a_wrong_guess_still_leads_to_the_list() {
        for list in ["r.io/app:v1-alpine", "r.io/a_b:v1", "r.io/a__b/c-d:v1", "10.0.0.1:80/x/y_z:a-b-c"] {
            let name = file_name(&Reference::parse(list).unwrap());
            let decoded = decode(&name, &[]).unwrap();
            assert_eq!(file_name(&decoded), name);
        }
        for name in ["", "_", "x", "lost+found", "docker.io_UPPER-x"] {
            assert!(decode(name, &[]).is_none(), "{name}");
        }
    }
}
