//! `kusabi key new`: a key pair and its ID, made here and nowhere else.

use std::path::PathBuf;

use clap::ValueEnum;
use kusabi_core::suite::{Purpose, Suite};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::Result,
    keyfile::{KeyFile, underivable, words},
    page::{Answer, Page},
    session::Session,
};

/// Make a key and write it to a file that only you can read
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The new file; one that exists is never overwritten
    #[arg(value_name = "KEYFILE")]
    file: PathBuf,
    /// What the key is for
    #[arg(long, value_enum, default_value_t = PurposeName::Act)]
    purpose: PurposeName,
    /// Which algorithms it has
    #[arg(long, value_enum, default_value_t = SuiteName::Curve25519)]
    suite: SuiteName,
}

/// Purposes that a person makes keys for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PurposeName {
    /// Factory key: activates the device key
    Pre,
    /// Device key
    Act,
    /// Release key: signs firmware
    Art,
    /// Server key
    Ps,
    /// Writer: registers keys
    Writer,
    /// Officer: grants and withdraws writers, revokers and servers
    Officer,
    /// Revoker: ends keys
    Revoker,
    /// A person's or program's key: signs files
    App,
    /// Recovery key: has no record
    Recovery,
}

impl From<PurposeName> for Purpose {
    fn from(name: PurposeName) -> Self {
        match name {
            PurposeName::Pre => Self::Pre,
            PurposeName::Act => Self::Act,
            PurposeName::Art => Self::Art,
            PurposeName::Ps => Self::Ps,
            PurposeName::Writer => Self::Writer,
            PurposeName::Officer => Self::Officer,
            PurposeName::Revoker => Self::Revoker,
            PurposeName::App => Self::App,
            PurposeName::Recovery => Self::Recovery,
        }
    }
}

/// Suites that a key file can hold.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SuiteName {
    /// Ed25519 and X25519
    #[value(name = "curve25519", alias = "1")]
    Curve25519,
    /// ECDSA and ECDH over P-256
    #[value(name = "p256", alias = "2")]
    P256,
}

impl From<SuiteName> for Suite {
    fn from(name: SuiteName) -> Self {
        match name {
            SuiteName::Curve25519 => Self::Curve25519,
            SuiteName::P256 => Self::P256,
        }
    }
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    purpose: &'static str,
    suite: u8,
    handle: String,
    #[serde(skip)]
    words: &'static str,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        page.good("Made", &self.file.display().to_string())
            .field(
                "purpose",
                format!("{}, {}", self.purpose, self.words.to_lowercase()),
            )
            .field("handle", &*self.handle);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let key = KeyFile::generate(args.purpose.into(), args.suite.into(), &mut session.rng())
        .map_err(underivable)?;
    key.create(&args.file)?;
    session.output().say(&Made {
        file: args.file.clone(),
        purpose: key.purpose().name(),
        suite: key.suite().into(),
        handle: key.handle().to_string(),
        words: words(key.purpose()),
    })?;
    Ok(Exit::Ok)
}
