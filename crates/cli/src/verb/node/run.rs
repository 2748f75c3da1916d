//! `kusabi node run`: runs a node, and founds a ledger where there is none.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kusabi_core::{id::OrgName, suite::Purpose};
use serde::Serialize;

use super::{
    config::{Said, Settings},
    process::{Completed, Process},
};
use crate::{
    failure::Result,
    founding::Places,
    page::{Answer, Page, grouped},
    session::Session,
    verb::server::setup::log,
};

/// Run a node of the ledger; on an empty directory, found one
///
/// Ends gracefully on Ctrl-C and SIGTERM. What was acknowledged survives any other end too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the ledger; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Address to serve [default: 127.0.0.1:7040]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Founding: name of the ledger [default: the organisation's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Founding: name of your organisation [default: home]
    #[arg(long, value_name = "NAME")]
    pub(crate) org: Option<OrgName>,
    /// Founding with others: the finished genesis, for a directory that `kusabi org init` made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "org"])]
    pub(crate) genesis: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
}

/// Said once, when a ledger was founded.
#[derive(Serialize)]
struct Founded {
    event: &'static str,
    name: String,
    organisation: String,
    chain: String,
    officer_key: PathBuf,
    recovery_key: PathBuf,
    writer_key: PathBuf,
    profile: PathBuf,
    #[serde(skip)]
    at_home: bool,
}

impl Answer for Founded {
    fn page(&self, page: &mut Page) {
        let path = |path: &Path| path.display().to_string();
        page.good("Founded", &format!("the ledger {}", self.name))
            .field("chain", &*self.chain)
            .field("organisation", &*self.organisation)
            .field("validators", "1, this machine")
            .gap()
            .careful("Move these two files away from this machine.", "Whoever has them, has the ledger.")
            .field(
                path(&self.officer_key),
                "gives and takes the roles of writers, revokers and servers.\n\
                 Keep it offline, at hand for changes of people and servers.",
            )
            .field(
                path(&self.recovery_key),
                "brings the ledger back when this disk is lost, so that no\n\
                 device needs a visit. Keep it in another building.",
            )
            .gap()
            .text("This one stays where keys are registered:")
            .field(
                path(&self.writer_key),
                "registers keys in the organisation's name.",
            )
            .gap()
            .text(
                "One validator means: one key on this machine signs the ledger. Everyone can audit it, and it\n\
                 protects your devices from the network. It does not protect them from the owner of this\n\
                 machine; for that, four or more organisations run the ledger together.",
            )
            .gap()
            .text("Try next, in another terminal:")
            .command(&self.command("key new camera.key"))
            .command(&self.command("key register camera.key"))
            .gap();
    }
}

impl Founded {
    fn command(&self, rest: &str) -> String {
        if self.at_home || rest.starts_with("key new") {
            format!("kusabi {rest}")
        } else {
            format!("kusabi --profile {} {rest}", self.profile.display())
        }
    }
}

/// The event of a node whose organisation came later.
const JOINED: &str = "joined";

/// Said once, when an organisation's node has started on the genesis that it founded with others, or in the epoch in which the
/// others took it in.
#[derive(Serialize)]
struct Joined {
    event: &'static str,
    name: String,
    organisation: String,
    chain: String,
    validators: usize,
    /// Where it lies here.
    #[serde(skip_serializing_if = "Option::is_none")]
    writer_key: Option<PathBuf>,
    profile: PathBuf,
}

impl Answer for Joined {
    fn page(&self, page: &mut Page) {
        let done = if self.event == JOINED {
            "Joined"
        } else {
            "Founded"
        };
        page.good(done, &format!("the ledger {}", self.name))
            .field("chain", &*self.chain)
            .field("organisation", &*self.organisation)
            .field(
                "validators",
                match self.validators {
                    1 => "1, this machine".to_owned(),
                    n => format!("{n}, this machine one of them"),
                },
            )
            .field("profile", self.profile.display().to_string())
            .gap();
        if let Some(writer_key) = &self.writer_key {
            page.text("Try next, in another terminal, with your officers' keys at hand:")
                .command(&format!(
                    "kusabi --profile {} org grant {}",
                    self.profile.display(),
                    writer_key.display()
                ))
                .gap();
        }
    }
}

/// Said at every start, when the node answers.
#[derive(Serialize)]
pub(super) struct Ready {
    event: &'static str,
    chain: String,
    address: String,
    /// Of the newest block; none before the node has a block, as when it joins and fetches the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
}

impl Ready {
    pub(super) fn of(process: &Process) -> Self {
        Self {
            event: "ready",
            chain: process.chain().to_string(),
            address: process.address().to_owned(),
            height: process.height(),
        }
    }
}

impl Answer for Ready {
    fn page(&self, page: &mut Page) {
        page.good("Ready", &format!("at {}", self.address))
            .field("chain", &*self.chain)
            .field(
                "height",
                self.height.map_or_else(
                    || "no block yet: it fetches them from the others".to_owned(),
                    grouped,
                ),
            )
            .text("Ctrl-C stops it.");
    }
}

/// Said at its end.
#[derive(Serialize)]
pub(super) struct Stopped {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
}

impl Stopped {
    pub(super) const fn at(height: Option<u64>) -> Self {
        Self {
            event: "stopped",
            height,
        }
    }
}

impl Answer for Stopped {
    fn page(&self, page: &mut Page) {
        let at = self.height.map_or_else(
            || "before its first block".to_owned(),
            |height| format!("at height {}", grouped(height)),
        );
        page.good("Stopped", &at);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let settings = Settings::resolve(&Said {
        config: args.config.as_deref(),
        listen: args.listen,
        name: args.name.as_deref(),
        org: args.org,
        genesis: args.genesis.as_deref(),
        ..Said::default()
    })?;
    let places = Places::new(&args.data);
    log();
    let mut process = Process::start(&places, &settings, session)?;
    let ended = serve(&mut process, &places, &settings, session);
    // It stops in any case.
    let height = process.stop();
    ended?;
    session.output().say(&Stopped::at(height))
}

fn serve(
    process: &mut Process,
    places: &Places,
    settings: &Settings,
    session: &Session,
) -> Result<()> {
    if !process.wait_until_it_answers(session)? {
        return Ok(());
    }
    let completed = process.complete(places, settings, |_, _| Ok(()), session)?;
    match completed {
        Some(Completed::Joined { organisation }) => session.output().say(&Joined {
            event: if process.has_founded() {
                "founded"
            } else {
                JOINED
            },
            name: process.name(),
            organisation,
            chain: process.chain().to_string(),
            validators: process.validators(),
            writer_key: Some(places.key(Purpose::Writer)).filter(|key| key.exists()),
            profile: places.profile(),
        })?,
        Some(Completed::Founded { at_home }) => session.output().say(&Founded {
            event: "founded",
            name: process.name(),
            organisation: settings.org.to_string(),
            chain: process.chain().to_string(),
            officer_key: places.key(Purpose::Officer),
            recovery_key: places.key(Purpose::Recovery),
            writer_key: places.key(Purpose::Writer),
            profile: places.profile(),
            at_home,
        })?,
        None => {}
    }
    session.output().say(&Ready::of(process))?;
    process.wait()
}
