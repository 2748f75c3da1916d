//! `kusabi verify`: what a signature is worth (spec/evidence.md).

use std::path::PathBuf;

use kusabi_api::{verify::VerifyError, view};
use kusabi_core::{
    evidence::{Evidence, Newest, Verdict, judge},
    genesis::Genesis,
    id::{Height, StateKey},
    row::{Record, Row, RowError},
};
use serde::Serialize;

use crate::{
    connection::{Connection, failure},
    digest::digest_of_file,
    exit::Exit,
    failure::{Failure, Result},
    files,
    page::{Answer, Page, elapsed, grouped, instant},
    session::Session,
    verb::sign::beside,
};

/// Heartbeats after which the newest proof of a ledger is old: one that runs makes a block in each.
const STALE_HEARTBEATS: u64 = 10;

/// Check a signed file
///
/// With --chain alone no network is used: an anchored signature is then proven by its bundle. With --ledger, or a
/// profile that names one, the ledger is asked whether the key is still valid and when the signature was anchored.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
    /// The signature [default: FILE.kusabi]
    signature: Option<PathBuf>,
    /// Ask no ledger, even if one is known
    #[arg(long, conflicts_with = "ledger")]
    offline: bool,
    /// Offline, a proof at this height or above is new enough for you
    #[arg(long, value_name = "HEIGHT")]
    fresh_from: Option<u64>,
}

#[derive(Serialize)]
struct Judged {
    file: PathBuf,
    signature: PathBuf,
    sha256: String,
    /// `valid-now`, `anchored-while-valid`, `unproven` or `invalid`.
    verdict: &'static str,
    sentence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    /// Where the signer's key has ended, also where the signature is good nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ended: Option<KeyEnded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored_at: Option<u64>,
    /// Height and time of the ledger's proof, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_time_ms: Option<u64>,
    /// By this machine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_age_ms: Option<u64>,
    offline: bool,
}

/// How a key ended.
#[derive(Serialize)]
struct KeyEnded {
    /// `spent`, `superseded` or `revoked`.
    status: &'static str,
    /// Height from which it does not count.
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compromised_since: Option<u64>,
}

impl KeyEnded {
    fn of(record: &Record) -> Option<Self> {
        Some(Self {
            status: view::status(record.status()),
            at: record.ended()?.get(),
            reason: view::reason(record.reason()),
            compromised_since: record.compromised_since().map(Height::get),
        })
    }

    fn words(&self) -> String {
        let mut words = format!("{} at block {}", self.status, grouped(self.at));
        if let Some(reason) = self.reason {
            words.push_str(&format!(" ({reason})"));
        }
        if let Some(since) = self.compromised_since {
            words.push_str(&format!(", in other hands since block {}", grouped(since)));
        }
        words
    }
}

