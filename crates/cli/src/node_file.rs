//! Node files: the fresh keys with which the node of an organisation waits to be named as a validator.
//!
//! ```toml
//! kusabi_node = 1
//! organisation = "beta"
//! address = "node.beta.example:7043"   where the other nodes reach it; empty for a lone validator
//! vote_key = "64 hex digits"
//! node_key = "64 hex digits"
//! ```
//! Nothing in it is secret. It goes to whoever makes the appointment (`kusabi epoch new --replace`, or `--add` where it comes back) or the recovery
//! (`kusabi recover new`); those who sign compare it with the machine.

use std::{fs, path::Path};

use kusabi_core::{
    address::is_address,
    id::{OrgName, parse_hex},
    suite::VerificationKey,
};
use serde::{Deserialize, Serialize};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::hex,
    member::not_an_address,
    profile::Sent,
};

/// How node files end.
pub(crate) const ENDING: &str = "node";

const VERSION: u8 = 1;

/// It has five lines.
const LIMIT: u64 = 4 * 1024;

/// A validator on its way into a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) vote_key: [u8; 32],
    pub(crate) node_key: [u8; 32],
    /// Where the other nodes reach its node, or empty.
    pub(crate) address: String,
}

/// A node that is to be a validator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFile {
    pub(crate) org: OrgName,
    pub(crate) seat: Seat,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    kusabi_node: u8,
    organisation: String,
    address: String,
    vote_key: String,
    node_key: String,
}

impl NodeFile {
    /// Reads a file that may be a node file or another one; `None`: it is none.
    pub(crate) fn found(path: &Path) -> Result<Option<Self>> {
        let text = files::read(path, LIMIT.max(64 * 1024))?;
        let marked = String::from_utf8_lossy(&text)
            .lines()
            .any(|line| line.trim_start().starts_with("kusabi_node"));
        marked.then(|| Self::read(path)).transpose()
    }

    /// Reads a node file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let sent = Sent {
            path,
            what: "node file",
            advice: "have its organisation send it again: `kusabi node prepare` made it",
        };
        let file: File = sent.read(LIMIT)?;
        Self::from_file(&file).map_err(|why| sent.wrong(why))
    }

    fn from_file(file: &File) -> Result<Self, String> {
        if file.kusabi_node != VERSION {
            return Err("it is of another version".to_owned());
        }
        let key = |name: &str, text: &str| -> Result<[u8; 32], String> {
            let key = parse_hex(text).map_err(|why| format!("{name}: {why}"))?;
            VerificationKey::ed25519(&key).map_err(|why| format!("{name}: {why}"))?;
            Ok(key)
        };
        let seat = Seat {
            vote_key: key("vote_key", &file.vote_key)?,
            node_key: key("node_key", &file.node_key)?,
            address: file.address.clone(),
        };
        if !seat.address.is_empty() && !is_address(&seat.address) {
            return Err(not_an_address(&seat.address));
        }
        if seat.vote_key == seat.node_key {
            return Err("one key stands in it for two things".to_owned());
        }
        let org = OrgName::new(&file.organisation).map_err(|why| format!("organisation: {why}"))?;
        Ok(Self { org, seat })
    }

    /// The one in a directory, which `kusabi node prepare` put there. Where there are several, others' are among them.
    pub(crate) fn in_folder(folder: &Path) -> Option<Self> {
        let entries = fs::read_dir(folder).ok()?;
        let mut files = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
        let only = files.next().filter(|_| files.next().is_none())?;
        Self::read(&only).ok()
    }

    /// Writes it, in the place of one that was made before.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let file = File {
            kusabi_node: VERSION,
            organisation: self.org.to_string(),
            address: self.seat.address.clone(),
            vote_key: hex(&self.seat.vote_key),
            node_key: hex(&self.seat.node_key),
        };
        let text =
            toml::to_string(&file).map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        files::replace(path, text.as_bytes(), Mode::Public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_valid_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beta.node");
        // The base point of Ed25519 and its negative: points whose secret halves nobody uses.
        let mut vote_key = [0x66; 32];
        vote_key[0] = 0x58;
        let mut node_key = vote_key;
        node_key[31] = 0xe6;
        let node = NodeFile {
            org: OrgName::new("beta").unwrap(),
            seat: Seat {
                vote_key,
                node_key,
                address: "node.beta.example:7043".to_owned(),
            },
        };
        node.write(&path).unwrap();
        assert_eq!(NodeFile::read(&path).unwrap(), node);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("kusabi_node = 1", "kusabi_node = 2"),
            ("\"beta\"", "\"Beta\""),
            (":7043", ""),
            ("5866", "586"),
            (&*hex(&node_key), &*hex(&vote_key)),
            ("organisation", "quota = 1\norganisation"),
        ] {
            assert!(text.contains(from), "{from}");
            fs::write(&path, text.replace(from, to)).unwrap();
            let refused = NodeFile::read(&path).unwrap_err();
            assert_eq!(refused.exit(), Exit::File, "{from}");
        }
    }
}
