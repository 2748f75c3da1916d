//! `kusabi device heard`: the servers' receipts that a device has kept, as evidence.

use std::path::{Path, PathBuf};

use kusabi_core::{
    id::{Digest, Handle, parse_hex},
    inventory::SignedInventory,
    suite::{Purpose, Signature},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::Result,
    files::{self, Mode},
    keyfile::KeyFile,
    page::{Answer, Page, instant},
    receipt::{Claimed, no_receipt},
    session::Session,
    verb::sign::beside,
};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 128 << 10;

/// Make evidence of what servers signed that they heard of a device
///
/// The agent keeps the newest receipts in the file `receipts` of its state directory. Each becomes two files for `kusabi
/// verify`; one of a report also a third, the device's signed statement that it names. With --anchor they last longer
/// than the server's key: the ledger then shows for ever that they were signed while it was valid.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's file
    receipts: PathBuf,
    /// The folder where the evidence goes
    #[arg(long, short, value_name = "FOLDER")]
    out: PathBuf,
    /// Put a digest of each signature on the ledger, which dates it; each takes a row of the quota
    #[arg(long)]
    anchor: bool,
    /// Key file that signs the anchors [default: the profile's writer]
    #[arg(long, value_name = "KEYFILE", requires = "anchor")]
    anchor_by: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made {
    receipts: Vec<One>,
    /// Lines of the file that are no receipts, and why.
    refused: Vec<(usize, String)>,
}

#[derive(Serialize)]
struct One {
    statement: PathBuf,
    signature: PathBuf,
    about: String,
    said: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inventory_statement: Option<PathBuf>,
}

impl One {
    /// What was heard, in a few words.
    fn what(&self) -> String {
        let outcomes = self.said["content"]["outcomes"].as_array();
        let Some(outcomes) = outcomes else {
            return "an inventory".to_owned();
        };
        let word = |outcome: &Value| {
            let word = outcome["outcome"].as_str().unwrap_or_default();
            format!("order {}: {word}", outcome["order"])
        };
        outcomes.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        for (line, why) in &self.refused {
            page.bad(&format!("Line {line}:"), why);
        }
        if self.receipts.is_empty() {
            page.text(
                "No receipts: no server has heard an inventory or an answer of this device yet.",
            );
            return;
        }
        let rows: Vec<_> = self
            .receipts
            .iter()
            .map(|one| {
                vec![
                    one.statement.display().to_string(),
                    instant(one.said["at_ms"].as_u64().unwrap_or_default()),
                    one.what(),
                ]
            })
            .collect();
        page.table(&["signed by a server", "heard", "what"], &rows);
        page.text("kusabi verify FILE checks one of them.");
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let kept = files::read(&args.receipts, FILE_BYTES_MAX)?;
    let kept = String::from_utf8_lossy(&kept);
    let mut made = Made {
        receipts: Vec::new(),
        refused: Vec::new(),
    };
    if !kept.is_empty() {
        files::make_folder(&args.out)?;
        let connection = Connection::open(session)?;
        let by = match args.anchor {
            true => Some(session.writer_key(args.anchor_by.as_deref())?),
            false => None,
        };
        for (at, line) in kept.lines().enumerate() {
            match make(&args.out, line, &connection, by.as_ref()) {
                Ok(one) => made.receipts.push(one),
                // One that is not good is no reason to hold back the others.
                Err(why) if why.exit() == Exit::Negative => {
                    made.refused.push((at + 1, why.to_string()));
                }
                Err(why) => return Err(why),
            }
        }
    }
    let exit = if made.refused.is_empty() {
        Exit::Ok
    } else {
        Exit::Negative
    };
    session.output().say(&made)?;
    Ok(exit)
}

/// A line of the agent's file (spec/evidence.md, "What a device keeps"): the receipt, and the signed statement that it is about.
fn read(line: &str) -> Option<(Claimed, Option<Vec<u8>>)> {
    let mut words = line.splitn(4, ' ');
    let signer: Handle = words.next()?.parse().ok()?;
    let signature = Signature::new(parse_hex(words.next()?).ok()?);
    let statement = match words.next()? {
        "-" => None,
        statement => {
            let bytes: [u8; SignedInventory::LEN] = parse_hex(statement).ok()?;
            Some(bytes.to_vec())
        }
    };
    let claimed = Claimed {
        signer,
        purpose: Purpose::Ps,
        signature,
        text: words.next()?.to_owned(),
    };
    Some((claimed, statement))
}

fn make(folder: &Path, line: &str, connection: &Connection, by: Option<&KeyFile>) -> Result<One> {
    let (claimed, bytes) =
        read(line).ok_or_else(|| no_receipt("the line has not the form of one"))?;
    let text = claimed.text.clone();
    let mut checked = claimed.check(connection)?;
    let about = match checked.said["about"].as_str() {
        Some(about @ ("report" | "outcomes")) => about.to_owned(),
        _ => return Err(no_receipt("it is about something else")),
    };
    let named = &checked.said["content"]["statement"];
    if let Some(bytes) = &bytes
        && *named != Digest::of(bytes).to_string()
    {
        return Err(no_receipt("the statement beside it is another one"));
    }
    // By its content: what was made before, and anchored, is not replaced by another one.
    let digest = Digest::of(text.as_bytes()).to_string();
    let name = format!("heard-{about}-{}", &digest[..16]);
    let statement = folder.join(format!("{name}.json"));
    let signature = beside(&statement);
    let anchored_at = match by {
        Some(by) => Some(checked.anchor(connection, by)?),
        None => None,
    };
    files::replace(&statement, text.as_bytes(), Mode::Public)?;
    if anchored_at.is_some() || !signature.exists() {
        files::replace(&signature, checked.evidence.encoded(), Mode::Public)?;
    }
    let inventory_statement = match bytes {
        None => None,
        Some(bytes) => {
            let path = folder.join(format!("{name}.statement"));
            files::replace(&path, &bytes, Mode::Public)?;
            Some(path)
        }
    };
    Ok(One {
        statement,
        signature,
        about,
        said: checked.said,
        anchored_at,
        inventory_statement,
    })
}
