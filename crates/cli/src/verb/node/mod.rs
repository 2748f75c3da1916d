//! `kusabi node`: the ledger's own process.

pub(crate) mod config;
pub(crate) mod join;
pub(crate) mod process;
pub(crate) mod run;

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
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<()> {
    match verb {
        Verb::Run(args) => run::run(args, session),
        Verb::Join(args) => join::run(args, session),
    }
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
        DirectoryError::NoLedger(_) | DirectoryError::NotEmpty(_) => Exit::File,
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

/// Why a node did not start.
pub(crate) fn start_failure(why: &StartError) -> Failure {
    match why {
        StartError::Directory(why) => directory_failure(why),
        StartError::Stopped(why) => stop_failure(why),
        why => Failure::new(Exit::Internal, why.to_string()),
    }
}

/// Why a node stopped by itself.
pub(crate) fn stop_failure(why: &Stop) -> Failure {
    let exit = match why {
        Stop::DiskFull => Exit::DiskFull,
        Stop::Storage(_) => Exit::File,
        Stop::Refused(EngineError::Listen(..)) => Exit::Address,
        Stop::Refused(_) => Exit::Damaged,
        _ => Exit::Internal,
    };
    advised(exit, why, why.advice())
}
