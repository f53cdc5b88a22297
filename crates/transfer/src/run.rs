//! Running a plan: whatever has its needs done runs at once, within bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use image::{Digest, Document, Tag, Target};
use store::{BlobPlacement, ImageStore, StoreError, StoreErrorKind};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use crate::build::{Built, Work};
use crate::error::TransferError;
use crate::origin::{Moved, Origin};
use crate::plan::{Place, Plan};
use crate::progress::{Event, Outcome, Progress};
use crate::report::{BlobTotals, DocumentOutcome, DocumentReport, Put, Report};
use crate::step::{Action, Step};

/// Bounds of a run. A registry client paces itself per host below these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most steps at once, big bodies not counted.
    pub concurrency: usize,
    /// Most big bodies that move at once.
    pub bodies: usize,
    /// A blob with more bytes than this is a big body. Smaller ones pass them.
    pub big: u64,
}

impl Default for Options {
    /// 32 steps, 4 bodies of more than 1 MiB: each has buffers, and a copy has them on both sides.
    fn default() -> Self {
        Self { concurrency: 32, bodies: 4, big: 1 << 20 }
    }
}

/// What a step came to.
struct Done {
    outcome: Outcome,
    reported: Option<Digest>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, reported: None }
    }
}

impl Plan {
    /// Runs all steps and says what they came to. The first failure stops the others.
    ///
    /// Dropping the future stops everything; what had been written stays, and a second run finds it.
    pub async fn run(&self, options: &Options, progress: &dyn Progress) -> Result<Report, TransferError> {
        let built = self.built();
        let bodies = Arc::new(Semaphore::new(options.bodies.max(1)));
        let (moved, mut moving) = mpsc::unbounded_channel();
        let mut state = State::new(self, built, options);
        let mut tasks: JoinSet<(usize, Result<Done, StoreError>)> = JoinSet::new();
        progress.event(&Event::Planned { steps: &built.steps });
        loop {
            while let Some(index) = state.start() {
                progress.event(&Event::Started { step: &built.steps[index] });
                let task = Task::new(self, &state, index, &bodies, &moved);
                tasks.spawn(async move { (index, task.run().await) });
            }
            if tasks.is_empty() {
                return Ok(state.report());
            }
            let joined = tokio::select! {
                biased;
                Some(Moved { step, done }) = moving.recv() => {
                    let total = state.blob_size(step);
                    progress.event(&Event::Moved { step: &built.steps[step], done, total });
                    continue;
                }
                Some(joined) = tasks.join_next() => joined,
            };
            let (index, result) = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            match result {
                Ok(done) => state.finish(index, done, progress),
                Err(source) => {
                    progress.event(&Event::Failed { step: &built.steps[index] });
                    // What ended well in the meantime belongs in the account.
                    tasks.abort_all();
                    while let Some(joined) = tasks.join_next().await {
                        if let Ok((index, Ok(done))) = joined {
                            state.done[index] = Some(done);
                        }
                    }
                    return Err(TransferError::Step {
                        target: self.target_name(),
                        step: Box::new(built.steps[index].clone()),
                        done: Box::new(state.report()),
                        source,
                    });
                }
            }
        }
    }
}

/// How far a run is.
struct State<'a> {
    plan: &'a Plan,
    built: &'a Built,
    options: &'a Options,
    /// Per step, how many of its needs are not done.
    left: Vec<usize>,
    /// Per step, whether a check made it needless.
    skip: Vec<bool>,
    done: Vec<Option<Done>>,
    /// Steps that could run now, the quick ones first.
    ready: BTreeSet<(Class, usize)>,
    running: usize,
    running_bodies: usize,
    /// Per document of the plan, whether a check found it.
    found: Vec<bool>,
}

/// Small requests pass big blobs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Document,
    Mount,
    Small,
    Body,
}

impl<'a> State<'a> {
    fn new(plan: &'a Plan, built: &'a Built, options: &'a Options) -> Self {
        let steps = built.steps.len();
        let mut state = Self {
            plan,
            built,
            options,
            left: built.steps.iter().map(|step| step.needs.len()).collect(),
            skip: vec![false; steps],
            done: std::iter::repeat_with(|| None).take(steps).collect(),
            ready: BTreeSet::new(),
            running: 0,
            running_bodies: 0,
            found: vec![false; plan.documents.len()],
        };
        for index in 0..steps {
            if state.left[index] == 0 {
                state.ready.insert((state.class(index), index));
            }
        }
        state
    }

