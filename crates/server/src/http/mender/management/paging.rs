//! Pages by number: `page` and `per_page`, with the headers `Link` and `X-Total-Count`.

use crate::app::Error;
use axum::{
    Json,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};

/// Items of one page when the request does not say, and most of them.
const PER_PAGE: u32 = 20;
pub(super) const PER_PAGE_MAX: u16 = 500;

/// Most pages: a list is read through up to where a page begins.
const PAGE_MAX: u32 = 100_000;

/// Which page is wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Paging {
    #[serde(default, deserialize_with = "number")]
    page: Option<u32>,
    #[serde(default, deserialize_with = "number")]
    per_page: Option<u32>,
}

/// A number in a query: beside what is flattened it comes as a text.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

impl Paging {
    /// The part of the list.
    pub(super) fn part(self) -> Result<Part, Error> {
        let page = self.page.unwrap_or(1);
        let per_page = self.per_page.unwrap_or(PER_PAGE);
        match u16::try_from(per_page) {
            Ok(per_page @ 1..=PER_PAGE_MAX) if (1..=PAGE_MAX).contains(&page) => {
                Ok(Part { page, per_page })
            }
            _ => Err(Error::Parameter(format!(
                "`page` is from 1 to {PAGE_MAX}, `per_page` from 1 to {PER_PAGE_MAX}"
            ))),
        }
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    page: u32,
    per_page: u16,
}

impl Part {
    /// How many come before it.
    pub(super) fn skip(self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.per_page)
    }

    /// How many are in it.
    pub(super) const fn count(self) -> u16 {
        self.per_page
    }
}

/// The headers of a page.
#[derive(Debug)]
pub(super) struct Paged {
    links: String,
    total: u64,
}

impl Paged {
    pub(super) fn new(uri: &Uri, part: Part, total: u64) -> Self {
        let link = |page: u32, name: &str| {
            let (path, query) = (uri.path(), uri.query().unwrap_or_default());
            let others = query
                .split('&')
                .filter(|pair| {
                    let name = pair.split('=').next().unwrap_or_default();
                    !pair.is_empty() && name != "page" && name != "per_page"
                })
                .map(|pair| format!("&{pair}"))
                .collect::<String>();
            let per_page = part.per_page;
            format!("<{path}?page={page}&per_page={per_page}{others}>; rel=\"{name}\"")
        };
        let mut links = vec![link(1, "first")];
        if part.page > 1 {
            links.push(link(part.page - 1, "prev"));
        }
        if part.skip() + u64::from(part.per_page) < total {
            links.push(link(part.page.saturating_add(1), "next"));
        }
        Self {
            links: links.join(", "),
            total,
        }
    }

    /// The page.
    pub(super) fn with<T: Serialize>(self, items: &[T]) -> Response {
        let mut response = Json(items).into_response();
        let headers = response.headers_mut();
        if let Ok(links) = HeaderValue::try_from(self.links) {
            headers.insert(header::LINK, links);
        }
        headers.insert("x-total-count", HeaderValue::from(self.total));
        response
    }
}
