//! `kusabi epoch new`: an appointment that officers can sign.

use std::{collections::BTreeMap, path::PathBuf};

use kusabi_api::ledger::NodeView;
use kusabi_core::{
    appointment::{AppointmentParts, NextKeys},
    genesis::Genesis,
    id::{ChainId, Epoch, NodesHash, OrgId, OrgName},
    nodes::{NodeParts, nodes_of},
    row::{LedgerRow, Row},
    set::{EpochSet, EpochSetParts, OrganisationParts, Validator},
    step::Step,
    suite::Signature,
};

use super::{names, officers};
use crate::{
    appointing::Appointing,
    connection::{self, Connection},
    exit::Exit,
    failure::{Failure, Result},
    keyfile::hex,
    member::Member,
    node_file::{NodeFile, Seat},
    session::Session,
    who::Who,
};

/// Make the appointment of the next epoch's validators, for the officers to sign
///
/// Every validator votes with a fresh key in each epoch: its node has it ready and names it when it is asked, so that the node of
/// each organisation that stays has to answer. Say --node for each but your own; and --replace for one whose node is lost.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of another organisation's node, like http://node.acme.example:7040, several times for several
    #[arg(long = "node", value_name = "URL")]
    nodes: Vec<String>,
    /// Member file of an organisation that joins, as `kusabi org init` made it; or node file of one that has had a vote before and
    /// gets one again, as `kusabi node prepare` made it, with --officer for each of its officers
    #[arg(long = "add", value_name = "FILE")]
    added: Vec<PathBuf>,
    /// Node file of a member whose node was lost, as `kusabi node prepare` made it: the new node takes the place of the old
    #[arg(long = "replace", value_name = "NODE-FILE")]
    replaced: Vec<PathBuf>,
    /// Organisation that leaves
    #[arg(long = "remove", value_name = "ORG")]
    removed: Vec<OrgName>,
    /// Where the others reach the node of an organisation, if it is not where they reached it so far
    #[arg(long = "address", value_name = "ORG=HOST:PORT")]
    addresses: Vec<Address>,
    /// Officer of an organisation in the next set, once for each: these take the place of all that the present set names for it.
    /// Each is one on the ledger, and as many sign together as the ledger says. KEY is a handle or a key file
    #[arg(long = "officer", value_name = "ORG=KEY")]
    officers: Vec<OfficerKey>,
    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Who is to be an officer in the next set.
#[derive(Clone, Debug)]
struct OfficerKey {
    org: OrgName,
    key: Who,
}

impl std::str::FromStr for OfficerKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let needed =
            "an organisation and one of its officers' keys are needed, such as acme=HANDLE";
        let (org, key) = of_org(text, needed)?;
        let Ok(key) = key.parse();
        match key {
            Who::Handle(_) | Who::File(_) => Ok(Self { org, key }),
            Who::Standard | Who::InPlainSight => Err("give a handle or a key file".to_owned()),
        }
    }
}

#[derive(Clone, Debug)]
struct Address {
    org: OrgName,
    address: String,
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let needed =
            "an organisation and its address are needed, such as acme=node.acme.example:7043";
        let (org, address) = of_org(text, needed)?;
        Ok(Self {
            org,
            address: address.to_owned(),
        })
    }
}

/// An organisation and what is said of it, `ORG=…`.
fn of_org<'a>(text: &'a str, needed: &str) -> Result<(OrgName, &'a str), String> {
    let (org, said) = text.split_once('=').ok_or(needed)?;
    let org = org.parse().map_err(|why| format!("{org}: {why}"))?;
    Ok((org, said))
}

