//! `kusabi rollout show`: one rollout, and how far its devices are.

use kusabi_api::admin::{Rollout, RolloutDevice, RolloutDeviceReason, RolloutDeviceState};
use serde::Serialize;

use super::particulars;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::Fleet,
    page::{Answer, Page, instant},
    session::Session,
};

/// Show a rollout, and how far its devices are
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number
    #[arg(value_name = "ROLLOUT")]
    rollout: u64,
    /// Only devices in this state: waiting, ordered, sent, done, failed, skipped, aborted
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<RolloutDeviceState>,
    /// At most so many devices
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

fn state(word: &str) -> Result<RolloutDeviceState, String> {
    RolloutDeviceState::from_name(word).ok_or_else(|| {
        let words: Vec<_> = RolloutDeviceState::ALL
            .iter()
            .map(|state| state.name())
            .collect();
        format!("a state is one of {}", words.join(", "))
    })
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    rollout: Rollout,
    devices: Vec<RolloutDevice>,
    more: bool,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        page.good("Rollout", &self.rollout.plan.name.to_string());
        particulars(&self.rollout, page);
        if self.devices.is_empty() {
            return;
        }
        let rows: Vec<_> = self
            .devices
            .iter()
            .map(|device| {
                let reason = device.reason.map_or("-", RolloutDeviceReason::name);
                vec![
                    device.device.clone(),
                    device
                        .phase
                        .map_or_else(|| "-".to_owned(), |phase| phase.to_string()),
                    device.state.name().to_owned(),
                    reason.to_owned(),
                    device.attempts.to_string(),
                    instant(device.changed_ms),
                ]
            })
            .collect();
        page.gap().table(
            &["device", "phase", "state", "reason", "tries", "since"],
            &rows,
        );
        if self.more {
            page.text("There are more; --limit shows them.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let rollout = fleet.ask(fleet.client().rollout(args.rollout))?;
    let (devices, more) = fleet.list(args.limit.max(1), async |cursor, limit| {
        let (id, state) = (args.rollout, args.state);
        fleet
            .client()
            .rollout_devices(id, state, cursor.as_deref(), limit)
            .await
    })?;
    session.output().say(&Shown {
        rollout,
        devices,
        more,
    })?;
    Ok(Exit::Ok)
}
