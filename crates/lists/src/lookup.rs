//! Finding the entry of a list that a person means.

use image::{Digest, Reference};

use crate::drafts::{Draft, Drafts, StoredEntry};
use crate::entry::Entry;
use crate::error::ListError;
use crate::source::Source;

/// What was typed to name an entry.
#[derive(Clone, Debug)]
pub(crate) struct ImageName {
    text: String,
    source: Source,
}

impl ImageName {
    pub(crate) fn parse(text: &str) -> Result<Self, ListError> {
        Ok(Self { text: text.to_owned(), source: Source::parse(text)? })
    }

    /// As docker prints it.
    pub(crate) fn normal(&self) -> &str {
        self.source.name()
    }
}

/// The one entry that is meant.
///
/// Docker's way comes first: the file of that name, whatever the other files are like. Then what docker has no name
/// for: where the entry came from, or its digest.
///
/// # Errors
/// [`ListError::NotInList`], [`ListError::Ambiguous`].
pub(crate) fn one(
    drafts: &Drafts,
    list: &Reference,
    image: &ImageName,
    list_as_typed: &str,
) -> Result<StoredEntry, ListError> {
    if let Some(reference) = image.source.reference()
        && let Some(stored) = drafts.entry(list, reference)?
    {
        return Ok(stored);
    }
    let nothing =
        || ListError::NotInList { image: image.text.clone(), list: list_as_typed.to_owned(), known: Vec::new() };
    let mut draft = drafts.read(list)?.ok_or_else(nothing)?;
    let mut found = positions(&draft, image);
    // Whoever annotates a flattened index of one image does not mean its attestations.
    if found.len() > 1 {
        found.retain(|position| draft.entries[*position].entry.descriptor().attestation_of().is_none());
    }
    match *found {
        [position] => Ok(draft.entries.swap_remove(position)),
        [] => Err(not_in_list(&draft, &image.text, list_as_typed)),
        _ => Err(ListError::Ambiguous {
            image: image.text.clone(),
            list: list_as_typed.to_owned(),
            entries: found.iter().map(|position| draft.entries[*position].entry.reference().clone()).collect(),
        }),
    }
}

/// All entries that a name can mean.
pub(crate) fn positions(draft: &Draft, image: &ImageName) -> Vec<usize> {
    let matching = |matches: &dyn Fn(&Entry) -> bool| -> Vec<usize> {
        let entries = draft.entries.iter().enumerate();
        entries.filter(|(_, stored)| matches(&stored.entry)).map(|(position, _)| position).collect()
    };
    let by_reference = matching(&|entry| Some(entry.reference()) == image.source.reference());
    if !by_reference.is_empty() {
        return by_reference;
    }
    let by_source = matching(&|entry| entry.source() == Some(image.source.name()));
    if !by_source.is_empty() {
        return by_source;
    }
    match Digest::parse(&image.text) {
        Ok(digest) => matching(&|entry| entry.descriptor().digest == digest),
        Err(_) => Vec::new(),
    }
}

/// That there is no such entry, and which there are.
pub(crate) fn not_in_list(draft: &Draft, image: &str, list: &str) -> ListError {
    ListError::NotInList {
        image: image.to_owned(),
        list: list.to_owned(),
        known: draft
            .entries
            .iter()
            .map(|stored| match stored.entry.source() {
                Some(source) if crate::source::is_not_in_a_registry(source) => source.to_owned(),
                _ => stored.entry.reference().to_string(),
            })
            .collect(),
    }
}
