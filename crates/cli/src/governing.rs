//! What members propose and how they vote, as people read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use kusabi_core::{
    genesis::Genesis,
    id::{Height, OrgId, OrgName, ProposalId, StateKey},
    quorum::carries,
    row::{Members, ProposalRow, Row, Seat, Seats},
    tx::{Act, Action, PROPOSAL_BYTES_MAX, Proposal, Transaction},
};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page, counted, elapsed, grouped, instant},
};

/// Proposals that are walked through to find out whose seat is which; beyond it a seat is shown as its number.
const NAMED_MAX: usize = 256;
/// Proposals among which one is looked for by the first digits of its ID.
const SOUGHT_MAX: usize = 1_024;
/// Fewest digits by which one is looked for.
const DIGITS_MIN: usize = 8;

/// Where a proposal is read from: a file, or its ID on the ledger, or the first digits of it.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Id(ProposalId),
    /// Hexadecimal digits that are no whole ID; or a file that has them as its name.
    Digits(String),
    File(PathBuf),
}

impl std::str::FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
        Ok(if digits && !text.is_empty() {
            Self::Digits(text.to_owned())
        } else {
            Self::File(text.into())
        })
    }
}

impl Which {
    /// The proposal's text.
    pub(crate) fn read(&self, connection: &Connection) -> Result<Proposal> {
        match self {
            Self::Id(id) => {
                let row = known(connection, id)?;
                content(connection, &row)
            }
            Self::Digits(digits) if !Path::new(digits).exists() => {
                if digits.len() < DIGITS_MIN {
                    return Err(too_few(digits));
                }
                content(connection, &begins_with(connection, digits)?)
            }
            Self::Digits(name) => from_file(Path::new(name)),
            Self::File(path) => from_file(path),
        }
    }
}

fn too_few(digits: &str) -> Failure {
    let what = format!(
        "{digits} has {}, and an ID is shortened to {DIGITS_MIN} or more",
        counted(digits.len() as u64, "digit")
    );
    Failure::new(Exit::Usage, what).advise(
        "`kusabi org proposals` shows enough of them; a file of that name is not here either",
    )
}

fn from_file(path: &Path) -> Result<Proposal> {
    let bytes = files::read(path, PROPOSAL_BYTES_MAX as u64 + 1)?;
    Proposal::decode(&bytes).map_err(|why| {
        Failure::new(
            Exit::File,
            format!(
                "{} is neither a proposal nor the ID of one: {why}",
                path.display()
            ),
        )
        .advise("`kusabi org proposals` lists those on the ledger with their IDs")
    })
}

/// The one proposal whose ID begins with these digits.
fn begins_with(connection: &Connection, digits: &str) -> Result<ProposalRow> {
    let digits = digits.to_ascii_lowercase();
    let mut found = None;
    for row in walk(connection, &members(connection)?).take(SOUGHT_MAX) {
        let row = row?;
        if !row.id.to_string().starts_with(&digits) {
            continue;
        }
        if let Some(other) = found.replace(row) {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "several proposals begin with {digits}, {} and {} among them",
                    other.id, row.id
                ),
            )
            .advise("give more digits of the one that is meant"));
        }
    }
    found.ok_or_else(|| {
        Failure::new(
            Exit::Negative,
            format!("none of the newest {SOUGHT_MAX} proposals begins with {digits}"),
        )
        .advise("`kusabi org proposals` lists those on the ledger; an older one is found by its whole ID (--json)")
    })
}

/// Writes a proposal's bytes to a new file.
pub(crate) fn create(proposal: &Proposal, path: &Path) -> Result<()> {
    files::create(path, proposal.as_bytes(), Mode::Public)
}

/// The members' row.
pub(crate) fn members(connection: &Connection) -> Result<Members> {
    match connection.row(StateKey::members())?.into_value() {
        Some(Row::Members(row)) => Ok(row),
        _ => Err(Failure::new(
            Exit::Unproven,
            "the ledger proves no members' row",
        )),
    }
}

/// The row of a proposal, or its absence.
pub(crate) fn find(connection: &Connection, id: &ProposalId) -> Result<Option<ProposalRow>> {
    Ok(match connection.row(StateKey::proposal(id))?.into_value() {
        Some(Row::Proposal(row)) => Some(row),
        _ => None,
    })
}

/// The row of a proposal that has to be there.
pub(crate) fn known(connection: &Connection, id: &ProposalId) -> Result<ProposalRow> {
    find(connection, id)?.ok_or_else(|| {
        Failure::new(Exit::Negative, format!("the ledger has no proposal {id}"))
            .advise("`kusabi org proposals` lists those that it has")
    })
}

