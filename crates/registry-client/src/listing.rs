//! Listings in pages (distribution-spec, "Listing Tags"; Docker's `_catalog`).

use std::collections::HashSet;

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method};
use image::{RepositoryName, Tag};
use serde::Deserialize;
use url::Url;

use crate::call::{Call, Place};
use crate::error::{ClientError, ErrorKind, Verb};
use crate::location;
use crate::manifests::document_body;
use crate::registry::Registry;
use crate::repository::Repository;
use crate::scope::{Access, ScopeSet};
use crate::wire::{Context, Head};

/// Most pages of one listing.
const PAGES: usize = 10_000;
/// Most pages in a row that have nothing on them.
const EMPTY_PAGES: usize = 20;
/// Most bytes of one page: a hundred thousand tags of the greatest length.
const PAGE: usize = 16 << 20;
/// How many entries are asked for at once. Registries give fewer if they like.
const ENTRIES: usize = 1000;

impl Repository {
    /// All tags, in the registry's order.
    pub async fn list_tags(&self) -> Result<Vec<Tag>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let call = self.call(Verb::ListTags, Method::GET, &format!("tags/list?n={ENTRIES}"), Access::Pull);
        let mut tags = Vec::new();
        pages(&self.registry(), call, PAGE, |context, _, page| {
            let page: Page = read(context, &page)?;
            let page = page.tags.unwrap_or_default();
            add(context, &mut tags, page, self.client().options().listing_limit, |text| Tag::parse(text).ok())
        })
        .await?;
        Ok(tags)
    }
}

/// The repositories of a registry.
pub(crate) async fn catalog(registry: &Registry) -> Result<Vec<RepositoryName>, ClientError> {
    #[derive(Deserialize)]
    struct Page {
        repositories: Option<Vec<String>>,
    }
    let place = Place::Path(format!("/v2/_catalog?n={ENTRIES}"));
    let call = Call::new(Verb::ListRepositories, Method::GET, place, ScopeSet::catalog());
    let mut names = Vec::new();
    pages(registry, call, PAGE, |context, _, page| {
        let page: Page = read(context, &page)?;
        let page = page.repositories.unwrap_or_default();
        add(context, &mut names, page, registry.wire.options.listing_limit, |text| RepositoryName::parse(text).ok())
    })
    .await?;
    Ok(names)
}

fn read<'a, T: Deserialize<'a>>(context: &Context, page: &'a Bytes) -> Result<T, ClientError> {
    serde_json::from_slice(page).map_err(|error| {
        let detail = crate::escape::line(&format!("the list cannot be read: {error}"));
        context.failure(ErrorKind::InvalidResponse).detail(detail).into()
    })
}

fn add<T>(
    context: &Context,
    all: &mut Vec<T>,
    page: Vec<String>,
    limit: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<usize, ClientError> {
    let count = page.len();
    check_count(context, all.len() + count, limit)?;
    for text in page {
        let Some(entry) = parse(&text) else {
            let detail = format!("`{}` is in the list, which cannot be one", crate::escape::line(&text));
            return Err(context.failure(ErrorKind::InvalidResponse).detail(detail).into());
        };
        all.push(entry);
    }
    Ok(count)
}

/// Refuses lists that are longer than anybody wants.
pub(crate) fn check_count(context: &Context, count: usize, limit: usize) -> Result<(), ClientError> {
    if count > limit {
        return Err(context.failure(ErrorKind::TooLarge).detail(format!("more than {limit} entries")).into());
    }
    Ok(())
}

/// Follows a listing from page to page. `take` is given each page and says how many entries it had.
pub(crate) async fn pages(
    registry: &Registry,
    mut call: Call<'static>,
    limit: usize,
    mut take: impl FnMut(&Context, &HeaderMap, Bytes) -> Result<usize, ClientError>,
) -> Result<(), ClientError> {
    let mut visited = HashSet::new();
    let mut empty = 0;
    loop {
        let answer = registry.exchange(&call).await?;
        let context = answer.context.clone();
        let next = next_page(&context, &answer.head)?;
        let headers = answer.head.headers.clone();
        let page = document_body(&registry.wire, answer, limit).await?;
        if take(&context, &headers, page)? == 0 {
            empty += 1;
        } else {
            empty = 0;
        }
        let Some(next) = next else { return Ok(()) };
        let broken = |detail: &str| Err(context.failure(ErrorKind::InvalidResponse).detail(detail).into());
        if !registry.is_home(&next) {
            return broken("the next page is on another host");
        }
        if !visited.insert(next.clone()) {
            return broken("the pages go round in a circle");
        }
        if visited.len() > PAGES || empty > EMPTY_PAGES {
            return broken("the pages do not come to an end");
        }
        call.place = Place::Url(next);
    }
}

/// The `Link` with `rel="next"` (RFC 8288), if there is one.
fn next_page(context: &Context, head: &Head) -> Result<Option<Url>, ClientError> {
    let mut links = head.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = links.find_map(next_reference);
    next.map(|reference| location::resolve(context, &head.url, "Link", reference)).transpose()
}

pub(crate) fn next_reference(mut header: &str) -> Option<&str> {
    loop {
        let (_, rest) = header.split_once('<')?;
        let (reference, rest) = rest.split_once('>')?;
        let (parameters, more) = match rest.find('<') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let Some((key, value)) = parameter.split_once('=') else { return false };
            key.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(reference);
        }
        header = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_every_form() {
        for (header, next) in [
            (r#"</v2/a/tags/list?n=1&last=b>; rel="next""#, Some("/v2/a/tags/list?n=1&last=b")),
            ("<next>;rel=next", Some("next")),
            (r#"<first>; rel="first", <second>; title="x"; REL="prev next""#, Some("second")),
            (r#"<first>; rel="first""#, None),
            ("<next>", None),
            ("next", None),
            ("<next", None),
            ("", None),
        ] {
            assert_eq!(next_reference(header), next, "{header}");
        }
    }
}
