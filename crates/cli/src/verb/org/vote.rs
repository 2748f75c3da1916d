//! `kusabi org vote`: a member's vote on a proposal.

use std::path::PathBuf;

use kusabi_core::{
    id::{OrgName, StateKey},
    row::Row,
    tx::Action,
};

use super::propose::say;
use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    governing::Which,
    session::Session,
};

/// Vote on a proposal
///
/// Read it first: `kusabi org proposals ID`. The vote that is enough carries it out. A no may become a yes later; a yes stands.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("vote").required(true))]
pub(crate) struct Args {
    /// The proposal: its ID, the first digits of it (8 or more), or a file with it
    #[arg(value_name = "PROPOSAL")]
    proposal: Which,
    /// For it
    #[arg(long, group = "vote")]
    yes: bool,
    /// Against it
    #[arg(long, group = "vote")]
    no: bool,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key files of as many officers as the organisation asks for [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let org = session.org(args.org.as_ref())?;
    let connection = Connection::open(session)?;
    let proposal = args.proposal.read(&connection)?;
    let officers = session.officer_keys(&args.officers)?;
    let organisation = connection.known_organisation(&org.id())?;
    let seat = organisation.seat.ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            format!("{org} is no member of this ledger and has no vote"),
        )
        .advise("members give it a seat: kusabi org propose --seat")
    })?;
    let action = Action::Vote {
        org: org.id(),
        seat,
        proposal: Box::new(proposal.clone()),
        yes: args.yes,
    };
    connection.act(action, &officers.iter().collect::<Vec<_>>())?;
    let row = connection.row(StateKey::proposal(&proposal.id()))?;
    if !args.yes
        && let Some(Row::Proposal(row)) = row.value()
        && row.yes.contains(seat)
    {
        session.output().warn(&format!(
            "{org} has said yes to it before, and a yes stands: this no changes nothing"
        ));
    }
    say(session, &connection, &proposal)
}
