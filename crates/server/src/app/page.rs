//! Pages of lists.

use super::Error;
use crate::store::is_id;
use kusabi_api::admin::{PAGE_DEFAULT, PAGE_MAX, Page};

/// Which part of a list is wanted. A cursor is where the page before ended; lists do not shift under it when things are added.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many items; [`PAGE_DEFAULT`] when not said, at most [`PAGE_MAX`].
    pub limit: Option<u16>,
}

impl Cut {
    /// Items of this page.
    pub(super) fn limit(&self) -> Result<u16, Error> {
        match self.limit.unwrap_or(PAGE_DEFAULT) {
            limit @ 1..=PAGE_MAX => Ok(limit),
            limit => Err(Error::Parameter(format!(
                "`limit` is from 1 to {PAGE_MAX}, not {limit}"
            ))),
        }
    }

    /// How many to fetch: one more shows that there is a next page.
    pub(super) fn fetch(&self) -> Result<u16, Error> {
        Ok(self.limit()? + 1)
    }

    /// The cursor of a list by ID.
    pub(super) fn after(&self) -> Result<&str, Error> {
        let cursor = self.cursor.as_deref().unwrap_or_default();
        if is_id(cursor) {
            Ok(cursor)
        } else {
            Err(bad_cursor())
        }
    }

    /// The cursor of a list by number, or `first` for the first page.
    pub(super) fn number(&self, first: u64) -> Result<u64, Error> {
        self.cursor
            .as_deref()
            .map_or(Ok(first), |cursor| cursor.parse().map_err(|_| bad_cursor()))
    }

    /// The page from what was fetched.
    pub(super) fn page<T>(
        &self,
        mut items: Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Error> {
        let limit = usize::from(self.limit()?);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Ok(Page { items, next })
    }
}

pub(super) fn bad_cursor() -> Error {
    Error::Parameter(String::from(
        "`cursor` is what stood in `next` of the page before, unchanged",
    ))
}
