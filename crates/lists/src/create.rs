//! `create`: a list of images, made as a whole or not at all.

use std::collections::HashMap;
use std::ffi::OsString;

use image::{Platform, Reference};
use store::Stores;
use transfer::{Attestations, Selection};

use crate::drafts::{Draft, Drafts};
use crate::entry::Entry;
use crate::error::ListError;
use crate::file_name::file_name;
use crate::gather::{self, Taking};
use crate::listing::EntrySummary;
use crate::source::Source;

/// Which list to make, of what.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// The list as it was typed.
    pub list: String,
    /// Its images as they were typed: references, `local:NAME[:TAG]`, `oci:DIR[:TAG]`. Indexes are taken apart.
    pub images: Vec<String>,
    /// `--amend`: add to a list that exists. Images that it has are left alone, as docker does: neither are they
    /// fetched again nor do they lose what was annotated.
    pub amend: bool,
    /// `--refresh`: with `amend`, fetch the named images again and forget what was annotated on them.
    pub refresh: bool,
    /// `--strict`: refuse indexes, as docker does.
    pub strict: bool,
    /// `--no-attestations`: leave out attestations of images that come from indexes.
    pub no_attestations: bool,
    /// `--platform`: of indexes, take images for these platforms only.
    pub platforms: Vec<Platform>,
}

/// The list that was made.
#[derive(Clone, Debug)]
pub struct CreateReport {
    /// Its name, normalised: docker prints `Created manifest list` and this.
    pub list: Reference,
    /// All its entries, in the order in which they would be pushed.
    pub entries: Vec<EntrySummary>,
    /// How many entries were there before and were left as they were.
    pub kept: usize,
    /// What a person may want to know.
    pub notes: Vec<String>,
}

/// Makes a local list, or adds to one. Nothing is written before everything was read.
///
/// # Errors
/// [`ListError::Exists`] before any network; a failed create leaves no list, a failed amend the list as it was.
pub async fn create(request: &CreateRequest, drafts: &Drafts, stores: &Stores) -> Result<CreateReport, ListError> {
    let list = Reference::parse(&request.list)
        .map_err(|source| ListError::NewListName { text: request.list.clone(), source })?;
    let exists = drafts.exists(&list)?;
    if exists && !request.amend {
        return Err(ListError::Exists);
    }
    let draft = if exists { drafts.read(&list)? } else { None };
    let draft = draft.unwrap_or(Draft { reference: list.clone(), entries: Vec::new() });

    let mut sources: Vec<Source> = Vec::new();
    for text in &request.images {
        let source = Source::parse(text)?;
        if sources.iter().all(|known| known.name() != source.name()) {
            sources.push(source);
        }
    }
    let mut files = Files::of(&draft);
    for source in &sources {
        files.claim(source)?;
    }
    let new: Vec<Source> = sources.into_iter().filter(|source| request.refresh || !is_known(&draft, source)).collect();

    let attestations = if request.no_attestations { Attestations::Drop } else { Attestations::Follow };
    let taking =
        Taking { strict: request.strict, selection: Selection { platforms: request.platforms.clone(), attestations } };
    let gathered = gather::gather(&new, &list, &taking, stores).await?;

    let mut notes = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for source in gathered {
        notes.extend(source.notes);
        for entry in source.entries {
            files.put(&entry)?;
            entries.retain(|known| known.reference() != entry.reference());
            entries.push(entry);
        }
    }
    // What a refreshed index no longer lists.
    let stale: Vec<OsString> = draft
        .entries
        .iter()
        .filter(|stored| request.refresh && new.iter().any(|source| stored.entry.source() == Some(source.name())))
        .filter(|stored| entries.iter().all(|entry| file_name(entry.reference()).as_str() != stored.file_name))
        .map(|stored| stored.file_name.clone())
        .collect();

    if exists {
        let _lock = drafts.lock(&list);
        drafts.save_all(&list, &entries)?;
        drafts.remove_entries(&list, &stale)?;
    } else {
        drafts.create(&list, &entries)?;
    }

    let kept = draft.entries.into_iter().filter(|stored| {
        !stale.contains(&stored.file_name)
            && entries.iter().all(|e| file_name(e.reference()).as_str() != stored.file_name)
    });
    let mut all: Vec<(OsString, Entry)> = kept.map(|stored| (stored.file_name, stored.entry)).collect();
    let kept = all.len();
    all.extend(entries.into_iter().map(|entry| (file_name(entry.reference()).into(), entry)));
    all.sort_by(|(a, _), (b, _)| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    let entries: Vec<Entry> = all.into_iter().map(|(_, entry)| entry).collect();
    notes.extend(platform_notes(&entries));
    Ok(CreateReport { list, entries: entries.iter().map(EntrySummary::from).collect(), kept, notes })
}

/// Whether the list has what a source stands for. Entries without raw bytes, which docker 20 wrote, are made anew.
fn is_known(draft: &Draft, source: &Source) -> bool {
    draft.entries.iter().any(|stored| {
        let entry = &stored.entry;
        entry.raw().is_some()
            && (Some(entry.reference()) == source.reference() || entry.source() == Some(source.name()))
    })
}

/// File names and the references that they stand for, so that no image is lost to another of the same file name.
struct Files(HashMap<OsString, Reference>);

impl Files {
    fn of(draft: &Draft) -> Self {
        let entries = draft.entries.iter();
        Self(entries.map(|stored| (stored.file_name.clone(), stored.entry.reference().clone())).collect())
    }

    /// Before anything is read: the names of the sources.
    fn claim(&mut self, source: &Source) -> Result<(), ListError> {
        source.reference().map_or(Ok(()), |reference| self.add(reference))
    }

    fn put(&mut self, entry: &Entry) -> Result<(), ListError> {
        self.add(entry.reference())
    }

    fn add(&mut self, reference: &Reference) -> Result<(), ListError> {
        let name = file_name(reference);
        match self.0.get(std::ffi::OsStr::new(&name)) {
            Some(other) if other != reference => {
                Err(ListError::Collision { first: other.to_string(), second: reference.to_string(), file_name: name })
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(name.into(), reference.clone());
                Ok(())
            }
        }
    }
}

/// Entries that clients could not tell apart, or could not use.
fn platform_notes(entries: &[Entry]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut first: HashMap<Platform, &Reference> = HashMap::new();
    for entry in entries {
        let platform = entry.platform();
        if platform.os.is_empty() || platform.architecture.is_empty() {
            notes.push(format!(
                "{} has no platform: the list cannot be pushed before it is annotated or removed",
                entry.reference()
            ));
            continue;
        }
        // Attestations and artifacts are `unknown/unknown` on purpose.
        if platform.os == "unknown" {
            continue;
        }
        let platform = platform.normalized();
        match first.get(&platform) {
            Some(other) => notes.push(format!("{other} and {} are both for {platform}", entry.reference())),
            None => {
                first.insert(platform, entry.reference());
            }
        }
    }
    notes
}
