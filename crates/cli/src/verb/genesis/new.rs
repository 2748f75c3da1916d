//! `kusabi genesis new`: member files become a genesis that can be signed.

use std::path::PathBuf;

use kusabi_core::{
    genesis::GenesisParts,
    id::{ChainId, Epoch, OrgName},
    nodes::NodeParts,
    set::{EpochSet, EpochSetParts, ORGANISATIONS_MAX, SIGNATORIES_MAX, recovery_set},
    suite::VerificationKey,
    tx::{Action, Draft, Entry},
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    member::Member,
    proposal::Proposal,
    session::Session,
};

/// Put member files together into a genesis that their organisations can sign
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Member files, one for each organisation
    #[arg(value_name = "MEMBER", required = true)]
    members: Vec<PathBuf>,
    /// Name of the ledger, for people
    #[arg(long, value_name = "LEDGER")]
    name: String,
    /// Seconds between blocks when nothing happens, such as 60s
    #[arg(long, value_name = "SECONDS", default_value = "60s", value_parser = seconds)]
    heartbeat: u64,
    /// How many recovery keys sign together [default: two thirds of them]
    #[arg(long, value_name = "K")]
    recovery_threshold: Option<u8>,
    /// Organisation whose recovery key counts, up to five times [default: all, where there are not more]
    #[arg(long = "recovery-by", value_name = "ORG")]
    recovery_by: Vec<OrgName>,
    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    digits
        .parse()
        .map_err(|_| "a number of seconds is needed, such as 60s".to_owned())
}

fn refused(what: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, what)
}

fn impossible(why: &dyn std::fmt::Display) -> Failure {
    refused(format!("no genesis can be made of this: {why}"))
        .advise("a ledger's name has 1 to 64 bytes, a heartbeat 1 s to 1 h")
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let members = members(&args.members)?;
    let recovery = recovery(args, &members)?;
    let set = EpochSetParts {
        epoch: Epoch::ZERO,
        organisations: members.iter().map(Member::parts).collect(),
    }
    .encode()
    .map_err(|why| impossible(&why))?;
    let document = GenesisParts {
        name: &args.name,
        created_ms: session.now_ms(),
        heartbeat_ms: args.heartbeat.saturating_mul(1_000),
        epoch_set: &set,
        recovery_set: &recovery,
        organisations: members.iter().map(|one| (one.name, one.quota)).collect(),
        nodes: members
            .iter()
            .map(|member| NodeParts {
                vote_key: member.vote_key,
                key: member.node_key,
                address: &member.address,
            })
            .collect(),
    }
    .encode()
    .map_err(|why| impossible(&why))?;
    let entries = entries(&set, &members)?;
    let transaction = Draft::new(
        ChainId::of(&document),
        Action::Genesis { document, entries },
    )
    .and_then(Draft::finish)
    .map_err(|why| impossible(&why))?;
    let proposal = Proposal::new(transaction).map_err(|why| impossible(&why))?;
    files::create(&args.out, proposal.transaction().as_bytes(), Mode::Public)?;
    session.output().say(&proposal.sheet()?)
}

/// The members, each once, and nothing that only people would take for two.
fn members(paths: &[PathBuf]) -> Result<Vec<Member>> {
    if paths.len() > ORGANISATIONS_MAX {
        return Err(refused(format!(
            "a ledger is founded by 1 to {ORGANISATIONS_MAX} organisations, and {} member files are named",
            paths.len()
        )));
    }
    let members: Vec<Member> = paths
        .iter()
        .map(|path| Member::read(path))
        .collect::<Result<_>>()?;
    for (n, (member, path)) in members.iter().zip(paths).enumerate() {
        let before = || members.iter().zip(paths).take(n);
        if let Some((other, first)) = before().find(|(other, _)| other.name == member.name) {
            let (first, second) = (first.display(), path.display());
            return Err(if other == member {
                refused(format!("{first} and {second} are the same member file"))
                    .advise("name each organisation's once")
            } else {
                refused(format!(
                    "{first} and {second} are of two organisations that are both called {}",
                    member.name
                ))
                .advise("one of them needs another name, or one file is out of date")
            });
        }
        if member.address.is_empty() && members.len() > 1 {
            return Err(refused(format!(
                "{} does not say where the others reach {}'s node",
                path.display(),
                member.name
            ))
            .advise(
                "it has to be made again: kusabi org init DIR --name ORG --address HOST:PORT",
            ));
        }
        let identities = member.identities();
        let shared = before().find(|(other, _)| !other.identities().is_disjoint(&identities));
        if let Some((other, _)) = shared {
            return Err(refused(format!(
                "one key stands in the member files of both {} and {}",
                other.name, member.name
            ))
            .advise("one of them has taken the other's: ask both for theirs another way"));
        }
        let same = before().find(|(other, _)| other.address.eq_ignore_ascii_case(&member.address));
        if let Some((other, _)) = same {
            return Err(refused(format!(
                "{} and {} have the same address, {}",
                other.name, member.name, member.address
            ))
            .advise("two nodes do not listen at one address: one of them is a mistake"));
        }
    }
    Ok(members)
}

/// The recovery set's bytes.
fn recovery(args: &Args, members: &[Member]) -> Result<Vec<u8>> {
    let keys: Vec<VerificationKey> = if args.recovery_by.is_empty() {
        members.iter().map(|member| member.recovery).collect()
    } else {
        let key = |name: &OrgName| {
            let member = members.iter().find(|member| member.name == *name);
            member.map(|member| member.recovery).ok_or_else(|| {
                refused(format!("--recovery-by {name}: no member file is of {name}"))
            })
        };
        args.recovery_by.iter().map(key).collect::<Result<_>>()?
    };
    if keys.len() > SIGNATORIES_MAX {
        return Err(refused(format!(
            "a recovery set has at most {SIGNATORIES_MAX} keys, and there are {}",
            keys.len()
        ))
        .advise(
            "agree whose recovery keys count, and name those organisations: --recovery-by ORG",
        ));
    }
    // At most five.
    let count = u8::try_from(keys.len()).unwrap_or(u8::MAX);
    let threshold = args
        .recovery_threshold
        .unwrap_or_else(|| (2 * count).div_ceil(3));
    if !(1..=count).contains(&threshold) {
        return Err(refused(format!(
            "{threshold} recovery keys cannot sign together where there are {count}"
        )));
    }
    recovery_set(threshold, &keys).map_err(|why| impossible(&why))
}

/// The officers' entries, in the order of the set.
fn entries(set: &[u8], members: &[Member]) -> Result<Vec<Entry>> {
    let set = EpochSet::decode(set).map_err(|why| impossible(&why))?;
    let of = |organisation: kusabi_core::set::Organisation<'_>| {
        let member = members
            .iter()
            .find(move |member| member.name.id() == organisation.id);
        // A member's officers are in the set's order already.
        member.into_iter().flat_map(|member| &member.officers)
    };
    Ok(set
        .organisations()
        .flat_map(of)
        .map(|(entry, _)| entry.clone())
        .collect())
}
