//! `kusabi enrol refuse`: keeps a device out.

use kusabi_api::admin::Enrolment;
use serde::Serialize;

use super::find;
use crate::{
    exit::Exit,
    failure::Result,
    fleet::{Fleet, idempotency_key},
    page::{Answer, Page},
    session::Session,
};

/// Refuse a device that waits to be enrolled
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A device that waits: its ID, its handle, or what it calls itself
    #[arg(value_name = "ENROLMENT")]
    enrolment: String,
}

#[derive(Serialize)]
struct Refused {
    #[serde(flatten)]
    enrolment: Enrolment,
}

impl Answer for Refused {
    fn page(&self, page: &mut Page) {
        let one = &self.enrolment;
        let name = one.label.as_ref().map_or(&*one.id, |label| label.as_str());
        page.good("Refused", name)
            .field("handle", one.handle.to_string());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let one = find(&fleet, &args.enrolment)?;
    let key = idempotency_key(session);
    let enrolment = fleet.ask(fleet.client().refuse_enrolment(&one.id, &key))?;
    session.output().say(&Refused { enrolment })?;
    Ok(Exit::Ok)
}
