//! `kusabi enrol accept`: lets a device in.

use std::path::PathBuf;

use kusabi_api::admin::{Enrolment, EnrolmentState};
use kusabi_core::{
    id::{Handle, OrgName, parse_hex},
    suite::{PublicKeys, Suite},
    tx::{Action, Entry},
};
use serde::Serialize;

use super::find;
use crate::{
    connection::Connection,
    entry::is_record_of_entry,
    exit::Exit,
    failure::{Failure, Result},
    fleet::{Fleet, idempotency_key},
    keyfile::purpose_named,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Accept devices that wait to be enrolled
///
/// A server with a writer's key registers them itself; otherwise the profile's writer signs here.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A device that waits: its ID, its handle, or what it calls itself
    #[arg(value_name = "ENROLMENT", required = true)]
    enrolments: Vec<String>,
    /// Key file of the writer, where the server has none [default: the profile's]
    #[arg(long, value_name = "KEYFILE")]
    writer: Option<PathBuf>,
    /// Organisation that owns the devices [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
}

#[derive(Serialize)]
struct Accepted {
    id: String,
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Height at which its key stands on the ledger; absent when the server has not registered it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<u64>,
}

impl Answer for Accepted {
    fn page(&self, page: &mut Page) {
        page.good("Accepted", self.label.as_deref().unwrap_or(&self.id))
            .field("handle", &*self.handle)
            .field(
                "registered",
                self.registered.map_or_else(
                    || "the server does it now".to_owned(),
                    |height| format!("block {}", grouped(height)),
                ),
            );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let connection = Connection::open(session)?;
    let here = fleet.ask(fleet.client().server())?;
    for named in &args.enrolments {
        let mut one = find(&fleet, named)?;
        if one.state == EnrolmentState::Waiting {
            let key = idempotency_key(session);
            one = fleet.ask(fleet.client().accept_enrolment(&one.id, &key))?;
        }
        if one.state == EnrolmentState::Refused {
            return Err(
                Failure::new(Exit::Negative, format!("{named} was refused before"))
                    .advise("the device asks again with another key: kusabi-agent enrol"),
            );
        }
        if one.state == EnrolmentState::Accepted && here.writer.is_none() {
            register(args, &one, &connection, session)?;
        }
        let record = connection.record(&Handle::new(one.handle.0))?.into_value();
        session.output().say(&Accepted {
            id: one.id.clone(),
            handle: one.handle.to_string(),
            label: one.label.as_ref().map(ToString::to_string),
            registered: record.map(|record| record.registered().get()),
        })?;
    }
    Ok(Exit::Ok)
}

/// Puts an accepted device's key on the ledger.
fn register(
    args: &Args,
    one: &Enrolment,
    connection: &Connection,
    session: &Session,
) -> Result<()> {
    let org = session.org(args.org.as_ref())?;
    let entry = entry(one)?;
    if let Some(record) = connection.record(&entry.handle())?.value() {
        return match is_record_of_entry(record, &entry, &org.id()) {
            true => Ok(()),
            false => Err(crate::entry::foreign(&entry.handle())),
        };
    }
    let writer = session.writer_key(args.writer.as_deref())?;
    let action = Action::Register {
        org: org.id(),
        entries: vec![entry],
    };
    connection.act(action, &[&writer]).map(drop)
}

/// What the device said of its key, through the server.
fn entry(one: &Enrolment) -> Result<Entry> {
    let unfit = |why: &str| {
        Failure::new(
            Exit::Unproven,
            format!("what the server says of {} is no key: {why}", one.id),
        )
    };
    let purpose = purpose_named(&one.purpose).ok_or_else(|| unfit("its purpose"))?;
    let suite = Suite::try_from(one.suite).map_err(|_| unfit("its suite"))?;
    let keys = parse_hex(&one.keys).map_err(|why| unfit(&why.to_string()))?;
    let keys = PublicKeys::decode(suite, &keys).map_err(|why| unfit(&why.to_string()))?;
    let binding = one
        .binding
        .to_string()
        .parse()
        .map_err(|_| unfit("its binding"))?;
    Entry::new(Handle::new(one.handle.0), purpose, keys, binding, None)
        .map_err(|why| unfit(&why.to_string()))
}
