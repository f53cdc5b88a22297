//! `polyarch rm`.

use image::Reference;
use store::{Location, StoreError, StoreErrorKind, Stores};

use crate::args::Remove;
use crate::context::Context;
use crate::output::{Failure, Outcome};

/// Removes names from the local store: all that can be removed, then says which could not.
pub(crate) fn run(arguments: &Remove, context: &mut Context) -> Outcome {
    let stores = context.stores(false)?;
    let mut failures: Vec<Failure> = Vec::new();
    for reference in &arguments.images {
        match context.block_on(remove(&stores, reference, arguments.dry_run))? {
            Ok(()) if arguments.dry_run => context.output.line(format_args!("would remove {reference}")),
            Ok(()) => context.output.line(format_args!("removed {reference}")),
            Err(error) => failures.push(error.into()),
        }
    }
    // The last is told by `main`; the exit code is that of the first.
    let Some(last) = failures.pop() else { return Ok(()) };
    let exit = failures.first().map_or(last.exit, |first| first.exit);
    for failure in &failures {
        context.output.failure(failure, "error: ");
    }
    Err(Failure { exit, ..last })
}

async fn remove(stores: &Stores, reference: &Reference, dry_run: bool) -> Result<(), StoreError> {
    let store = stores.open_for_writing(&Location::Local(reference.clone())).await?;
    let target = reference.target();
    let action = || format!("remove `{}`", store.spell(&target));
    if store.resolve(&target).await?.is_none() {
        return Err(StoreError::new(StoreErrorKind::NotFound, action()).because("it is not in the local store"));
    }
    let Some(delete) = store.delete() else {
        return Err(StoreError::new(StoreErrorKind::Unsupported, action()));
    };
    if dry_run { Ok(()) } else { delete.delete_document(&target).await }
}
