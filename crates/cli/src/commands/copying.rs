//! What `push`, `pull` and `tag` share: one image from one store to another.

use image::{Digest, Tag, Target};
use store::Location;
use transfer::{Attestations, CopyPlan, CopyReport, CopyRequest, Silent};

use crate::args::Selection;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// What to copy, and where to.
pub(super) struct Copying<'a> {
    pub(super) from: Location,
    pub(super) to: Location,
    pub(super) selection: Option<&'a Selection>,
    pub(super) insecure: bool,
    /// Look for each blob, even if the documents are there.
    pub(super) again: bool,
}

impl Copying<'_> {
    /// Looks at both sides and says what has to be done.
    pub(super) fn plan(&self, context: &mut Context) -> Outcome<CopyPlan> {
        let stores = context.stores(self.insecure)?;
        let (tag, digest) = self.wanted();
        let plan = context.block_on(async {
            let source = stores.open(&self.from).await?;
            let target = stores.open_for_writing(&self.to).await?;
            let mut request = CopyRequest::new(source, self.from.target(), target, tag.into_iter().collect());
            request.again = self.again;
            if let Some(selection) = self.selection {
                request.selection.platforms.clone_from(&selection.platform);
                if selection.no_attestations {
                    request.selection.attestations = Attestations::Drop;
                }
            }
            Ok::<_, Failure>(request.plan().await?)
        })??;
        if let Some(digest) = digest
            && &digest != plan.root.digest()
        {
            let message = format!("{} is {}, not {digest}", self.from, plan.root.digest());
            return Err(Failure::new(Exit::Invalid, message).hint("leave the digest out of the target".to_owned()));
        }
        Ok(plan)
    }

    /// Under which tag it shall be had, and which digest it must have.
    fn wanted(&self) -> (Option<Tag>, Option<Digest>) {
        match (self.to.reference(), self.to.target()) {
            (Some(reference), _) => (reference.tag().cloned(), reference.digest().cloned()),
            (None, Target::Tag(tag)) => (Some(tag), None),
            (None, Target::Digest(digest)) => (None, Some(digest)),
        }
    }

    /// Plans and runs.
    pub(super) fn run(&self, context: &mut Context) -> Outcome<CopyReport> {
        let plan = self.plan(context)?;
        Ok(context.block_on(plan.run(&transfer::Options::default(), &Silent))??)
    }

    /// Plans, runs and says so: on stdout the name by which the image can be had, on stderr what it took.
    pub(super) fn run_and_tell(&self, transfer: &crate::args::Transfer, context: &mut Context) -> Outcome {
        if transfer.dry_run {
            let plan = self.plan(context)?;
            return if transfer.json {
                context.output.json(&plan.plan.steps())
            } else {
                context.output.raw(plan.plan.to_string().as_bytes());
                Ok(())
            };
        }
        let report = self.run(context)?;
        if transfer.json {
            return context.output.json(&report);
        }
        context.output.note(summary(&report));
        match self.to.reference() {
            Some(reference) => context.output.line(reference.with_digest(report.digest)),
            None => context.output.line(self.to.at(report.digest.into())),
        }
        Ok(())
    }
}

/// `2 documents written, 1 already there, 4 blobs copied (1.2 MB), 2 mounted`.
fn summary(report: &CopyReport) -> String {
    let documents = &report.report.documents;
    let pushed = documents.iter().filter(|document| !document.puts.is_empty()).count();
    let blobs = &report.report.blobs;
    let mut parts = vec![format!("{} written", count(pushed, "document"))];
    if documents.len() > pushed {
        parts.push(format!("{} already there", documents.len() - pushed));
    }
    if blobs.copied > 0 {
        parts.push(format!("{} copied ({})", count(blobs.copied, "blob"), transfer::ByteSize(blobs.copied_bytes)));
    }
    if blobs.mounted > 0 {
        parts.push(format!("{} mounted", count(blobs.mounted, "blob")));
    }
    parts.join(", ")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