/// What a row's proposal says. The node is not believed: the ID is the hash of it.
pub(crate) fn content(connection: &Connection, row: &ProposalRow) -> Result<Proposal> {
    let block = connection.block(row.proposed)?;
    let transactions = block.map(|block| block.transactions).unwrap_or_default();
    let mut proposals = transactions.iter().filter_map(|bytes| {
        let transaction = Transaction::decode(bytes).ok()?;
        match transaction.action() {
            Action::Propose { proposal } => Some(proposal.as_ref().clone()),
            _ => None,
        }
    });
    proposals
        .find(|proposal| proposal.id() == row.id)
        .ok_or_else(|| {
            Failure::new(
                Exit::Unproven,
                format!(
                    "the node does not show the proposal in block {}",
                    grouped(row.proposed.get())
                ),
            )
            .advise("ask another node with --ledger URL, or have the file sent to you")
        })
}

/// Walks from the newest proposal back; each step asks the ledger once.
pub(crate) fn walk<'c>(
    connection: &'c Connection,
    members: &Members,
) -> impl Iterator<Item = Result<ProposalRow>> + use<'c> {
    let mut next = members.newest;
    std::iter::from_fn(move || {
        let row = known(connection, &next.take()?);
        next = row.as_ref().ok().and_then(|row| row.previous);
        Some(row)
    })
}

/// Whose seats are which: founders, and those who were admitted.
#[derive(Default)]
pub(crate) struct Names(BTreeMap<u8, String>);

impl Names {
    /// The names of the members who have voted on these.
    pub(crate) fn of(
        connection: &Connection,
        members: &Members,
        rows: &[ProposalRow],
    ) -> Result<Self> {
        let voted = rows
            .iter()
            .flat_map(|row| row.yes.iter().chain(row.no.iter()));
        let mut nameless: BTreeSet<Seat> =
            voted.filter(|seat| members.seats.contains(*seat)).collect();
        let mut names = Self::default();
        if nameless.is_empty() {
            return Ok(names);
        }
        let document = connection.genesis()?;
        let genesis = Genesis::decode(&document)
            .map_err(|why| Failure::new(Exit::Unproven, why.to_string()))?;
        let founders = genesis.founders();
        for name in founders.filter_map(|one| OrgName::new(one.name).ok()) {
            names.add(connection, &name.id(), &mut nameless)?;
        }
        let mut newest = walk(connection, members).take(NAMED_MAX);
        while !nameless.is_empty()
            && let Some(row) = newest.next().transpose()?
        {
            if row.carried == Height::ZERO {
                continue;
            }
            for act in content(connection, &row)?.acts() {
                if let (Act::Admit { .. } | Act::Seat { .. }, Some(org)) = (act, act.org()) {
                    names.add(connection, &org, &mut nameless)?;
                }
            }
        }
        Ok(names)
    }

    fn add(
        &mut self,
        connection: &Connection,
        org: &OrgId,
        nameless: &mut BTreeSet<Seat>,
    ) -> Result<()> {
        if let Some(Row::Organisation(row)) = connection.organisation(org)?.into_value()
            && let Some(seat) = row.seat
        {
            nameless.remove(&seat);
            self.0.insert(seat.number(), row.name.to_string());
        }
        Ok(())
    }

    fn listed(&self, seats: &Seats, members: &Members) -> Vec<String> {
        let name = |seat: Seat| {
            if !members.seats.contains(seat) {
                return format!("seat {} (no member any more)", seat.number());
            }
            self.0
                .get(&seat.number())
                .cloned()
                .unwrap_or_else(|| format!("seat {}", seat.number()))
        };
        seats.iter().map(name).collect()
    }
}

/// An act in words.
pub(crate) fn words(act: &Act, connection: &Connection) -> Result<String> {
    let name = |org: &OrgId| connection.organisation_name(org);
    Ok(match act {
        Act::Admit {
            candidate,
            quota,
            seat,
        } => format!(
            "admit {} as a {}: {} of {} officers act for it, up to {}",
            candidate.name,
            if *seat {
                "member"
            } else {
                "guest, without a vote"
            },
            candidate.threshold,
            candidate.officers.len(),
            counted(*quota, "row")
        ),
        Act::Remove { org } => format!(
            "remove {}: it has no vote and adds nothing any more",
            name(org)?
        ),
        Act::Seat { org } => format!("give {} a seat", name(org)?),
        Act::Quota { org, rows } => {
            format!("let {} have up to {}", name(org)?, counted(*rows, "row"))
        }
        Act::Freeze { org } => format!("freeze {}: it adds nothing for 72 hours", name(org)?),
        Act::Thaw { org } => format!("let {} add again", name(org)?),
        Act::Heartbeat { ms } => format!("a heartbeat of {}", elapsed((*ms).into())),
    })
}

/// A proposal as people read it.
#[derive(Serialize)]
pub(crate) struct Sheet {
    id: String,
    proposer: String,
    state: &'static str,
    acts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    officers: Vec<Officer>,
    expires_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    votes: Option<Votes>,
}

/// An officer whom a proposal puts on the ledger.
#[derive(Serialize)]
struct Officer {
    organisation: String,
    handle: String,
    signing_key: String,
}

