//! What the verbs have in common when they say how it went.

use lists::ListError;
use store::StoreErrorKind;

use crate::exit::Exit;
use crate::output::{Failure, Output};

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        let failure = Self::new(Exit::Failure, error.to_string()).hint(error.hint());
        if is_dockers(&error) { failure.hint_for_people() } else { failure }
    }
}

/// Whether docker says exactly this, and nothing after it, in this situation: then a script gets no hint either.
fn is_dockers(error: &ListError) -> bool {
    match error {
        ListError::Name { .. }
        | ListError::NewListName { .. }
        | ListError::AnnotatedListName { .. }
        | ListError::AnnotatedImageName { .. }
        | ListError::Exists
        | ListError::NoSuchLocal(_)
        | ListError::Empty(_)
        | ListError::NotInList { .. }
        | ListError::UnsupportedPlatform { .. }
        | ListError::NoPlatform(_)
        | ListError::IsList(_)
        | ListError::Document { .. } => true,
        ListError::Source { .. } => {
            matches!(error.store_kind(), Some(StoreErrorKind::NotFound | StoreErrorKind::Invalid))
        }
        _ => false,
    }
}

/// Says what went well but may surprise.
pub(super) fn tell(notes: &[String], output: &mut Output) {
    for note in notes {
        output.note(format_args!("note: {note}"));
    }
}
