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
    keyfile::KeyFile,
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
    pub(crate) fn profile(&self) -> Result<&(PathBuf, Profile)> {
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
            missing(
                "no ledger is named",
                path,
                "--ledger URL",
                "ledger = \"http://…\"",
            )
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
            let what = "no chain is named, so nothing could be checked";
            missing(what, path, "--chain HASH", "chain = \"…\"").advise_also(CHAIN_ADVICE)
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
            missing(
                "no organisation is named",
                path,
                "--org NAME",
                "org = \"…\"",
            )
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
            missing(
                "no writer key is named",
                path,
                "--writer KEYFILE",
                "writer = \"…\"",
            )
        })
    }

    /// The writer's key.
    pub(crate) fn writer_key(&self, named: Option<&Path>) -> Result<KeyFile> {
        let path = self.writer(named)?;
        self.key_of_profile(&path, named.is_some(), "writer")
    }

    /// The officers' keys.
    pub(crate) fn officer_keys(&self, named: &[PathBuf]) -> Result<Vec<KeyFile>> {
        self.officers(named)?
            .iter()
            .map(|path| self.key_of_profile(path, !named.is_empty(), "officers"))
            .collect()
    }

    /// A key. One that is not where the profile says is the profile's fault, and the sentence says so.
    fn key_of_profile(&self, path: &Path, named: bool, setting: &str) -> Result<KeyFile> {
        if named || path.exists() {
            return KeyFile::read(path);
        }
        let profile = self.profile()?.0.display();
        let (role, advice) = match setting {
            "writer" => (
                "writer",
                "a lost one is replaced by an officer: kusabi key new KEYFILE --purpose writer, kusabi org grant KEYFILE",
            ),
            _ => (
                "officer",
                "an officer's key is kept away from this machine: bring it, and take it away again afterwards",
            ),
        };
        Err(Failure::new(
            Exit::File,
            format!(
                "{} is not there, and {profile} names it as the {role}'s key",
                path.display()
            ),
        )
        .advise(format!(
            "name the key's file on the command line, or its new place in {profile}:  {setting} = …\n{advice}"
        )))
    }

    /// Key files of release keys: of the command line, else of the profile.
    pub(crate) fn art_keys(&self, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
        let (path, profile) = self.profile()?;
        if profile.art.is_empty() {
            return Err(missing(
                "no release key is named",
                path,
                "--key KEYFILE",
                "art = [\"…\"]",
            ));
        }
        Ok(profile.art.clone())
    }

    /// Address of a server's admin API.
    pub(crate) fn server(&self) -> Result<String> {
        if let Some(server) = &self.globals.server {
            return Ok(server.clone());
        }
        let (path, profile) = self.profile()?;
        profile.server.clone().ok_or_else(|| {
            missing(
                "no server is named",
                path,
                "--server URL and --token-file FILE",
                "server = \"http://…\"  and  token_file = \"…\"",
            )
        })
    }

    /// File that holds the token for the server.
    pub(crate) fn token_file(&self) -> Result<PathBuf> {
        if let Some(file) = &self.globals.token_file {
            return Ok(file.clone());
        }
        let (path, profile) = self.profile()?;
        profile.token_file.clone().ok_or_else(|| {
            missing(
                "no file with the token for the server is named",
                path,
                "--token-file FILE",
                "token_file = \"…\"",
            )
        })
    }

    /// File with the certificates that the server's comes from, if one is named.
    pub(crate) fn server_ca(&self) -> Result<Option<PathBuf>> {
        match &self.globals.server_ca {
            Some(file) => Ok(Some(file.clone())),
            None => Ok(self.profile()?.1.server_ca.clone()),
        }
    }

    /// Key files of officers: of the command line, else of the profile.
    pub(crate) fn officers(&self, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
        let (path, profile) = self.profile()?;
        if profile.officers.is_empty() {
            return Err(missing(
                "no officer key is named",
                path,
                "--officer KEYFILE",
                "officers = [\"…\"]",
            ));
        }
        Ok(profile.officers.clone())
    }
}

const CHAIN_ADVICE: &str =
    "the chain ID is the 64 hex digits that `kusabi node run` showed when the ledger was founded";

/// Neither the command line nor the profile at `path` says something that an option or a setting would.
fn missing(what: &str, path: &Path, option: &str, setting: &str) -> Failure {
    let failure = |profile: String| {
        Failure::new(Exit::Usage, format!("{what}: {profile}")).advise(format!(
            "give {option}, or write  {setting}  to {}",
            path.display()
        ))
    };
    if path.exists() {
        return failure(format!("{} does not say it either", path.display()));
    }
    failure(format!("there is no profile at {}", path.display())).advise_also(
        "if yours lies elsewhere, name it with --profile FILE, or its folder with KUSABI_HOME; `kusabi up` and `kusabi \
         node run` write one when they found a ledger",
    )
}
