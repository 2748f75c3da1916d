//! `kusabi audit evidence`: what a file that `audit watch` wrote shows. It takes the chain ID, and no network.

use std::path::PathBuf;

use kusabi_api::contradiction::{
    Contradiction, EVIDENCE_LEN_MAX, Evidence, EvidenceError, Finding,
};
use kusabi_core::{id::ChainId, step::End};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    keyfile::hex,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Check evidence that a ledger has two histories
///
/// Needs the chain ID (of the profile, or --chain) and no network: nothing is believed of who found it, or of any node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that `kusabi audit watch` wrote
    file: PathBuf,
}

/// What evidence shows, in words.
#[derive(Clone, Serialize)]
pub(super) struct Shown {
    /// `blocks`, `steps` or `beyond-end`.
    kind: &'static str,
    what: String,
    epoch: u64,
    validators: usize,
    signed_both: Vec<SignedBoth>,
    /// Whether to sign both breaks the rules by itself.
    by_itself: bool,
}

#[derive(Clone, Serialize)]
struct SignedBoth {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    organisation: Option<String>,
}

impl Shown {
    pub(super) fn new(found: &Contradiction) -> Self {
        let (kind, what) = words(found.finding());
        let signed_both = found.both().iter().map(|signer| SignedBoth {
            key: hex(signer.key.raw()),
            organisation: signer
                .name
                .map(|name| name.to_string())
                .or_else(|| signer.organisation.map(|id| id.to_string())),
        });
        Self {
            kind,
            what,
            epoch: found.epoch().get(),
            validators: found.validators(),
            signed_both: signed_both.collect(),
            by_itself: found.by_itself(),
        }
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn page(&self, page: &mut Page) {
        page.field("epoch", self.epoch.to_string())
            .field("validators", grouped(self.validators as u64));
        for signer in &self.signed_both {
            let whose = signer.organisation.as_deref().unwrap_or("the recovery set");
            page.field("signed both", format!("{} of {whose}", signer.key));
        }
        page.text(if self.signed_both.is_empty() {
            "The recovery keys led into an epoch into which another way leads, too."
        } else if self.by_itself {
            "Whoever signed both broke the rules."
        } else {
            "More than a third of the validators broke the rules. They are to be sought first among those who signed both, of whom \
             some may have been misled by the others."
        });
    }
}

fn words(finding: &Finding) -> (&'static str, String) {
    match finding {
        Finding::Blocks {
            height,
            hashes: [one, other],
        } => (
            "blocks",
            format!(
                "two blocks of height {} are signed by a quorum: {one} and {other}",
                grouped(height.get())
            ),
        ),
        Finding::Steps { to, sets, ends } => {
            let [one, other] = sets;
            let what = if one == other {
                let ends: Vec<_> = ends.iter().map(end).collect();
                format!(
                    "two ways lead into epoch {}: {}",
                    to.get(),
                    ends.join(", and ")
                )
            } else {
                format!(
                    "two ways lead into epoch {}, to different validator sets: {one} and {other}",
                    to.get()
                )
            };
            ("steps", what)
        }
        Finding::BeyondEnd {
            last,
            last_hash,
            height,
            hash,
        } => (
            "beyond-end",
            format!(
                "the epoch ended with block {} ({last_hash}), and a quorum signed block {} ({hash}) of it",
                grouped(last.get()),
                grouped(height.get())
            ),
        ),
    }
}

fn end(end: &End) -> String {
    match end {
        End::At(height, hash) => format!("after block {} ({hash})", grouped(height.get())),
        End::Before(height) => format!("from height {} on", grouped(height.get())),
    }
}

#[derive(Serialize)]
struct Confirmed {
    contradiction: bool,
    chain: String,
    #[serde(flatten)]
    shown: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Answer for Confirmed {
    fn page(&self, page: &mut Page) {
        match (&self.shown, &self.why) {
            (Some(shown), _) => page.bad("Contradiction:", shown.what()),
            (None, why) => page.good("Nothing shown:", why.as_deref().unwrap_or_default()),
        };
        page.field("chain", &*self.chain);
        if let Some(shown) = &self.shown {
            shown.page(page);
        }
    }
}

pub(super) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let chain = session.chain()?;
    let bytes = files::read(&args.file, EVIDENCE_LEN_MAX as u64)?;
    let checked = Evidence::decode(&bytes)
        .map_err(|why| malformed(args, &why))?
        .check(&chain);
    let confirmed = answer(&chain, checked)?;
    session.output().say(&confirmed)?;
    Ok(if confirmed.contradiction {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

fn answer(chain: &ChainId, checked: Result<Contradiction, EvidenceError>) -> Result<Confirmed> {
    if checked == Err(EvidenceError::OtherChain) {
        return Err(Failure::new(
            Exit::OtherChain,
            format!("the evidence is about another ledger than {chain}"),
        )
        .advise("name the ledger that it is about with --chain, if you rely on that one"));
    }
    let (shown, why) = match checked {
        Ok(found) => (Some(Shown::new(&found)), None),
        Err(why) => (None, Some(why.to_string())),
    };
    Ok(Confirmed {
        contradiction: shown.is_some(),
        chain: chain.to_string(),
        shown,
        why,
    })
}

fn malformed(args: &Args, why: &EvidenceError) -> Failure {
    Failure::new(Exit::File, format!("{}: {why}", args.file.display()))
        .advise("have it sent again: it is not whole, or was changed on its way")
}
