//! `kusabi org propose`: puts something to the members.

use std::path::{Path, PathBuf};

use kusabi_core::{
    id::OrgName,
    tx::{Act, Action, Candidate, Proposal},
};

use crate::{
    application::Application,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files,
    founding::QUOTA,
    governing::{self, Names, Sheet},
    session::Session,
    verb::genesis::seconds,
};

const DAY_MS: u64 = 24 * 3_600_000;

/// Propose something to the members: your own organisation is for it
///
/// What is named together happens together, or not at all, in the block with the vote that is enough: more than a third of the
/// members to raise a quota, to freeze for the first time, to thaw; two thirds for everything else.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("acts").required(true).multiple(true))]
pub(crate) struct Args {
    /// Admit the organisation that made this application, with a seat
    #[arg(long, value_name = "FILE", group = "acts")]
    admit: Vec<PathBuf>,
    /// Those who are admitted have no seat: they register keys and do not vote
    #[arg(long, requires = "admit")]
    guest: bool,
    /// Rows that those may have who are admitted
    #[arg(long, value_name = "ROWS", default_value_t = QUOTA)]
    quota: u64,
    /// Take an organisation's seat and stop what it adds
    #[arg(long, value_name = "ORG", group = "acts")]
    remove: Vec<OrgName>,
    /// Give a guest, or an organisation that was removed, a seat
    #[arg(long, value_name = "ORG", group = "acts")]
    seat: Vec<OrgName>,
    /// Let an organisation have so many rows
    #[arg(long = "set-quota", value_name = "ORG=ROWS", value_parser = quota, group = "acts")]
    quotas: Vec<(OrgName, u64)>,
    /// Stop what an organisation adds, for 72 hours; it still revokes and withdraws
    #[arg(long, value_name = "ORG", group = "acts")]
    freeze: Vec<OrgName>,
    /// End a freeze
    #[arg(long, value_name = "ORG", group = "acts")]
    thaw: Vec<OrgName>,
    /// Set the heartbeat, never longer than at the founding, such as 30s
    #[arg(long, value_name = "SECONDS", value_parser = seconds, group = "acts")]
    heartbeat: Option<u64>,
    /// How many days the members have to vote
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u64).range(1..90))]
    days: u64,
    /// Keep what is proposed in a file, for those who vote; it is written once the ledger has the proposal
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key files of as many officers as the organisation asks for [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
}

fn quota(text: &str) -> Result<(OrgName, u64), String> {
    let (org, rows) = text.split_once('=').ok_or("ORG=ROWS is meant")?;
    let org = org.parse().map_err(|why| format!("{org}: {why}"))?;
    let rows = rows.parse().map_err(|why| format!("{rows}: {why}"))?;
    Ok((org, rows))
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let org = session.org(args.org.as_ref())?;
    let connection = Connection::open(session)?;
    let proposal = proposal(args, session, &connection, &org)?;
    let officers = session.officer_keys(&args.officers)?;
    if let Some(path) = &args.out {
        files::refuse_existing(path)?;
    }
    let action = Action::Propose {
        proposal: Box::new(proposal.clone()),
    };
    connection.act(action, &officers.iter().collect::<Vec<_>>())?;
    // Not before: a file is passed on, and what the ledger refused must not look like something to vote on.
    if let Some(path) = &args.out {
        governing::create(&proposal, path).map_err(|why| kept_without(&proposal, why))?;
    }
    say(session, &connection, &proposal)
}

/// The ledger has it, and the file could not be written: nobody is to propose it again.
fn kept_without(proposal: &Proposal, why: Failure) -> Failure {
    let what = format!(
        "the ledger has the proposal {}, and {}",
        proposal.id(),
        why.what()
    );
    why.saying(what).advise(
        "do not propose it again: those who vote need no file, the ID is enough (kusabi org vote ID)",
    )
}

