//! `polyarch images`.

use image::{Digest, Reference};

use super::listing::{Row, rows};
use crate::args::Images;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, table};

/// Lists the names.
pub(crate) fn run(arguments: &Images, context: &mut Context) -> Outcome {
    let stores = context.stores(false)?;
    let wanted = arguments.repository.as_deref().map(Reference::parse).transpose();
    let wanted = wanted.map_err(|error| Failure::chain(Exit::Usage, &error))?.map(|reference| reference.name());
    // Looking must not make a data directory, nor make one of a directory that is there. What cannot be looked at is told
    // when it is opened.
    if context.paths()?.data_dir.join("metadata.sqlite3").try_exists().is_ok_and(|there| !there) {
        return show(arguments, &[], context);
    }
    let rows = context.block_on(rows(&stores, wanted.as_deref(), arguments.quiet))??;
    show(arguments, &rows, context)
}

fn show(arguments: &Images, rows: &[Row], context: &mut Context) -> Outcome {
    if arguments.json {
        return context.output.json(&rows);
    }
    if arguments.quiet {
        context.output.lines(rows.iter().map(|row| row.reference.clone()));
        return Ok(());
    }
    let cells = rows.iter().map(|row| {
        let size = transfer::ByteSize(row.size).to_string();
        vec![row.reference.clone(), short(&row.digest), size, row.platforms.join(", ")]
    });
    context.output.lines(table(&["IMAGE", "DIGEST", "SIZE", "PLATFORMS"], cells));
    Ok(())
}

/// The first twelve characters, as docker shows them.
fn short(digest: &Digest) -> String {
    let text = digest.to_string();
    text.split(':').next_back().unwrap_or_default().chars().take(12).collect()
}
