//! `annotate`: what a list says about one of its images.

use std::str::FromStr;

use image::{Platform, Reference};

use crate::drafts::Drafts;
use crate::entry::Entry;
use crate::error::ListError;
use crate::lookup;
use crate::platforms;

/// What to change about one entry of a list. Fields that are empty are left as they are, as docker does.
#[derive(Clone, Debug, Default)]
pub struct AnnotateRequest {
    /// The list as it was typed.
    pub list: String,
    /// The image as it was typed: a reference, `local:…`, `oci:…` or the digest of an entry.
    pub image: String,
    /// `--os`.
    pub os: String,
    /// `--arch`.
    pub architecture: String,
    /// `--os-version`.
    pub os_version: String,
    /// `--variant`.
    pub variant: String,
    /// `--os-features`: added to those that are there.
    pub os_features: Vec<String>,
    /// `--platform`: operating system, architecture and variant at once; the fields above come after it.
    pub platform: Option<Platform>,
    /// `--annotation`: added, or put in place of the one of that key.
    pub annotations: Vec<(String, String)>,
    /// `--clear`: emptied before anything is set.
    pub clear: Vec<ClearField>,
}

/// What `--clear` can empty.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClearField {
    /// `variant`
    Variant,
    /// `os-version`
    OsVersion,
    /// `os-features`
    OsFeatures,
    /// `annotations`: all of them.
    Annotations,
    /// `annotation=KEY`
    Annotation(String),
}

/// A text that is no [`ClearField`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be cleared: expected variant, os-version, os-features, annotations or annotation=KEY")]
pub struct ClearFieldError(pub String);

impl FromStr for ClearField {
    type Err = ClearFieldError;

    fn from_str(text: &str) -> Result<Self, ClearFieldError> {
        match text {
            "variant" => Ok(Self::Variant),
            "os-version" | "os.version" => Ok(Self::OsVersion),
            "os-features" | "os.features" => Ok(Self::OsFeatures),
            "annotations" => Ok(Self::Annotations),
            _ => match text.strip_prefix("annotation=") {
                Some(key) if !key.is_empty() => Ok(Self::Annotation(key.to_owned())),
                _ => Err(ClearFieldError(text.escape_debug().to_string())),
            },
        }
    }
}

/// What the entry is after it was annotated.
#[derive(Clone, Debug)]
pub struct AnnotateReport {
    /// The list.
    pub list: Reference,
    /// The entry.
    pub entry: Entry,
}

impl AnnotateRequest {
    /// Whether anything about the platform is asked for, or nothing at all, as in docker's own command.
    fn is_about_platform(&self) -> bool {
        let sets = self.platform.is_some()
            || !self.os_features.is_empty()
            || [&self.os, &self.architecture, &self.os_version, &self.variant].iter().any(|text| !text.is_empty());
        sets || (self.annotations.is_empty() && self.clear.is_empty())
    }

    fn apply(&self, entry: &mut Entry) {
        let descriptor = entry.descriptor_mut();
        let platform = descriptor.platform.get_or_insert_default();
        for field in &self.clear {
            match field {
                ClearField::Variant => platform.variant.clear(),
                ClearField::OsVersion => platform.os_version.clear(),
                ClearField::OsFeatures => platform.os_features.clear(),
                ClearField::Annotations | ClearField::Annotation(_) => {}
            }
        }
        if let Some(whole) = &self.platform {
            platform.os.clone_from(&whole.os);
            platform.architecture.clone_from(&whole.architecture);
            platform.variant.clone_from(&whole.variant);
            set(&mut platform.os_version, &whole.os_version);
            if !whole.os_features.is_empty() {
                platform.os_features.clone_from(&whole.os_features);
            }
        }
        set(&mut platform.os, &self.os);
        set(&mut platform.architecture, &self.architecture);
        for feature in &self.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
        set(&mut platform.variant, &self.variant);
        set(&mut platform.os_version, &self.os_version);
        for field in &self.clear {
            match field {
                ClearField::Annotations => entry.clear_annotations(|_| true),
                ClearField::Annotation(cleared) => entry.clear_annotations(|key| key == cleared),
                _ => {}
            }
        }
        for (key, value) in &self.annotations {
            entry.descriptor_mut().annotations.insert(key.clone(), value.clone().into());
        }
    }
}

/// An empty value is none: that is how docker's flags work.
fn set(slot: &mut String, value: &str) {
    if !value.is_empty() {
        value.clone_into(slot);
    }
}

/// Changes what a local list says about one of its images. No network.
///
/// # Errors
/// [`ListError::NotInList`], [`ListError::UnsupportedPlatform`] and those of reading and writing; nothing is changed
/// then.
pub fn annotate(request: &AnnotateRequest, drafts: &Drafts) -> Result<AnnotateReport, ListError> {
    let list = Reference::parse(&request.list)
        .map_err(|source| ListError::AnnotatedListName { text: request.list.clone(), source })?;
    let image = lookup::ImageName::parse(&request.image).map_err(|error| match error {
        ListError::Name { text, source } => ListError::AnnotatedImageName { text, source },
        other => other,
    })?;
    let lock = drafts.lock(&list);
    let mut stored = lookup::one(drafts, &list, &image, &request.list)?;
    let entry = &mut stored.entry;
    request.apply(entry);
    let platform = entry.platform();
    if request.is_about_platform() && !platforms::is_known(&platform.os, &platform.architecture) {
        let whole = request.platform.clone().unwrap_or_default();
        // Docker prints what was asked for, not what came of it.
        let asked = |flag: &String, whole: String| if flag.is_empty() { whole } else { flag.clone() };
        return Err(ListError::UnsupportedPlatform {
            os: asked(&request.os, whole.os),
            architecture: asked(&request.architecture, whole.architecture),
        });
    }
    drafts.save_as(&list, &stored.file_name, entry)?;
    drop(lock);
    Ok(AnnotateReport { list, entry: stored.entry })
}
