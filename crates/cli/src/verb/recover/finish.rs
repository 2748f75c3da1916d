//! `kusabi recover finish`: a node's directory goes on with the recovery.

use std::path::PathBuf;

use kusabi_core::nodes::Nodes;
use kusabi_node::directory::Directory;
use serde::Serialize;

use super::{basis::survey, sign::of_another_chain, wrong};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    founding::Places,
    page::{Answer, Page, grouped},
    recovering::Recovering,
    session::Session,
    verb::node::directory_failure,
};

/// Go on with a recovery that enough recovery keys have signed, in your node's directory
///
/// Every organisation whose node is to vote does this, in a directory that ends with the block that the recovery keeps: that in
/// which it was made, or one that was restored from a backup of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the node, which does not run
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Files of `recover sign`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Recovered {
    data: PathBuf,
    chain: String,
    epoch: u64,
    last_kept: u64,
    from: u64,
    validators: usize,
    quorum: usize,
}

impl Answer for Recovered {
    fn page(&self, page: &mut Page) {
        page.good(
            "Recovered",
            &format!("the ledger in {}", self.data.display()),
        )
        .field("chain", &*self.chain)
        .field("kept", format!("up to block {}", grouped(self.last_kept)))
        .field(
            "goes on",
            format!("at block {}, in epoch {}", grouped(self.from), self.epoch),
        )
        .gap()
        .text(&format!(
            "It goes on when {} of the {} nodes run. What was registered after that block is lost: register it again. Now start the \
             node:",
            self.quorum, self.validators
        ))
        .command(&format!("kusabi node run --data {}", self.data.display()));
    }
}

pub(super) fn run(args: &Args, session: &Session) -> Result<()> {
    let mut files = args.files.iter();
    let first = files.next().ok_or_else(|| wrong(&"no file was named"))?;
    let mut recovering = Recovering::read(first)?;
    for path in files {
        recovering.take(&Recovering::read(path)?, path)?;
    }
    let keys = recovering.signatories()?;
    let threshold = keys.signatories().threshold();
    if recovering.signatures.len() < threshold {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} of the {threshold} recovery keys that sign together have signed",
                recovering.signatures.len()
            ),
        )
        .advise("name the files of all that have signed"));
    }
    let mut directory =
        Directory::open(&Places::new(&args.data).node()).map_err(|why| directory_failure(&why))?;
    let chain = *directory.outline().chain();
    if recovering.chain != chain {
        return Err(of_another_chain(first, &recovering, &chain));
    }
    let next = recovering.next()?;
    let (epoch, validators) = (next.epoch(), next.validator_count());
    let parts = &recovering.parts;
    let done = directory.outline().newest().number == epoch && directory.has_vote();
    if !done {
        let (last, _) = survey(&directory)?;
        if (last.height, last.hash(&chain)) != (parts.parent_height, parts.parent_hash) {
            return Err(Failure::new(
                Exit::File,
                format!(
                    "{} ends with block {}, and the recovery goes on after block {}",
                    args.data.display(),
                    grouped(last.height.get()),
                    grouped(parts.parent_height.get())
                ),
            )
            .advise(
                "restore a backup of the directory that the recovery was made from into a new one, and have its keys named",
            ));
        }
        named(&recovering, &directory, args)?;
        let transaction = recovering.transaction()?;
        directory
            .open_epoch(transaction.as_bytes().to_vec().into())
            .map_err(|why| directory_failure(&why))?;
    }
    session.output().say(&Recovered {
        data: args.data.clone(),
        chain: chain.to_string(),
        epoch: epoch.get(),
        last_kept: parts.parent_height.get(),
        from: parts.from.get(),
        validators,
        quorum: kusabi_core::quorum::quorum(validators),
    })
}

/// Refuses where the recovery does not name the keys that wait in the directory.
fn named(recovering: &Recovering, directory: &Directory, args: &Args) -> Result<()> {
    let vote_key = directory
        .next_vote_key()
        .map_err(|why| directory_failure(&why))?;
    let node_key = directory.node_key().public();
    let next = recovering.next()?;
    let nodes = Nodes::decode(&recovering.nodes).map_err(|why| wrong(&why))?;
    let mut seats = next.validators().zip(nodes.iter());
    if seats.any(|(validator, node)| *validator.vote_key == vote_key && *node.key == node_key) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::WrongKey,
        format!(
            "the recovery does not name the vote key and the node key that wait in {}",
            args.data.display()
        ),
    )
    .advise("name the directory whose node file (kusabi node prepare) went into the recovery"))
}
