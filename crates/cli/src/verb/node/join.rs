//! `kusabi node join`: the node of an organisation that others appoint, from its keys to its first vote.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use kusabi_api::{HttpLedger, Kind, Ledger as _};
use kusabi_core::{
    id::{ChainId, Epoch},
    tx::{Action, Transaction},
};
use kusabi_node::{directory::Directory, outline::Outline, prepared::Prepared};
use serde::Serialize;

use super::{directory_failure, run as run_node};
use crate::{
    connection::failure,
    exit::Exit,
    failure::{Failure, Result},
    founding::Places,
    keyfile::hex,
    member::{self, Own},
    page::{Answer, Page},
    session::Session,
};

/// How often it is looked whether the others have appointed this node.
const LOOK: Duration = Duration::from_secs(2);

/// Join a ledger that runs: wait until the others have appointed this node, fetch the ledger, and vote
///
/// For a directory that `kusabi org init` made, whose member file the others have been sent; or, where a node was lost, for one
/// that `kusabi node prepare` made or that was restored and prepared. What a node of the ledger says is checked from the chain ID
/// on, so that any node will do. Once it has joined, `kusabi node run` is enough.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory that `kusabi org init` or `kusabi node prepare` made
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A node of the ledger, like http://node.acme.example:7040
    #[arg(long, value_name = "URL")]
    from: String,
    /// Address to serve [default: 127.0.0.1:7040]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<std::net::SocketAddr>,
    /// Configuration file
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

/// Said while the others have not appointed it.
#[derive(Serialize)]
struct Waits {
    event: &'static str,
    chain: String,
    epoch: u64,
    vote_key: String,
}

impl Answer for Waits {
    fn page(&self, page: &mut Page) {
        page.careful("Waiting", "until the others appoint this node")
            .field("chain", &*self.chain)
            .field("their epoch", self.epoch.to_string())
            .field("vote key", &*self.vote_key)
            .text(
                "They do it with its member file (kusabi epoch new --add FILE), or with the file of kusabi node prepare: \
                 --replace FILE where its organisation has a vote, --add FILE where it had one before. Ctrl-C stops it.",
            );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let places = Places::new(&args.data);
    if Prepared::is_at(&places.node()) {
        found(args, &places, session)?;
    } else {
        follow(args, &places, session)?;
    }
    run_node::run(
        &run_node::Args {
            data: args.data.clone(),
            listen: args.listen,
            name: None,
            org: None,
            genesis: None,
            config: args.config.clone(),
        },
        session,
    )
}

/// Makes the directory that of the ledger, once this node is appointed.
fn found(args: &Args, places: &Places, session: &Session) -> Result<()> {
    let prepared = match member::file_in(places.root())? {
        // Compared with every key that lies beside it.
        Some(_) => Own::open(places)?.prepared,
        None => Prepared::open_or_make(&places.node()).map_err(|why| directory_failure(&why))?,
    };
    let chain = session.chain()?;
    let asked = Asked::new(&args.from)?;
    let first = asked
        .opening(Epoch::ZERO)?
        .ok_or_else(|| Failure::new(Exit::Genesis, "the node names no genesis"))?;
    let mut outline = outline(&chain, first)?;
    let mine = prepared.vote_key().public();
    asked.until_appointed(session, &chain, &mine, |opening| {
        if let Some(opening) = opening {
            outline.open_epoch(opening).map_err(|why| why.to_string())?;
        }
        let newest = outline.newest();
        Ok((newest.number, newest.vote_keys.contains(&mine)))
    })?;
    prepared
        .found(outline)
        .map_err(|why| directory_failure(&why))?;
    Ok(())
}

/// Leads a directory that holds the ledger and has no vote, for it was restored, to the epoch that names its fresh key.
fn follow(args: &Args, places: &Places, session: &Session) -> Result<()> {
    let mut directory = Directory::open(&places.node()).map_err(|why| directory_failure(&why))?;
    if directory.has_vote() {
        return Ok(());
    }
    let chain = session.chain()?;
    if *directory.outline().chain() != chain {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} holds the ledger {}, not {chain}",
                args.data.display(),
                directory.outline().chain()
            ),
        ));
    }
    let mine = directory
        .next_vote_key()
        .map_err(|why| directory_failure(&why))?;
    Asked::new(&args.from)?.until_appointed(session, &chain, &mine, |opening| {
        if let Some(opening) = opening {
            directory
                .open_epoch(opening)
                .map_err(|why| why.to_string())?;
        }
        Ok((directory.outline().newest().number, directory.has_vote()))
    })
}

/// The node that is asked for the ledger's epochs.
struct Asked {
    http: HttpLedger,
    runtime: tokio::runtime::Runtime,
}

impl Asked {
    fn new(url: &str) -> Result<Self> {
        let http = HttpLedger::new(url)
            .map_err(|problem| Failure::new(Exit::Usage, problem.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
        Ok(Self { http, runtime })
    }

    fn opening(&self, epoch: Epoch) -> Result<Option<Bytes>> {
        match self.runtime.block_on(self.http.opening(epoch)) {
            Ok(opening) => Ok(Some(opening)),
            Err(problem) if problem.kind == Kind::Unknown => Ok(None),
            Err(problem) => Err(failure(&problem.into())),
        }
    }

    /// Hands one epoch's opening after the other to `open`, which says where that has led and whether it names this node's key;
    /// waits until it does. Without an opening `open` says where it stands.
    fn until_appointed(
        &self,
        session: &Session,
        chain: &ChainId,
        vote_key: &[u8; 32],
        mut open: impl FnMut(Option<Bytes>) -> Result<(Epoch, bool), String>,
    ) -> Result<()> {
        let mut opened = |opening: Option<Bytes>| {
            open(opening).map_err(|why| {
                Failure::new(
                    Exit::Unproven,
                    format!("what the node says of the next epoch is refused: {why}"),
                )
                .advise("ask another node: --from URL")
            })
        };
        let mut said = None;
        let (mut epoch, mut appointed) = opened(None)?;
        loop {
            while !appointed
                && let Some(next) = epoch.next()
                && let Some(opening) = self.opening(next)?
            {
                (epoch, appointed) = opened(Some(opening))?;
            }
            if appointed {
                return Ok(());
            }
            if said != Some(epoch) {
                said = Some(epoch);
                session.output().say(&Waits {
                    event: "waiting",
                    chain: chain.to_string(),
                    epoch: epoch.get(),
                    vote_key: hex(vote_key),
                })?;
            }
            // Nothing tells it: where the ledger waits for this very node, no block comes.
            self.runtime
                .block_on(async { tokio::time::sleep(LOOK).await });
        }
    }
}

/// The outline of a chain from the transaction that founded it.
pub(super) fn outline(chain: &ChainId, genesis: Bytes) -> Result<Outline> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Genesis,
            format!("the node's genesis is refused: {why}"),
        )
        .advise("check --chain, and ask another node: --from URL")
    };
    let transaction = Transaction::decode(&genesis).map_err(|why| refused(&why))?;
    let Action::Genesis { document, .. } = transaction.action() else {
        return Err(refused(&"it is another transaction"));
    };
    if ChainId::of(document) != *chain {
        return Err(Failure::new(
            Exit::OtherChain,
            "the node serves another ledger than the chain that you named",
        )
        .advise("check --from and --chain; if both are right, this node is not to be trusted"));
    }
    Outline::new(Bytes::from(document.clone()), genesis.clone()).map_err(|why| refused(&why))
}
