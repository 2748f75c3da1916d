//! `kusabi node prepare`: fresh keys for a node that others are to name as a validator.

use std::path::PathBuf;

use kusabi_core::{address::is_address, id::OrgName};
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
/// In a new directory, in one that was restored from a backup, or in that of a node that is to be recovered and does not run. The
/// next appointment (kusabi epoch new --replace) or the recovery (kusabi recover new) names the keys. Run again, it finds those
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
            .gap()
            .text("Send this file to whoever makes the appointment or the recovery; nothing in it is secret:")
            .command(&self.file.display().to_string());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    if !args.address.is_empty() && !is_address(&args.address) {
        return Err(Failure::new(Exit::Usage, not_an_address(&args.address)));
    }
    let places = Places::new(&args.data);
    files::make_folder(places.root())?;
    let (vote_key, node_key) = keys(&places)?;
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
    })
}

/// Public halves of the vote key that the directory has ready, and of its node key.
fn keys(places: &Places) -> Result<([u8; 32], [u8; 32])> {
    let failed = |why: DirectoryError| directory_failure(&why);
    match Directory::open(&places.node()) {
        Ok(directory) => {
            let next = directory.next_vote_key().map_err(failed)?;
            Ok((next, directory.node_key().public()))
        }
        Err(DirectoryError::NoLedger(_)) => {
            let prepared = Prepared::open_or_make(&places.node()).map_err(failed)?;
            Ok((prepared.vote_key().public(), prepared.node_key().public()))
        }
        Err(why) => Err(failed(why)),
    }
}