    fn class(&self, index: usize) -> Class {
        match &self.built.work[index] {
            Work::Check { .. } | Work::Put { .. } => Class::Document,
            Work::Blob { mount: true, .. } => Class::Mount,
            Work::Blob { descriptor, .. } if descriptor.size <= self.options.big => Class::Small,
            Work::Blob { .. } => Class::Body,
        }
    }

    fn blob_size(&self, index: usize) -> u64 {
        match &self.built.work[index] {
            Work::Blob { descriptor, .. } => descriptor.size,
            Work::Check { .. } | Work::Put { .. } => 0,
        }
    }

    /// Takes the next step that may run, if there is room for it.
    fn start(&mut self) -> Option<usize> {
        let room = self.running < self.options.concurrency.max(1);
        let room_for_bodies = self.running_bodies < self.options.bodies.max(1);
        let next = if room { self.ready.first() } else { None };
        let next = next.filter(|(class, _)| *class != Class::Body).or_else(|| {
            let first_body = self.ready.range((Class::Body, 0)..).next();
            first_body.filter(|_| room_for_bodies)
        });
        let next = *next?;
        self.ready.remove(&next);
        if next.0 == Class::Body {
            self.running_bodies += 1;
        } else {
            self.running += 1;
        }
        Some(next.1)
    }

    fn finish(&mut self, index: usize, done: Done, progress: &dyn Progress) {
        if self.class(index) == Class::Body {
            self.running_bodies -= 1;
        } else {
            self.running -= 1;
        }
        if done.outcome == Outcome::Found
            && let (Work::Check { document, .. }, Action::Check { skips, .. }) =
                (&self.built.work[index], &self.built.steps[index].action)
        {
            self.found[*document] = true;
            for number in skips {
                self.skip[number - 1] = true;
            }
        }
        // Each step that is done unlocks others, and those of them that are needless are done at once.
        let mut settled = vec![(index, done)];
        while let Some((index, done)) = settled.pop() {
            progress.event(&Event::Finished { step: &self.built.steps[index], outcome: done.outcome });
            self.done[index] = Some(done);
            for &next in &self.built.unlocks[index] {
                self.left[next] -= 1;
                if self.left[next] > 0 {
                    continue;
                }
                if self.skip[next] {
                    settled.push((next, Outcome::Skipped.into()));
                } else {
                    self.ready.insert((self.class(next), next));
                }
            }
        }
    }

    fn report(&self) -> Report {
        let mut documents: Vec<DocumentReport> = Vec::with_capacity(self.plan.documents.len());
        let mut reached = Vec::with_capacity(self.plan.documents.len());
        for planned in &self.plan.documents {
            let document = &planned.document;
            documents.push(DocumentReport {
                digest: document.digest().clone(),
                size: document.size(),
                media_type: document.media_type().clone(),
                outcome: if planned.place == Place::Here && !planned.found {
                    DocumentOutcome::InPlace
                } else {
                    DocumentOutcome::AlreadyThere
                },
                puts: Vec::new(),
            });
            reached.push(true);
        }
        let mut blobs = BlobTotals::default();
        for (index, work) in self.built.work.iter().enumerate() {
            let done = self.done[index].as_ref();
            match work {
                Work::Check { .. } => {}
                Work::Blob { descriptor, .. } => {
                    blobs.planned += 1;
                    match done.map(|done| done.outcome) {
                        Some(Outcome::Mounted) => blobs.mounted += 1,
                        Some(Outcome::Copied) => {
                            blobs.copied += 1;
                            blobs.copied_bytes += descriptor.size;
                        }
                        Some(_) => blobs.already_there += 1,
                        None => {}
                    }
                }
                Work::Put { document, tag } => match done {
                    None => reached[*document] = false,
                    Some(Done { outcome: Outcome::Pushed, reported }) => {
                        let (Action::Put { to, .. } | Action::Tag { to, .. }) = &self.built.steps[index].action else {
                            continue;
                        };
                        documents[*document].outcome = DocumentOutcome::Pushed;
                        documents[*document].puts.push(Put {
                            to: to.clone(),
                            tag: tag.clone(),
                            reported_digest: reported.clone(),
                        });
                    }
                    Some(_) if documents[*document].outcome == DocumentOutcome::InPlace => {
                        documents[*document].outcome = DocumentOutcome::AlreadyThere;
                    }
                    Some(_) => {}
                },
            }
        }
        for (document, reached) in documents.iter_mut().zip(reached) {
            if !reached && document.puts.is_empty() {
                document.outcome = DocumentOutcome::NotReached;
            }
        }
        Report { documents, blobs }
    }
}

