//! What happens while a plan runs, as data that any front can draw.

use serde::Serialize;

use crate::step::Step;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The plan begins to run.
    Planned {
        /// All its steps.
        steps: &'a [Step],
    },
    /// A step begins.
    Started {
        /// Which.
        step: &'a Step,
    },
    /// Bytes of a blob have been read on their way to the target. A retry counts from nought again.
    Moved {
        /// The step that moves them.
        step: &'a Step,
        /// How many bytes so far.
        done: u64,
        /// How many there are.
        total: u64,
    },
    /// A step has ended well.
    Finished {
        /// Which.
        step: &'a Step,
        /// How.
        outcome: Outcome,
    },
    /// A step has failed; the plan stops.
    Failed {
        /// Which.
        step: &'a Step,
    },
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A check: the document is there.
    Found,
    /// A check: it is not.
    Absent,
    /// What was to be written was there before.
    AlreadyThere,
    /// The blob was mounted.
    Mounted,
    /// The blob was copied.
    Copied,
    /// The document was written.
    Pushed,
    /// A check made the step needless.
    Skipped,
}

/// A front that follows a plan. Called from one task, in order; it should return soon.
pub trait Progress: Send + Sync {
    /// Takes note of an event.
    fn event(&self, event: &Event<'_>);
}

/// A front that draws nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}

impl<F: Fn(&Event<'_>) + Send + Sync> Progress for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}
