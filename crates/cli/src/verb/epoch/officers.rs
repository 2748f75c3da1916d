//! Officers of the next set that the ledger proves.

use kusabi_api::view::status;
use kusabi_core::{
    id::OrgName,
    set::SIGNATORIES_MAX,
    suite::{Purpose, VerificationKey},
};

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    who::Who,
};

/// How many of an organisation's officers act together, as the ledger has it, and the keys of those that are named: each is
/// proven to be an officer in force.
pub(super) fn named(
    connection: &Connection,
    org: &OrgName,
    officers: &[&Who],
) -> Result<(u8, Vec<VerificationKey>)> {
    let mut keys = Vec::new();
    for officer in officers {
        let handle = officer.resolve()?.handle();
        let record = connection
            .record(&handle)?
            .into_value()
            .filter(|record| record.owner() == org.id() && record.purpose() == Purpose::Officer);
        let record = record.ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                format!("{handle} is no officer's key of {org}"),
            )
            .advise("its officers give it that role first: kusabi org grant KEYFILE")
        })?;
        if !record.is_active() {
            let ended = status(record.status());
            return Err(Failure::new(
                Exit::Negative,
                format!("{org}'s officer {handle} has ended ({ended})"),
            )
            .advise("name those that are in force"));
        }
        let key = record.keys().verification_key();
        keys.push(key.ok_or_else(|| {
            Failure::new(
                Exit::Internal,
                format!("the officer's key {handle} cannot sign"),
            )
        })?);
    }
    keys.sort_by_key(VerificationKey::encode);
    keys.dedup();
    let threshold = connection.known_organisation(&org.id())?.officers_k;
    let (needed, count) = (usize::from(threshold), keys.len());
    if needed > SIGNATORIES_MAX {
        return Err(Failure::new(
            Exit::Negative,
            format!("{needed} of {org}'s officers act together, and a set names {SIGNATORIES_MAX} at most"),
        )
        .advise(format!("lower it first: kusabi org threshold {SIGNATORIES_MAX}")));
    }
    if !(needed..=SIGNATORIES_MAX).contains(&count) {
        return Err(Failure::new(
            Exit::Usage,
            format!("the set needs {needed} to {SIGNATORIES_MAX} of {org}'s officers, and {count} of them are named"),
        )
        .advise("name all of them that are to be in the set: --officer ORG=KEY for each"));
    }
    Ok((threshold, keys))
}
