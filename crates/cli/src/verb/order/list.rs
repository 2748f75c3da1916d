//! `kusabi order list`: the orders, the newest first.

use kusabi_api::admin::{Order, Target};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// List the orders that were given, the newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    orders: Vec<Order>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.orders.is_empty() {
            page.text("No orders.");
            return;
        }
        let rows: Vec<_> = self
            .orders
            .iter()
            .map(|order| {
                let target = match &order.target {
                    Target::Device(target) | Target::Group(target) => target.clone(),
                    Target::Rollout(id) => format!("rollout {id}"),
                };
                vec![
                    order.id.to_string(),
                    instant(order.created_ms),
                    order.kind.name().to_owned(),
                    target,
                    format!("{} of {}", grouped(order.waiting), grouped(order.devices)),
                    order
                        .release
                        .map_or_else(|| "-".to_owned(), |digest| digest.to_string()),
                ]
            })
            .collect();
        page.table(
            &["order", "given", "kind", "to", "waiting", "release"],
            &rows,
        );
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let (orders, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        fleet.client().orders(cursor.as_deref(), limit).await
    })?;
    session.output().say(&Listed { orders, more })?;
    Ok(Exit::Ok)
}
