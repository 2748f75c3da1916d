//! `/orders`

use super::{
    Frame,
    parts::{Hash, Pager, When},
};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "orders.html")]
pub(crate) struct Orders {
    pub(crate) f: Frame,
    pub(crate) rows: Vec<OrderRow>,
    pub(crate) pager: Pager,
}

/// One order.
#[derive(Debug)]
pub(crate) struct OrderRow {
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) target: String,
    pub(crate) target_address: String,
    pub(crate) release: Option<Hash>,
    pub(crate) devices: u64,
    pub(crate) answered: u64,
    pub(crate) by: String,
    pub(crate) given: When,
}
