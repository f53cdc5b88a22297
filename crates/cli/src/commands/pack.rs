//! `polyarch pack`.

use std::sync::Arc;

use image::{Reference, Tag, Target};
use pack::{Base, ImagePath, Naming, PackError, PackReport, PackRequest};
use settings::EnvVar;
use store::{ImageStore, Location};
use transfer::{Plan, Silent};

use crate::args::Pack;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, chain};

/// Packs into the local store, and pushes if that is wanted.
pub(crate) fn run(arguments: &Pack, context: &mut Context) -> Outcome {
    let targets = targets(&arguments.tags)?;
    let Some((first, _)) = targets.first() else { return Ok(()) };
    let mut request = request(arguments, first, context)?;
    let stores = context.stores(arguments.transfer.insecure)?;
    let packed = context.block_on(async {
        // Opened first: layers are spooled in its directory.
        stores.content().await?;
        if let Some(base) = &arguments.base {
            request.base = Some(Base { store: stores.open(base).await?, target: base.target() });
        }
        Ok::<_, Failure>(pack::pack(&request).await?)
    })??;
    for warning in packed.warnings() {
        context.output.warning(warning);
    }
    let (mut plans, mut reports) = (Vec::new(), Vec::new());
    for (reference, tags) in &targets {
        let naming = if arguments.single { Naming::Single(tags.clone()) } else { Naming::Index(tags.clone()) };
        let mut places = vec![Location::Local(reference.clone())];
        places.extend(arguments.push.then(|| Location::Registry(reference.clone())));
        for place in &places {
            let store = context.block_on(stores.open_for_writing(place))??;
            if arguments.transfer.dry_run {
                plans.push(packed.plan(&store, &naming)?);
            } else {
                let options = transfer::Options::default();
                let report = context.block_on(packed.write(&store, &naming, &options, &Silent))??;
                reports.push((store, tags.clone(), report));
            }
        }
    }
    if arguments.transfer.dry_run { tell_plans(arguments, &plans, context) } else { tell(arguments, &reports, context) }
}

/// One entry per repository: a reference in it, and its tags.
fn targets(tags: &[Reference]) -> Outcome<Vec<(Reference, Vec<Tag>)>> {
    let mut targets: Vec<(Reference, Vec<Tag>)> = Vec::new();
    for reference in tags {
        let (Some(tag), None) = (reference.tag(), reference.digest()) else {
            return Err(Failure::usage(format!("an image cannot be given a digest: `{reference}`")));
        };
        match targets.iter_mut().find(|(first, _)| first.name() == reference.name()) {
            Some((_, tags)) if tags.contains(tag) => {}
            Some((_, tags)) => tags.push(tag.clone()),
            None => targets.push((reference.clone(), vec![tag.clone()])),
        }
    }
    Ok(targets)
}

fn request(arguments: &Pack, first: &Reference, context: &mut Context) -> Outcome<PackRequest> {
    let place = arguments.place.clone().unwrap_or_else(|| ImagePath::of_repository(first.repository()));
    let scratch = context.paths()?.data_dir.clone();
    let epoch = context.environment().get(EnvVar::SourceDateEpoch).map(str::parse).transpose();
    let epoch = epoch.map_err(|_| Failure::new(Exit::Failure, "`SOURCE_DATE_EPOCH` is not a number of seconds"))?;
    Ok(PackRequest {
        entrypoint: words("--entrypoint", &arguments.entrypoint)?,
        cmd: words("--cmd", &arguments.cmd)?,
        env: arguments.env.clone(),
        labels: arguments.label.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
        user: arguments.user.clone(),
        workdir: arguments.workdir.clone(),
        expose: arguments.expose.clone(),
        files: arguments.files.clone(),
        source_date_epoch: epoch,
        ..PackRequest::new(arguments.binaries.clone(), place, scratch)
    })
}

/// One JSON list, or one word each time. A single empty word is an empty list: it takes the base's away.
fn words(flag: &str, given: &[String]) -> Outcome<Option<Vec<String>>> {
    match given {
        [] => Ok(None),
        [only] if only.is_empty() => Ok(Some(Vec::new())),
        [only] if only.starts_with('[') => serde_json::from_str(only)
            .map(Some)
            .map_err(|error| Failure::usage(format!("`{flag}` is not a JSON list of words: {error}"))),
        words => Ok(Some(words.to_vec())),
    }
}

/// What would be done, for each place.
fn tell_plans(arguments: &Pack, plans: &[Plan], context: &mut Context) -> Outcome {
    if arguments.transfer.json {
        return context.output.json(&plans.iter().map(Plan::steps).collect::<Vec<_>>());
    }
    for plan in plans {
        context.output.raw(plan.to_string().as_bytes());
    }
    Ok(())
}

/// On stdout the names by which the images can be had.
fn tell(arguments: &Pack, reports: &[(Arc<dyn ImageStore>, Vec<Tag>, PackReport)], context: &mut Context) -> Outcome {
    if arguments.transfer.json {
        let reports: Vec<&PackReport> = reports.iter().map(|(_, _, report)| report).collect();
        return context.output.json(&reports);
    }
    for (store, tags, report) in reports {
        let name = |tag: &Tag, digest| format!("{}@{digest}", store.spell(&Target::Tag(tag.clone())));
        match &report.index {
            Some(index) => context.output.lines(tags.iter().map(|tag| name(tag, &index.digest))),
            None => context.output.lines(
                report.images.iter().flat_map(|image| image.tags.iter().map(|tag| name(tag, &image.manifest.digest))),
            ),
        }
    }
    Ok(())
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let exit = match &error {
            PackError::WrongPlatform { .. } | PackError::NotExecutable { .. } | PackError::BaseBroken { .. } => {
                Exit::Invalid
            }
            PackError::BaseLacks { .. } => Exit::NotFound,
            error => error.store_error().map_or(Exit::Failure, |error| error.kind.into()),
        };
        Self::new(exit, format!("failed to {}", chain(&error))).hint(error.hint())
    }
}