fn refused(what: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, what)
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let connection = Connection::open(session)?;
    let (_, row) = connection.ledger_row()?;
    let trust = connection.trust();
    let old = EpochSet::decode(trust.set()).map_err(|why| refused(why.to_string()))?;
    if let Some(failure) = taken(&row, old.epoch()) {
        return Err(failure);
    }
    let mut urls = vec![session.ledger()?];
    urls.extend(args.nodes.iter().cloned());
    let mut seats: BTreeMap<OrgId, Vec<Seat>> = BTreeMap::new();
    let mut said: BTreeMap<[u8; 32], Signature> = BTreeMap::new();
    for url in &urls {
        let view = connection::node(url)?;
        let (org, seat, signature) = seat(&old, url, view, connection.chain())?;
        said.insert(seat.vote_key, signature);
        let seats = seats.entry(org).or_default();
        // The same node may be named twice.
        if seats.iter().all(|known| known.vote_key != seat.vote_key) {
            seats.push(seat);
        }
    }
    for path in &args.replaced {
        let node = NodeFile::read(path)?;
        if old.organisations().all(|known| known.id != node.org.id()) {
            return Err(refused(format!(
                "{} is of {}, which is not among the organisations of this epoch",
                path.display(),
                node.org
            ))
            .advise(
                "whoever joins sends a member file: --add FILE; who has been a validator before sends this one: --add FILE, with \
                 --officer ORG=KEY for each of its officers",
            ));
        }
        let seats = seats.entry(node.org.id()).or_default();
        // Of several, those that answer go on.
        if voting(&old, &node.org.id()) == 1 {
            seats.clear();
        }
        seats.push(node.seat);
    }
    let mut organisations = Vec::new();
    let mut missing = Vec::new();
    for organisation in old.organisations() {
        if args.removed.iter().any(|name| name.id() == organisation.id) {
            seats.remove(&organisation.id);
            continue;
        }
        let here = seats.get(&organisation.id).map_or(0, Vec::len);
        if here < voting(&old, &organisation.id) {
            missing.push(connection.organisation_name(&organisation.id)?);
        }
        organisations.push(OrganisationParts {
            id: organisation.id,
            threshold: u8::try_from(organisation.officers.threshold()).unwrap_or(u8::MAX),
            officers: (0..organisation.officers.len())
                .filter_map(|index| organisation.officers.key(index))
                .collect(),
            vote_keys: seats
                .get(&organisation.id)
                .map(|seats| seats.iter().map(|seat| seat.vote_key).collect())
                .unwrap_or_default(),
        });
    }
    if organisations.is_empty() {
        return Err(refused("nobody would stay")
            .advise("those who come are told by those who stay: let one stay for an epoch"));
    }
    if !missing.is_empty() {
        return Err(refused(format!(
            "the fresh vote keys are not known of {}",
            missing.join(", ")
        ))
        .advise(
            "name their nodes: --node URL for each; where a node is lost, the new one: --replace FILE (kusabi node prepare); or let \
             them go: --remove ORG",
        ));
    }
    for name in &args.removed {
        if old.organisations().all(|known| known.id != name.id()) {
            return Err(refused(format!(
                "{name} is not among the organisations of this epoch"
            )));
        }
    }
    for path in &args.added {
        let (parts, seat, name) = match NodeFile::found(path)? {
            Some(node) => comes_back(node, &args.officers)?,
            None => {
                let member = Member::read(path)?;
                let seat = Seat {
                    vote_key: member.vote_key,
                    node_key: member.node_key,
                    address: member.address.clone(),
                };
                (member.parts(), seat, member.name)
            }
        };
        if organisations.iter().any(|known| known.id == name.id()) {
            return Err(refused(format!("{name} is a member already"))
                .advise("the officers and the node of a member stay as they are"));
        }
        organisations.push(parts);
        seats.insert(name.id(), vec![seat]);
    }
    if !args.added.is_empty() || !args.replaced.is_empty() {
        let past = past_votes(&connection)?;
        let votes = organisations.iter().flat_map(|of| &of.vote_keys);
        if let Some((key, epoch)) = votes.filter_map(|key| Some((key, past.get(key)?))).next() {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "the vote key {} was one of epoch {epoch}, and is erased since: its node could not vote",
                    hex(key)
                ),
            )
            .advise(
                "its organisation makes fresh ones (kusabi node prepare) and sends the node file: --add FILE where it is to have a \
                 vote again, --replace FILE where it has one",
            ));
        }
    }
    for organisation in &organisations {
        let row = connection.organisation(&organisation.id)?.into_value();
        if !matches!(row, Some(Row::Organisation(row)) if row.seat.is_some()) {
            let joins = args.added.iter().filter_map(|path| Member::read(path).ok());
            let name = joins
                .map(|member| member.name)
                .find(|name| name.id() == organisation.id);
            let name = match name {
                Some(name) => name.to_string(),
                None => connection.organisation_name(&organisation.id)?,
            };
            return Err(Failure::new(
                Exit::Negative,
                format!("{name} is no member of the ledger, and only members have validators"),
            )
            .advise("have the members decide first: kusabi org propose --admit FILE, or --seat ORG; or let it go: --remove ORG"));
        }
    }
    let mut named: BTreeMap<OrgId, (&OrgName, Vec<&Who>)> = BTreeMap::new();
    for OfficerKey { org, key } in &args.officers {
        let (_, keys) = named.entry(org.id()).or_insert((org, Vec::new()));
        keys.push(key);
    }
    for (id, (org, keys)) in named {
        let of = organisations.iter_mut().find(|known| known.id == id);
        let of = of.ok_or_else(|| {
            refused(format!(
                "{org} is not among the organisations of the next epoch"
            ))
            .advise("check the name; whoever joins is added: --add MEMBER")
        })?;
        (of.threshold, of.officers) = officers::named(&connection, org, &keys)?;
    }
    for Address { org, address } in &args.addresses {
        let seats = seats.get_mut(&org.id());
        let [seat] = seats.map(Vec::as_mut_slice).unwrap_or_default() else {
            return Err(refused(format!(
                "{org} has no node, or several, in the next epoch"
            )));
        };
        seat.address.clone_from(address);
    }
    let impossible =
        |why: &dyn std::fmt::Display| refused(format!("no appointment can be made of this: {why}"));
    let next = old
        .epoch()
        .next()
        .ok_or_else(|| refused("there is no further epoch"))?;
    let next_set = EpochSetParts {
        epoch: next,
        organisations,
    }
    .encode()
    .map_err(|why| impossible(&why))?;
    let set = EpochSet::decode(&next_set).map_err(|why| impossible(&why))?;
    if set.validator_count() > 1
        && let Some((org, _)) = seats
            .iter()
            .find(|(_, seats)| seats.iter().any(|seat| seat.address.is_empty()))
    {
        let name = connection.organisation_name(org)?;
        return Err(
            refused(format!("nobody says where the others reach {name}'s node"))
                .advise(format!("say it: --address {name}=HOST:PORT")),
        );
    }
    let parts: Vec<_> = seats
        .values()
        .flatten()
        .map(|seat| NodeParts {
            vote_key: seat.vote_key,
            key: seat.node_key,
            address: &seat.address,
        })
        .collect();
    let nodes = nodes_of(&set, &parts).map_err(|why| impossible(&why))?;
    let confirmations = set
        .validators()
        .enumerate()
        .filter_map(|(place, validator)| {
            let signature = said.get(validator.vote_key)?;
            Some((u8::try_from(place).ok()?, *signature))
        });
    let confirmations = confirmations.collect();
    let own = session.org(None)?.id();
    let appointing = Appointing {
        chain: *connection.chain(),
        org: own,
        old_set: trust.set().to_vec(),
        parts: AppointmentParts {
            old_epoch: old.epoch(),
            old_set_hash: old.hash(),
            nodes_hash: NodesHash::of(&nodes),
            next_set: next_set.clone(),
        },
        signatures: Vec::new(),
        nodes,
        confirmations,
    };
    appointing.create(&args.out)?;
    session
        .output()
        .say(&appointing.sheet(names(Some(&connection)))?)
}

