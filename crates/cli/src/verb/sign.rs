//! `kusabi sign`: a detached signature with all that is needed to check it years later (spec/evidence.md).

use std::path::{Path, PathBuf};

use kusabi_api::ledger::Step;
use kusabi_core::{
    evidence::{Evidence, EvidenceError, Signed},
    id::{Digest, OrgId, StateKey},
    row::{Row, Topic},
    step::StepKind,
    tx::Action,
};
use serde::Serialize;

use crate::{
    connection::Connection,
    digest::digest_of_file,
    entry::{foreign, is_record_of},
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Sign a file; the signature goes beside it, as FILE.kusabi
///
/// With --anchor the ledger shows for ever that the signature existed while the key was valid.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
    /// Key file of the signer
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// Put a digest of the signature on the ledger, which dates it
    #[arg(long)]
    anchor: bool,
    /// Key file that signs the anchor, where the signer's own may not (act, pre, ps) [default: the profile's writer]
    #[arg(long, value_name = "KEYFILE", requires = "anchor")]
    anchor_by: Option<PathBuf>,
    /// Where the signature goes [default: FILE.kusabi]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a signature that is there
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    signature: PathBuf,
    sha256: String,
    signer: String,
    proven_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored_at: Option<u64>,
    bytes: usize,
}

impl Answer for Made {
    fn page(&self, page: &mut Page) {
        page.good("Signed", &self.file.display().to_string())
            .field(
                "signature",
                format!(
                    "{}, {} bytes",
                    self.signature.display(),
                    grouped(self.bytes as u64)
                ),
            )
            .field("SHA-256", &*self.sha256)
            .field("signer", &*self.signer)
            .field(
                "key proven at",
                format!("block {}", grouped(self.proven_at)),
            )
            .field_if(
                "anchored at",
                self.anchored_at
                    .map(|height| format!("block {}", grouped(height))),
            );
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file));
    if !args.force && out.exists() {
        return Err(
            Failure::new(Exit::File, format!("{} is there already", out.display())).advise(
                "an anchored signature cannot always be made again: move it away, or give --force",
            ),
        );
    }
    let key = KeyFile::read(&args.key)?;
    let file = digest_of_file(&args.file, session.output())?;
    let connection = Connection::open(session)?;
    let make = || sign(&connection, &key, file);
    let (evidence, proven_at, anchored_at) = if args.anchor {
        let org = connection.known_record(&key.handle())?.owner();
        let anchored = if key.purpose().may_anchor() && args.anchor_by.is_none() {
            anchored(&connection, org, &key, make)?
        } else {
            let by = session.writer_key(args.anchor_by.as_deref())?;
            anchored(&connection, org, &by, make)?
        };
        (
            anchored.evidence,
            anchored.proven_at,
            Some(anchored.anchored_at),
        )
    } else {
        let (evidence, proven_at) = make()?;
        (evidence, proven_at, None)
    };
    let write = if args.force {
        files::replace
    } else {
        files::create
    };
    write(&out, evidence.encoded(), Mode::Public)?;
    session.output().say(&Made {
        file: args.file.clone(),
        signature: out,
        sha256: file.to_string(),
        signer: key.handle().to_string(),
        proven_at,
        anchored_at,
        bytes: evidence.encoded().len(),
    })
}

/// `FILE.kusabi`, beside the file.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".kusabi");
    name.into()
}

/// Signs with the newest proof of the signer's record; also the proof's height.
fn sign(connection: &Connection, key: &KeyFile, file: Digest) -> Result<(Evidence, u64)> {
    let proven = connection.record(&key.handle())?;
    let record = proven.value().ok_or_else(|| {
        Failure::new(
            Exit::Negative,
            format!(
                "the ledger has no key {}, so nobody could check the signature",
                key.handle()
            ),
        )
        .advise("register it first: kusabi key register KEYFILE")
    })?;
    if !is_record_of(&record, key, connection.chain()) {
        return Err(foreign(&key.handle()));
    }
    if !record.is_active() {
        return Err(Failure::new(
            Exit::Negative,
            format!(
                "the key is {}, so its signature would prove nothing",
                kusabi_api::view::status(record.status())
            ),
        )
        .advise("sign with a key that is in force"));
    }
    let signed = Signed {
        chain: *connection.chain(),
        signer: key.handle(),
        purpose: key.purpose(),
        file,
    };
    let evidence = Evidence::sign(
        key.key(),
        signed,
        proven.proof().to_vec(),
        connection.genesis()?,
        walk(connection)?,
    )
    .map_err(refused)?;
    Ok((evidence, proven.height().get()))
}

/// The way from the genesis document, as a bundle holds it: each step after a byte for its kind (spec/evidence.md).
pub(crate) fn walk(connection: &Connection) -> Result<Vec<Vec<u8>>> {
    let step = |step: &Step| [&[StepKind::from(step.kind) as u8], &step.bytes[..]].concat();
    Ok(connection.walk()?.iter().map(step).collect())
}

/// A bundle whose signature the ledger dates.
pub(crate) struct Anchored {
    pub(crate) evidence: Evidence,
    /// Height of the proof of the signer's key.
    pub(crate) proven_at: u64,
    /// Height of the anchor row.
    pub(crate) anchored_at: u64,
}

/// Puts a digest of a bundle's signature on the ledger, signed by `by`, unless it is there, and the proof of that into the bundle. `make`
/// gives the bundle with the newest proof of its signer's key, and that proof's height.
pub(crate) fn anchored(
    connection: &Connection,
    org: OrgId,
    by: &KeyFile,
    make: impl Fn() -> Result<(Evidence, u64)>,
) -> Result<Anchored> {
    let digest = make()?.0.anchor_digest();
    let place = StateKey::anchor(&digest);
    if connection.row(place)?.value().is_none() {
        let action = Action::Anchor {
            org,
            topic: Topic::Evidence,
            digest,
        };
        connection.act(action, &[by])?;
    }
    let anchor = connection.row(place)?;
    let Some(Row::Anchor(row)) = anchor.value() else {
        return Err(Failure::new(
            Exit::Negative,
            "the ledger has taken the anchor, but does not show it",
        )
        .advise("try again in a moment"));
    };
    let anchored_at = row.height.get();
    // The key has to be known at the anchor's height or above; the same bytes get the same signature.
    let (evidence, proven_at) = make()?;
    if evidence.anchor_digest() != digest {
        return Err(Failure::new(
            Exit::Internal,
            "the key signed the same bytes in two ways, so the anchor is of the first only",
        ));
    }
    Ok(Anchored {
        evidence: evidence
            .anchored(anchor.proof().to_vec(), walk(connection)?)
            .map_err(refused)?,
        proven_at,
        anchored_at,
    })
}

fn refused(why: EvidenceError) -> Failure {
    Failure::new(Exit::Usage, format!("no signature could be made: {why}"))
}
