//! `kusabi key rotate`: another key takes the place of one.

use std::path::PathBuf;

use kusabi_core::{
    row::Status,
    suite::Purpose,
    tx::{Action, Named},
};
use serde::Serialize;

use crate::{
    connection::Connection,
    entry::{entry, foreign, is_record_of},
    exit::Exit,
    failure::{Failure, Result},
    keyfile::{KeyFile, underivable},
    page::{Answer, Page, grouped},
    session::Session,
};

/// Replace a device or application key by a new one; both sign, and from then on only the new one counts
///
/// Officers replace a role: `kusabi org grant NEW`, then `kusabi org withdraw OLD`. Interrupted, the same command goes on where it
/// stopped. The old key file stays; delete it when nothing needs it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Key file of the key that ends
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Key file of the key that follows; made if it is not there
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

#[derive(Serialize)]
struct Rotated {
    old: Place,
    new: Place,
    height: u64,
}

#[derive(Serialize)]
struct Place {
    file: PathBuf,
    handle: String,
}

impl Answer for Rotated {
    fn page(&self, page: &mut Page) {
        page.good(
            "Replaced",
            &format!("{} by {}", self.old.file.display(), self.new.file.display()),
        )
        .field("old handle", &*self.old.handle)
        .field("new handle", &*self.new.handle)
        .field("at block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let old = KeyFile::read(&args.old)?;
    if !old.purpose().is_superseded() {
        return Err(Failure::new(
            Exit::Usage,
            format!("a {} key cannot replace itself", old.purpose()),
        )
        .advise(match old.purpose() {
            Purpose::Pre => "a pre key is followed by the act key that it activates",
            Purpose::Art => "a new art policy adds the new key and ends the old one",
            purpose if purpose.is_granted() => {
                "officers grant the new key and end the old one: kusabi org grant NEW, then kusabi org withdraw OLD"
            }
            _ => "such a key has no record",
        }));
    }
    let connection = Connection::open(session)?;
    let record = connection.known_record(&old.handle())?;
    if !is_record_of(&record, &old, connection.chain()) {
        return Err(foreign(&old.handle()));
    }
    // The new key is on the disk before the ledger hears of it.
    let new = if args.new.exists() {
        KeyFile::read(&args.new)?
    } else {
        let new = KeyFile::generate(old.purpose(), old.suite(), &mut session.rng())
            .map_err(underivable)?;
        new.create(&args.new)?;
        new
    };
    if new.purpose() != old.purpose() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} is a {} key and {} a {} key; a key is replaced by one of the same purpose",
                args.old.display(),
                old.purpose(),
                args.new.display(),
                new.purpose()
            ),
        ));
    }
    match record.status() {
        Status::Active => {
            let action = Action::Supersede {
                org: record.owner(),
                old: Named {
                    handle: old.handle(),
                    version: record.version(),
                },
                new: Box::new(entry(&new, connection.chain(), &record.owner())?),
            };
            connection.act(action, &[&old, &new])?;
        }
        Status::Superseded => {}
        status => {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{} is {} and cannot be replaced",
                    args.old.display(),
                    kusabi_api::view::status(status)
                ),
            )
            .advise("register a new key: kusabi key new, then kusabi key register"));
        }
    }
    // Also when an earlier run was stopped after its transaction: what counts is what the ledger proves.
    let follower = connection
        .record(&new.handle())?
        .into_value()
        .filter(|record| record.predecessor() == Some(old.handle()))
        .filter(|record| is_record_of(record, &new, connection.chain()))
        .ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                format!(
                    "{} was replaced, but by another key than {}",
                    args.old.display(),
                    args.new.display()
                ),
            )
            .advise("`kusabi key history` shows what the ledger knows")
        })?;
    session.output().say(&Rotated {
        old: Place {
            file: args.old.clone(),
            handle: old.handle().to_string(),
        },
        new: Place {
            file: args.new.clone(),
            handle: new.handle().to_string(),
        },
        height: follower.registered().get(),
    })?;
    Ok(Exit::Ok)
}
