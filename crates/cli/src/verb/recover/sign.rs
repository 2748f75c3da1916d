//! `kusabi recover sign`: a recovery key signs, after what it says was compared with the organisation's own copy of the ledger.

use std::path::{Path, PathBuf};

use kusabi_core::{genesis::Genesis, header::Header, nodes::Nodes};
use kusabi_node::directory::Directory;
use serde::Serialize;

use super::{basis::survey, compare::compare, recovery_key, sign, wrong};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    founding::Places,
    officers::Officers,
    page::{Answer, Page},
    recovering::Recovering,
    session::Session,
    verb::node::directory_failure,
};

/// Sign a recovery with your recovery key
///
/// Read it first (kusabi recover show FILE): up to which block it keeps the ledger, who validates from then on, whose officers sign.
/// With --data it is compared with your organisation's directory, which ends with the block that it goes on from: that it is of this
/// ledger, names the organisations, thresholds and officers that are in force there, an epoch above yours, and the keys that your
/// node has ready. On the machine where the recovery key is there may be none: then compare the digest with the
/// others, by telephone, and say --compared. What it does not keep is lost for good.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["data", "compared"])))]
pub(crate) struct Args {
    /// The recovery
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File of the recovery key
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// Your organisation's directory; its node does not run
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// You have compared the digest with what others read in their directories
    #[arg(long)]
    compared: bool,
    /// The new file, with the signature
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Signed {
    file: PathBuf,
    signatures: usize,
    threshold: usize,
}

impl Answer for Signed {
    fn page(&self, page: &mut Page) {
        page.good("Signed", "the recovery")
            .field(
                "signatures",
                format!("{} of {} are in the file", self.signatures, self.threshold),
            )
            .field("file", self.file.display().to_string());
    }
}

pub(super) fn run(args: &Args, session: &Session) -> Result<()> {
    let key = recovery_key(&args.key)?;
    let mut recovering = Recovering::read(&args.file)?;
    if let Some(chain) = session
        .named_chain()?
        .filter(|chain| *chain != recovering.chain)
    {
        return Err(of_another_chain(&args.file, &recovering, &chain));
    }
    if let Some(data) = &args.data {
        let directory =
            Directory::open(&Places::new(data).node()).map_err(|why| directory_failure(&why))?;
        let surveyed = survey(&directory)?;
        let sheet = recovering.sheet(|org| surveyed.1.name(org))?;
        session.output().say_unless_json(&sheet)?;
        check(
            &recovering,
            &directory,
            &surveyed,
            &args.file,
            session.now_ms(),
        )?;
    } else {
        let name = |id: &kusabi_core::id::OrgId| id.to_string();
        session.output().say_unless_json(&recovering.sheet(name)?)?;
    }
    sign(&mut recovering, &key, &args.key)?;
    recovering.create(&args.out)?;
    let threshold = recovering.signatories()?.signatories().threshold();
    session.output().say(&Signed {
        file: args.out.clone(),
        signatures: recovering.signatures.len(),
        threshold,
    })
}

pub(super) fn of_another_chain(
    file: &Path,
    recovering: &Recovering,
    chain: &kusabi_core::id::ChainId,
) -> Failure {
    Failure::new(
        Exit::OtherChain,
        format!(
            "{} is of the ledger {}, not of {chain}",
            file.display(),
            recovering.chain
        ),
    )
}

/// Refuses what says of this ledger anything else than this directory does.
fn check(
    recovering: &Recovering,
    directory: &Directory,
    surveyed: &(Header, Officers),
    file: &Path,
    now_ms: u64,
) -> Result<()> {
    let outline = directory.outline();
    if recovering.chain != *outline.chain() {
        return Err(of_another_chain(file, recovering, outline.chain()));
    }
    let refused =
        |what: String, advice: &'static str| Err(Failure::new(Exit::Negative, what).advise(advice));
    let genesis = Genesis::decode(outline.document()).map_err(|why| wrong(&why))?;
    if recovering.recovery_set != genesis.recovery_set().as_bytes() {
        return refused(
            format!(
                "{} does not name the recovery keys of this ledger",
                file.display()
            ),
            "somebody changed it: do not sign",
        );
    }
    let shown = file.display().to_string();
    compare(recovering, directory, surveyed, &shown, now_ms)?;
    let next = recovering.next()?;
    let nodes = Nodes::decode(&recovering.nodes).map_err(|why| wrong(&why))?;
    let vote_key = directory
        .next_vote_key()
        .map_err(|why| directory_failure(&why))?;
    let node_key = directory.node_key().public();
    let mine = next
        .validators()
        .zip(nodes.iter())
        .find(|(validator, node)| *validator.vote_key == vote_key || *node.key == node_key);
    match mine {
        Some((validator, node)) if *validator.vote_key == vote_key && *node.key == node_key => {
            Ok(())
        }
        _ => refused(
            format!(
                "{} does not name the keys that your directory has ready",
                file.display()
            ),
            "if your organisation is to have a vote, send your node file (kusabi node prepare) and have the recovery made again; \
             where it is agreed that it has none, say --compared in the place of --data",
        ),
    }
}
