//! Manifest-list drafts: create, annotate, inspect, push, remove.
//!

#![doc = include_str!("../README.md")]

mod annotate;
mod create;
mod drafts;
mod entry;
mod error;
mod file_name;
mod gather;
mod go_json;
mod inspect;
mod listing;
mod lookup;
mod platforms;
mod push;
mod remove;
mod render;
mod source;
mod wording;

pub use annotate::{AnnotateReport, AnnotateRequest, ClearField, ClearFieldError, annotate};
pub use create::{CreateReport, CreateRequest, create};
pub use drafts::{Draft, DraftDirectory, Drafts, StoredEntry};
pub use entry::{Entry, EntryError};
pub use error::ListError;
pub use inspect::{InspectForm, InspectReport, InspectRequest, Origin, inspect};
pub use listing::{DraftSummary, EntrySummary, list};
pub use push::{PushPlan, PushReport, PushRequest, PushedChild, plan_push, push};
pub use remove::{RemoveEntriesReport, RemoveEntriesRequest, RemoveReport, remove, remove_entries};
