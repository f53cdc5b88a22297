//! What is said of a document where it is listed as a referrer.

use image::{Descriptor, Document};

/// A referrer's descriptor (distribution-spec, "Listing Referrers").
pub(crate) fn describe(document: &Document) -> Descriptor {
    let (artifact_type, annotations) = match (document.manifest(), document.index()) {
        (Some(manifest), _) => {
            let fallback = || Some(manifest.config.media_type.to_string());
            let stated = manifest.artifact_type.clone().filter(|text| !text.is_empty());
            (stated.or_else(fallback), manifest.annotations.clone())
        }
        (None, Some(index)) => (index.artifact_type.clone(), index.annotations.clone()),
        (None, None) => (None, serde_json::Map::new()),
    };
    Descriptor { artifact_type, annotations, ..document.descriptor() }
}
