//! What members propose and how they vote, as people read it.

use std::{
    collections::BTreeMap,
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
    page::{Answer, Page, elapsed, grouped, instant},
};

/// Proposals that are walked through to find out whose seat is which; beyond it a seat is shown as its number.
const WALKED_MAX: usize = 10_000;

/// Where a proposal is read from: a file, or its ID on the ledger.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Id(ProposalId),
    File(PathBuf),
}

impl std::str::FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::File(text.into()), Self::Id))
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
            Self::File(path) => {
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
        }
    }
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

/// Walks from the newest proposal back, at most `limit`.
pub(crate) fn walk(
    connection: &Connection,
    members: &Members,
    limit: usize,
) -> Result<Vec<ProposalRow>> {
    let mut rows = Vec::new();
    let mut next = members.newest;
    while let Some(id) = next
        && rows.len() < limit
    {
        let row = known(connection, &id)?;
        next = row.previous;
        rows.push(row);
    }
    Ok(rows)
}

/// Whose seats are which: founders, and those who were admitted.
pub(crate) struct Names(BTreeMap<u8, String>);

impl Names {
    pub(crate) fn read(connection: &Connection, members: &Members) -> Result<Self> {
        let document = connection.genesis()?;
        let genesis = Genesis::decode(&document)
            .map_err(|why| Failure::new(Exit::Unproven, why.to_string()))?;
        let founders = genesis
            .founders()
            .filter_map(|one| OrgName::new(one.name).ok());
        let mut organisations: Vec<OrgId> = founders.map(|name| name.id()).collect();
        for row in walk(connection, members, WALKED_MAX)? {
            if row.carried == Height::ZERO {
                continue;
            }
            let proposal = content(connection, &row)?;
            organisations.extend(proposal.acts().iter().filter_map(|act| match act {
                Act::Admit { candidate, .. } => Some(candidate.name.id()),
                _ => None,
            }));
        }
        let mut names = BTreeMap::new();
        for org in organisations {
            if let Some(Row::Organisation(row)) = connection.organisation(&org)?.into_value()
                && let Some(seat) = row.seat
            {
                names.insert(seat.number(), row.name.to_string());
            }
        }
        Ok(Self(names))
    }

    fn of(&self, seats: &Seats, members: &Members) -> Vec<String> {
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
            "admit {} as a {}: {} of {} officers act for it, up to {} rows",
            candidate.name,
            if *seat {
                "member"
            } else {
                "guest, without a vote"
            },
            candidate.threshold,
            candidate.officers.len(),
            grouped(*quota)
        ),
        Act::Remove { org } => format!(
            "remove {}: it has no vote and adds nothing any more",
            name(org)?
        ),
        Act::Seat { org } => format!("give {} a seat", name(org)?),
        Act::Quota { org, rows } => {
            format!("let {} have up to {} rows", name(org)?, grouped(*rows))
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
    high: bool,
    members: usize,
    yes: Vec<String>,
    no: Vec<String>,
    needed: usize,
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
        let votes = row.map(|row| Votes {
            proposed_at: row.proposed.get(),
            carried_at: (row.carried != Height::ZERO).then(|| row.carried.get()),
            high,
            members: count,
            yes: names.of(&row.yes, members),
            no: names.of(&row.no, members),
            needed: (1..=count)
                .find(|yes| carries(*yes, count, high))
                .unwrap_or(count),
        });
        let state = match row {
            None => "not proposed",
            Some(row) if row.carried != Height::ZERO => "carried",
            Some(row) if row.expires_ms < now_ms => "run out",
            Some(_) => "open",
        };
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
            format!("{} of {}", votes.yes.len(), votes.needed)
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
                .field(
                    "needed",
                    format!(
                        "{} of {} members{}",
                        votes.needed,
                        votes.members,
                        if votes.high {
                            ", two thirds"
                        } else {
                            ", more than a third"
                        }
                    ),
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
        page.field("until", instant(self.expires_ms));
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    }
}
