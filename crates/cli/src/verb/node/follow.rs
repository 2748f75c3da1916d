//! `kusabi node follow`: a node without a vote, which checks, keeps and shows what the validators decide.

use std::{path::PathBuf, sync::Arc};

use kusabi_api::{HttpLedger, Ledger as _, client::Limits};
use kusabi_core::id::{ChainId, Epoch};
use kusabi_node::{
    directory::{DirectoryError, FollowerDirectory},
    follower::Source,
    outline::Outline,
};
use serde::Serialize;

use super::{
    config::{Said, Settings},
    directory_failure, join,
    process::{self, Process},
    run::{Ready, Stopped},
};
use crate::{
    connection::failure,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    founding::Places,
    page::{Answer, Page},
    profile::Profile,
    proposal::Proposal,
    session::Session,
    verb::server::setup::log,
};

/// Follow a ledger without a vote: check every block, keep it, and show it as any node does
///
/// For a server that wants a node of its own beside it, and for auditors. It needs no key, and believes none of the nodes that it
/// takes blocks from: any node of the ledger will do, and other followers. Transactions and questions for freshness it carries
/// to them. Give it --chain or --genesis the first time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the follower; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A node to follow, like http://node.acme.example:7040; give several, and it takes the next one when one is away or lies
    #[arg(long, value_name = "URL")]
    from: Vec<String>,
    /// The finished genesis, the first time, in the place of --chain
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Address to serve [default: 127.0.0.1:7040]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<std::net::SocketAddr>,
    /// Configuration file
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

/// Said at every start, before it answers.
#[derive(Serialize)]
struct Follows {
    event: &'static str,
    chain: String,
    from: Vec<String>,
    /// Where it says how far it is.
    readyz: String,
}

impl Answer for Follows {
    fn page(&self, page: &mut Page) {
        page.good("Following", "without a vote")
            .field("chain", &*self.chain)
            .field("from", self.from.join("\n"))
            .field("how far", &*self.readyz)
            .text("Ctrl-C stops it.");
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let settings = Settings::resolve(&Said {
        config: args.config.as_deref(),
        listen: args.listen,
        genesis: args.genesis.as_deref(),
        follow: &args.from,
        ..Said::default()
    })?;
    let places = Places::new(&args.data);
    let sources = sources(&settings)?;
    log();
    let directory = open_or_make(&places, &settings, &sources, session)?;
    let mut process = Process::follow(directory, &settings, sources.clone())?;
    let ended = serve(&mut process, &places, &sources, session);
    // It stops in any case.
    let height = process.stop();
    ended?;
    session.output().say(&Stopped::at(height))
}

fn serve(
    process: &mut Process,
    places: &Places,
    sources: &[Source],
    session: &Session,
) -> Result<()> {
    session.output().say(&Follows {
        event: "following",
        chain: process.chain().to_string(),
        from: sources
            .iter()
            .map(|source| source.address.clone())
            .collect(),
        readyz: format!("{}/readyz", process.address()),
    })?;
    if !places.profile().exists() {
        let profile = Profile {
            ledger: Some(process.address().to_owned()),
            chain: Some(process.chain().to_string()),
            ..Profile::default()
        };
        let profile = profile.to_toml();
        files::replace(&places.profile(), profile.as_bytes(), Mode::Public)?;
    }
    if !process.wait_until_it_answers(session)? {
        return Ok(());
    }
    session.output().say(&Ready::of(process))?;
    process.wait()
}

/// The nodes that are followed.
fn sources(settings: &Settings) -> Result<Arc<[Source]>> {
    if settings.follow.is_empty() {
        return Err(Failure::new(Exit::Usage, "no node to follow is named").advise(
            "name some with --from URL, or in a configuration file: follow = [\"http://node.acme.example:7040\"]",
        ));
    }
    let itself = format!("http://{}/", settings.listen);
    let source = |address: &String| {
        // Another one is asked sooner than this one again.
        let limits = Limits {
            attempts: 1,
            ..Limits::default()
        };
        let http = HttpLedger::with_limits(address, limits)
            .map_err(|problem| Failure::new(Exit::Usage, problem.to_string()))?;
        if http.address() == itself {
            let what = format!("{address} is where this follower itself would serve");
            return Err(Failure::new(Exit::Usage, what).advise("give --listen another port"));
        }
        Ok(Source {
            address: address.clone(),
            ledger: Arc::new(http),
        })
    };
    settings.follow.iter().map(source).collect()
}

/// The follower's directory; the first time it is made, of what the genesis file says, or a node that is checked by the chain ID.
fn open_or_make(
    places: &Places,
    settings: &Settings,
    sources: &[Source],
    session: &Session,
) -> Result<FollowerDirectory> {
    let expected = session.named_chain()?;
    match FollowerDirectory::open(&places.node(), expected.as_ref()) {
        Ok(directory) => {
            process::is_of(places, directory.outline().chain(), settings)?;
            return Ok(directory);
        }
        Err(DirectoryError::NoLedger(_)) => {}
        Err(why) => return Err(directory_failure(&why)),
    }
    let outline = match &settings.genesis {
        Some(file) => {
            let outline = Proposal::read(file)?.founding(file, &mut session.rng())?;
            let chain = outline.chain();
            if let Some(expected) = expected.filter(|expected| expected != chain) {
                let what = format!(
                    "{} is the genesis of {chain}, not of {expected}",
                    file.display()
                );
                return Err(Failure::new(Exit::OtherChain, what));
            }
            outline
        }
        None => founded(&session.chain()?, sources, session)?,
    };
    let directory = FollowerDirectory::create(&places.node(), outline)
        .map_err(|why| directory_failure(&why))?;
    process::is_of(places, directory.outline().chain(), settings)?;
    Ok(directory)
}

/// How the ledger began, from the first node that says it.
fn founded(chain: &ChainId, sources: &[Source], session: &Session) -> Result<Outline> {
    let runtime = process::runtime()?;
    let mut last = None;
    for source in sources {
        let opening = runtime
            .block_on(source.ledger.opening(Epoch::ZERO))
            .map_err(|problem| failure(&problem.into()));
        let outline = opening.and_then(|opening| join::outline(chain, opening));
        let checked = outline.and_then(|outline| {
            let founding = outline.check_founding(&mut session.rng());
            founding.map_err(|why| Failure::new(Exit::Genesis, why.to_string()))?;
            Ok(outline)
        });
        match checked {
            Ok(outline) => return Ok(outline),
            Err(why) => last = Some(why),
        }
    }
    Err(last.unwrap_or_else(|| Failure::new(Exit::Usage, "no node to follow is named")))
}
