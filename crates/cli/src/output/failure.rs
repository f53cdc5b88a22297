//! A failure on its way to stderr and to the exit code.

use std::error::Error;

use store::StoreError;

use crate::exit::Exit;

/// What went wrong, in words, with what to try and what to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the process ends with.
    pub(crate) exit: Exit,
    /// The whole message, one or more lines, without prefix and without final line feed.
    pub(crate) message: String,
    /// What a person can try.
    pub(crate) hint: Option<String>,
    /// Whether the hint is kept from those who are not people.
    pub(crate) hint_for_people: bool,
}

/// What a command gives back to `main`.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with nothing but words.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, hint_for_people: false }
    }

    /// A mistake in the arguments that the argument parser could not see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The chain of an error in one line: `what was done: what came of it: why`.
    pub(crate) fn chain(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, chain(error))
    }

    /// Says before the message what was being done.
    #[must_use]
    pub(crate) fn context(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Shows the hint on a terminal only: where docker says this and nothing more, scripts may compare.
    #[must_use]
    pub(crate) fn hint_for_people(mut self) -> Self {
        self.hint_for_people = true;
        self
    }

    /// Adds what to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into().or(self.hint);
        self
    }
}

/// The messages of an error and of what caused it, joined by `: `. A cause that its parent has already told is not told
/// twice, and neither is what a store was doing: whoever asked the store has said it, and its client says it with a URL.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = match error.downcast_ref::<StoreError>() {
            Some(store) if store.source.is_some() => String::new(),
            _ => error.to_string(),
        };
        // The parent may have told it in brackets.
        if !text.is_empty() && !message.trim_end_matches(')').ends_with(text.trim_end_matches(')')) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read `x`")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read `x`: {0}")]
    struct Telling(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read `x`")]
    struct Asking(#[source] StoreError);

    #[test]
    fn what_a_store_was_doing_is_told_by_who_asked_it() {
        let refused = std::io::Error::other("GET http://r.io/: refused");
        let store = StoreError::new(store::StoreErrorKind::Network, "get `r.io/x`").because(refused);
        assert_eq!(chain(&store), "get `r.io/x`: GET http://r.io/: refused");
        assert_eq!(chain(&Asking(store)), "failed to read `x`: GET http://r.io/: refused");
        let bare = StoreError::new(store::StoreErrorKind::Unsupported, "delete `r.io/x`");
        assert_eq!(chain(&Asking(bare)), "failed to read `x`: delete `r.io/x`");
    }

    #[test]
    fn causes_are_told_once() {
        let cause = || std::io::Error::other("disk on fire");
        assert_eq!(chain(&Outer(cause())), "failed to read `x`: disk on fire");
        assert_eq!(chain(&Telling(cause())), "failed to read `x`: disk on fire");
    }
}
