//! `kusabi epoch sign`: officers sign, after what it says of their own node was compared with that node.

use std::path::PathBuf;

use kusabi_core::{
    appointment::OfficerSignature, id::OrgName, keystore::KeyStore as _, nodes::Nodes,
};
use serde::Serialize;

use super::names;
use crate::{
    appointing::Appointing,
    connection::{self, Connection},
    exit::Exit,
    failure::{Failure, Result},
    founding::verification_key,
    page::{Answer, Page},
    session::Session,
};

/// Sign an appointment with your officers' keys
///
/// Read the page that it shows: who stays, joins and leaves. What it says of your own node is compared with what your node says;
/// on a machine that cannot reach it, compare by eye and say --compared. One appointment is signed for an epoch: destroy what is
/// not used.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The appointment
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Key files of officers [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
    /// You have compared vote key and node key with those of your node
    #[arg(long)]
    compared: bool,
    /// The new file, with the signatures
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Signed {
    file: PathBuf,
    organisation: String,
    signatures: usize,
    threshold: usize,
}

impl Answer for Signed {
    fn page(&self, page: &mut Page) {
        page.good("Signed", &format!("for {}", self.organisation))
            .field(
                "signatures",
                format!("{} of {}", self.signatures, self.threshold),
            )
            .field("file", self.file.display().to_string());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let mut appointing = Appointing::read(&args.file)?;
    let chain = session.chain()?;
    if appointing.chain != chain {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} is of the ledger {}, not of {chain}",
                args.file.display(),
                appointing.chain
            ),
        ));
    }
    let connection = Connection::open(session).ok();
    session
        .output()
        .say_unless_json(&appointing.sheet(names(connection.as_ref()))?)?;
    let org = session.org(None)?;
    if !args.compared {
        compare(&appointing, &org, session)?;
    }
    let keys = session.officer_keys(&args.officers)?;
    let mut threshold = 0;
    let mut index = 0;
    for key in &keys {
        let public = verification_key(key)?;
        let old = appointing.old()?;
        let place = old
            .organisations()
            .enumerate()
            .filter(|(_, organisation)| organisation.id == org.id())
            .find_map(|(place, organisation)| {
                let encoded = organisation.officers.encoded();
                let officer = encoded.iter().position(|known| *known == public.encode())?;
                threshold = organisation.officers.threshold();
                index = place;
                Some((u8::try_from(place).ok()?, u8::try_from(officer).ok()?))
            });
        let (organisation, officer) = place.ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                format!("{} is not an officer of {org} in this epoch's set", key.handle()),
            )
            .advise("officers who were granted since count from the next epoch on; sign with the keys of before")
        })?;
        let statement = appointing
            .parts
            .statement(&chain, &public)
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        let signature = key
            .key()
            .sign(&statement)
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        appointing.add(OfficerSignature {
            organisation,
            officer,
            signature,
        });
    }
    appointing.create(&args.out)?;
    let signatures = appointing
        .signatures
        .iter()
        .filter(|signature| usize::from(signature.organisation) == index)
        .count();
    session.output().say(&Signed {
        file: args.out.clone(),
        organisation: org.to_string(),
        signatures,
        threshold,
    })
}

/// Refuses where the appointment names other keys for the organisation's node than the node does.
fn compare(appointing: &Appointing, org: &OrgName, session: &Session) -> Result<()> {
    let next = appointing.next()?;
    let Some(index) = next.organisations().position(|o| o.id == org.id()) else {
        // It leaves: that is for its officers to judge.
        return Ok(());
    };
    let nodes = Nodes::decode(&appointing.nodes)
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let url = session.ledger()?;
    let view = connection::node(&url)?;
    let mut seats = next
        .validators()
        .zip(nodes.iter())
        .filter(|(validator, _)| usize::from(validator.organisation) == index)
        .peekable();
    if seats.peek().is_none() {
        return Ok(());
    }
    let mine =
        |(validator, node): (
            kusabi_core::set::Validator<'_>,
            kusabi_core::nodes::Node<'_>,
        )| { *validator.vote_key == view.next_vote_key.0 && *node.key == view.node_key.0 };
    if seats.any(mine) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Negative,
        format!(
            "the appointment does not name for {org} the keys that the node at {url} has ready: vote key {}, node key {}",
            view.next_vote_key, view.node_key
        ),
    )
    .advise(
        "if that is your node, somebody exchanged them, or the appointment is old: do not sign;\nif it is another one, name yours with --ledger URL, or compare by eye and say --compared",
    ))
}
