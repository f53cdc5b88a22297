//! From what shall be there to the steps that bring it there.

use std::collections::HashSet;
use std::sync::Arc;

use image::{Descriptor, Platform, Tag, Target};
use store::ImageStore;

use crate::plan::{Place, Plan, repository_name};
use crate::step::{Action, Step};

/// The steps of a plan and, in parallel, what each of them needs in order to be done.
pub(crate) struct Built {
    pub(crate) steps: Vec<Step>,
    pub(crate) work: Vec<Work>,
    /// For each step, the steps (by index) that need it.
    pub(crate) unlocks: Vec<Vec<usize>>,
}

/// How a step is done.
#[derive(Clone)]
pub(crate) enum Work {
    /// Ask for a document of the plan.
    Check { document: usize, at: Target },
    /// Place a blob.
    Blob { descriptor: Box<Descriptor>, origin: Arc<dyn ImageStore>, mount: bool },
    /// Write a document of the plan.
    Put { document: usize, tag: Option<Tag> },
}

/// Working notes about one document. Step numbers are indexes until the end.
#[derive(Default)]
struct Notes {
    children: Vec<usize>,
    has_parent: bool,
    platform: Option<Platform>,
    /// Whether anything below it has to move.
    moves: bool,
    check: Option<usize>,
    /// The checks of roots above it.
    checked_above: Vec<usize>,
    put: Option<usize>,
    first_tag: Option<usize>,
    visited: bool,
}

struct Builder<'a> {
    plan: &'a Plan,
    notes: Vec<Notes>,
    /// The step of each blob of the plan.
    blob_step: Vec<Option<usize>>,
    steps: Vec<Step>,
    work: Vec<Work>,
}

impl Built {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut builder = Builder {
            plan,
            notes: Vec::new(),
            blob_step: vec![None; plan.blobs.len()],
            steps: Vec::new(),
            work: Vec::new(),
        };
        builder.relate();
        builder.checks();
        for document in 0..plan.documents.len() {
            builder.blobs_and_put(document);
        }
        builder.tags();
        builder.skips();
        let mut unlocks = vec![Vec::new(); builder.steps.len()];
        for (index, step) in builder.steps.iter_mut().enumerate() {
            step.needs.sort_unstable();
            step.needs.dedup();
            for need in &mut step.needs {
                unlocks[*need].push(index);
                *need += 1;
            }
        }
        Self { steps: builder.steps, work: builder.work, unlocks }
    }
}

