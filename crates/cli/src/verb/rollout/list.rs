//! `kusabi rollout list`: the rollouts, the newest first.

use kusabi_api::admin::Rollout;
use serde::Serialize;

use super::standing;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// List the rollouts, the newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct Listed {
    rollouts: Vec<Rollout>,
    more: bool,
}

impl Answer for Listed {
    fn page(&self, page: &mut Page) {
        if self.rollouts.is_empty() {
            page.text("No rollouts.");
            return;
        }
        let rows: Vec<_> = self
            .rollouts
            .iter()
            .map(|rollout| {
                vec![
                    rollout.id.to_string(),
                    instant(rollout.created_ms),
                    rollout.plan.name.to_string(),
                    format!("{} of {}", rollout.phase, rollout.plan.phases.len()),
                    format!(
                        "{} of {}",
                        grouped(rollout.counts.done),
                        grouped(rollout.total)
                    ),
                    grouped(rollout.counts.failed),
                    standing(rollout),
                ]
            })
            .collect();
        page.table(
            &[
                "rollout", "made", "name", "phase", "done", "failed", "state",
            ],
            &rows,
        );
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let (rollouts, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        fleet.client().rollouts(cursor.as_deref(), limit).await
    })?;
    session.output().say(&Listed { rollouts, more })?;
    Ok(Exit::Ok)
}