/// One step with all that it needs, so that it can run on any thread.
enum Task {
    Check { target: Arc<dyn ImageStore>, at: Target, digest: Digest },
    Blob { target: Arc<dyn ImageStore>, origin: Box<Origin> },
    Put { target: Arc<dyn ImageStore>, document: Document, tag: Option<Tag>, ask_first: bool },
}

impl Task {
    fn new(
        plan: &Plan,
        state: &State<'_>,
        index: usize,
        bodies: &Arc<Semaphore>,
        moved: &UnboundedSender<Moved>,
    ) -> Self {
        let target = Arc::clone(&plan.target);
        match &state.built.work[index] {
            Work::Check { document, at } => {
                let digest = plan.documents[*document].document.digest().clone();
                Self::Check { target, at: at.clone(), digest }
            }
            Work::Blob { descriptor, origin, mount } => {
                let origin = Box::new(Origin {
                    descriptor: (**descriptor).clone(),
                    store: Arc::clone(origin),
                    mount: *mount,
                    bodies: (descriptor.size > state.options.big).then(|| Arc::clone(bodies)),
                    step: index,
                    moved: moved.clone(),
                });
                Self::Blob { target, origin }
            }
            Work::Put { document, tag } => Self::Put {
                target,
                document: plan.documents[*document].document.clone(),
                tag: tag.clone(),
                // The document is there, then its other tags may be, too. Writing them anew would be refused by
                // registries whose tags cannot be moved.
                ask_first: tag.is_some() && state.found[*document],
            },
        }
    }

    async fn run(self) -> Result<Done, StoreError> {
        match self {
            Self::Check { target, at, digest } => {
                let there = is_there(&*target, &at, &digest).await?;
                Ok(if there { Outcome::Found } else { Outcome::Absent }.into())
            }
            Self::Blob { target, origin } => {
                let placement = target.place_blob(&origin.descriptor, &*origin).await?;
                Ok(match placement {
                    BlobPlacement::AlreadyThere => Outcome::AlreadyThere,
                    BlobPlacement::Mounted => Outcome::Mounted,
                    BlobPlacement::Copied => Outcome::Copied,
                }
                .into())
            }
            Self::Put { target, document, tag, ask_first } => {
                if ask_first
                    && let Some(tag) = &tag
                    && is_there(&*target, &Target::Tag(tag.clone()), document.digest()).await?
                {
                    return Ok(Outcome::AlreadyThere.into());
                }
                let report = target.put_document(&document, tag.as_ref()).await?;
                Ok(Done { outcome: Outcome::Pushed, reported: report.reported_digest })
            }
        }
    }
}

/// Whether `at` is `digest` in `store`.
pub(crate) async fn is_there(store: &dyn ImageStore, at: &Target, digest: &Digest) -> Result<bool, StoreError> {
    Ok(ask(store, at).await?.is_some_and(|found| found == *digest))
}

/// The digest of `at` in `store`. A store that cannot or will not say counts as a no: what follows will show.
pub(crate) async fn ask(store: &dyn ImageStore, at: &Target) -> Result<Option<Digest>, StoreError> {
    match store.resolve(at).await {
        Ok(found) => Ok(found.map(|descriptor| descriptor.digest)),
        Err(error) => match error.kind {
            StoreErrorKind::Unauthorized
            | StoreErrorKind::RateLimited
            | StoreErrorKind::Network
            | StoreErrorKind::Io => Err(error),
            _ => {
                tracing::debug!(at = %store.spell(at), %error, "could not ask, going on without");
                Ok(None)
            }
        },
    }
}

impl Step {
    /// Whether it moves the bytes of a blob, so that [`Event::Moved`] can come for it.
    pub fn moves_blob(&self) -> bool {
        matches!(self.action, Action::Mount { .. } | Action::Copy { .. })
    }
}