/// What an organisation brings that had a vote before, and its seat: its officers are named, as the ledger has them.
fn comes_back(
    node: NodeFile,
    officers: &[OfficerKey],
) -> Result<(OrganisationParts, Seat, OrgName)> {
    if officers.iter().all(|officer| officer.org != node.org) {
        return Err(refused(format!(
            "a node file does not say who the officers of {} are",
            node.org
        ))
        .advise(format!(
            "name all of them that are to be in the set, as the ledger has them: --officer {}=KEY for each",
            node.org
        )));
    }
    let parts = OrganisationParts {
        id: node.org.id(),
        threshold: 0,
        // Those that are named take their place.
        officers: Vec::new(),
        vote_keys: vec![node.seat.vote_key],
    };
    Ok((parts, node.seat, node.org))
}

/// The vote keys of all epochs, this one's too, and the last that each was of.
fn past_votes(connection: &Connection) -> Result<BTreeMap<[u8; 32], Epoch>> {
    let mut past = BTreeMap::new();
    let mut of = |set: &EpochSet<'_>| {
        past.extend(set.validators().map(|one| (*one.vote_key, set.epoch())));
    };
    let genesis = connection.genesis()?;
    // It was checked.
    if let Ok(genesis) = Genesis::decode(&genesis) {
        of(genesis.epoch_set());
    }
    for step in connection.walk()? {
        if let Ok(step) = Step::decode(step.kind.into(), &step.bytes) {
            of(step.next_set());
        }
    }
    Ok(past)
}

