//! `kusabi org init`: an organisation's keys and its member file, before the ledger is founded.

use std::{fs, path::PathBuf};

use kusabi_core::{
    id::OrgName,
    set::SIGNATORIES_MAX,
    suite::{Purpose, Suite},
};
use kusabi_node::prepared::Prepared;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    founding::{Places, QUOTA, key_at, verification_key},
    keyfile::hex,
    member::{self, ENDING, Member, QUOTA_END, founding_entry, not_an_address},
    page::{Answer, Page},
    session::Session,
    verb::node::directory_failure,
};

/// Make an organisation's keys and the member file with which others found a ledger with it
///
/// Interrupted or run again, it finds the keys that it made; address, quota and threshold can be said anew until the member
/// file is sent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for the keys and the node; made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Name of your organisation
    #[arg(long, value_name = "ORG")]
    name: OrgName,
    /// Where the other organisations' nodes reach yours; not needed for a ledger of your own
    #[arg(long, value_name = "HOST:PORT", default_value = "")]
    address: String,
    /// How many officers
    #[arg(long, value_name = "N", default_value_t = 1)]
    officers: u8,
    /// How many officers have to sign together [default: more than half]
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// Rows that your organisation may have
    #[arg(long, value_name = "ROWS", default_value_t = QUOTA)]
    quota: u64,
}

#[derive(Serialize)]
struct Made {
    organisation: String,
    member: PathBuf,
    address: String,
    threshold: u8,
    officer_keys: Vec<PathBuf>,
    recovery_key: PathBuf,
    writer_key: PathBuf,
    vote_key: String,
    node_key: String,
    officers: Vec<String>,
    recovery: String,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        page.good("Made", &format!("the keys of {}", self.organisation));
        for (file, key) in self.officer_keys.iter().zip(&self.officers) {
            page.field(file.display().to_string(), key.clone());
        }
        page.field(self.recovery_key.display().to_string(), &*self.recovery)
            .field("vote key", &*self.vote_key)
            .field("node key", &*self.node_key)
            .field(
                "address",
                match &*self.address {
                    "" => "none, for a ledger of your own",
                    address => address,
                },
            )
            .field(
                "officers",
                format!(
                    "{} of {} act for {}",
                    self.threshold,
                    self.officer_keys.len(),
                    self.organisation
                ),
            )
            .gap()
            .text("Send this file to whoever gathers them; nothing in it is secret:")
            .command(&self.member.display().to_string())
            .gap()
            .careful(
                "Once the ledger runs and your writer has its role (kusabi org grant), move the officers' and the recovery key away \
                 from this machine.",
                "Whoever has them, acts for you.",
            );
    }
}

fn usage(what: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, what)
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let places = Places::new(&args.dir);
    let threshold = args.threshold.unwrap_or(args.officers / 2 + 1);
    if !(1..=SIGNATORIES_MAX).contains(&usize::from(args.officers)) {
        return Err(usage(format!(
            "an organisation has 1 to {SIGNATORIES_MAX} officers at its founding, and {} are asked for",
            args.officers
        )));
    }
    if threshold == 0 || threshold > args.officers {
        return Err(usage(format!(
            "{threshold} officers cannot sign together where there are {}",
            args.officers
        ))
        .advise("--threshold is at least 1 and at most --officers"));
    }
    if !args.address.is_empty() && !kusabi_core::address::is_address(&args.address) {
        return Err(usage(not_an_address(&args.address))
            .advise("such as node.example:7043, 192.0.2.1:7043 or [2001:db8::1]:7043"));
    }
    if args.quota >= QUOTA_END {
        return Err(usage("a quota is below 2^48"));
    }
    let file = args.dir.join(format!("{}.{ENDING}", args.name));
    refuse_other_content(&places, &file)?;
    files::make_folder(&places.root().join("keys"))?;
    let officer_keys = places.new_officer_keys(args.officers);
    refuse_other_officers(&places, &officer_keys)?;
    let rng = &mut session.rng();
    let mut officers = Vec::new();
    for path in &officer_keys {
        let key = key_at(path, Purpose::Officer, Suite::Curve25519, rng)?;
        officers.push((founding_entry(&key, &args.name)?, verification_key(&key)?));
    }
    let recovery_key = places.key(Purpose::Recovery);
    let recovery = key_at(&recovery_key, Purpose::Recovery, Suite::Curve25519, rng)?;
    let writer_key = places.key(Purpose::Writer);
    key_at(&writer_key, Purpose::Writer, Suite::Curve25519, rng)?;
    let prepared = Prepared::open_or_make(&places.node()).map_err(|why| directory_failure(&why))?;

    let shown = officers.iter().map(|(_, key)| hex(key.raw())).collect();
    let member = Member {
        name: args.name,
        address: args.address.clone(),
        quota: args.quota,
        threshold,
        vote_key: prepared.vote_key().public(),
        node_key: prepared.node_key().public(),
        recovery: verification_key(&recovery)?,
        officers,
    }
    .checked()
    .map_err(usage)?;
    files::replace(&file, member.to_text().as_bytes(), Mode::Public)?;
    session.output().say(&Made {
        organisation: args.name.to_string(),
        member: file,
        address: member.address,
        threshold,
        officer_keys,
        recovery_key,
        writer_key,
        vote_key: hex(&member.vote_key),
        node_key: hex(&member.node_key),
        officers: shown,
        recovery: hex(member.recovery.raw()),
    })
}

/// An organisation begins in an empty directory, or in one that it has begun in.
fn refuse_other_content(places: &Places, file: &std::path::Path) -> Result<()> {
    let root = places.root();
    if let Some(chain) = places.noted_chain()? {
        return Err(Failure::new(
            Exit::File,
            format!("{} belongs to the ledger {chain} already", root.display()),
        )
        .advise("name a new directory"));
    }
    if let Some(other) = member::file_in(root)?.filter(|other| other != file) {
        return Err(Failure::new(
            Exit::File,
            format!(
                "{} belongs to another organisation: {} is in it",
                root.display(),
                other.display()
            ),
        )
        .advise("name a new directory"));
    }
    files::make_folder(root)?;
    files::sweep(file);
    let begun = file.exists() || Prepared::is_at(&places.node());
    let entries = fs::read_dir(root).map_err(|error| Failure::io("read", root, &error))?;
    for entry in entries.filter_map(|entry| entry.ok()) {
        let name = entry.file_name();
        // The node's directory without the mark is that of a ledger of one, or of its founding.
        let ours = name == "keys" || entry.path() == *file || (name == "node" && begun);
        if !ours {
            return Err(Failure::new(
                Exit::File,
                format!(
                    "{} is not empty: {} is in it",
                    root.display(),
                    name.display()
                ),
            )
            .advise("name a new directory"));
        }
    }
    Ok(())
}

/// Another number of officers than the first time would leave a key behind that nobody knows of.
fn refuse_other_officers(places: &Places, wanted: &[PathBuf]) -> Result<()> {
    for path in places.officer_keys()? {
        if !wanted.contains(&path) {
            return Err(usage(format!(
                "{} was made for another number of officers than {}",
                path.display(),
                wanted.len()
            ))
            .advise("say --officers as the first time, or begin in a new directory"));
        }
    }
    Ok(())
}
