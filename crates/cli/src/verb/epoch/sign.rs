//! `kusabi epoch sign`: officers sign what the nodes of those who stay have signed, and what was agreed on with whom it is about.

use std::path::PathBuf;

use kusabi_core::{appointment::OfficerSignature, id::OrgName, keystore::KeyStore as _};
use serde::Serialize;

use super::{compare::compare, names, present::Present, signed::Signed};
use crate::{
    appointing::Appointing,
    exit::Exit,
    failure::{Failure, Result},
    founding::verification_key,
    node_file::NodeFile,
    page::{Answer, Page},
    session::Session,
};

/// Sign an appointment with your officers' keys
///
/// Read it first (kusabi epoch show FILE): who stays, joins and leaves, whose officers change. It is signed if it ends the
/// present epoch, and each of its validators is there again with keys that it has signed itself, and no officers change. What no
/// machine can show (who joins or leaves, other officers, a new node in the place of a lost one) you ask the organisation that it is
/// about, and say --agreed ORG. Where no node is reached, it is compared with the epoch that this machine has verified last, and you
/// are told.
///
/// One appointment is signed for an epoch. What a key has signed is noted beside it (KEYFILE.signed), and another one is refused:
/// with two of one epoch the ledger can be led two ways, and the signatures stand under both.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The appointment
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Key files of officers [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
    /// Node file of your new node, where the old one is lost, from the machine itself
    #[arg(long, value_name = "NODE-FILE")]
    node_file: Option<PathBuf>,
    /// Organisation that says itself, and not by this file, that what the page says of it is so; several times for several
    #[arg(long, value_name = "ORG")]
    agreed: Vec<OrgName>,
    /// What you signed for this epoch before is used by nobody, and every file of it is destroyed
    #[arg(long)]
    instead: bool,
    /// The new file, with the signatures
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Done {
    file: PathBuf,
    organisation: String,
    signatures: usize,
    threshold: usize,
}

impl Answer for Done {
    fn page(&self, page: &mut Page) {
        page.good("Signed", &format!("for {}", self.organisation))
            .field(
                "signatures",
                format!("{} of {}", self.signatures, self.threshold),
            )
            .field("file", self.file.display().to_string());
        if self.signatures < self.threshold {
            page.text(&format!(
                "That is not enough for {}: more of the officers that the page shows sign this file, or the same one, too.",
                self.organisation
            ));
        }
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
    let (present, connection) = Present::ask(session, &chain)?;
    if let Some(unknown) = present.compare(&appointing)? {
        session.output().warn(&unknown);
    }
    session
        .output()
        .say_unless_json(&appointing.sheet(names(connection.as_ref()))?)?;
    let org = session.org(None)?;
    let fresh = args.node_file.as_deref().map(NodeFile::read).transpose()?;
    let names = names(connection.as_ref());
    compare(&appointing, &org, &args.agreed, fresh.as_ref(), names)?;
    let keys = session.officer_keys(&args.officers)?;
    let mut notes = unsigned(&appointing, args, session)?;
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
            .advise("a set names its officers by itself: those who were granted later are not in it; sign with the keys that the page shows")
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
    // Before anyone can have the signatures.
    for (path, signed) in &mut notes {
        if let Err(why) = signed.note(&chain, appointing.next()?.epoch(), &appointing.digest()?) {
            session.output().warn(&format!(
                "what was signed is not noted beside {}, so you have to know it yourself: {why}",
                path.display()
            ));
        }
    }
    appointing.create(&args.out)?;
    let signatures = appointing
        .signatures
        .iter()
        .filter(|signature| usize::from(signature.organisation) == index)
        .count();
    session.output().say(&Done {
        file: args.out.clone(),
        organisation: org.to_string(),
        signatures,
        threshold,
    })
}

/// The notes beside each officer's key, none of which has signed something else for this epoch.
fn unsigned(
    appointing: &Appointing,
    args: &Args,
    session: &Session,
) -> Result<Vec<(PathBuf, Signed)>> {
    let digest = appointing.digest()?;
    let epoch = appointing.next()?.epoch();
    let mut notes = Vec::new();
    for path in session.officers(&args.officers)? {
        let signed = Signed::beside(&path)?;
        let other = signed.other(&appointing.chain, epoch, &digest);
        if let Some(other) = other.filter(|_| !args.instead) {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{} has signed another appointment of epoch {epoch}: its digest is {other}, that of this one {digest}",
                    path.display()
                ),
            )
            .advise(
                "with two of one epoch the ledger can be led two ways, and your signature stands under both: go on with the first, or \
                 have every file of it destroyed and say --instead",
            ));
        }
        notes.push((path, signed));
    }
    Ok(notes)
}
