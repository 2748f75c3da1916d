//! The node's configuration file, and what it resolves to together with the command line.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kusabi_core::{
    address::is_address,
    id::{OrgName, parse_hex},
};
use kusabi_node::outline::{NodeOutline, Outline};
use serde::Deserialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    keyfile::hex,
    profile,
};

/// A configuration has a few lines.
const LIMIT: u64 = 64 * 1024;

/// The file. Everything is optional; the command line comes first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    listen: Option<SocketAddr>,
    name: Option<String>,
    org: Option<String>,
    heartbeat_s: Option<u64>,
    threads: Option<std::num::NonZeroUsize>,
    peer_listen: Option<SocketAddr>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    #[serde(default)]
    follow: Vec<String>,
}

/// What the node runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) name: Option<String>,
    pub(crate) org: OrgName,
    pub(crate) heartbeat_ms: u64,
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    /// Where other nodes reach it; otherwise at the port that the genesis document names.
    pub(crate) peer_listen: Option<SocketAddr>,
    /// Addresses of other nodes in the place of those that the genesis document names, by node key in hex digits.
    peers: BTreeMap<String, String>,
    /// The finished genesis of a ledger that is founded with others.
    pub(crate) genesis: Option<PathBuf>,
    /// Addresses of the nodes that a follower follows.
    pub(crate) follow: Vec<String>,
}

impl Settings {
    /// Reads the file, if one is named, and puts the command line over it.
    pub(crate) fn resolve(said: &Said<'_>) -> Result<Self> {
        let file = said.config.map(read).transpose()?.unwrap_or_default();
        let org = match (said.org, &file.org) {
            (Some(org), _) => org,
            (None, Some(org)) => org
                .parse()
                .map_err(|why| Failure::new(Exit::Config, format!("org = \"{org}\": {why}")))?,
            (None, None) => {
                OrgName::new("home").map_err(|why| Failure::new(Exit::Internal, why.to_string()))?
            }
        };
        let heartbeat_s = said.heartbeat_s.or(file.heartbeat_s).unwrap_or(60);
        Ok(Self {
            listen: said
                .listen
                .or(file.listen)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7040))),
            name: said.name.map(str::to_owned).or(file.name),
            org,
            heartbeat_ms: heartbeat_s.saturating_mul(1_000),
            threads: file.threads,
            peer_listen: file.peer_listen,
            peers: peers(file.peers)?,
            genesis: said.genesis.map(Path::to_owned),
            follow: match said.follow {
                [] => file.follow,
                said => said.to_vec(),
            },
        })
    }

    /// Addresses of nodes that are elsewhere than their ledger says, by node key.
    pub(crate) fn peers_of(&self, outline: &Outline) -> Result<HashMap<[u8; 32], String>> {
        // Whoever has left may stand there as long as it is of use.
        let known = |key: &[u8; 32]| {
            let mut epochs = outline.epochs().iter();
            epochs.any(|epoch| epoch.nodes.iter().any(|node| node.key == *key))
        };
        self.peers
            .iter()
            .map(|(name, address)| {
                let key = parse_hex(name).ok();
                let key = key.filter(known);
                let key = key.ok_or_else(|| unknown_peer(name, &outline.newest().nodes))?;
                Ok((key, address.clone()))
            })
            .collect()
    }
}

fn unknown_peer(name: &str, nodes: &[NodeOutline]) -> Failure {
    let what = format!("[peers] names {name:?}, and this ledger has no such node");
    let lines = nodes
        .iter()
        .map(|node| format!("\n{} = {:?}", hex(&node.key), node.address));
    let lines: String = lines.collect();
    Failure::new(Exit::Config, what).advise(match nodes.len() {
        0 | 1 => "it has a single validator, which needs no [peers]".to_owned(),
        _ => format!("correct the line; its nodes, and where it says that they are:{lines}"),
    })
}

fn peers(said: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    match said.values().find(|address| !is_address(address)) {
        None => Ok(said),
        Some(address) => {
            let what = format!("[peers] {address:?} is no address");
            Err(Failure::new(Exit::Config, what)
                .advise("a line of [peers] is NODE-KEY = \"HOST:PORT\", the key in 64 hex digits"))
        }
    }
}

/// What the command line says of a node.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) config: Option<&'a Path>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) name: Option<&'a str>,
    pub(crate) org: Option<OrgName>,
    pub(crate) heartbeat_s: Option<u64>,
    pub(crate) genesis: Option<&'a Path>,
    pub(crate) follow: &'a [String],
}

fn read(path: &Path) -> Result<File> {
    let bytes = files::read(path, LIMIT)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Config, format!("{} is not text", path.display())))?;
    toml::from_str(&text).map_err(|error| profile::toml_failure(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::with_comments;

    #[test]
    fn the_packaged_file_is_accepted_and_has_every_setting() {
        let packaged = include_str!("../../../../../packaging/node.toml");
        let plain: File = toml::from_str(packaged).unwrap();
        assert_eq!(plain.listen, Some(SocketAddr::from(([127, 0, 0, 1], 7040))));
        let (text, settings) = with_comments(packaged);
        let File {
            listen,
            name,
            org,
            heartbeat_s,
            threads,
            peer_listen,
            peers: named,
            follow,
        } = toml::from_str(&text).unwrap();
        // What is commented out is what happens without it.
        let defaults = Settings::resolve(&Said::default()).unwrap();
        assert_eq!(listen, Some(defaults.listen));
        assert_eq!(
            (name.as_deref(), org.as_deref()),
            (Some("home"), Some("home"))
        );
        assert_eq!(heartbeat_s.map(|s| s * 1_000), Some(defaults.heartbeat_ms));
        let threads_before = kusabi_node::node::Config::default().threads;
        assert_eq!(threads, Some(threads_before));
        assert_eq!(peer_listen.map(|at| at.ip().is_unspecified()), Some(true));
        assert_eq!((peers(named).unwrap().len(), follow.len()), (1, 2));
        assert_eq!(settings, 8, "{text}");
    }

    #[test]
    fn the_manual_names_every_setting() {
        let manual = include_str!("../../../../../docs/cli.md");
        let error = toml::from_str::<File>("nothing = 1").unwrap_err();
        // The error names every setting that there is.
        let known = error.to_string();
        let known = known.split_once("expected one of ").unwrap().1;
        let settings: Vec<_> = known.trim_end().split(", ").collect();
        assert_eq!(settings.len(), 8, "{known}");
        for setting in settings {
            let table = format!("| `[{}]` |", setting.trim_matches('`'));
            let named = manual.contains(&format!("| {setting} |")) || manual.contains(&table);
            assert!(named, "{setting}");
        }
    }
}
