//! What the command line resolves to: the profile, the ledger, the keys. Nothing is read or asked before a verb needs it.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use getrandom::SysRng;
use kusabi_core::id::{ChainId, OrgName};
use rand_core::UnwrapErr;

use crate::{
    args::Globals,
    exit::Exit,
    failure::{Failure, Result},
    page::Output,
    profile::{self, Profile},
};

/// The resolved command line.
pub(crate) struct Session {
    globals: Globals,
    output: Output,
    profile: OnceCell<(PathBuf, Profile)>,
}

impl Session {
    pub(crate) fn new(globals: Globals, output: Output) -> Self {
        Self {
            globals,
            output,
            profile: OnceCell::new(),
        }
    }

    /// Where answers go.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// The operating system's randomness; a system without it cannot make keys at all.
    pub(crate) fn rng(&self) -> UnwrapErr<SysRng> {
        UnwrapErr(SysRng)
    }

    /// The profile and where it is. A default one that does not exist is empty; one that was named has to exist.
    fn profile(&self) -> Result<&(PathBuf, Profile)> {
        if let Some(profile) = self.profile.get() {
            return Ok(profile);
        }
        let read = match &self.globals.profile {
            Some(path) => (path.clone(), Profile::read(path)?),
            None => {
                let path = profile::default_path()?;
                let profile = if path.exists() {
                    Profile::read(&path)?
                } else {
                    Profile::default()
                };
                (path, profile)
            }
        };
        Ok(self.profile.get_or_init(|| read))
    }

    /// Address of a node.
    pub(crate) fn ledger(&self) -> Result<String> {
        if let Some(ledger) = &self.globals.ledger {
            return Ok(ledger.clone());
        }
        let (path, profile) = self.profile()?;
        profile.ledger.clone().ok_or_else(|| {
            missing("no ledger is named", path).advise(format!(
                "give --ledger URL, or write  ledger = \"http://…\"  to {}",
                path.display()
            ))
        })
    }

    /// Whether the command line itself names a node.
    pub(crate) fn ledger_named(&self) -> bool {
        self.globals.ledger.is_some()
    }

    /// Whether the command line itself names the chain.
    pub(crate) fn chain_named(&self) -> bool {
        self.globals.chain.is_some()
    }

    /// Chain ID that every answer is checked against.
    pub(crate) fn chain(&self) -> Result<ChainId> {
        if let Some(chain) = &self.globals.chain {
            return chain.parse().map_err(|why| {
                Failure::new(Exit::Usage, format!("--chain {chain}: {why}")).advise(CHAIN_ADVICE)
            });
        }
        let (path, profile) = self.profile()?;
        let chain = profile.chain.as_ref().ok_or_else(|| {
            missing("no chain is named, so nothing could be checked", path).advise(format!(
                "give --chain HASH, or write  chain = \"…\"  to {}\n{CHAIN_ADVICE}",
                path.display()
            ))
        })?;
        chain.parse().map_err(|why| {
            Failure::new(
                Exit::Config,
                format!("{}: chain = \"{chain}\": {why}", path.display()),
            )
            .advise(CHAIN_ADVICE)
        })
    }

    /// The chain that the command line itself names, if it does.
    pub(crate) fn named_chain(&self) -> Result<Option<ChainId>> {
        self.chain_named().then(|| self.chain()).transpose()
    }

    /// The chain that the command line or the profile names, if one does.
    pub(crate) fn known_chain(&self) -> Result<Option<ChainId>> {
        let known = self.chain_named() || self.profile()?.1.chain.is_some();
        known.then(|| self.chain()).transpose()
    }

    /// The same session for one ledger, whatever the profile says.
    pub(crate) fn at(&self, address: &str, chain: &ChainId) -> Self {
        let globals = Globals {
            ledger: Some(address.to_owned()),
            chain: Some(chain.to_string()),
            ..self.globals.clone()
        };
        Self::new(globals, self.output)
    }

    /// Milliseconds since 1970, of this machine's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
    }

    /// Name of the organisation to act for: of the command line, else of the profile.
    pub(crate) fn org(&self, named: Option<&OrgName>) -> Result<OrgName> {
        if let Some(org) = named {
            return Ok(*org);
        }
        let (path, profile) = self.profile()?;
        let org = profile.org.as_ref().ok_or_else(|| {
            missing("no organisation is named", path).advise(format!(
                "give --org NAME, or write  org = \"…\"  to {}",
                path.display()
            ))
        })?;
        org.parse().map_err(|why| {
            Failure::new(
                Exit::Config,
                format!("{}: org = \"{org}\": {why}", path.display()),
            )
        })
    }

    /// Key file of a writer: of the command line, else of the profile.
    pub(crate) fn writer(&self, named: Option<&Path>) -> Result<PathBuf> {
        if let Some(writer) = named {
            return Ok(writer.to_owned());
        }
        let (path, profile) = self.profile()?;
        profile.writer.clone().ok_or_else(|| {
            missing("no writer key is named", path).advise(format!(
                "give --writer KEYFILE, or write  writer = \"…\"  to {}",
                path.display()
            ))
        })
    }

    /// Key files of officers: of the command line, else of the profile.
    pub(crate) fn officers(&self, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
        let (path, profile) = self.profile()?;
        if profile.officers.is_empty() {
            return Err(missing("no officer key is named", path).advise(format!(
                "give --officer KEYFILE, or write  officers = [\"…\"]  to {}",
                path.display()
            )));
        }
        Ok(profile.officers.clone())
    }
}

const CHAIN_ADVICE: &str =
    "the chain ID is the 64 hex digits that `kusabi node run` showed when the ledger was founded";

fn missing(what: &str, path: &Path) -> Failure {
    let profile = if path.exists() {
        format!("{} does not say it either", path.display())
    } else {
        format!("there is no profile at {}", path.display())
    };
    Failure::new(Exit::Usage, format!("{what}: {profile}"))
}
