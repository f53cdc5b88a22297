//! `polyarch version`.

use crate::args::Version;
use crate::context::Context;
use crate::output::Outcome;

/// Prints it.
pub(crate) fn run(arguments: &Version, context: &mut Context) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if arguments.json {
        return context.output.json(&serde_json::json!({
            "version": version,
            "os": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
        }));
    }
    context.output.line(format_args!("polyarch {version}"));
    Ok(())
}
