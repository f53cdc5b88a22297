//! `inspect`: what a list or an image is, as docker prints it.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Descriptor, Document, IndexView, MediaKind, MediaType, Platform, Reference, Target};
use store::{ImageStore, Location, StoreErrorKind, Stores};

use crate::drafts::{Draft, Drafts};
use crate::entry::Shown;
use crate::error::ListError;
use crate::gather::Configs;
use crate::go_json;
use crate::lookup;
use crate::render;
use crate::source::Source;

/// Children of an index that are read at once for the verbose form.
const CHILDREN_AT_ONCE: usize = 64;

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct InspectRequest {
    /// The list, if one was named: then only the local list is looked at.
    pub list: Option<String>,
    /// The image or list: a reference, `local:…` or `oci:…`.
    pub image: String,
    /// Which form.
    pub form: InspectForm,
}

/// How to show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InspectForm {
    /// Docker's form: images as they are but for the indentation, lists in docker's own fields.
    #[default]
    Plain,
    /// `--verbose`: with references, raw bytes and image manifests.
    Verbose,
    /// `--raw`: the document's bytes, nothing added, nothing lost.
    Raw,
}

/// Where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A local list, or an image in one.
    Draft,
    /// A registry, the local store or a layout.
    Store,
}

/// What to print.
#[derive(Clone, Debug)]
pub struct InspectReport {
    /// To be written as it is: the final newline is in it, but for [`InspectForm::Raw`].
    pub output: Vec<u8>,
    /// Where it was found.
    pub origin: Origin,
    /// What a person may want to know.
    pub notes: Vec<String>,
}

/// Shows an image of a local list, a local list, or what is in a registry, in this order.
pub async fn inspect(request: &InspectRequest, drafts: &Drafts, stores: &Stores) -> Result<InspectReport, ListError> {
    if let Some(list) = &request.list {
        return inspect_entry(list, request, drafts);
    }
    let source = Source::parse(&request.image)?;
    let mut notes = Vec::new();
    if let Some(reference) = source.reference() {
        match drafts.read(reference) {
            Ok(Some(draft)) => return Ok(inspect_draft(&draft, request.form)),
            Ok(None) => {}
            // Docker asks the registry then, without a word.
            Err(error) => notes.push(format!("{error}; this is what the registry has")),
        }
    }
    let failed = |error| ListError::source(source.name(), error);
    let store = stores.open(&source.location).await.map_err(failed)?;
    let document = store.document(&source.location.target()).await.map_err(failed)?;
    let mut shown = match request.form {
        InspectForm::Raw => document.bytes().to_vec(),
        InspectForm::Plain => plain(&document),
        InspectForm::Verbose => verbose(&source, &store, &document, &mut notes).await?,
    };
    if request.form != InspectForm::Raw {
        shown.push(b'\n');
    }
    Ok(InspectReport { output: shown, origin: Origin::Store, notes })
}

/// An image of a local list. No network.
fn inspect_entry(list: &str, request: &InspectRequest, drafts: &Drafts) -> Result<InspectReport, ListError> {
    let name = |text: &str| Reference::parse(text).map_err(|source| ListError::Name { text: text.to_owned(), source });
    let reference = name(list)?;
    let image = lookup::ImageName::parse(&request.image)?;
    let entry = match lookup::one(drafts, &reference, &image, list) {
        Ok(stored) => stored.entry,
        // Docker names the image, also where it is the list that is missing.
        Err(ListError::NotInList { .. }) => return Err(ListError::NoSuchLocal(image.normal().to_owned())),
        Err(error) => return Err(error),
    };
    let raw = entry.raw().or(entry.embedded()).unwrap_or_default();
    let mut output = match request.form {
        InspectForm::Raw => raw.to_vec(),
        // Docker shows the copy within the file, with Go's escapes.
        InspectForm::Plain => go_json::indent(entry.embedded().unwrap_or(raw), "\t"),
        InspectForm::Verbose => render::verbose(&Shown::from(&entry)),
    };
    if request.form != InspectForm::Raw {
        output.push(b'\n');
    }
    Ok(InspectReport { output, origin: Origin::Draft, notes: Vec::new() })
}