impl Builder<'_> {
    /// Who is whose child, and below whom something has to move.
    fn relate(&mut self) {
        let plan = self.plan;
        self.notes.resize_with(plan.documents.len(), Notes::default);
        for (index, planned) in plan.documents.iter().enumerate() {
            let Some(view) = planned.document.index() else { continue };
            let mut seen = HashSet::new();
            for entry in &view.manifests {
                let Some(&child) = plan.document_of.get(&entry.digest) else { continue };
                if !seen.insert(child) {
                    continue;
                }
                self.notes[index].children.push(child);
                self.notes[child].has_parent = true;
                self.notes[child].platform = self.notes[child].platform.take().or_else(|| entry.platform.clone());
            }
        }
        for index in 0..plan.documents.len() {
            let below = self.below(index);
            self.notes[index].moves = plan.documents[index].place != Place::Here
                && below.iter().any(|&document| {
                    let planned = &plan.documents[document];
                    planned.place != Place::Here
                        && (document != index
                            || planned.blobs.iter().any(|&blob| plan.blobs[blob].place != Place::Here))
                });
        }
    }

    /// A document and all below it in the plan, itself first.
    fn below(&self, document: usize) -> Vec<usize> {
        let mut seen = HashSet::from([document]);
        let mut order = vec![document];
        let mut next = 0;
        while let Some(&at) = order.get(next) {
            next += 1;
            order.extend(self.notes[at].children.iter().filter(|&&child| seen.insert(child)));
        }
        order
    }

    fn step(&mut self, action: Action, needs: Vec<usize>, work: Work) -> usize {
        self.steps.push(Step { number: self.steps.len() + 1, action, needs });
        self.work.push(work);
        self.steps.len() - 1
    }

    fn spell(&self, target: &Target) -> String {
        self.plan.target.spell(target)
    }

    /// One check per root that has something to move below it, then one per image that comes from another medium.
    fn checks(&mut self) {
        let plan = self.plan;
        for document in 0..plan.documents.len() {
            let (planned, notes) = (&plan.documents[document], &self.notes[document]);
            if notes.has_parent || !notes.moves || planned.absent {
                continue;
            }
            let first_tag = plan.tags.iter().find(|(tagged, _)| *tagged == document);
            let at = match first_tag {
                Some((_, tag)) => Target::Tag(tag.clone()),
                None => Target::Digest(planned.document.digest().clone()),
            };
            self.check(document, at, Vec::new());
        }
        for root in 0..plan.documents.len() {
            let Some(check) = self.notes[root].check else { continue };
            for document in self.below(root).into_iter().skip(1) {
                self.notes[document].checked_above.push(check);
            }
        }
        for document in 0..plan.documents.len() {
            let (planned, notes) = (&plan.documents[document], &self.notes[document]);
            let moves = planned.blobs.iter().any(|&blob| plan.blobs[blob].place == Place::Elsewhere);
            if notes.has_parent && planned.place == Place::Elsewhere && moves && !planned.absent {
                let needs = notes.checked_above.clone();
                self.check(document, Target::Digest(planned.document.digest().clone()), needs);
            }
        }
    }

    fn check(&mut self, document: usize, at: Target, needs: Vec<usize>) {
        let digest = self.plan.documents[document].document.digest().clone();
        let action = Action::Check { at: self.spell(&at), digest, skips: Vec::new() };
        let step = self.step(action, needs, Work::Check { document, at });
        self.notes[document].check = Some(step);
    }

    /// The checks that have to be done before anything is moved for `document`: its own, else those above it.
    fn checks_before(&self, document: usize) -> Vec<usize> {
        let notes = &self.notes[document];
        notes.check.map_or_else(|| notes.checked_above.clone(), |check| vec![check])
    }

    /// Children first, then blobs, then the document itself.
    fn blobs_and_put(&mut self, document: usize) {
        if std::mem::replace(&mut self.notes[document].visited, true) {
            return;
        }
        for child in self.notes[document].children.clone() {
            self.blobs_and_put(child);
        }
        let planned = &self.plan.documents[document];
        if planned.place == Place::Here {
            return;
        }
        let mut needs: Vec<usize> =
            self.notes[document].children.iter().filter_map(|&child| self.notes[child].put).collect();
        let checks = self.checks_before(document);
        for &blob in &planned.blobs {
            let step = self.blob(blob, &checks);
            needs.extend(step);
        }
        let tagged = self.plan.tags.iter().any(|(tagged, _)| *tagged == document);
        if tagged && !self.notes[document].has_parent {
            return;
        }
        if needs.is_empty() {
            needs = checks;
        }
        let descriptor = planned.document.descriptor();
        let action = Action::Put {
            to: self.spell(&Target::Digest(descriptor.digest.clone())),
            digest: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type,
            platform: self.notes[document].platform.clone(),
        };
        let put = self.step(action, needs, Work::Put { document, tag: None });
        self.notes[document].put = Some(put);
    }

    /// The step of a blob, if it has to move; a document that shares it adds its own checks.
    fn blob(&mut self, blob: usize, checks: &[usize]) -> Option<usize> {
        if let Some(step) = self.blob_step[blob] {
            self.steps[step].needs.extend(checks);
            return Some(step);
        }
        let planned = &self.plan.blobs[blob];
        let origin = Arc::clone(planned.origin.as_ref()?);
        let Descriptor { digest, size, media_type, .. } = planned.descriptor.clone();
        let mount = planned.place == Place::SameMedium;
        let action = match planned.place {
            Place::Here => return None,
            Place::SameMedium => {
                let from = origin.repository().map_or_else(|| repository_name(&*origin), ToString::to_string);
                Action::Mount { digest, size, media_type, from }
            }
            Place::Elsewhere => Action::Copy { digest, size, media_type, from: repository_name(&*origin) },
        };
        let work = Work::Blob { descriptor: Box::new(planned.descriptor.clone()), origin, mount };
        let step = self.step(action, checks.to_vec(), work);
        self.blob_step[blob] = Some(step);
        Some(step)
    }

    /// Tags after everything: each needs whatever nothing else needs.
    fn tags(&mut self) {
        let mut needed = vec![false; self.steps.len()];
        for step in &self.steps {
            for &need in &step.needs {
                needed[need] = true;
            }
        }
        let last: Vec<usize> = (0..needed.len()).filter(|&step| !needed[step]).collect();
        for (document, tag) in &self.plan.tags {
            let descriptor = self.plan.documents[*document].document.descriptor();
            let action = Action::Tag {
                to: self.spell(&Target::Tag(tag.clone())),
                tag: tag.clone(),
                digest: descriptor.digest,
                size: descriptor.size,
                media_type: descriptor.media_type,
            };
            let step = self.step(action, last.clone(), Work::Put { document: *document, tag: Some(tag.clone()) });
            self.notes[*document].first_tag.get_or_insert(step);
        }
    }

    /// What a yes to each check saves.
    fn skips(&mut self) {
        for document in 0..self.notes.len() {
            let Some(check) = self.notes[document].check else { continue };
            let mut saved: Vec<usize> = Vec::new();
            for below in self.below(document) {
                saved.extend(self.notes[below].put);
                saved.extend(self.plan.documents[below].blobs.iter().filter_map(|&blob| self.blob_step[blob]));
                if below != document {
                    saved.extend(self.notes[below].check);
                }
            }
            // The check of a root asks for its first tag, if it has one: that is in order then, too.
            if matches!(&self.work[check], Work::Check { at: Target::Tag(_), .. }) {
                saved.extend(self.notes[document].first_tag);
            }
            saved.sort_unstable();
            saved.dedup();
            if let Action::Check { skips, .. } = &mut self.steps[check].action {
                *skips = saved.into_iter().map(|step| step + 1).collect();
            }
        }
    }
}
