//! `kusabi device receipt`: what became of an order, signed by the device.

use std::path::PathBuf;

use kusabi_core::evidence::{Evidence, EvidenceError};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    fleet::Fleet,
    page::{Answer, Page, grouped},
    session::Session,
    verb::sign::{Dated, beside, dated, walk},
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
    /// Where the statement goes; its signature goes beside it, as FILE.kusabi [default: order-ORDER-DEVICE.json]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
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
    let receipt = fleet.ask(fleet.client().order_receipt(&id, args.order))?;
    let mut evidence = receipt.evidence.to_vec();
    let mut anchored_at = None;
    if args.anchor {
        let dated = anchor(args, session, &evidence)?;
        anchored_at = Some(dated.anchored_at);
        evidence = dated.evidence.encoded().to_vec();
    }
    let statement = args.out.clone().unwrap_or_else(|| {
        // The ID, not what a person called it: a serial may hold what no file name does.
        PathBuf::from(format!("order-{}-{id}.json", args.order))
    });
    let signature = beside(&statement);
    files::replace(&statement, receipt.statement.as_bytes(), Mode::Public)?;
    files::replace(&signature, &evidence, Mode::Public)?;
    session.output().say(&Fetched {
        statement,
        signature,
        anchored_at,
        said: serde_json::from_str(&receipt.statement).unwrap_or_default(),
    })?;
    Ok(Exit::Ok)
}

fn anchor(args: &Args, session: &Session, evidence: &[u8]) -> Result<Dated> {
    let unfit = |why: EvidenceError| {
        Failure::new(
            Exit::Negative,
            format!("the server gave no receipt of this device: {why}"),
        )
    };
    let evidence = Evidence::decode(evidence).map_err(unfit)?;
    let (signed, signature) = (*evidence.signed(), *evidence.signature());
    let connection = Connection::open(session)?;
    let by = session.writer_key(args.anchor_by.as_deref())?;
    let record = connection.known_record(&signed.signer)?;
    let make = || {
        let proven = connection.record(&signed.signer)?;
        let evidence = Evidence::pack(
            signed,
            evidence.algorithm(),
            signature,
            proven.proof().to_vec(),
            connection.genesis()?,
            walk(&connection)?,
        )
        .map_err(unfit)?;
        Ok((evidence, proven.height().get()))
    };
    dated(&connection, record.owner(), &by, make)
}
