//! `/components`: which devices hold something.

use super::{
    Frame, address,
    parts::{Badge, Hash, Pager, When},
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "components.html")]
pub(crate) struct Components {
    pub(crate) f: Frame,
    pub(crate) filter: Filter,
    pub(crate) rows: Vec<Row>,
    /// Releases whose bills of materials could not be searched.
    pub(crate) unsearched: Vec<Hash>,
    /// Whether there are further pages.
    pub(crate) more: bool,
    pub(crate) pager: Pager,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// A name; with `*` at its end, all that begin so.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) purl: String,
}

/// A device that holds it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) device_type: String,
    pub(crate) state: Badge,
    pub(crate) holds: String,
    pub(crate) by: Source,
}

/// Who says that it does.
#[derive(Debug)]
pub(crate) enum Source {
    Inventory(When),
    Release(Hash),
}

impl Filter {
    pub(crate) fn is_set(&self) -> bool {
        !(self.name.is_empty() && self.version.is_empty() && self.purl.is_empty())
    }

    /// The address of a page of what is asked for.
    pub(crate) fn address(&self, cursor: Option<&str>) -> String {
        let query = [
            ("name", Some(&*self.name)),
            ("version", Some(&*self.version)),
            ("purl", Some(&*self.purl)),
            ("cursor", cursor),
        ];
        address("/components", &query)
    }
}
