//! `kusabi recover new`: a recovery that the recovery keys can sign.

use std::path::PathBuf;

use kusabi_core::set::EpochSet;
use kusabi_node::directory::Directory;

use super::{
    basis::{Basis, Choice},
    wrong,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    founding::Places,
    node_file::NodeFile,
    session::Session,
    verb::node::directory_failure,
};

/// Make the recovery of a ledger with several validators, for the recovery keys to sign
///
/// For when fewer than a quorum of the nodes are left, and for good. All look for the newest copy of the ledger first: what came
/// after its last block is lost. Each organisation whose node is to vote sends the file that `kusabi node prepare` made.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory with the newest copy of the ledger; its node does not run
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Node files of the next validators
    #[arg(value_name = "NODE-FILE", required = true)]
    nodes: Vec<PathBuf>,
    #[command(flatten)]
    choice: Choice,
    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<()> {
    let directory =
        Directory::open(&Places::new(&args.data).node()).map_err(|why| directory_failure(&why))?;
    let set = EpochSet::decode(&directory.outline().newest().set).map_err(|why| wrong(&why))?;
    let refused = |what: String| Failure::new(Exit::Usage, what);
    let mut seats = Vec::new();
    for path in &args.nodes {
        let NodeFile { org, seat } = NodeFile::read(path)?;
        if set.organisations().all(|known| known.id != org.id()) {
            return Err(refused(format!(
                "{} is of {org}, which is not among the organisations of epoch {}",
                path.display(),
                set.epoch()
            )));
        }
        let mut epochs = directory.outline().epochs().iter();
        if epochs.any(|epoch| epoch.vote_keys.contains(&seat.vote_key)) {
            return Err(refused(format!(
                "the vote key in {} has voted in an earlier epoch",
                path.display()
            ))
            .advise("have its organisation make a fresh one: kusabi node prepare"));
        }
        if seat.address.is_empty() && args.nodes.len() > 1 {
            return Err(refused(format!(
                "{} does not say where the others reach {org}'s node",
                path.display()
            ))
            .advise("it has to be made again: kusabi node prepare --address HOST:PORT"));
        }
        if seats.iter().any(|(known, _)| *known == org.id()) {
            return Err(refused(format!("two node files are of {org}"))
                .advise("name the newest of each organisation"));
        }
        seats.push((org.id(), seat));
    }
    let basis = Basis::new(&directory, &args.data, &args.choice, &seats, session)?;
    basis.recovering.create(&args.out)?;
    let sheet = basis.recovering.sheet(|org| basis.officers.name(org))?;
    session.output().say(&sheet)
}
