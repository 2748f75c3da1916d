//! `/devices/{device}/orders/{order}/log`: what a stock client logged.

use super::{Frame, texts::fill};
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "order_log.html")]
pub(crate) struct OrderLog {
    pub(crate) f: Frame,
    /// Of the device's page.
    pub(crate) address: String,
    /// What the device is called.
    pub(crate) name: String,
    pub(crate) order: u64,
    pub(crate) log: String,
}

impl OrderLog {
    fn title(&self) -> String {
        fill(self.f.t.order_log_of, self.order)
    }
}