impl Answer for Judged {
    fn page(&self, page: &mut Page) {
        // The sentence begins with the verdict's words; they carry the colour.
        let words = self.verdict.replace('-', " ");
        let words = if self.verdict == "invalid" {
            "invalid because".to_owned()
        } else {
            words
        };
        let rest = self
            .sentence
            .strip_prefix(&*words)
            .unwrap_or(&self.sentence);
        let rest = rest.trim_start();
        let (colon, rest) = match rest.strip_prefix(':') {
            Some(rest) => (":", rest.trim_start()),
            None => ("", rest),
        };
        let mut head = words;
        head.push_str(colon);
        if let Some(first) = head.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        match self.verdict {
            "valid-now" | "anchored-while-valid" => page.good(&head, rest),
            "unproven" => page.careful(&head, rest),
            _ => page.bad(&head, rest),
        };
        page.field("file", self.file.display().to_string())
            .field("SHA-256", &*self.sha256)
            .field_if("signer", self.signer.as_deref())
            .field_if("purpose", self.purpose)
            .field_if("its key", self.key_ended.as_ref().map(KeyEnded::words))
            .field_if(
                "proven at",
                self.proven_at
                    .zip(self.proven_time_ms)
                    .map(|(height, time_ms)| {
                        format!("block {}, {}", grouped(height), instant(time_ms))
                    }),
            )
            .field(
                "checked",
                if self.offline {
                    "offline, from the genesis hash alone"
                } else {
                    "with the newest proof of the ledger"
                },
            );
        if self.verdict == "unproven" && self.offline {
            page.gap()
                .text("Ask the ledger whether the key is in force: give --ledger URL.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let chain = session.chain()?;
    let signature = args.signature.clone().unwrap_or_else(|| beside(&args.file));
    let bundle = files::read(&signature, Evidence::MAX as u64).map_err(|failure| {
        if signature.exists() || args.signature.is_some() {
            return failure;
        }
        failure.advise(format!(
            "{0} is not signed, or its signature lies elsewhere: name it, `kusabi verify {0} SIGNATURE`; `kusabi sign` makes one",
            args.file.display()
        ))
    })?;
    let file = digest_of_file(&args.file, session.output())?;
    let fresh_from = args
        .fresh_from
        .map_or(Ok(Height::MAX), Height::new)
        .map_err(|why| Failure::new(Exit::Usage, format!("--fresh-from: {why}")))?;
    let decoded = Evidence::decode(&bundle).ok();

    // Whoever names the chain and nothing else asks for an answer without a network.
    let offline = args.offline || (session.chain_named() && !session.ledger_named());
    let mut proof = None;
    let newest = match &decoded {
        Some(evidence) if !offline && evidence.check_subject(&chain, &file).is_ok() => {
            let connection = Connection::open(session)?;
            // The anchor first: then the record is not older than it.
            let key = StateKey::anchor(&evidence.anchor_digest());
            let anchor = match connection.row(key)?.into_value() {
                Some(Row::Anchor(row)) => Some(row),
                Some(_) => return Err(failure(&VerifyError::Row(RowError::Kind))),
                None => None,
            };
            let proven = connection.record(&evidence.signed().signer)?;
            let header = proven.checkpoint().header();
            let age_ms = session.now_ms().saturating_sub(header.time_ms);
            proof = Some((header.height.get(), header.time_ms, age_ms));
            // The subject was checked: this is the chain's own document.
            if let Ok(genesis) = Genesis::decode_for(&chain, evidence.genesis()) {
                warn_of_age(session, age_ms, genesis.heartbeat_ms());
            }
            Some(Newest {
                record: *proven.value(),
                anchor,
                epoch: header.epoch,
                known_at: proven.height(),
            })
        }
        _ => None,
    };
    let facts = Evidence::check(&bundle, &chain, &file, newest.as_ref(), fresh_from);
    let verdict = facts
        .as_ref()
        .map_or_else(|why| Verdict::Invalid(*why), judge);
    let (word, known_at, anchored_at) = match &verdict {
        Verdict::ValidNow { known_at } => ("valid-now", Some(*known_at), None),
        Verdict::AnchoredWhileValid { at, known_at } => {
            ("anchored-while-valid", Some(*known_at), Some(*at))
        }
        Verdict::Unproven(_) => ("unproven", None, None),
        _ => ("invalid", None, None),
    };
    let good = matches!(
        verdict,
        Verdict::ValidNow { .. } | Verdict::AnchoredWhileValid { .. }
    );
    session.output().say(&Judged {
        file: args.file.clone(),
        signature,
        sha256: file.to_string(),
        verdict: word,
        sentence: verdict.to_string(),
        signer: decoded
            .as_ref()
            .map(|evidence| evidence.signed().signer.to_string()),
        purpose: decoded
            .as_ref()
            .map(|evidence| evidence.signed().purpose.name()),
        key_ended: facts
            .as_ref()
            .ok()
            .and_then(|facts| KeyEnded::of(&facts.record)),
        known_at: known_at.map(Height::get),
        anchored_at: anchored_at.map(Height::get),
        proven_at: proof.map(|(height, ..)| height),
        proven_time_ms: proof.map(|(_, time_ms, _)| time_ms),
        proven_age_ms: proof.map(|(.., age_ms)| age_ms),
        offline,
    })?;
    Ok(if good { Exit::Ok } else { Exit::Negative })
}

/// A ledger that runs makes a block in each heartbeat, so an older proof is that of a node that is behind, of a ledger that has
/// stopped, or an answer of the past. The verdict stays: this machine's clock may be the one that is wrong.
fn warn_of_age(session: &Session, age_ms: u64, heartbeat_ms: u64) {
    if age_ms > heartbeat_ms.saturating_mul(STALE_HEARTBEATS) {
        session.output().warn(&format!(
            "by this machine's clock the ledger's newest proof is {} old, and a revocation since then would not be in it: \
             ask another node with --ledger URL, or check the clock",
            elapsed(age_ms)
        ));
    }
}
