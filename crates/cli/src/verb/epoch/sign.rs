//! `kusabi epoch sign`: officers sign what the nodes of those who stay have signed, and what was agreed on with whom it is about.

use std::path::PathBuf;

use kusabi_core::{
    appointment::OfficerSignature,
    id::{OrgId, OrgName},
    keystore::KeyStore as _,
    nodes::Nodes,
    set::{EpochSet, Organisation},
};
use serde::Serialize;

use super::{names, new::voting, signed::Signed};
use crate::{
    appointing::Appointing,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    founding::verification_key,
    keyfile::hex,
    node_file::NodeFile,
    page::{Answer, Page},
    session::Session,
};

/// Sign an appointment with your officers' keys
///
/// Read it first (kusabi epoch show FILE): who stays, joins and leaves, whose officers change. It is signed if it ends the
/// present epoch, and each of its validators is there again with keys that it has signed itself, and no officers change. What no
/// machine can show (who joins or leaves, other officers, a new node in the place of a lost one) you ask the organisation that it is
/// about, and say --agreed ORG.
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
    present(&appointing, connection.as_ref(), session)?;
    session
        .output()
        .say_unless_json(&appointing.sheet(names(connection.as_ref()))?)?;
    let org = session.org(None)?;
    let fresh = args.node_file.as_deref().map(NodeFile::read).transpose()?;
    if let Some(other) = fresh.as_ref().filter(|file| file.org != org) {
        return Err(Failure::new(
            Exit::Usage,
            format!("the node file is of {}, not of {org}", other.org),
        ));
    }
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

/// Refuses an appointment that does not end the present epoch, as far as a node can be asked; else says that nobody compared it.
fn present(
    appointing: &Appointing,
    connection: Option<&Connection>,
    session: &Session,
) -> Result<()> {
    let old = appointing.old()?;
    let Some(connection) = connection.filter(|connection| connection.newest().is_ok()) else {
        session.output().warn(&format!(
            "no node could be asked whether epoch {} is the present one, with this set: {}",
            old.epoch(),
            old.hash()
        ));
        return Ok(());
    };
    let trust = connection.trust();
    let now = EpochSet::decode(trust.set())
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    if now.hash() == old.hash() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Negative,
        format!(
            "the appointment ends epoch {} with another set than the ledger has, whose epoch is {}",
            old.epoch(),
            now.epoch()
        ),
    )
    .advise("an epoch has turned since it was made: make it again. If none has, somebody made it up: do not sign"))
}

/// Refuses what no machine can show to be right, unless it was agreed on with the organisation that it is about: that it goes on with
/// other officers, joins, leaves or has fewer validators, and keys of a validator that no validator of its own has signed.
fn compare(
    appointing: &Appointing,
    org: &OrgName,
    agreed: &[OrgName],
    fresh: Option<&NodeFile>,
    name: impl Fn(&OrgId) -> String,
) -> Result<()> {
    let (old, next) = (appointing.old()?, appointing.next()?);
    // Where names are not known, the page shows IDs. A name that looks like one is that name.
    let ids = || {
        old.organisations()
            .chain(next.organisations())
            .map(|of| of.id)
    };
    let is = |of: &OrgName, id: &OrgId| {
        of.id() == *id || (of.to_string() == id.to_string() && ids().all(|known| known != of.id()))
    };
    let is_agreed = |id: &OrgId| agreed.iter().any(|of| is(of, id));
    let known = |of: &OrgName| {
        let mut both = old.organisations().chain(next.organisations());
        both.any(|organisation| is(of, &organisation.id))
    };
    if let Some(stranger) = agreed.iter().find(|of| !known(of)) {
        return Err(Failure::new(
            Exit::Usage,
            format!("the appointment says nothing of {stranger}"),
        )
        .advise("--agreed names an organisation that is on the page; check the name"));
    }
    let called = |id: &OrgId| {
        if *id == org.id() {
            org.to_string()
        } else {
            name(id)
        }
    };
    let refused = |id: &OrgId, what: String| {
        let whose = called(id);
        Err(Failure::new(Exit::Negative, what).advise(format!(
            "ask {whose}, not by this file (over the telephone), whether what the page says of {whose} is so; if it is, say --agreed \
             {whose}; else somebody changed it: do not sign"
        )))
    };
    let nodes = Nodes::decode(&appointing.nodes)
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let confirmed = appointing.confirmed()?;
    let seats = |index: usize| {
        let places = next.validators().zip(nodes.iter()).zip(&confirmed);
        places.filter(move |((validator, _), _)| usize::from(validator.organisation) == index)
    };
    for (index, organisation) in next.organisations().enumerate() {
        let id = &organisation.id;
        if is_agreed(id) {
            continue;
        }
        let officers =
            |of: Organisation<'_>| (of.officers.threshold(), of.officers.encoded().to_vec());
        let whose = called(id);
        let Some(was) = old.organisations().find(|was| was.id == *id) else {
            return refused(id, format!("{whose} joins with this appointment"));
        };
        if officers(was) != officers(organisation) {
            return refused(
                id,
                format!("the appointment changes who the officers of {whose} are"),
            );
        }
        for ((validator, node), confirmed) in seats(index) {
            let fresh = fresh.filter(|_| *id == org.id());
            let keys = (*validator.vote_key, *node.key);
            // Of several validators of one's own, one may be lost and the others have signed.
            let says =
                fresh.is_some_and(|fresh| keys == (fresh.seat.vote_key, fresh.seat.node_key));
            if says || (*confirmed && (fresh.is_none() || seats(index).count() > 1)) {
                continue;
            }
            return refused(
                id,
                format!(
                    "{} that these keys are {whose}'s: vote key {}, node key {}",
                    match fresh {
                        Some(_) => "the node file does not say",
                        None => "no node says",
                    },
                    hex(validator.vote_key),
                    hex(node.key)
                ),
            );
        }
    }
    // Who leaves, and who votes less: with fewer validators fewer liars are borne.
    for was in old.organisations() {
        let id = &was.id;
        if is_agreed(id) {
            continue;
        }
        let whose = called(id);
        if next.organisations().all(|of| of.id != *id) {
            return refused(id, format!("{whose} leaves with this appointment"));
        }
        if voting(&next, id) < voting(&old, id) {
            return refused(
                id,
                format!("{whose} has fewer validators with this appointment than it has now"),
            );
        }
    }
    Ok(())
}
