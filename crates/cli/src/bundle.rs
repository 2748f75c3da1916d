//! Batches: what `kusabi batch new` makes and `kusabi batch submit` reads.
//!
//! The secret half is key files, one per device or all in one file. The public half is the *list*: text, a head line, then
//! a line per key: `handle purpose suite keys binding`, in hex, ascending by handle. A list is bound to one chain and one
//! organisation and holds no secret, so that the factory's machine and the writer's machine need not be the same.

use std::{io::BufRead as _, path::Path};

use kusabi_core::{
    id::{Binding, ChainId, Handle, OrgName, parse_hex},
    suite::{PublicKeys, Suite},
    tx::{ENTRIES_MAX, Entry},
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    keyfile::{hex, purpose_named},
};

/// First word of a list.
const FIRST_WORD: &str = "kusabi-list-v1";

/// Entries of one transaction: the most that the ledger takes at once.
pub(crate) const CHUNK: usize = ENTRIES_MAX;

/// The public half of a batch.
pub(crate) struct List {
    pub(crate) chain: ChainId,
    pub(crate) org: OrgName,
    /// Ascending by handle, so that every run cuts it into the same transactions.
    pub(crate) entries: Vec<Entry>,
}

impl List {
    /// The text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{FIRST_WORD} {} {}\n", self.chain, self.org);
        for entry in &self.entries {
            text.push_str(&format!(
                "{} {} {} {} {}\n",
                entry.handle(),
                entry.purpose(),
                u8::from(entry.keys().suite()),
                hex(entry.keys().as_bytes()),
                entry.binding(),
            ));
        }
        text
    }

    /// Reads a list.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong = |line: usize, why: &str| {
            Failure::new(
                Exit::File,
                format!(
                    "{} is not a list of keys: line {line}: {why}",
                    path.display()
                ),
            )
            .advise("`kusabi batch new` makes one; make it again or bring it from its copy")
        };
        let file = std::fs::File::open(path).map_err(|error| Failure::io("read", path, &error))?;
        let mut lines = std::io::BufReader::new(file).lines();
        let mut next = |number| match lines.next() {
            Some(Ok(line)) => Ok(Some(line)),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(wrong(number, "it is not text"))
            }
            Some(Err(error)) => Err(Failure::io("read", path, &error)),
            None => Ok(None),
        };
        let head = next(1)?.unwrap_or_default();
        let mut words = head.split(' ');
        let (Some(FIRST_WORD), Some(chain), Some(org), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong(
                1,
                &format!("it does not begin with {FIRST_WORD}, chain and organisation"),
            ));
        };
        let mut list = Self {
            chain: chain
                .parse()
                .map_err(|why| wrong(1, &format!("chain: {why}")))?,
            org: org
                .parse()
                .map_err(|why| wrong(1, &format!("organisation: {why}")))?,
            entries: Vec::new(),
        };
        let mut number = 2;
        while let Some(line) = next(number)? {
            let entry = entry(&line).ok_or_else(|| wrong(number, "it is no key"))?;
            if list
                .entries
                .last()
                .is_some_and(|last| last.handle() >= entry.handle())
            {
                return Err(wrong(number, "its handle does not ascend"));
            }
            list.entries.push(entry);
            number += 1;
        }
        if list.entries.is_empty() {
            return Err(wrong(2, "it holds no key"));
        }
        Ok(list)
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let handle: Handle = words.next()?.parse().ok()?;
    let purpose = purpose_named(words.next()?)?;
    let suite = Suite::try_from(words.next()?.parse::<u8>().ok()?).ok()?;
    let keys = PublicKeys::decode(suite, &parse_hex(words.next()?).ok()?).ok()?;
    let binding: Binding = words.next()?.parse().ok()?;
    if words.next().is_some() {
        return None;
    }
    Entry::new(handle, purpose, keys, binding, None).ok()
}
