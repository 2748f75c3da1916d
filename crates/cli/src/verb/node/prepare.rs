//! `kusabi node prepare`: fresh keys for a node that others are to name as a validator.

use std::path::PathBuf;

use kusabi_core::{
    address::is_address,
    id::{Epoch, OrgName},
};
use kusabi_node::{
    directory::{Directory, DirectoryError},
    prepared::Prepared,
};
use serde::Serialize;

use super::directory_failure;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    founding::Places,
    keyfile::hex,
    member::not_an_address,
    node_file::{ENDING, NodeFile, Seat},
    page::{Answer, Page},
    session::Session,
};

/// Make fresh keys for a node whose disk or keys were lost, and the file that names them to the others
///
/// In a new directory, in one that was restored from a backup, or in that of a node that is to be recovered and does not run. In one
/// that has voted they are for a recovery alone, as it says then: a lost, damaged or stolen node gets a new directory. The next appointment (kusabi epoch new --replace) or the recovery (kusabi recover new) names the keys. Run again, it finds those
/// that it made.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the node, a new one or one that holds the ledger
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Name of your organisation
    #[arg(long, value_name = "ORG")]
    org: OrgName,
    /// Where the other organisations' nodes reach it
    #[arg(long, value_name = "HOST:PORT", default_value = "")]
    address: String,
}

#[derive(Serialize)]
struct Ready {
    organisation: String,
    file: PathBuf,
    address: String,
    vote_key: String,
    node_key: String,
    /// The present epoch, in which this directory has voted: the keys are for a recovery alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    voted_in: Option<u64>,
}

impl Answer for Ready {
    fn page(&self, page: &mut Page) {
        page.good("Prepared", &format!("a node of {}", self.organisation))
            .field("vote key", &*self.vote_key)
            .field("node key", &*self.node_key)
            .field(
                "address",
                match &*self.address {
                    "" => "none",
                    address => address,
                },
            )
            .gap();
        if let Some(epoch) = self.voted_in {
            page.text(&format!(
                "This directory has voted in epoch {epoch}, and every copy of it has this next vote key: the file is for a recovery of the \
                 ledger (kusabi recover new). Where the node alone was damaged or its key stolen, prepare a new directory instead."
            ))
            .gap();
        }
        page.text("Send this file to whoever makes the appointment or the recovery; nothing in it is secret:")
            .command(&self.file.display().to_string());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    if !args.address.is_empty() && !is_address(&args.address) {
        return Err(Failure::new(Exit::Usage, not_an_address(&args.address)));
    }
    let places = Places::new(&args.data);
    files::make_folder(places.root())?;
    let Keys {
        vote_key,
        node_key,
        voted_in,
    } = keys(&places)?;
    let node = NodeFile {
        org: args.org,
        seat: Seat {
            vote_key,
            node_key,
            address: args.address.clone(),
        },
    };
    let file = places.root().join(format!("{}.{ENDING}", args.org));
    node.write(&file)?;
    session.output().say(&Ready {
        organisation: args.org.to_string(),
        file,
        address: node.seat.address,
        vote_key: hex(&node.seat.vote_key),
        node_key: hex(&node.seat.node_key),
        voted_in: voted_in.map(Epoch::get),
    })
}

/// What a directory has ready.
struct Keys {
    /// Public halves.
    vote_key: [u8; 32],
    node_key: [u8; 32],
    /// The epoch in which it has voted and still does.
    voted_in: Option<Epoch>,
}

fn keys(places: &Places) -> Result<Keys> {
    let failed = |why: DirectoryError| directory_failure(&why);
    match Directory::open(&places.node()) {
        Ok(directory) => {
            let voted_in = directory.voted_in().map_err(failed)?;
            if let Some(epoch) = voted_in.filter(|_| !directory.has_blocks()) {
                return Err(votes_gone(places, epoch));
            }
            Ok(Keys {
                vote_key: directory.next_vote_key().map_err(failed)?,
                node_key: directory.node_key().public(),
                voted_in,
            })
        }
        Err(DirectoryError::NoLedger(_)) => {
            let prepared = Prepared::open_or_make(&places.node()).map_err(failed)?;
            Ok(Keys {
                vote_key: prepared.vote_key().public(),
                node_key: prepared.node_key().public(),
                voted_in: None,
            })
        }
        Err(why) => Err(failed(why)),
    }
}

/// It cannot be recovered from, for it holds no block; and in its place a node votes from a new directory.
fn votes_gone(places: &Places, epoch: Epoch) -> Failure {
    Failure::new(
        Exit::VotesLost,
        format!(
            "{} has voted in epoch {epoch}, and its blocks and votes are gone: no keys are made here",
            places.root().display()
        ),
    )
    .advise("prepare a new directory (--data NEWDIR), and move this one away: the next vote key in it lies in every copy")
}
