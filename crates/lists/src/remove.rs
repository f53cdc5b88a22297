//! `rm`: lists and entries of lists that are no longer wanted. Nothing is removed from a registry.

use image::Reference;

use crate::drafts::Drafts;
use crate::error::ListError;
use crate::lookup;

/// What became of the lists that were to be removed.
#[derive(Debug, Default)]
pub struct RemoveReport {
    /// Lists that are gone.
    pub removed: Vec<Reference>,
    /// What failed, in the order of the request. Docker prints one a line and exits with 1.
    pub failures: Vec<ListError>,
}

/// Removes local lists, damaged or not. One that cannot be removed does not keep the others.
pub fn remove(lists: &[String], drafts: &Drafts) -> RemoveReport {
    let mut report = RemoveReport::default();
    for text in lists {
        match remove_one(text, drafts) {
            Ok(list) => report.removed.push(list),
            Err(error) => report.failures.push(error),
        }
    }
    report
}

fn remove_one(text: &str, drafts: &Drafts) -> Result<Reference, ListError> {
    let list = Reference::parse(text).map_err(|source| ListError::Name { text: text.to_owned(), source })?;
    if drafts.remove(&list)? { Ok(list) } else { Err(ListError::NoSuchLocal(list.to_string())) }
}

/// Which entries of a list to remove.
#[derive(Clone, Debug, Default)]
pub struct RemoveEntriesRequest {
    /// The list as it was typed.
    pub list: String,
    /// Its entries as they were typed: references, `local:…`, `oci:…`, digests. One that stands for several entries,
    /// such as an index that was flattened, removes them all.
    pub entries: Vec<String>,
}

/// Which entries are gone.
#[derive(Clone, Debug)]
pub struct RemoveEntriesReport {
    /// The list.
    pub list: Reference,
    /// The entries, attestations of removed images among them.
    pub removed: Vec<Reference>,
    /// Whether the list went with its last entry.
    pub list_removed: bool,
}

/// Removes entries of a local list, with the attestations of their images, and the list with its last entry.
///
/// # Errors
/// If one of the entries is not there, nothing is removed.
pub fn remove_entries(request: &RemoveEntriesRequest, drafts: &Drafts) -> Result<RemoveEntriesReport, ListError> {
    let list =
        Reference::parse(&request.list).map_err(|source| ListError::Name { text: request.list.clone(), source })?;
    let _lock = drafts.lock(&list);
    let draft = drafts.read(&list)?.ok_or_else(|| ListError::NoSuchLocal(list.to_string()))?;
    let mut gone = vec![false; draft.entries.len()];
    for text in &request.entries {
        let image = lookup::ImageName::parse(text)?;
        let found = lookup::positions(&draft, &image);
        if found.is_empty() {
            return Err(lookup::not_in_list(&draft, text, &request.list));
        }
        for position in found {
            gone[position] = true;
        }
    }
    // An attestation of an image that is no longer listed would be about nothing.
    let still_listed: Vec<_> = draft
        .entries
        .iter()
        .zip(&gone)
        .filter(|(stored, gone)| !**gone && stored.entry.descriptor().attestation_of().is_none())
        .map(|(stored, _)| stored.entry.descriptor().digest.clone())
        .collect();
    let removed_images: Vec<_> = draft
        .entries
        .iter()
        .zip(&gone)
        .filter(|(_, gone)| **gone)
        .map(|(stored, _)| stored.entry.descriptor().digest.clone())
        .collect();
    for (stored, gone) in draft.entries.iter().zip(&mut gone) {
        if let Some(image) = stored.entry.descriptor().attestation_of() {
            *gone |= removed_images.contains(&image) && !still_listed.contains(&image);
        }
    }
    let going: Vec<_> = draft.entries.iter().zip(&gone).filter(|(_, gone)| **gone).map(|(stored, _)| stored).collect();
    let names: Vec<_> = going.iter().map(|stored| stored.file_name.clone()).collect();
    drafts.remove_entries(&list, &names)?;
    Ok(RemoveEntriesReport {
        removed: going.iter().map(|stored| stored.entry.reference().clone()).collect(),
        list_removed: going.len() == draft.entries.len(),
        list,
    })
}
