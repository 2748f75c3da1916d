//! What an officer has signed, noted beside its key: `KEYFILE.signed`, with a line for each epoch.
//!
//! ```text
//! CHAIN EPOCH DIGEST    the chain's ID, the epoch that an appointment opens, the digest of what it says (both in 64 hex digits)
//! ```
//! With two appointments of one epoch, and vote keys that are stolen later, the ledger can be led two ways, and whoever signed both
//! stands under both. The note knows what was signed with this copy of the key, and with no other copy.

use std::path::{Path, PathBuf};

use kusabi_core::id::{ChainId, Digest, Epoch};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
};

/// A line has 150 bytes: epochs of centuries.
const LIMIT: u64 = 1 << 20;

/// The notes beside one key.
pub(super) struct Signed {
    path: PathBuf,
    lines: Vec<(ChainId, Epoch, Digest)>,
}

fn line(text: &str) -> Option<(ChainId, Epoch, Digest)> {
    let mut words = text.split(' ');
    let line = (
        words.next()?.parse().ok()?,
        Epoch::new(words.next()?.parse().ok()?),
        words.next()?.parse().ok()?,
    );
    words.next().is_none().then_some(line)
}

impl Signed {
    /// Reads the notes beside a key file; none, where nothing was noted.
    pub(super) fn beside(key: &Path) -> Result<Self> {
        let mut name = key.as_os_str().to_owned();
        name.push(".signed");
        let path = PathBuf::from(name);
        if !path.exists() {
            let lines = Vec::new();
            return Ok(Self { path, lines });
        }
        let text = files::read(&path, LIMIT)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Option<_> = text.lines().map(line).collect();
        let lines = lines.ok_or_else(|| {
            Failure::new(
                Exit::File,
                format!("{} does not say what this key has signed", path.display()),
            )
            .advise("it was changed or damaged: if you know what was signed for this epoch, move the file away")
        })?;
        Ok(Self { path, lines })
    }

    /// What was signed for this epoch, where it is something else.
    pub(super) fn other(&self, chain: &ChainId, epoch: Epoch, digest: &Digest) -> Option<Digest> {
        let of_epoch = |line: &&(ChainId, Epoch, Digest)| (line.0, line.1) == (*chain, epoch);
        let mut lines = self.lines.iter().filter(of_epoch);
        let (.., other) = lines.find(|line| line.2 != *digest)?;
        Some(*other)
    }

    /// Notes what is to be signed. Before it is: what was signed is never forgotten.
    pub(super) fn note(&mut self, chain: &ChainId, epoch: Epoch, digest: &Digest) -> Result<()> {
        let line = (*chain, epoch, *digest);
        if self.lines.contains(&line) {
            return Ok(());
        }
        self.lines.push(line);
        let text: String = self
            .lines
            .iter()
            .map(|(chain, epoch, digest)| format!("{chain} {epoch} {digest}\n"))
            .collect();
        files::replace(&self.path, text.as_bytes(), Mode::Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_known_by_chain_and_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("officer-1.key");
        let (chain, one, two) = (ChainId::of(b"one"), Digest::of(b"1"), Digest::of(b"2"));
        let epoch = Epoch::new(3);
        let signed = || Signed::beside(&key).unwrap();
        assert_eq!(signed().other(&chain, epoch, &one), None);
        signed().note(&chain, epoch, &one).unwrap();
        assert_eq!(signed().other(&chain, epoch, &one), None);
        assert_eq!(signed().other(&chain, epoch, &two), Some(one));
        assert_eq!(signed().other(&chain, Epoch::new(4), &two), None);
        assert_eq!(signed().other(&ChainId::of(b"two"), epoch, &two), None);
        // Whoever signs a second one all the same is told of the first when he comes back to it.
        signed().note(&chain, epoch, &two).unwrap();
        assert_eq!(signed().other(&chain, epoch, &one), Some(two));

        let path = folder.path().join("officer-1.key.signed");
        let text = std::fs::read_to_string(&path).unwrap();
        for damaged in [&text[..text.len() - 2], &text.replace(' ', "  "), "x\n"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Signed::beside(&key).err().unwrap().exit(), Exit::File);
        }
    }
}