#[derive(Serialize)]
struct Votes {
    proposed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    carried_at: Option<u64>,
    yes: Vec<String>,
    no: Vec<String>,
    /// What it takes, while it is open: it depends on who is a member, and how an organisation stands, when it is counted.
    #[serde(flatten)]
    takes: Option<Takes>,
}

#[derive(Serialize)]
struct Takes {
    high: bool,
    members: usize,
    needed: usize,
}

impl Takes {
    fn now(connection: &Connection, proposal: &Proposal, members: &Members) -> Result<Self> {
        let mut high = false;
        for act in proposal.acts() {
            let organisation = match act.org() {
                Some(org) => match connection.organisation(&org)?.into_value() {
                    Some(Row::Organisation(row)) => Some(row),
                    _ => None,
                },
                None => None,
            };
            high |= act.is_high(organisation.as_ref());
        }
        let count = members.count();
        let needed = (1..=count).find(|yes| carries(*yes, count, high));
        Ok(Self {
            high,
            members: count,
            needed: needed.unwrap_or(count),
        })
    }
}

impl Sheet {
    /// With what the ledger knows of it, if it does.
    pub(crate) fn of(
        connection: &Connection,
        proposal: &Proposal,
        row: Option<&ProposalRow>,
        members: &Members,
        names: &Names,
        now_ms: u64,
    ) -> Result<Self> {
        let state = match row {
            None => "not proposed",
            Some(row) if row.carried != Height::ZERO => "carried",
            Some(row) if row.expires_ms < now_ms => "run out",
            Some(_) => "open",
        };
        let takes = (state == "open")
            .then(|| Takes::now(connection, proposal, members))
            .transpose()?;
        let votes = row.map(|row| Votes {
            proposed_at: row.proposed.get(),
            carried_at: (row.carried != Height::ZERO).then(|| row.carried.get()),
            yes: names.listed(&row.yes, members),
            no: names.listed(&row.no, members),
            takes,
        });
        let officers = proposal.acts().iter().flat_map(|act| {
            let name = match act {
                Act::Admit { candidate, .. } => candidate.name.to_string(),
                _ => String::new(),
            };
            act.officers().iter().map(move |consent| Officer {
                organisation: name.clone(),
                handle: consent.entry.handle().to_string(),
                signing_key: consent
                    .entry
                    .check_keys()
                    .ok()
                    .and_then(|keys| keys.verification_key())
                    .map(|key| crate::keyfile::hex(key.raw()))
                    .unwrap_or_default(),
            })
        });
        Ok(Self {
            id: proposal.id().to_string(),
            proposer: connection.organisation_name(&proposal.proposer())?,
            state,
            acts: proposal
                .acts()
                .iter()
                .map(|act| words(act, connection))
                .collect::<Result<_>>()?,
            officers: officers.collect(),
            expires_ms: proposal.expires_ms(),
            votes,
        })
    }

    /// Its line in a table: ID, state, votes, what.
    pub(crate) fn line(&self) -> Vec<String> {
        let votes = self.votes.as_ref().map_or_else(String::new, |votes| {
            let yes = votes.yes.len();
            match &votes.takes {
                Some(takes) => format!("{yes} of {}", takes.needed),
                None => yes.to_string(),
            }
        });
        let mut acts = self.acts.join("; ");
        if acts.chars().count() > 60 {
            acts = acts.chars().take(59).chain(['…']).collect();
        }
        vec![
            self.id.chars().take(16).collect(),
            self.state.to_owned(),
            votes,
            self.proposer.clone(),
            acts,
        ]
    }
}

impl Answer for Sheet {
    fn page(&self, page: &mut Page) {
        let by = format!("by {}", self.proposer);
        match self.state {
            "carried" => page.good("Carried", &format!("the proposal {by}")),
            "run out" => page.bad("Run out", &format!("the proposal {by}")),
            _ => page.careful("Proposal", &by),
        };
        page.field("ID", &*self.id);
        for act in &self.acts {
            page.field("to", act.clone());
        }
        for officer in &self.officers {
            page.field(
                format!("officer of {}", officer.organisation),
                &*officer.signing_key,
            );
        }
        if let Some(votes) = &self.votes {
            page.field("for it", listed(&votes.yes))
                .field("against it", listed(&votes.no))
                .field_if(
                    "needed",
                    votes.takes.as_ref().map(|takes| {
                        format!(
                            "{} of {} members{}",
                            takes.needed,
                            takes.members,
                            if takes.high {
                                ", two thirds"
                            } else {
                                ", more than a third"
                            }
                        )
                    }),
                )
                .field(
                    "proposed at",
                    format!("block {}", grouped(votes.proposed_at)),
                )
                .field_if(
                    "carried at",
                    votes
                        .carried_at
                        .map(|height| format!("block {}", grouped(height))),
                );
        }
        // One that was carried is in force for good.
        let until = (self.state != "carried").then(|| instant(self.expires_ms));
        page.field_if("until", until);
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    }
}