fn proposal(
    args: &Args,
    session: &Session,
    connection: &Connection,
    org: &OrgName,
) -> Result<Proposal> {
    let mut acts = Vec::new();
    for path in &args.admit {
        let candidate = Application::read(path, connection.chain())?.candidate;
        free(connection, &candidate, path)?;
        acts.push(Act::Admit {
            candidate,
            quota: args.quota,
            seat: !args.guest,
        });
    }
    // A name with a slip of the pen would be voted on, and only then be found to be nobody's.
    let quotas = args.quotas.iter().map(|(org, _)| org);
    let named = args.remove.iter().chain(&args.seat).chain(&args.freeze);
    for org in named.chain(&args.thaw).chain(quotas) {
        if connection.organisation(&org.id())?.value().is_none() {
            return Err(Failure::new(
                Exit::Negative,
                format!("the ledger has no organisation {org}"),
            )
            .advise("check the name; `kusabi org show NAME` asks for one"));
        }
    }
    let id = OrgName::id;
    acts.extend(args.remove.iter().map(|org| Act::Remove { org: id(org) }));
    acts.extend(args.seat.iter().map(|org| Act::Seat { org: id(org) }));
    acts.extend(args.quotas.iter().map(|(org, rows)| Act::Quota {
        org: id(org),
        rows: *rows,
    }));
    acts.extend(args.freeze.iter().map(|org| Act::Freeze { org: id(org) }));
    acts.extend(args.thaw.iter().map(|org| Act::Thaw { org: id(org) }));
    if let Some(seconds) = args.heartbeat {
        let ms = seconds.saturating_mul(1_000);
        let longest = u64::from(governing::members(connection)?.longest_heartbeat_ms);
        if ms > longest {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "the ledger was founded with a heartbeat of {} s, and none is longer",
                    longest / 1_000
                ),
            )
            .advise("servers and operators know that one: propose a shorter one"));
        }
        acts.push(Act::Heartbeat {
            ms: u32::try_from(ms).unwrap_or(u32::MAX),
        });
    }
    // Deadlines are by the ledger's time, which is never ahead of an honest clock.
    let now = session.now_ms();
    let expires = now.saturating_add(args.days.saturating_mul(DAY_MS));
    Proposal::new(org.id(), expires, acts).map_err(|why| {
        Failure::new(Exit::Usage, format!("this cannot be proposed: {why}"))
            .advise("a proposal has 1 to 8 acts, each about another organisation; a heartbeat is 1 s to 1 h")
    })
}

/// Refuses a candidate whose name or handles are taken: that would be voted on, and only then be found to be impossible.
fn free(connection: &Connection, candidate: &Candidate, path: &Path) -> Result<()> {
    let name = candidate.name;
    if connection.organisation(&name.id())?.value().is_some() {
        return Err(Failure::new(
            Exit::Negative,
            format!("the ledger has an organisation {name} already"),
        )
        .advise(format!(
            "give it a seat (--seat {name}), or have whoever applies choose another name"
        )));
    }
    for consent in &candidate.officers {
        let handle = consent.entry.handle();
        if let Some(record) = connection.record(&handle)?.value() {
            let owner = connection.organisation_name(&record.owner())?;
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{}: the handle {handle} of an officer of {name} is taken, by a key of {owner}",
                    path.display()
                ),
            )
            .advise(
                "have it apply again with new officers' keys: kusabi org init, kusabi org apply",
            ));
        }
    }
    Ok(())
}

/// Shows a proposal as it stands now.
pub(super) fn say(session: &Session, connection: &Connection, proposal: &Proposal) -> Result<()> {
    let members = governing::members(connection)?;
    let row = governing::find(connection, &proposal.id())?;
    let names = Names::of(connection, &members, row.as_slice())?;
    let now = session.now_ms();
    let sheet = Sheet::of(connection, proposal, row.as_ref(), &members, &names, now)?;
    session.output().say(&sheet)
}
