//! `kusabi epoch submit`: brings an appointment to the ledger.

use std::path::PathBuf;

use kusabi_core::appointment::{Appointment, CLOSING_BLOCKS};
use serde::Serialize;

use crate::{
    appointing::Appointing,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    page::{Answer, Page, grouped},
    session::Session,
};

/// Bring an appointment to the ledger, with the signatures of all files that are named
///
/// The epoch ends sixteen blocks later, about a second; the nodes hand over by themselves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of one appointment, signed by several
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The writer's key file, who brings it [default: the profile's]
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
}

#[derive(Serialize)]
struct Submitted {
    epoch: u64,
    height: u64,
    last: u64,
}

impl Answer for Submitted {
    fn page(&self, page: &mut Page) {
        page.good(
            "Appointed",
            &format!("the validators of epoch {}", self.epoch),
        )
        .field("at block", grouped(self.height))
        .field(
            "this epoch",
            format!("ends with block {}", grouped(self.last)),
        );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let mut files = args.files.iter();
    let first = files
        .next()
        .ok_or_else(|| Failure::new(Exit::Usage, "no file is named"))?;
    let mut appointing = Appointing::read(first)?;
    for path in files {
        appointing.take(&Appointing::read(path)?, path)?;
    }
    let connection = Connection::open(session)?;
    let org = session.org(None)?;
    let writer = session.writer_key(args.writer.as_deref())?;
    let action = appointing.action(org.id())?;
    // Said here, and not by the ledger: there it costs everyone eighty signatures to look at.
    let bytes = appointing
        .parts
        .encode(&appointing.signatures)
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    Appointment::decode(&bytes)
        .and_then(|appointment| {
            let old = kusabi_core::set::EpochSet::decode(&appointing.old_set)?;
            appointment.check(&appointing.chain, &old).map(drop)
        })
        .map_err(|why| {
            Failure::new(
                Exit::Negative,
                format!("the appointment does not count: {why}"),
            )
            .advise("kusabi epoch show FILE says who has signed; bring the files of all with it")
        })?;
    let height = connection.act(action, &[&writer])?.get();
    session.output().say(&Submitted {
        epoch: appointing.next()?.epoch().get(),
        height,
        last: height + CLOSING_BLOCKS,
    })
}
