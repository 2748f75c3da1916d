//! `kusabi device heard`: the servers' receipts that a device has kept, as evidence.

use std::path::{Path, PathBuf};

use kusabi_core::{
    evidence::{Evidence, Signed},
    id::{Digest, Handle, parse_hex},
    inventory::SignedInventory,
    suite::{Purpose, Signature},
};
use serde::Serialize;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page},
    session::Session,
    verb::sign::{beside, walk},
};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 128 << 10;

/// Make evidence of what servers signed that they heard of a device
///
/// The agent keeps the newest receipts in the file `receipts` of its state directory. Each becomes two files for `kusabi
/// verify`; one of a report also a third, the device's signed statement that it names.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's file
    receipts: PathBuf,
    /// The folder where the evidence goes
    #[arg(long, short, value_name = "FOLDER")]
    out: PathBuf,
}

/// A line of the agent's file.
struct Line {
    signer: Handle,
    signature: Signature,
    statement: Option<Vec<u8>>,
    text: String,
}

#[derive(Serialize)]
struct Made {
    receipts: Vec<One>,
}

#[derive(Serialize)]
struct One {
    statement: PathBuf,
    signature: PathBuf,
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inventory_statement: Option<PathBuf>,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        if self.receipts.is_empty() {
            page.text(
                "No receipts: no server has heard an inventory or an answer of this device yet.",
            );
            return;
        }
        let rows: Vec<_> = self
            .receipts
            .iter()
            .map(|one| vec![one.statement.display().to_string(), one.about.clone()])
            .collect();
        page.table(&["signed by a server", "about"], &rows);
        page.text("kusabi verify FILE checks one of them.");
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let kept = files::read(&args.receipts, FILE_BYTES_MAX)?;
    let kept = String::from_utf8(kept).map_err(|_| damaged(&args.receipts, 1))?;
    let lines = kept
        .lines()
        .enumerate()
        .map(|(at, line)| read(line).ok_or_else(|| damaged(&args.receipts, at + 1)))
        .collect::<Result<Vec<_>>>()?;
    let mut receipts = Vec::with_capacity(lines.len());
    if !lines.is_empty() {
        files::make_folder(&args.out)?;
        let connection = Connection::open(session)?;
        for (at, line) in lines.iter().enumerate() {
            receipts.push(make(&args.out, at + 1, line, &connection)?);
        }
    }
    session.output().say(&Made { receipts })?;
    Ok(Exit::Ok)
}

fn read(line: &str) -> Option<Line> {
    let mut words = line.splitn(4, ' ');
    Some(Line {
        signer: words.next()?.parse().ok()?,
        signature: Signature::new(parse_hex(words.next()?).ok()?),
        statement: match words.next()? {
            "-" => None,
            statement => {
                let bytes: [u8; SignedInventory::LEN] = parse_hex(statement).ok()?;
                Some(bytes.to_vec())
            }
        },
        text: words.next()?.to_owned(),
    })
}

fn make(folder: &Path, number: usize, line: &Line, connection: &Connection) -> Result<One> {
    let record = connection.known_record(&line.signer)?;
    let refused = |why: String| {
        Failure::new(
            Exit::Negative,
            format!("receipt {number} is not evidence: {why}"),
        )
    };
    let key = record
        .keys()
        .verification_key()
        .ok_or_else(|| refused("its signer has a foreign key".to_owned()))?;
    let file = Digest::of(line.text.as_bytes());
    let evidence = Evidence::pack(
        Signed {
            chain: *connection.chain(),
            signer: line.signer,
            purpose: Purpose::Ps,
            file,
        },
        key.algorithm(),
        line.signature,
        connection.record(&line.signer)?.proof().to_vec(),
        connection.genesis()?,
        walk(connection)?,
    )
    .map_err(|why| refused(why.to_string()))?;
    evidence
        .check_signature(connection.chain(), &file, &key)
        .map_err(|why| refused(why.to_string()))?;
    let about = serde_json::from_str::<serde_json::Value>(&line.text)
        .ok()
        .and_then(|text| text["about"].as_str().map(str::to_owned))
        .filter(|about| about.chars().all(|c| c.is_ascii_lowercase()))
        .ok_or_else(|| refused("its text says not what it is about".to_owned()))?;
    let statement = folder.join(format!("heard-{number}-{about}.json"));
    let signature = beside(&statement);
    files::replace(&statement, line.text.as_bytes(), Mode::Public)?;
    files::replace(&signature, evidence.encoded(), Mode::Public)?;
    let inventory_statement = match &line.statement {
        None => None,
        Some(bytes) => {
            let path = folder.join(format!("heard-{number}-{about}.statement"));
            files::replace(&path, bytes, Mode::Public)?;
            Some(path)
        }
    };
    Ok(One {
        statement,
        signature,
        about,
        inventory_statement,
    })
}

fn damaged(path: &Path, line: usize) -> Failure {
    Failure::new(
        Exit::File,
        format!("{}, line {line}: this is no receipt", path.display()),
    )
    .advise("give the agent's file `receipts` as it lies in its state directory")
}