/// Why no appointment is made that ends this epoch, where the ledger has one already: the nodes name their next keys as before until
/// the epoch has turned, and officers would be asked to sign a second one.
fn taken(row: &LedgerRow, present: Epoch) -> Option<Failure> {
    let ends = row.ends.filter(|_| row.epoch == present)?;
    let what = format!(
        "the ledger has the appointment that ends epoch {present} already: the epoch ends with block {}",
        ends.last.get()
    );
    let failure = Failure::new(Exit::Negative, what);
    Some(failure.advise(
        "wait until it has turned, as `kusabi epoch show` says, and run the same command again",
    ))
}

/// How many validators an organisation has in a set.
pub(super) fn voting(set: &EpochSet<'_>, org: &OrgId) -> usize {
    let index = set.organisations().position(|of| of.id == *org);
    let of = |validator: &Validator<'_>| Some(usize::from(validator.organisation)) == index;
    set.validators().filter(of).count()
}

/// What a node brings into the next set, for whom, and its signature under it.
fn seat(
    old: &EpochSet<'_>,
    url: &str,
    view: NodeView,
    chain: &ChainId,
) -> Result<(OrgId, Seat, Signature)> {
    let validator = old
        .validators()
        .find(|validator| *validator.vote_key == view.vote_key.0);
    let organisation = validator.and_then(|validator| {
        old.organisation(usize::from(validator.organisation))
            .filter(|_| view.epoch == old.epoch().get())
    });
    let organisation = organisation.ok_or_else(|| {
        refused(format!(
            "the node at {url} is no validator of epoch {}",
            old.epoch()
        ))
        .advise("name the nodes of the present members, once they have caught up")
    })?;
    let signature = Signature::new(view.next_keys_signature.0);
    let keys = old.epoch().next().map(|epoch| NextKeys {
        epoch,
        vote_key: view.next_vote_key.0,
        node_key: view.node_key.0,
    });
    let says = keys.is_some_and(|keys| keys.verify(chain, &view.vote_key.0, &signature).is_ok());
    if !says {
        return Err(Failure::new(
            Exit::Negative,
            format!("the answer of the node at {url} is not signed with its vote key"),
        )
        .advise("somebody between it and you changed the keys, or it is none of this ledger: ask its organisation"));
    }
    let address = view
        .nodes
        .iter()
        .find(|node| node.vote_key == view.vote_key)
        .map(|node| node.address.clone())
        .unwrap_or_default();
    let seat = Seat {
        vote_key: view.next_vote_key.0,
        node_key: view.node_key.0,
        address,
    };
    Ok((organisation.id, seat, signature))
}

#[cfg(test)]
mod tests {
    use kusabi_api::{Hex, Hex32};
    use kusabi_core::{
        id::{Height, RecoveryHash, SetHash},
        row::Ends,
    };

