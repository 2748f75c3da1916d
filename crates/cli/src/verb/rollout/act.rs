//! `kusabi rollout pause`, `resume`, `next`, `abort`.

use kusabi_api::admin::Rollout;
use serde::Serialize;

use super::particulars;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::{Fleet, idempotency_key},
    page::{Answer, Page},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number
    #[arg(value_name = "ROLLOUT")]
    rollout: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Pause,
    Resume,
    Next,
    Abort,
}

#[derive(Serialize)]
struct Acted {
    #[serde(flatten)]
    rollout: Rollout,
    #[serde(skip)]
    act: Act,
}

impl Answer for Acted {
    fn page(&self, page: &mut Page) {
        let done = match self.act {
            Act::Pause => "Paused",
            Act::Resume => "Resumed",
            Act::Next => "Begun",
            Act::Abort => "Aborted",
        };
        let what = match self.act {
            Act::Next => format!(
                "phase {} of rollout {}",
                self.rollout.phase, self.rollout.id
            ),
            _ => format!("rollout {}", self.rollout.id),
        };
        page.good(done, &what);
        particulars(&self.rollout, page);
    }
}

pub(super) fn run(act: Act, args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let (client, id) = (fleet.client(), args.rollout);
    let key = idempotency_key(session);
    let rollout = match act {
        Act::Pause => fleet.ask(client.pause_rollout(id, &key)),
        Act::Resume => fleet.ask(client.resume_rollout(id, &key)),
        Act::Next => fleet.ask(client.begin_phase(id, &key)),
        Act::Abort => fleet.ask(client.abort_rollout(id, &key)),
    }?;
    session.output().say(&Acted { rollout, act })?;
    Ok(Exit::Ok)
}
