//! `kusabi org threshold`: how many officers act together.

use std::path::PathBuf;

use kusabi_core::{id::OrgName, tx::Action};
use serde::Serialize;

use crate::{
    connection::Connection,
    failure::Result,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Set how many officers of your organisation act together
///
/// Signed by as many as have to until now. Officers are granted and withdrawn with `kusabi org grant` and `kusabi org withdraw`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many
    #[arg(value_name = "K", value_parser = clap::value_parser!(u8).range(1..=15))]
    k: u8,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key files of as many officers as the organisation asks for [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Set {
    organisation: String,
    officers_needed: u8,
    officers: u8,
    height: u64,
}

impl Answer for Set {
    fn page(&self, page: &mut Page) {
        page.good("Set", &format!("who acts for {}", self.organisation))
            .field(
                "officers",
                format!("{} of {} sign", self.officers_needed, self.officers),
            )
            .field("at block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let org = session.org(args.org.as_ref())?;
    let officers = session.officer_keys(&args.officers)?;
    let connection = Connection::open(session)?;
    let action = Action::Officers {
        org: org.id(),
        org_version: connection.known_organisation(&org.id())?.version,
        k: args.k,
    };
    let height = connection.act(action, &officers.iter().collect::<Vec<_>>())?;
    let row = connection.known_organisation(&org.id())?;
    session.output().say(&Set {
        organisation: org.to_string(),
        officers_needed: row.officers_k,
        officers: row.officers_n,
        height: height.get(),
    })
}
