//! Whether a recovery says what an organisation's own directory would: everything but the seats that it is for.

use kusabi_core::{
    header::Header,
    id::{HeaderHash, Height, OrgId},
    nodes::Nodes,
    set::{EpochSet, OrganisationParts},
    suite::VerificationKey,
};
use kusabi_node::{directory::Directory, outline::Outline};

use super::{
    basis::{farthest_epoch, next, organisations},
    wrong,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    keyfile::hex,
    node_file::Seat,
    officers::Officers,
    page::grouped,
    recovering::Recovering,
};

/// Refuses a recovery that goes on from another block than the last one in a directory, or that differs from what the directory gives
/// in anything but who votes and where.
pub(super) fn compare(
    recovering: &Recovering,
    directory: &Directory,
    (last, officers): &(Header, Officers),
    file: &str,
    now_ms: u64,
) -> Result<()> {
    let outline = directory.outline();
    kept(recovering, last.height, &last.hash(outline.chain()), file)?;
    let seats = seats(recovering)?;
    let mut differences = differences(recovering, outline, officers, &seats)?;
    let epoch = recovering.next()?.epoch();
    let newest = outline.newest().number;
    if epoch <= newest || epoch.get() > farthest_epoch(newest.get(), now_ms.max(last.time_ms)) {
        differences.push(format!(
            "it opens epoch {}, and yours is {}",
            epoch.get(),
            newest.get()
        ));
    }
    // Whatever the sentences above have not found.
    if differences.is_empty()
        && next(outline, officers, epoch, &seats)?
            != (recovering.parts.next_set.clone(), recovering.nodes.clone())
    {
        differences.push("its bytes are not those that your directory gives".to_owned());
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Negative,
        format!(
            "{file} is not what your directory gives: {}",
            differences.join("; ")
        ),
    )
    .advise(
        "do not sign: ask whoever made it, and have the recovery made again from the same block",
    ))
}

fn kept(recovering: &Recovering, height: Height, hash: &HeaderHash, file: &str) -> Result<()> {
    let parts = &recovering.parts;
    let same = height != parts.parent_height || *hash == parts.parent_hash;
    if height == parts.parent_height && same {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Negative,
        format!(
            "{file} keeps the ledger up to block {}, and your directory goes up to block {}{}",
            grouped(parts.parent_height.get()),
            grouped(height.get()),
            if same { "" } else { ", with another content" }
        ),
    )
    .advise(if height < parts.parent_height {
        "whose officers are in force there, your directory cannot say: restore a backup of the copy that the recovery was made from \
         (kusabi restore), prepare a node there, and compare it with that"
    } else {
        "do not sign: send the others a backup of yours, and have the recovery made from the newest copy"
    }))
}

/// Who votes from then on, and where.
fn seats(recovering: &Recovering) -> Result<Vec<(OrgId, Seat)>> {
    let next = recovering.next()?;
    let nodes = Nodes::decode(&recovering.nodes).map_err(|why| wrong(&why))?;
    next.validators()
        .zip(nodes.iter())
        .map(|(validator, node)| {
            let organisation = next
                .organisation(usize::from(validator.organisation))
                .ok_or_else(|| wrong(&"a validator belongs to nobody"))?;
            let seat = Seat {
                vote_key: *validator.vote_key,
                node_key: *node.key,
                address: node.address.to_owned(),
            };
            Ok((organisation.id, seat))
        })
        .collect()
}

fn differences(
    recovering: &Recovering,
    outline: &Outline,
    officers: &Officers,
    seats: &[(OrgId, Seat)],
) -> Result<Vec<String>> {
    let name = |org: &OrgId| officers.name(org);
    let mine = organisations(outline, officers, seats)?;
    let found = parts_of(&recovering.next()?);
    let mut differences = Vec::new();
    for one in &mine {
        match found.iter().find(|other| other.id == one.id) {
            None => differences.push(format!("it leaves {} out", name(&one.id))),
            Some(other) => of_one(&name(&one.id), one, other, &mut differences),
        }
    }
    let strangers = found
        .iter()
        .filter(|other| mine.iter().all(|one| one.id != other.id));
    differences.extend(strangers.map(|other| {
        let epoch = outline.newest().number.get();
        format!("it names {}, which epoch {epoch} does not", name(&other.id))
    }));
    let voted = |seat: &Seat| {
        let mut epochs = outline.epochs().iter();
        epochs.any(|epoch| epoch.vote_keys.contains(&seat.vote_key))
    };
    let again = seats.iter().filter(|(_, seat)| voted(seat));
    differences.extend(again.map(|(org, _)| {
        format!(
            "the vote key of {} has voted in an earlier epoch",
            name(org)
        )
    }));
    Ok(differences)
}

fn parts_of(set: &EpochSet<'_>) -> Vec<OrganisationParts> {
    let votes_of = |index: usize| {
        let validators = set.validators();
        let of = validators.filter(move |one| usize::from(one.organisation) == index);
        of.map(|validator| *validator.vote_key).collect()
    };
    let organisations = set.organisations().enumerate();
    organisations
        .map(|(index, organisation)| OrganisationParts {
            id: organisation.id,
            threshold: u8::try_from(organisation.officers.threshold()).unwrap_or(u8::MAX),
            officers: (0..organisation.officers.len())
                .filter_map(|officer| organisation.officers.key(officer))
                .collect(),
            vote_keys: votes_of(index),
        })
        .collect()
}

/// What the recovery says otherwise of one organisation.
fn of_one(
    name: &str,
    mine: &OrganisationParts,
    found: &OrganisationParts,
    differences: &mut Vec<String>,
) {
    if found.threshold != mine.threshold {
        differences.push(format!(
            "{} officers of {name} sign together, and {} do",
            found.threshold, mine.threshold
        ));
    }
    let missing = |of: &[VerificationKey], from: &[VerificationKey]| -> Vec<String> {
        let missing = of.iter().filter(|key| !from.contains(key));
        missing.map(|key| hex(key.raw())).collect()
    };
    differences.extend(
        missing(&found.officers, &mine.officers)
            .iter()
            .map(|key| format!("{key} is no officer of {name} whom your directory would name")),
    );
    differences.extend(
        missing(&mine.officers, &found.officers)
            .iter()
            .map(|key| format!("it leaves out {key}, an officer of {name}")),
    );
    if found.vote_keys.len() > 1 {
        differences.push(format!(
            "{name} has {} validators in it, and each organisation has one",
            found.vote_keys.len()
        ));
    }
}
