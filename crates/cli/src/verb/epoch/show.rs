//! `kusabi epoch show`: the present epoch, or an appointment on its way.

use std::path::PathBuf;

use kusabi_core::{quorum::quorum, set::EpochSet};
use serde::Serialize;

use super::names;
use crate::{
    appointing::Appointing,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::hex,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Show the present epoch and its validators; or an appointment, and who has signed it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File of `epoch new` or `epoch sign`
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Present {
    epoch: u64,
    height: u64,
    /// Height of its last block, once that is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    quorum: usize,
    validators: Vec<Validator>,
}

#[derive(Serialize)]
struct Validator {
    organisation: String,
    vote_key: String,
}

impl Answer for Present {
    fn page(&self, page: &mut Page) {
        page.good("Epoch", &self.epoch.to_string())
            .field("height", grouped(self.height))
            .field_if(
                "ends with",
                self.last.map(|last| format!("block {}", grouped(last))),
            )
            .field(
                "quorum",
                format!("{} of {} validators", self.quorum, self.validators.len()),
            )
            .gap();
        let rows: Vec<_> = self
            .validators
            .iter()
            .map(|validator| vec![validator.organisation.clone(), validator.vote_key.clone()])
            .collect();
        page.table(&["organisation", "vote key"], &rows);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    if let Some(file) = &args.file {
        let appointing = Appointing::read(file)?;
        // Officers look at it where there may be no ledger at hand.
        let connection = Connection::open(session).ok();
        return session
            .output()
            .say(&appointing.sheet(names(connection.as_ref()))?);
    }
    let connection = Connection::open(session)?;
    let (height, ledger) = connection.ledger_row()?;
    let trust = connection.trust();
    let set = EpochSet::decode(trust.set())
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let name = names(Some(&connection));
    let organisations: Vec<_> = set.organisations().map(|o| name(&o.id)).collect();
    let validators: Vec<_> = set
        .validators()
        .map(|validator| Validator {
            organisation: organisations
                .get(usize::from(validator.organisation))
                .cloned()
                .unwrap_or_default(),
            vote_key: hex(validator.vote_key),
        })
        .collect();
    session.output().say(&Present {
        epoch: ledger.epoch.get(),
        height: height.get(),
        last: ledger.ends.map(|ends| ends.last.get()),
        quorum: quorum(validators.len()),
        validators,
    })
}
