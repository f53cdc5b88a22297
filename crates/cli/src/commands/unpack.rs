//! `polyarch unpack`.

use crate::args::Unpack;
use crate::context::Context;
use crate::output::Outcome;

/// Puts the file system of an image into a directory.
#[cfg(target_os = "linux")]
pub(crate) fn run(arguments: &Unpack, context: &mut Context) -> Outcome {
    use image::Platform;
    use pack::UnpackRequest;

    let stores = context.stores(arguments.transfer.insecure)?;
    let request = UnpackRequest {
        store: context.block_on(stores.open(&arguments.image))??,
        target: arguments.image.target(),
        platform: arguments.platform.clone().unwrap_or_else(Platform::host),
        directory: arguments.directory.clone(),
        privileged: arguments.owners,
    };
    let chosen = context.block_on(pack::choose(&request))??;
    if arguments.transfer.dry_run {
        let layers = chosen.document.manifest().map_or(0, |manifest| manifest.layers.len());
        let digest = chosen.document.digest();
        if arguments.transfer.json {
            let directory = request.directory.display().to_string();
            let plan = serde_json::json!({ "digest": digest, "layers": layers, "directory": directory });
            return context.output.json(&plan);
        }
        context.output.line(format!("unpack {layers} layers of {digest} into {}", request.directory.display()));
        return Ok(());
    }
    let report = context.block_on(pack::unpack(&request, &chosen))??;
    if report.skipped > 0 {
        let skipped = report.skipped;
        context.output.warning(format!("{skipped} devices or pipes were left out: `--owners` makes them"));
    }
    if arguments.transfer.json {
        return context.output.json(&report);
    }
    context.output.line(&report.digest);
    Ok(())
}

/// Refused by name.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &Unpack, _: &mut Context) -> Outcome {
    use crate::exit::Exit;
    use crate::output::Failure;

    Err(Failure::new(Exit::Failure, "`unpack` needs Linux: links and owners cannot be unpacked safely elsewhere"))
}

#[cfg(target_os = "linux")]
impl From<pack::UnpackImageError> for crate::output::Failure {
    fn from(error: pack::UnpackImageError) -> Self {
        use crate::exit::Exit;
        use pack::UnpackImageError as Unpacking;

        let exit = match &error {
            Unpacking::Store(error) => error.kind.into(),
            Unpacking::NoPlatform { .. } => Exit::NotFound,
            Unpacking::NotAnImage { .. } | Unpacking::Layer { .. } => Exit::Invalid,
            _ => Exit::Failure,
        };
        Self::new(exit, format!("failed to {}", crate::output::chain(&error))).hint(error.hint())
    }
}
