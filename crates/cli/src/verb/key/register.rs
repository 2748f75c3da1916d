//! `kusabi key register`: puts keys on the ledger in an organisation's name.

use std::path::PathBuf;

use kusabi_core::{id::OrgName, suite::Purpose, tx::Action};
use serde::Serialize;

use crate::{
    connection::Connection,
    entry::{ended, entry, foreign, is_record_of, of_another},
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Register keys: all of them or none, signed by a writer of the organisation
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Key files of purpose pre, act or app
    #[arg(value_name = "KEYFILE", required = true)]
    files: Vec<PathBuf>,
    /// Organisation that owns the keys [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key file of the writer [default: the profile's]
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
}

#[derive(Serialize)]
struct Registered {
    organisation: String,
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    file: PathBuf,
    handle: String,
    registered: u64,
    new: bool,
}

impl Answer for Registered {
    fn page(&self, page: &mut Page) {
        for key in &self.keys {
            let done = if key.new {
                "Registered"
            } else {
                "Already registered"
            };
            page.good(done, &key.file.display().to_string())
                .field("handle", &*key.handle)
                .field("organisation", &*self.organisation)
                .field("at block", grouped(key.registered));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let org = session.org(args.org.as_ref())?;
    let keys = read(&args.files)?;
    let connection = Connection::open(session)?;

    let mut entries = Vec::new();
    let mut new = Vec::new();
    for (key, file) in keys.iter().zip(&args.files) {
        let known = connection.record(&key.handle())?.into_value();
        new.push(known.is_none());
        let Some(record) = known else {
            entries.push(entry(key, connection.chain(), &org.id())?);
            continue;
        };
        let name = file.display().to_string();
        if !is_record_of(&record, key, connection.chain()) {
            return Err(foreign(&key.handle()));
        }
        if record.owner() != org.id() {
            let owner = connection.organisation_name(&record.owner())?;
            return Err(of_another(&name, &owner, &org));
        }
        if !record.is_active() {
            return Err(ended(&name, &record));
        }
    }
    if !entries.is_empty() {
        let writer = session.writer_key(args.writer.as_deref())?;
        let action = Action::Register {
            org: org.id(),
            entries,
        };
        connection.act(action, &[&writer])?;
    }
    let mut registered = Vec::new();
    for ((key, file), new) in keys.iter().zip(&args.files).zip(new) {
        let record = connection
            .record(&key.handle())?
            .into_value()
            .filter(|record| {
                is_record_of(record, key, connection.chain()) && record.owner() == org.id()
            })
            .ok_or_else(|| foreign(&key.handle()))?;
        registered.push(Key {
            file: file.clone(),
            handle: key.handle().to_string(),
            registered: record.registered().get(),
            new,
        });
    }
    session.output().say(&Registered {
        organisation: org.to_string(),
        keys: registered,
    })?;
    Ok(Exit::Ok)
}

/// Reads the files and refuses before anything is asked what a writer cannot register.
fn read(files: &[PathBuf]) -> Result<Vec<KeyFile>> {
    files
        .iter()
        .map(|file| {
            let key = KeyFile::read(file)?;
            let advice = match key.purpose() {
                Purpose::Pre | Purpose::Act | Purpose::App => return Ok(key),
                Purpose::Writer | Purpose::Officer | Purpose::Revoker | Purpose::Ps => {
                    "officers give roles: kusabi org grant KEYFILE"
                }
                Purpose::Art => "release keys come by an art policy",
                Purpose::Vote | Purpose::Node | Purpose::Recovery => "such a key has no record",
            };
            Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} is a {} key, and writers register pre, act and app keys",
                    file.display(),
                    key.purpose()
                ),
            )
            .advise(advice))
        })
        .collect()
}
