//! `kusabi org grant`: gives a role to a key.

use std::path::{Path, PathBuf};

use kusabi_core::{id::OrgName, tx::Action};
use serde::Serialize;

use crate::{
    connection::Connection,
    entry::{ended, entry, foreign, is_record_of, of_another},
    failure::Result,
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Give a role to a writer, revoker, ps or officer key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Key file; its purpose is the role
    #[arg(value_name = "KEYFILE")]
    file: PathBuf,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
    /// Key files of as many officers as the organisation asks for [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
}

#[derive(Serialize)]
pub(crate) struct Granted {
    file: PathBuf,
    handle: String,
    role: &'static str,
    organisation: String,
    height: u64,
    new: bool,
}

impl Answer for Granted {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Granted"
        } else {
            "Already granted"
        };
        page.good(
            done,
            &format!(
                "{} in {} to {}",
                self.role,
                self.organisation,
                self.file.display()
            ),
        )
        .field("handle", &*self.handle)
        .field("at block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let org = session.org(args.org.as_ref())?;
    let granted = grant(session, &org, &args.file, &args.officers)?;
    session.output().say(&granted)
}

/// Grants a key its role, unless it has it already. The officers are those named, else those of the profile.
pub(crate) fn grant(
    session: &Session,
    org: &OrgName,
    file: &Path,
    officers: &[PathBuf],
) -> Result<Granted> {
    let key = KeyFile::read(file)?;
    let connection = Connection::open(session)?;
    let known = connection.record(&key.handle())?.into_value();
    if known.is_none() {
        let officers = session.officer_keys(officers)?;
        let action = Action::Grant {
            org: org.id(),
            org_version: connection.known_organisation(&org.id())?.version,
            entry: Box::new(entry(&key, connection.chain(), &org.id())?),
        };
        connection.act(action, &officers.iter().collect::<Vec<_>>())?;
    }
    let record = connection.known_record(&key.handle())?;
    if !is_record_of(&record, &key, connection.chain()) {
        return Err(foreign(&key.handle()));
    }
    let name = file.display().to_string();
    if record.owner() != org.id() {
        let owner = connection.organisation_name(&record.owner())?;
        return Err(of_another(&name, &owner, org));
    }
    if !record.is_active() {
        return Err(ended(&name, &record));
    }
    Ok(Granted {
        file: file.to_owned(),
        handle: key.handle().to_string(),
        role: key.purpose().name(),
        organisation: org.to_string(),
        height: record.registered().get(),
        new: known.is_none(),
    })
}
