//! An appointment on its way: who the next validators are, with none, some or all of the officers' signatures.
//!
//! It travels as the transaction that will bring it to the ledger (spec/ledger.md, action 12), not yet signed by whoever brings it,
//! and behind that what the nodes of those who stay signed of their next keys (spec/proof.md, "Next keys"):
//!
//! ```text
//! transaction ‖ (place in the next set u8 ‖ signature 64)* ‖ how many u8
//! ```

use std::path::Path;

use kusabi_core::{
    appointment::{Appointment, AppointmentParts, NextKeys, OfficerSignature},
    id::{ChainId, Digest, OrgId},
    nodes::Nodes,
    quorum::{quorum, two_thirds},
    set::{EpochSet, Organisation as Members},
    suite::{Signature, VerificationKey},
    tx::{Action, Draft, Transaction},
};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::hex,
    page::{Answer, Page},
};

#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;

/// Two sets, the nodes and eighty signatures have some 17 KiB.
const LIMIT: u64 = 64 * 1024;

/// An appointment with what is needed to check it.
#[derive(Clone, Debug)]
pub(crate) struct Appointing {
    pub(crate) chain: ChainId,
    /// The organisation that made it.
    pub(crate) org: OrgId,
    pub(crate) old_set: Vec<u8>,
    pub(crate) parts: AppointmentParts,
    /// Ascending by organisation and officer.
    pub(crate) signatures: Vec<OfficerSignature>,
    pub(crate) nodes: Vec<u8>,
    pub(crate) confirmations: Confirmations,
}

/// What validators of the present set signed of their next keys, by their places in the next set.
pub(crate) type Confirmations = Vec<(u8, Signature)>;

/// A place and a signature.
const CONFIRMATION: usize = 1 + Signature::LEN;

/// What stands behind the transaction, and the transaction.
fn confirmations(bytes: &[u8]) -> Option<(&[u8], Confirmations)> {
    let (count, rest) = bytes.split_last()?;
    let at = rest.len().checked_sub(usize::from(*count) * CONFIRMATION)?;
    let (transaction, behind) = rest.split_at_checked(at)?;
    let (entries, _) = behind.as_chunks::<CONFIRMATION>();
    let confirmation = |[place, signature @ ..]: &[u8; CONFIRMATION]| {
        Some((*place, Signature::new(*signature.first_chunk()?)))
    };
    let confirmations: Option<_> = entries.iter().map(confirmation).collect();
    Some((transaction, confirmations?))
}

fn broken(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::File,
        format!("{} is no appointment: {why}", path.display()),
    )
    .advise("`kusabi epoch new` makes one, and `kusabi epoch sign` adds signatures")
}

