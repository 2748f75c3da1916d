//! `kusabi genesis sign`: an organisation's officers sign, after its own directory was compared with what they sign.

use std::path::{Path, PathBuf};

use kusabi_core::{
    genesis::Genesis,
    suite::Purpose,
    tx::{Draft, Signed},
};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    founding::Places,
    keyfile::{KeyFile, hex},
    member::{Member, Own, is_officer},
    page::{Answer, Page},
    proposal::{Part, Proposal},
    session::Session,
};

/// Sign a genesis with your officers' keys, if it says of your organisation what your directory says
///
/// Read the page that it shows, and compare the chain ID with the others, by telephone; with --chain HASH it is compared for
/// you. Where the officers' keys are on several machines, each signs there, into a file of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Your organisation's directory, as `kusabi org init` made it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The genesis
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Key file of an officer that is not in DIR, several times for several
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
    /// Sign although your recovery key is not in the recovery set
    #[arg(long)]
    without_recovery_key: bool,
    /// The new file with the signatures, for whoever gathers them
    #[arg(long, value_name = "SIGNATURE-FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Done {
    file: PathBuf,
    chain: String,
    organisation: String,
    signatures: usize,
    officers: usize,
}

impl Answer for Done {
    fn page(&self, page: &mut Page) {
        page.good(
            "Signed",
            &format!("by {} of {}'s officers", self.signatures, self.organisation),
        )
        .field("chain", &*self.chain)
        .field(
            "compared",
            "officers, keys, address and quota: as your directory says",
        )
        .field("signatures", self.file.display().to_string());
        if self.signatures < self.officers {
            page.gap().text(&format!(
                "All {} officers of {} have to sign: the others sign the same file where their keys are.",
                self.officers, self.organisation
            ));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let places = Places::new(&args.dir);
    let own = Own::open(&places)?;
    let proposal = Proposal::read(&args.file)?;
    session.output().say_unless_json(&proposal.sheet()?)?;
    if let Some(chain) = session
        .named_chain()?
        .filter(|chain| *chain != proposal.chain())
    {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} is the genesis of {}, not of {chain}",
                args.file.display(),
                proposal.chain()
            ),
        )
        .advise("somebody has another file than you: do not sign before you know why"));
    }
    check_own(&own.member, &proposal, &args.file)?;
    if !args.without_recovery_key && !has_recovery_key(&own.member, &proposal)? {
        return Err(Failure::new(
            Exit::Negative,
            format!(
                "the recovery key of {} is not in the recovery set of {}",
                own.member.name,
                args.file.display()
            ),
        )
        .advise(
            "where others were agreed on, say --without-recovery-key; else somebody exchanged it: do not sign",
        ));
    }

    let mut paths = places.officer_keys()?;
    paths.extend(args.officers.iter().cloned());
    let keys = KeyFile::read_all(&paths)?;
    let mut draft = Draft::from(proposal.transaction().clone());
    for (key, path) in keys.iter().zip(&paths) {
        if !is_officer(&own.member, key)? {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} is not the key of an officer of {}",
                    path.display(),
                    own.member.name
                ),
            ));
        }
        draft
            .sign(key.handle(), Purpose::Officer, key.key())
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    }
    let transaction = draft
        .finish()
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let is_ours = |signed: &&Signed| {
        let officers = &own.member.officers;
        officers
            .iter()
            .any(|(entry, _)| entry.handle() == signed.signer)
    };
    let signatures = transaction.signatures().iter().filter(is_ours).count();
    if keys.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("no officer's key is in {}", args.dir.display()),
        )
        .advise("bring it, or name where it is: --officer KEYFILE"));
    }
    files::create(&args.out, transaction.as_bytes(), Mode::Public)?;
    session.output().say(&Done {
        file: args.out.clone(),
        chain: proposal.chain().to_string(),
        organisation: own.member.name.to_string(),
        signatures,
        officers: own.member.officers.len(),
    })
}

/// Refuses a genesis that says of an organisation anything else than its own directory does.
pub(crate) fn check_own(member: &Member, proposal: &Proposal, file: &Path) -> Result<()> {
    let part = proposal
        .parts()
        .iter()
        .find(|part| part.name == member.name);
    let Some(part) = part else {
        return Err(Failure::new(
            Exit::Negative,
            format!(
                "{} does not found a ledger with {}",
                file.display(),
                member.name
            ),
        )
        .advise("send your member file to whoever gathers them, and have the genesis made again"));
    };
    let differences = differences(member, part);
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences
        .iter()
        .map(|(what, ours, theirs)| {
            format!("{what}\n  your directory: {ours}\n  this genesis:   {theirs}")
        })
        .collect();
    let whats: Vec<_> = differences.iter().map(|(what, ..)| *what).collect();
    Err(Failure::new(
        Exit::Negative,
        format!(
            "{} does not say of {} what its own directory says: {}",
            file.display(),
            member.name,
            whats.join(", ")
        ),
    )
    .excerpt(lines.join("\n"))
    .advise(
        "somebody may have exchanged it on its way: do not sign, send your member file another way,\nand have the genesis made again",
    ))
}

/// What differs: its name, as we have it, as they have it.
fn differences(member: &Member, part: &Part) -> Vec<(&'static str, String, String)> {
    let officers =
        |officers: &[(kusabi_core::tx::Entry, kusabi_core::suite::VerificationKey)]| {
            let lines: Vec<_> = officers
                .iter()
                .map(|(entry, _)| {
                    [
                        entry.handle().to_string(),
                        hex(entry.keys().as_bytes()),
                        hex(entry.binding().as_bytes()),
                    ]
                    .join(" ")
                })
                .collect();
            lines.join(", ")
        };
    let of_validators = |field: fn(&crate::proposal::Validator) -> &str| {
        let all: Vec<_> = part.validators.iter().map(field).collect();
        all.join(", ")
    };
    [
        (
            "officers",
            officers(&member.officers),
            officers(&part.officers),
        ),
        (
            "threshold",
            member.threshold.to_string(),
            part.threshold.to_string(),
        ),
        (
            "vote key",
            hex(&member.vote_key),
            of_validators(|validator| &validator.vote_key),
        ),
        (
            "node key",
            hex(&member.node_key),
            of_validators(|validator| &validator.node_key),
        ),
        (
            "address",
            member.address.clone(),
            of_validators(|validator| &validator.address),
        ),
        ("quota", member.quota.to_string(), part.quota.to_string()),
    ]
    .into_iter()
    .filter(|(_, ours, theirs)| ours != theirs)
    .collect()
}

fn has_recovery_key(member: &Member, proposal: &Proposal) -> Result<bool> {
    let genesis = Genesis::decode(proposal.document())
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let keys = genesis.recovery_set().signatories().encoded();
    Ok(keys.contains(&member.recovery.encode()))
}
