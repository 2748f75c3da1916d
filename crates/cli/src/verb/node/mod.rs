//! `kusabi node`: the ledger's own process.

pub(crate) mod config;
mod follow;
pub(crate) mod join;
mod prepare;
pub(crate) mod process;
pub(crate) mod run;
mod status;
mod waiting;

pub(crate) use status::away;

use std::io;

use clap::Subcommand;
use kusabi_node::{
    directory::DirectoryError, engine::EngineError, handle::Stop, node::StartError,
    outline::OutlineError,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(run::Args),
    Join(join::Args),
    Prepare(prepare::Args),
    Follow(follow::Args),
    Status(status::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    let done = match verb {
        Verb::Run(args) => run::run(args, session),
        Verb::Join(args) => join::run(args, session),
        Verb::Prepare(args) => prepare::run(args, session),
        Verb::Follow(args) => follow::run(args, session),
        Verb::Status(args) => return status::run(args, session),
    };
    done.map(|()| Exit::Ok)
}

/// Why a node's directory cannot be used, with the exit code of each reason.
pub(crate) fn directory_failure(why: &DirectoryError) -> Failure {
    let exit = match why {
        DirectoryError::InUse(_) => Exit::InUse,
        DirectoryError::OtherChain { .. } => Exit::OtherChain,
        DirectoryError::Outline {
            error: OutlineError::Genesis(_) | OutlineError::GenesisTransaction,
            ..
        } => Exit::Genesis,
        DirectoryError::Io { path, error } => {
            return match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    crate::files::not_writable(path)
                }
                io::ErrorKind::NotADirectory => Failure::new(
                    Exit::NotWritable,
                    format!(
                        "{} is below a file, and a directory is needed",
                        path.display()
                    ),
                )
                .advise("choose another path"),
                _ => Failure::io("used", path, error),
            };
        }
        DirectoryError::NoLedger(_)
        | DirectoryError::NotEmpty(_)
        | DirectoryError::Follower(_)
        | DirectoryError::Validator(_) => Exit::File,
        DirectoryError::VoteKey(_)
        | DirectoryError::NodeKey(_)
        | DirectoryError::NoVoteKey(_)
        | DirectoryError::NoNodeKey(_)
        | DirectoryError::Restored { .. }
        | DirectoryError::Left { .. }
        | DirectoryError::NotAValidator(_) => Exit::WrongKey,
        DirectoryError::Format { .. } => Exit::OtherFormat,
        _ => Exit::Damaged,
    };
    advised(exit, why, why.advice())
}

fn advised(exit: Exit, why: &dyn std::fmt::Display, advice: Option<&str>) -> Failure {
    let failure = Failure::new(exit, why.to_string());
    match advice {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

/// Why a node did not start; `alone`: no others run the ledger with it.
pub(crate) fn start_failure(why: &StartError, alone: bool) -> Failure {
    match why {
        StartError::Directory(why) => directory_failure(why),
        StartError::Stopped(why) => stop_failure(why, alone),
        why => Failure::new(Exit::Internal, why.to_string()),
    }
}

/// Why a node stopped by itself.
pub(crate) fn stop_failure(why: &Stop, alone: bool) -> Failure {
    let exit = match why {
        Stop::DiskFull => Exit::DiskFull,
        Stop::Storage(_) => Exit::File,
        Stop::Refused(why) => engine_exit(why),
        // Its key is not one that the ledger names any more, however often it is started.
        Stop::Left(_) => Exit::WrongKey,
        _ => Exit::Internal,
    };
    advised(exit, why, why.advice(alone))
}

/// The exit code of each reason for which the engine does not run.
const fn engine_exit(why: &EngineError) -> Exit {
    match why {
        EngineError::Listen(..) => Exit::Address,
        EngineError::Address { .. } | EngineError::NoListener => Exit::Config,
        EngineError::VotesLost(_) | EngineError::KeyElsewhere(_) => Exit::VotesLost,
        EngineError::VoteKey | EngineError::NodeKey | EngineError::OtherNode { .. } => {
            Exit::WrongKey
        }
        _ => Exit::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use kusabi_core::id::Epoch;

    use super::*;

    /// Exit code, sentence and advice of what ends a node, where others run the ledger with it.
    #[test]
    fn what_ends_a_node_has_a_code_a_sentence_and_advice_for_a_consortium() {
        let address = "192.0.2.7:7043".parse().unwrap();
        let listen = |kind| EngineError::Listen(address, kind);
        let other = EngineError::OtherNode {
            named: "aa".into(),
            found: "bb".into(),
        };
        for (why, exit, said, advised) in [
            (
                EngineError::VotesLost(3),
                18,
                "epoch 3",
                "leave this node stopped",
            ),
            (
                other,
                19,
                "names the node key aa",
                "bring back the right node.key",
            ),
            (
                EngineError::NodeKey,
                19,
                "no",
                "restore the node key's file",
            ),
            (EngineError::VoteKey, 19, "vote key", "the others go on"),
            (
                listen(io::ErrorKind::AddrInUse),
                12,
                "192.0.2.7:7043",
                "maybe this very node",
            ),
            (
                listen(io::ErrorKind::AddrNotAvailable),
                12,
                "cannot be had",
                "does not have that address",
            ),
            (
                listen(io::ErrorKind::PermissionDenied),
                12,
                "cannot be had",
                "from 1024 on",
            ),
            (
                listen(io::ErrorKind::Other),
                12,
                "cannot be had",
                "peer_listen",
            ),
            (
                EngineError::NoListener,
                10,
                "does not listen",
                "peer_listen",
            ),
        ] {
            let failure = stop_failure(&Stop::Refused(why), false);
            assert_eq!(failure.exit() as u8, exit, "{failure}");
            assert!(failure.what().contains(said), "{failure}");
            let advice = failure.advice().unwrap();
            assert!(advice.contains(advised), "{advice}");
            assert!(!advice.contains("recover"), "{advice}");
        }
        let left = stop_failure(&Stop::Left(Epoch::new(7)), false);
        assert_eq!(left.exit() as u8, 19, "{left}");
        let alone = stop_failure(&Stop::Refused(EngineError::VotesLost(3)), true);
        assert!(alone.advice().unwrap().contains("recover the ledger"));
    }
}
