//! `kusabi device receipt`: what became of an order, signed by the device.

use std::path::PathBuf;

use kusabi_core::{evidence::Evidence, suite::Purpose};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    fleet::Fleet,
    page::{Answer, Page, grouped},
    receipt::{Claimed, is_key_of, no_receipt},
    session::Session,
    verb::sign::beside,
};

/// Fetch what became of an order, signed by the device, as two files for `kusabi verify`
///
/// It can be checked without the server and without the device. With --anchor also after the device has another key: the
/// ledger then shows for ever that it was signed while the key was valid.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device: its serial, or its ID (dev_…)
    #[arg(value_name = "DEVICE")]
    device: String,
    /// The order's number
    order: u64,
    /// Put a digest of the signature on the ledger, which dates it
    #[arg(long)]
    anchor: bool,
    /// Key file that signs the anchor [default: the profile's writer]
    #[arg(long, value_name = "KEYFILE", requires = "anchor")]
    anchor_by: Option<PathBuf>,
    /// Where the statement goes; its signature goes beside it, as FILE.kusabi [default: order-ORDER-HANDLE.json]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Fetched {
    statement: PathBuf,
    signature: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored_at: Option<u64>,
    said: serde_json::Value,
}

impl Answer for Fetched {
    fn page(&self, page: &mut Page) {
        let said = |name: &str| match &self.said["content"][name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        page.good(
            "Signed by the device:",
            &self.statement.display().to_string(),
        )
        .field("order", said("order"))
        .field("task", said("task"))
        .field("outcome", said("outcome"))
        .field("after block", self.said["at_height"].to_string())
        .field_if(
            "anchored at",
            self.anchored_at
                .map(|height| format!("block {}", grouped(height))),
        );
        page.text(&format!(
            "kusabi verify {} checks it.",
            self.statement.display()
        ));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let fleet = Fleet::open(session)?;
    let id = fleet.device_id(&args.device)?;
    let fetched = fleet.ask(fleet.client().order_receipt(&id, args.order))?;
    // The server that gave it is not believed: what it says is signed by this device, of this order, or it is nothing.
    let evidence =
        Evidence::decode(&fetched.evidence).map_err(|why| no_receipt(&why.to_string()))?;
    let signer = evidence.signed().signer;
    let claimed = Claimed {
        signer,
        purpose: Purpose::Act,
        signature: *evidence.signature(),
        text: fetched.statement.clone(),
    };
    let connection = Connection::open(session)?;
    if !is_key_of(&connection, signer, &id)? {
        return Err(no_receipt("its signer is not this device"));
    }
    let mut checked = claimed.check(&connection)?;
    let content = &checked.said["content"];
    if checked.said["about"] != "order"
        || content["order"] != args.order
        || content["device"] != signer.to_string()
    {
        return Err(no_receipt("it is about something else"));
    }
    let statement = args
        .out
        .clone()
        // Not what a person called it: a serial may hold what no file name does.
        .unwrap_or_else(|| PathBuf::from(format!("order-{}-{signer}.json", args.order)));
    let signature = beside(&statement);
    // Before an anchor takes a row of the quota, and before one of the two is written.
    if !args.force
        && let Some(there) = [&statement, &signature]
            .into_iter()
            .find(|path| path.exists())
    {
        return Err(
            Failure::new(Exit::File, format!("{} is there already", there.display()))
                .advise("move it away, or give --force"),
        );
    }
    let anchored_at = match args.anchor {
        true => {
            let by = session.writer_key(args.anchor_by.as_deref())?;
            Some(checked.anchor(&connection, &by)?)
        }
        false => None,
    };
    let write = if args.force {
        files::replace
    } else {
        files::create
    };
    write(&statement, fetched.statement.as_bytes(), Mode::Public)?;
    write(&signature, checked.evidence.encoded(), Mode::Public)?;
    session.output().say(&Fetched {
        statement,
        signature,
        anchored_at,
        said: checked.said,
    })?;
    Ok(Exit::Ok)
}
