//! Where a tag pointed: an extension that registries of polyarch have (`_polyarch/history`).

use std::time::SystemTime;

use http::Method;
use image::{Digest, Tag};
use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{ClientError, ErrorKind, Verb};
use crate::manifests::document_body;
use crate::repository::Repository;
use crate::scope::Access;
use crate::wire::Context;

/// Most bytes of one page.
const PAGE: usize = 4 << 20;
/// What the extension is called in the list of a registry's extensions.
const EXTENSION: &str = "_polyarch";

/// One move of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMove {
    /// Its number: a later move has a higher one.
    pub number: u64,
    /// Where the tag pointed before. `None`: it did not exist.
    pub from: Option<Digest>,
    /// Where it points since. `None`: it was deleted.
    pub to: Option<Digest>,
    /// When.
    pub at: SystemTime,
    /// Who did it, escaped, if the registry knows and tells.
    pub actor: Option<String>,
    /// Whether the registry still has what the tag points to since.
    pub kept: bool,
}

/// Some moves of a tag, the last one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The moves.
    pub moves: Vec<TagMove>,
    /// Whether there are earlier ones.
    pub more: bool,
}

#[derive(Deserialize)]
struct Page {
    moves: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    number: u64,
    from: Option<Digest>,
    to: Option<Digest>,
    at: String,
    actor: Option<String>,
    #[serde(default)]
    kept: bool,
}

impl Entry {
    fn read(self) -> Option<TagMove> {
        Some(TagMove {
            number: self.number,
            from: self.from,
            to: self.to,
            at: self.at.parse::<Timestamp>().ok()?.into(),
            actor: self.actor.map(|actor| crate::escape::line(&actor)),
            kept: self.kept,
        })
    }
}

impl Repository {
    /// Moves of a tag, the last one first: at most `limit` of those before `before`, the number of a move.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the registry is none of polyarch, [`ErrorKind::NotFound`] if the tag never was.
    pub async fn tag_history(&self, tag: &Tag, before: Option<u64>, limit: usize) -> Result<HistoryPage, ClientError> {
        let last = before.map(|number| format!("&last={number}")).unwrap_or_default();
        let rest = format!("_polyarch/history/{tag}?n={limit}{last}");
        let call = self.call(Verb::TagHistory, Method::GET, &rest, Access::Pull);
        let registry = self.registry();
        let answer = match registry.exchange(&call).await {
            Ok(answer) => answer,
            Err(error) => {
                let unclear = matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Rejected | ErrorKind::Redirect
                );
                return Err(if unclear && !self.keeps_history().await? {
                    unsupported(&registry.context(&call)?)
                } else {
                    error
                });
            }
        };
        let context = answer.context.clone();
        let more = answer.head.headers.contains_key(http::header::LINK);
        let page = document_body(&registry.wire, answer, PAGE).await?;
        let moves = match serde_json::from_slice::<Page>(&page) {
            Ok(page) => page.moves.into_iter().map(Entry::read).collect::<Option<Vec<_>>>(),
            Err(_) => None,
        };
        match moves {
            Some(moves) => Ok(HistoryPage { more: more && !moves.is_empty(), moves }),
            // A web page for every path, as some front ends have it.
            None if !self.keeps_history().await? => Err(unsupported(&context)),
            None => {
                Err(context.failure(ErrorKind::InvalidResponse).detail("the history of the tag cannot be read").into())
            }
        }
    }

    /// Whether the registry says that it has the extension.
    async fn keeps_history(&self) -> Result<bool, ClientError> {
        #[derive(Deserialize)]
        struct Extensions {
            extensions: Vec<Extension>,
        }
        #[derive(Deserialize)]
        struct Extension {
            name: String,
        }
        let call = self.call(Verb::TagHistory, Method::GET, "_oci/ext/discover", Access::Pull);
        let registry = self.registry();
        let answer = match registry.exchange(&call).await {
            Ok(answer) => answer,
            Err(error) if error.status().is_some_and(|status| status < 500 && status != 429) => return Ok(false),
            Err(error) => return Err(error),
        };
        let bytes = document_body(&registry.wire, answer, PAGE).await?;
        Ok(serde_json::from_slice::<Extensions>(&bytes)
            .is_ok_and(|found| found.extensions.iter().any(|extension| extension.name == EXTENSION)))
    }
}

fn unsupported(context: &Context) -> ClientError {
    context
        .failure(ErrorKind::Unsupported)
        .detail("it keeps no history of tags")
        .hint("registries run by `polyarch serve` do")
        .into()
}