    use super::*;
    use crate::appointing::made::{CHAIN, EPOCH, four, public, says, set};

    #[test]
    fn a_node_is_believed_of_its_next_keys_if_its_present_vote_key_signed_them() {
        let bytes = set(EPOCH, &four([&[1], &[2], &[3], &[4]]));
        let old = EpochSet::decode(&bytes).unwrap();
        let asked = |change: &dyn Fn(&mut NodeView)| {
            let mut view = NodeView {
                epoch: EPOCH,
                node_key: Hex32::from(public(101)),
                vote_key: Hex32::from(public(1)),
                next_vote_key: Hex32::from(public(11)),
                next_keys_signature: Hex(*says(1, public(11), public(101)).as_bytes()),
                nodes: Vec::new(),
            };
            change(&mut view);
            seat(&old, "http://node.example", view, &CHAIN)
        };
        let (org, seat, _) = asked(&|_| {}).unwrap();
        assert_eq!(org, OrgName::new("acme").unwrap().id());
        assert_eq!((seat.vote_key, seat.node_key), (public(11), public(101)));
        // Other keys, another one's signature, and the place of another validator.
        let changes: [&dyn Fn(&mut NodeView); 4] = [
            &|view| view.next_vote_key = Hex32::from(public(25)),
            &|view| view.node_key = Hex32::from(public(105)),
            &|view| view.next_keys_signature = Hex(*says(2, public(11), public(101)).as_bytes()),
            &|view| view.vote_key = Hex32::from(public(2)),
        ];
        for change in changes {
            let refused = asked(change).err().unwrap();
            let said =
                "the answer of the node at http://node.example is not signed with its vote key";
            assert_eq!(refused.exit(), Exit::Negative);
            assert!(refused.what().contains(said), "{refused}");
        }
        let changes: [&dyn Fn(&mut NodeView); 2] = [&|view| view.epoch = EPOCH - 1, &|view| {
            view.vote_key = Hex32::from(public(9))
        }];
        for change in changes {
            let refused = asked(change).err().unwrap();
            assert!(
                refused.what().contains("is no validator of epoch 4"),
                "{refused}"
            );
        }
    }

    #[test]
    fn who_comes_back_brings_fresh_keys_and_its_officers_are_named() {
        let node = crate::appointing::made::node_file("echo", 25);
        let refused = comes_back(node.clone(), &["acme=safe/officer.key".parse().unwrap()]);
        let refused = refused.err().unwrap();
        assert_eq!(refused.exit(), Exit::Usage);
        assert!(
            refused
                .what()
                .contains("does not say who the officers of echo are"),
            "{refused}"
        );
        let officer = "echo=safe/officer.key".parse().unwrap();
        let (parts, seat, name) = comes_back(node.clone(), &[officer]).unwrap();
        assert_eq!((parts.id, &name), (node.org.id(), &node.org));
        assert_eq!(
            (parts.vote_keys, seat),
            (vec![node.seat.vote_key], node.seat)
        );
    }

    #[test]
    fn an_epoch_that_ends_already_gets_no_second_appointment() {
        let present = Epoch::new(EPOCH);
        let mut row = LedgerRow {
            version: 1,
            epoch: present,
            set_hash: SetHash::new([1; 32]),
            recovery_hash: RecoveryHash::new([2; 32]),
            skipped: Height::ZERO,
            ends: None,
        };
        assert!(taken(&row, present).is_none());
        row.ends = Some(Ends {
            last: Height::new(40).unwrap(),
            next_set_hash: SetHash::new([3; 32]),
        });
        let refused = taken(&row, present).unwrap();
        assert_eq!(refused.exit(), Exit::Negative);
        let said = "the appointment that ends epoch 4 already: the epoch ends with block 40";
        assert!(refused.what().contains(said), "{refused}");
        // The row of the epoch before, when the next has begun meanwhile.
        assert!(taken(&row, Epoch::new(EPOCH + 1)).is_none());
    }
}