impl Appointing {
    /// Reads one, and checks its form: the sets, and that the nodes are those of the next.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path, LIMIT)?;
        let (transaction, confirmations) =
            confirmations(&bytes).ok_or_else(|| broken(path, &"it ends early"))?;
        let transaction = Transaction::decode(transaction).map_err(|why| broken(path, &why))?;
        let Action::Appoint {
            org,
            old_set,
            appointment,
            nodes,
        } = transaction.action()
        else {
            return Err(broken(path, &"it is another transaction"));
        };
        let appointment = Appointment::decode(appointment).map_err(|why| broken(path, &why))?;
        let old = EpochSet::decode(old_set).map_err(|why| broken(path, &why))?;
        if old.hash() != appointment.old_set_hash() || old.epoch() != appointment.old_epoch() {
            return Err(broken(
                path,
                &"the set that it ends is not the one that it names",
            ));
        }
        let listed = Nodes::decode(nodes).map_err(|why| broken(path, &why))?;
        listed
            .check(appointment.next_set())
            .map_err(|why| broken(path, &why))?;
        if listed.hash() != appointment.nodes_hash() {
            return Err(broken(path, &"its nodes are not those that it names"));
        }
        let addresses = || listed.iter().map(|node| node.address);
        if listed.iter().count() > 1 && addresses().any(str::is_empty) {
            return Err(broken(path, &"it does not say where each node is reached"));
        }
        // What counts is not how many signatures there are, but whose are good.
        for signed in appointment.signatures() {
            let organisation = old.organisation(usize::from(signed.organisation));
            let key = organisation.and_then(|o| o.officers.key(usize::from(signed.officer)));
            let good = key.is_some_and(|key| {
                let statement = appointment.parts().statement(&transaction.chain(), &key);
                statement.is_ok_and(|statement| key.verify(&statement, &signed.signature).is_ok())
            });
            if !good {
                let whose = organisation.map_or_else(String::new, |o| o.id.to_string());
                return Err(broken(
                    path,
                    &format!("a signature in it, of the organisation {whose}, is not good"),
                ));
            }
        }
        Ok(Self {
            chain: transaction.chain(),
            org: *org,
            old_set: old_set.clone(),
            parts: appointment.parts(),
            signatures: appointment.signatures().collect(),
            nodes: nodes.clone(),
            confirmations,
        })
    }

    /// By places in the next set: whether the keys there are what a validator that the same organisation has in the present set goes
    /// on with, as that says itself. One of the present set speaks for one of the next.
    pub(crate) fn confirmed(&self) -> Result<Vec<bool>> {
        let (old, next) = (self.old()?, self.next()?);
        let nodes = Nodes::decode(&self.nodes)
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        let mut present: Vec<_> = old
            .validators()
            .filter_map(|one| Some((old.organisation(usize::from(one.organisation))?.id, one)))
            .collect();
        let places = next.validators().zip(nodes.iter()).enumerate();
        let mut confirmed = Vec::new();
        for (place, (validator, node)) in places {
            let org = next.organisation(usize::from(validator.organisation));
            let keys = NextKeys {
                epoch: next.epoch(),
                vote_key: *validator.vote_key,
                node_key: *node.key,
            };
            let says = |old_key: &[u8; 32]| {
                self.confirmations.iter().any(|(of, signature)| {
                    usize::from(*of) == place
                        && keys.verify(&self.chain, old_key, signature).is_ok()
                })
            };
            let by = present
                .iter()
                .position(|(id, one)| org.is_some_and(|org| org.id == *id) && says(one.vote_key));
            if let Some(by) = by {
                present.swap_remove(by);
            }
            confirmed.push(by.is_some());
        }
        Ok(confirmed)
    }

    /// The action that brings it, for an organisation.
    pub(crate) fn action(&self, org: OrgId) -> Result<Action> {
        let internal = |why: &dyn std::fmt::Display| Failure::new(Exit::Internal, why.to_string());
        Ok(Action::Appoint {
            org,
            old_set: self.old_set.clone(),
            appointment: self
                .parts
                .encode(&self.signatures)
                .map_err(|why| internal(&why))?,
            nodes: self.nodes.clone(),
        })
    }

    /// Digest of all that officers sign: the same for each of them.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let payload = self.parts.payload();
        payload
            .map(|payload| Digest::of(&payload))
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))
    }

    /// Writes it to a new file.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        let transaction = Draft::new(self.chain, self.action(self.org)?)
            .and_then(Draft::finish)
            .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
        let mut bytes = transaction.as_bytes().to_vec();
        for (place, signature) in &self.confirmations {
            bytes.push(*place);
            bytes.extend(signature.as_bytes());
        }
        bytes.extend(u8::try_from(self.confirmations.len()));
        files::create(path, &bytes, Mode::Public)
    }

    /// Takes the signatures of another file of the same appointment.
    pub(crate) fn take(&mut self, other: &Self, path: &Path) -> Result<()> {
        if (self.chain, &self.parts, &self.nodes) != (other.chain, &other.parts, &other.nodes) {
            return Err(broken(path, &"it is another one than the first file")
                .advise("one appointment is signed by all; destroy the others"));
        }
        for signature in &other.signatures {
            self.add(signature.clone());
        }
        Ok(())
    }

    /// Puts a signature in its place.
    pub(crate) fn add(&mut self, signature: OfficerSignature) {
        let at = (signature.organisation, signature.officer);
        self.signatures
            .retain(|known| (known.organisation, known.officer) != at);
        self.signatures.push(signature);
        self.signatures
            .sort_by_key(|known| (known.organisation, known.officer));
    }

    pub(crate) fn old(&self) -> Result<EpochSet<'_>> {
        EpochSet::decode(&self.old_set).map_err(|why| Failure::new(Exit::Internal, why.to_string()))
    }

    pub(crate) fn next(&self) -> Result<EpochSet<'_>> {
        EpochSet::decode(&self.parts.next_set)
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))
    }

    /// What people look at before they sign.
    pub(crate) fn sheet(&self, name: impl Fn(&OrgId) -> String) -> Result<Sheet> {
        let (old, next) = (self.old()?, self.next()?);
        let nodes = Nodes::decode(&self.nodes)
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        let mut ids: Vec<OrgId> = old
            .organisations()
            .chain(next.organisations())
            .map(|o| o.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let find = |set: &EpochSet<'_>, id: &OrgId| {
            set.organisations()
                .position(|organisation| organisation.id == *id)
        };
        let confirmed = self.confirmed()?;
        let mut organisations = Vec::new();
        let mut signed_for = 0;
        for id in ids {
            let (was, is) = (find(&old, &id), find(&next, &id));
            let of_next: Vec<Validator> = next
                .validators()
                .zip(nodes.iter())
                .zip(&confirmed)
                .filter(|((validator, _), _)| Some(usize::from(validator.organisation)) == is)
                .map(|((validator, node), confirmed)| Validator {
                    address: node.address.to_owned(),
                    vote_key: hex(validator.vote_key),
                    node_key: hex(node.key),
                    confirmed: *confirmed,
                })
                .collect();
            let change = match (was, is) {
                (None, _) => "joins",
                (_, None) => "leaves",
                (Some(_), Some(_)) if of_next.is_empty() => "stays, without a vote",
                (Some(_), Some(_)) => "stays",
            };
            let threshold = was
                .and_then(|index| old.organisation(index))
                .map(|organisation| organisation.officers.threshold());
            let officers = officers(
                was.and_then(|index| old.organisation(index)),
                is.and_then(|index| next.organisation(index)),
            );
            let next_threshold = is
                .and_then(|index| next.organisation(index))
                .map(|organisation| organisation.officers.threshold());
            let signatures = was.map_or(0, |index| {
                self.signatures
                    .iter()
                    .filter(|signature| usize::from(signature.organisation) == index)
                    .count()
            });
            if threshold.is_some_and(|threshold| signatures >= threshold) {
                signed_for += 1;
            }
            organisations.push(Organisation {
                name: name(&id),
                change,
                signatures,
                threshold,
                next_threshold,
                officers,
                validators: of_next,
            });
        }
        let validators = next.validator_count();
        Ok(Sheet {
            chain: self.chain.to_string(),
            digest: self.digest()?.to_string(),
            from_epoch: old.epoch().get(),
            to_epoch: next.epoch().get(),
            validators,
            quorum: quorum(validators),
            signed_for,
            enough: two_thirds(signed_for, old.organisation_count()),
            members: old.organisation_count(),
            organisations,
        })
    }
}

