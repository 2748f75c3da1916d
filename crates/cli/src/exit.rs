//! Exit codes: the contract between `kusabi` and the scripts that call it. `docs/cli.md` prints this table; a test compares the two.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Ok = 0,
    /// The question was answered, and the answer is no.
    Negative = 1,
    /// The command line does not say what to do.
    Usage = 2,
    /// The ledger refused the transaction.
    Refused = 3,
    /// No answer from the ledger, or it is busy.
    Unavailable = 4,
    /// A local file cannot be read, written or understood.
    File = 5,
    /// An answer came, and it does not check.
    Unproven = 6,
    /// A configuration file or profile is not valid.
    Config = 10,
    /// Another process uses the data directory.
    InUse = 11,
    /// The address to listen on cannot be had.
    Address = 12,
    /// The data directory cannot be written.
    NotWritable = 13,
    /// The disk is full.
    DiskFull = 14,
    /// Data, backup or profile belong to another chain.
    OtherChain = 15,
    /// A genesis is damaged, or not the one the ledger was founded with.
    Genesis = 16,
    /// What is stored does not agree with itself.
    Damaged = 17,
    /// The votes are gone, and the vote key must not vote again.
    VotesLost = 18,
    /// The vote key or the node key is missing or another one's.
    WrongKey = 19,
    /// What is stored is another version's.
    OtherFormat = 20,
    /// A fault of kusabi itself.
    Internal = 70,
    /// Stopped by Ctrl-C; what was acknowledged is kept.
    Interrupted = 130,
}

impl Exit {
    /// Every code with the word that stands in JSON errors and the line of the manual.
    pub(crate) const TABLE: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Ok, "ok", "done, or the answer is yes"),
        (
            Self::Negative,
            "negative",
            "the question was answered and the answer is no: invalid or unproven signature, unknown or ended key, a failed audit",
        ),
        (
            Self::Usage,
            "usage",
            "the command line, or what it names, does not say what to do",
        ),
        (
            Self::Refused,
            "refused",
            "the ledger refused the transaction; nothing was changed",
        ),
        (
            Self::Unavailable,
            "unavailable",
            "no answer from the ledger, or it is busy; trying again later is safe",
        ),
        (
            Self::File,
            "file",
            "a local file cannot be read, written or understood, or others may read a secret",
        ),
        (
            Self::Unproven,
            "unproven",
            "an answer came and does not check: wrong chain, bad proof, or older than what was seen before; it was not used",
        ),
        (
            Self::Config,
            "config",
            "a configuration file or profile is not valid",
        ),
        (
            Self::InUse,
            "in-use",
            "another process uses this data directory",
        ),
        (
            Self::Address,
            "address",
            "the address to listen on is taken or cannot be had",
        ),
        (
            Self::NotWritable,
            "not-writable",
            "a directory cannot be written",
        ),
        (Self::DiskFull, "disk-full", "the disk is full"),
        (
            Self::OtherChain,
            "other-chain",
            "data, backup or profile belong to another chain",
        ),
        (
            Self::Genesis,
            "genesis",
            "a genesis is damaged, or not the one the ledger was founded with",
        ),
        (
            Self::Damaged,
            "damaged",
            "stored data does not agree with itself",
        ),
        (
            Self::VotesLost,
            "votes-lost",
            "this validator's votes are gone from the disk, or its vote key has voted elsewhere, so the key must not vote again",
        ),
        (
            Self::WrongKey,
            "wrong-key",
            "the vote key or the node key is missing, damaged, or not the one that the ledger names",
        ),
        (
            Self::OtherFormat,
            "other-format",
            "another version of this program made the data directory; nothing in it was changed",
        ),
        (
            Self::Internal,
            "internal",
            "a fault of kusabi itself; please report it",
        ),
        (
            Self::Interrupted,
            "interrupted",
            "stopped by Ctrl-C; what was acknowledged is kept",
        ),
    ];

    /// The stable word of this code.
    pub(crate) fn word(self) -> &'static str {
        Self::TABLE
            .iter()
            .find(|(exit, ..)| *exit == self)
            .map_or("internal", |(_, word, _)| word)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_prints_this_table() {
        let manual = include_str!("../../../docs/cli.md");
        for (exit, word, line) in Exit::TABLE {
            let row = format!("| {} | `{word}` | {line} |", *exit as u8);
            assert!(manual.contains(&row), "docs/cli.md lacks: {row}");
        }
    }
}
