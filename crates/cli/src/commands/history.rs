//! `polyarch history`.

use image::Digest;

use super::moves::{Move, MoveReport, Tagged};
use crate::args::History;
use crate::context::Context;
use crate::output::{Outcome, table};

/// Lists the moves of a tag, the last one first.
pub(crate) fn run(arguments: &History, context: &mut Context) -> Outcome {
    let stores = context.stores(arguments.insecure)?;
    let moves = context.block_on(async {
        let tagged = Tagged::open(&stores, &arguments.image).await?;
        tagged.moves(|_| false, arguments.limit.max(1)).await
    })??;
    if arguments.json {
        return context.output.json(&moves.iter().map(MoveReport::from).collect::<Vec<_>>());
    }
    context.output.lines(table(&["WHEN", "FROM", "TO", "BY"], moves.iter().map(cells)));
    Ok(())
}

fn cells(step: &Move) -> Vec<String> {
    let to = match &step.to {
        None => "deleted".to_owned(),
        Some(digest) if step.kept => short(digest),
        Some(digest) => format!("{} (gone)", short(digest)),
    };
    let from = step.from.as_ref().map_or_else(|| "-".to_owned(), short);
    vec![content::instant_text(step.at), from, to, step.actor.clone().unwrap_or_else(|| "-".to_owned())]
}

/// The first twelve characters, which `restore --to` takes.
fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