/// A validator of the next epoch.
#[derive(Serialize)]
struct Validator {
    address: String,
    vote_key: String,
    node_key: String,
    /// Whether a validator of the present set says itself that it goes on with these keys.
    confirmed: bool,
}

#[derive(Serialize)]
struct Organisation {
    name: String,
    change: &'static str,
    signatures: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<usize>,
    /// How many officers sign together in the next epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_threshold: Option<usize>,
    officers: Vec<Officer>,
    validators: Vec<Validator>,
}

/// An officer of the present set, of the next, or of both.
#[derive(Serialize)]
struct Officer {
    signing_key: String,
    change: &'static str,
}

fn officers(was: Option<Members<'_>>, is: Option<Members<'_>>) -> Vec<Officer> {
    let keys = |of: Option<Members<'_>>| -> Vec<VerificationKey> {
        let officers = of.map(|of| of.officers);
        let all = officers
            .into_iter()
            .flat_map(|officers| (0..officers.len()).filter_map(move |index| officers.key(index)));
        all.collect()
    };
    let (old, next) = (keys(was), keys(is));
    let stay = next.iter().map(|key| {
        let change = if old.contains(key) { "stays" } else { "new" };
        (key, change)
    });
    let go = old.iter().filter(|key| !next.contains(key));
    stay.chain(go.map(|key| (key, "leaves the set")))
        .map(|(key, change)| Officer {
            signing_key: hex(key.raw()),
            change,
        })
        .collect()
}

/// An appointment as people read it.
#[derive(Serialize)]
pub(crate) struct Sheet {
    chain: String,
    digest: String,
    from_epoch: u64,
    to_epoch: u64,
    validators: usize,
    quorum: usize,
    /// Organisations whose officers have signed, as many as must.
    signed_for: usize,
    enough: bool,
    members: usize,
    organisations: Vec<Organisation>,
}

impl Answer for Sheet {
    fn page(&self, page: &mut Page) {
        page.good(
            "Appointment",
            &format!("of the validators of epoch {}", self.to_epoch),
        )
        .field("chain", &*self.chain)
        .field("digest", &*self.digest)
        .field(
            "quorum",
            format!("{} of {} validators", self.quorum, self.validators),
        )
        .field(
            "signed for",
            format!(
                "{} of {} organisations; two thirds are needed",
                self.signed_for, self.members
            ),
        );
        for organisation in &self.organisations {
            page.gap().careful(&organisation.name, organisation.change);
            if let Some(threshold) = organisation.threshold {
                page.field(
                    "signatures",
                    format!("{} of {threshold}", organisation.signatures),
                );
            }
            if let Some(next) = organisation.next_threshold {
                let changed = organisation.threshold.is_some_and(|now| now != next);
                let marked = if changed { ", which is changed" } else { "" };
                page.field("officers", format!("{next} sign together{marked}"));
            }
            for officer in &organisation.officers {
                page.field(
                    "officer",
                    format!("{}, {}", officer.signing_key, officer.change),
                );
            }
            for validator in &organisation.validators {
                let address = match &*validator.address {
                    "" => "no address",
                    address => address,
                };
                page.field("validator", address)
                    .field("vote key", &*validator.vote_key)
                    .field("node key", &*validator.node_key);
                if !validator.confirmed {
                    let name = &organisation.name;
                    page.field(
                        "not shown",
                        format!("no node says that these keys are {name}'s: ask {name}"),
                    );
                }
            }
        }
        page.gap();
    }
}