/// A local list: what a push would write.
fn inspect_draft(draft: &Draft, form: InspectForm) -> InspectReport {
    let entries = || draft.entries.iter().map(|stored| &stored.entry);
    let mut output = match form {
        InspectForm::Plain | InspectForm::Raw => draft_document(draft).1,
        InspectForm::Verbose => render::verbose_list(&entries().map(Shown::from).collect::<Vec<_>>()),
    };
    if form != InspectForm::Raw {
        output.push(b'\n');
    }
    let notes = vec![format!("this is the local list; `manifest rm {}` forgets it", draft.reference)];
    InspectReport { output, origin: Origin::Draft, notes }
}

/// The document that a local list stands for, and its media type.
pub(crate) fn draft_document(draft: &Draft) -> (MediaType, Vec<u8>) {
    let descriptors: Vec<Descriptor> = draft.entries.iter().map(|stored| stored.entry.published()).collect();
    let media_type = render::list_media_type(descriptors.first().map(|first| &first.media_type));
    let bytes = render::list(&media_type, &descriptors);
    (media_type, bytes)
}

fn plain(document: &Document) -> Vec<u8> {
    match document.index() {
        None => go_json::indent(document.bytes(), "\t"),
        Some(index) => {
            let entries: Vec<Descriptor> = index.manifests.iter().map(as_docker_shows).collect();
            render::list(&index_media_type(document, index), &entries)
        }
    }
}

/// Docker names the type by the first image. Where it would have failed, the document knows better.
fn index_media_type(document: &Document, index: &IndexView) -> MediaType {
    match index.manifests.first() {
        Some(first) if first.media_type.kind() == MediaKind::Manifest => {
            render::list_media_type(Some(&first.media_type))
        }
        _ => document.media_type().clone(),
    }
}

/// What docker knows of an entry: no annotations, URLs, data, artifact type.
fn as_docker_shows(entry: &Descriptor) -> Descriptor {
    let mut shown = Descriptor::new(entry.media_type.clone(), entry.digest.clone(), entry.size);
    shown.platform.clone_from(&entry.platform);
    shown
}

async fn verbose(
    source: &Source,
    store: &Arc<dyn ImageStore>,
    document: &Document,
    notes: &mut Vec<String>,
) -> Result<Vec<u8>, ListError> {
    let Some(index) = document.index() else {
        let platform = match Configs::default().platform(&**store, document, source.name()).await {
            Ok(platform) => platform,
            // An artifact, or an image whose config is gone: still worth showing.
            Err(error @ (ListError::Config { .. } | ListError::ConfigUnreadable { .. })) => {
                notes.push(error.to_string());
                Platform::default()
            }
            Err(error) => return Err(error),
        };
        return Ok(render::verbose(&Shown::of(source.name().to_owned(), document, platform)));
    };
    let children: Vec<(Shown, Option<String>)> = stream::iter(&index.manifests)
        .map(|entry| async move {
            let at = child_name(source, store, entry);
            match store.document(&Target::Digest(entry.digest.clone())).await {
                Ok(child) if child.manifest().is_some() => {
                    Ok((Shown::of(at, &child, entry.platform.clone().unwrap_or_default()), None))
                }
                Ok(_) => {
                    let note = format!("{at} is an index within the index");
                    Ok((Shown::without_manifest(at, as_docker_shows(entry)), Some(note)))
                }
                Err(error) if error.kind == StoreErrorKind::NotFound => {
                    let note = format!("{at} is not there");
                    Ok((Shown::without_manifest(at, as_docker_shows(entry)), Some(note)))
                }
                Err(error) => Err(ListError::source(&at, error)),
            }
        })
        .buffered(CHILDREN_AT_ONCE)
        .try_collect()
        .await?;
    notes.extend(children.iter().filter_map(|(_, note)| note.clone()));
    Ok(render::verbose_list(&children.into_iter().map(|(shown, _)| shown).collect::<Vec<_>>()))
}

/// Docker appends the digest to what was asked for.
fn child_name(source: &Source, store: &Arc<dyn ImageStore>, entry: &Descriptor) -> String {
    match &source.location {
        Location::Registry(reference) => reference.with_digest(entry.digest.clone()).to_string(),
        _ => store.spell(&Target::Digest(entry.digest.clone())),
    }
}
