//! `kusabi batch new`: many keys, made where the devices are made, with no network.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use kusabi_core::{id::OrgName, suite::Purpose};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    bundle::List,
    entry::entry,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::{KeyFile, underivable},
    page::{Answer, Page, counted},
    progress,
    session::Session,
    verb::key::SuiteName,
};

/// Most keys of one batch; more are several batches.
const COUNT_MAX: u32 = 10_000_000;

/// Make many keys without a network: key files for the devices, and a list for the writer
///
/// Interrupted with --dir, the same command goes on where it stopped.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct Args {
    /// How many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    /// One key file per device, in this folder: 000001.key, 000002.key, …
    #[arg(long, value_name = "FOLDER", group = "where")]
    dir: Option<PathBuf>,
    /// All keys in one file
    #[arg(long, value_name = "FILE", group = "where")]
    bundle: Option<PathBuf>,
    /// The list for the writer; it holds nothing secret
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// What the keys are for
    #[arg(long, value_enum, default_value_t = PurposeName::Pre)]
    purpose: PurposeName,
    /// Which algorithms they have
    #[arg(long, value_enum, default_value_t = SuiteName::Curve25519)]
    suite: SuiteName,
    /// Organisation that will own the keys [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
}

/// Purposes that writers register.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PurposeName {
    /// Factory keys
    Pre,
    /// Device keys
    Act,
    /// Signing keys
    App,
}

#[derive(Serialize)]
struct Made {
    count: u32,
    keys: PathBuf,
    list: PathBuf,
    organisation: String,
    chain: String,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        page.good("Made", &counted(self.count.into(), "key"))
            .field(
                "keys",
                format!("{}, secret: they go to the devices", self.keys.display()),
            )
            .field(
                "list",
                format!("{}, public: it goes to the writer", self.list.display()),
            )
            .field(
                "for",
                format!("{} on chain {}", self.organisation, self.chain),
            )
            .gap()
            .text("Register them where the ledger can be reached:")
            .command(&format!("kusabi batch submit {}", self.list.display()));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let chain = session.chain()?;
    let org = session.org(args.org.as_ref())?;
    if args.list.exists() {
        return Err(Failure::new(
            Exit::File,
            format!("{} is there already", args.list.display()),
        )
        .advise("this batch was made; choose another name for another one"));
    }
    let bar = progress::bar(session.output(), "Making keys", args.count.into());
    let mut entries = Vec::with_capacity(args.count as usize);
    let mut add = |key: &KeyFile| {
        bar.inc(1);
        entry(key, &chain, &org.id()).map(|entry| entries.push(entry))
    };
    let keys = if let Some(folder) = &args.dir {
        files::make_folder(folder)?;
        for number in 1..=args.count {
            add(&key_file(
                args,
                session,
                &folder.join(format!("{number:06}.key")),
            )?)?;
        }
        folder
    } else {
        let path = args.bundle.as_ref().unwrap_or(&args.list);
        // One allocation for all: growing would leave copies of secrets behind.
        let mut text = Zeroizing::new(String::with_capacity(512 * args.count as usize));
        for _ in 0..args.count {
            let key = generate(args, session)?;
            add(&key)?;
            // Writing to a string cannot fail.
            let _ = text.write_str(&key.to_text(false));
        }
        files::create(path, text.as_bytes(), Mode::Secret)?;
        path
    };
    bar.finish_and_clear();
    entries.sort_by_key(kusabi_core::tx::Entry::handle);
    let list = List {
        chain,
        org,
        entries,
    };
    // Last: a list is there only when all its keys are.
    files::create(&args.list, list.to_text().as_bytes(), Mode::Public)?;
    session.output().say(&Made {
        count: args.count,
        keys: keys.clone(),
        list: args.list.clone(),
        organisation: org.to_string(),
        chain: chain.to_string(),
    })
}

fn generate(args: &Args, session: &Session) -> Result<KeyFile> {
    let purpose = match args.purpose {
        PurposeName::Pre => Purpose::Pre,
        PurposeName::Act => Purpose::Act,
        PurposeName::App => Purpose::App,
    };
    KeyFile::generate(purpose, args.suite.into(), &mut session.rng()).map_err(underivable)
}

/// The key of an earlier run that was interrupted, or a new one.
fn key_file(args: &Args, session: &Session, path: &Path) -> Result<KeyFile> {
    if !path.exists() {
        let key = generate(args, session)?;
        key.create(path)?;
        return Ok(key);
    }
    let key = KeyFile::read(path)?;
    let wanted = generate(args, session)?;
    if (key.purpose(), key.suite()) != (wanted.purpose(), wanted.suite()) {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} is there already, with another purpose or suite",
                path.display()
            ),
        )
        .advise("choose another folder for this batch"));
    }
    Ok(key)
}
