//! `kusabi epoch sign`: officers sign, after what it says of their own node was compared with that node.

use std::path::{Path, PathBuf};

use kusabi_core::{
    appointment::OfficerSignature,
    id::{OrgId, OrgName},
    keystore::KeyStore as _,
    nodes::{Node, Nodes},
    set::{EpochSet, Validator},
};
use serde::Serialize;

use super::{names, signed::Signed};
use crate::{
    appointing::Appointing,
    connection::{self, Connection},
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
/// Read it first (kusabi epoch show FILE): who stays, joins and leaves, whose officers change. What it says of your own
/// organisation is compared with the present set and with what your node says, or, where that was lost, with the node file of the
/// new one; on a machine that has neither, or where a change is agreed on, compare by eye and say --compared.
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
    #[arg(long, value_name = "NODE-FILE", conflicts_with = "compared")]
    node_file: Option<PathBuf>,
    /// You have compared what it says of your organisation
    #[arg(long)]
    compared: bool,
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
    session
        .output()
        .say_unless_json(&appointing.sheet(names(connection.as_ref()))?)?;
    let org = session.org(None)?;
    if !args.compared {
        let ready = match &args.node_file {
            Some(file) => Ready::of_file(file, &org)?,
            None => Ready::of_node(session)?,
        };
        compare(&appointing, &org, &ready, names(connection.as_ref()))?;
    }
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

/// The keys that a node of the organisation has ready for the next epoch.
struct Ready {
    /// Where that is known from.
    place: String,
    vote_key: [u8; 32],
    node_key: [u8; 32],
    /// The vote key with which it votes now.
    voting: Option<[u8; 32]>,
}

impl Ready {
    fn of_node(session: &Session) -> Result<Self> {
        let url = session.ledger()?;
        let view = connection::node(&url)?;
        Ok(Self {
            place: format!("the node at {url}"),
            vote_key: view.next_vote_key.0,
            node_key: view.node_key.0,
            voting: Some(view.vote_key.0),
        })
    }

    fn of_file(path: &Path, org: &OrgName) -> Result<Self> {
        let node = NodeFile::read(path)?;
        if node.org != *org {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} is of {}, not of {org}", path.display(), node.org),
            ));
        }
        Ok(Self {
            place: path.display().to_string(),
            vote_key: node.seat.vote_key,
            node_key: node.seat.node_key,
            voting: None,
        })
    }
}

/// Refuses where the appointment says of the organisation anything else than that it goes on as it is, with the keys that its node
/// has ready; and where the officers of any organisation that goes on become others.
fn compare(
    appointing: &Appointing,
    org: &OrgName,
    ready: &Ready,
    name: impl Fn(&OrgId) -> String,
) -> Result<()> {
    let refused = |what: String| {
        Err(Failure::new(Exit::Negative, what).advise(
            "if that is agreed on, compare the page by eye and say --compared; else somebody changed it: do not sign",
        ))
    };
    let (old, next) = (appointing.old()?, appointing.next()?);
    let is = next.organisations().position(|o| o.id == org.id());
    let Some(index) = is else {
        return refused(format!("{org} leaves with this appointment"));
    };
    // Of whichever organisation: who signs for another one's officers is for all to have read, and that one may not have been asked.
    for goes_on in old.organisations() {
        let of = |set: &EpochSet<'_>| {
            let organisation = set.organisations().find(|o| o.id == goes_on.id);
            organisation.map(|o| (o.officers.threshold(), o.officers.encoded().to_vec()))
        };
        if of(&next).is_some_and(|then| of(&old) != Some(then)) {
            let whose = if goes_on.id == org.id() {
                org.to_string()
            } else {
                name(&goes_on.id)
            };
            return refused(format!(
                "the appointment changes who the officers of {whose} are"
            ));
        }
    }
    let nodes = Nodes::decode(&appointing.nodes)
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let seats: Vec<_> = next
        .validators()
        .zip(nodes.iter())
        .filter(|(validator, _)| usize::from(validator.organisation) == index)
        .collect();
    let voted = old
        .validators()
        .any(|validator| Some(*validator.vote_key) == ready.voting);
    if seats.is_empty() && voted {
        return refused(format!("{org} has no vote any more with this appointment"));
    }
    let mine = |(validator, node): &(Validator<'_>, Node<'_>)| {
        *validator.vote_key == ready.vote_key && *node.key == ready.node_key
    };
    // A new node is to be named; one that runs may belong to a member without a vote.
    let named = !seats.is_empty() || ready.voting.is_some();
    if named && seats.iter().all(mine) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Negative,
        format!(
            "the appointment does not name for {org} the keys that {} has ready: vote key {}, node key {}",
            ready.place,
            hex(&ready.vote_key),
            hex(&ready.node_key)
        ),
    )
    .advise(
        "if that is your node, somebody exchanged them, or the appointment is old: do not sign;\nif it is another one, name yours with --ledger URL, or compare by eye and say --compared",
    ))
}
