//! A recovery on its way: who the validators are after a loss, with none, some or all of the recovery keys' signatures.
//!
//! It travels as the transaction that will open the new epoch (spec/ledger.md, action 11).

use std::path::Path;

use kusabi_core::{
    handover::{Recovery, RecoveryParts},
    id::{ChainId, Digest, OrgId},
    nodes::Nodes,
    quorum::quorum,
    set::{EpochSet, RecoverySet},
    suite::{Signature, VerificationKey},
    tx::{Action, Draft, Transaction},
};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::hex,
    page::{Answer, Page, counted, grouped},
};

/// A set, the nodes and five signatures have some 9 KiB.
const LIMIT: u64 = 64 * 1024;

/// A recovery with what is needed to check it.
#[derive(Clone, Debug)]
pub(crate) struct Recovering {
    pub(crate) chain: ChainId,
    pub(crate) parts: RecoveryParts,
    pub(crate) recovery_set: Vec<u8>,
    /// Ascending by index in the recovery set.
    pub(crate) signatures: Vec<(u8, Signature)>,
    pub(crate) nodes: Vec<u8>,
}

fn broken(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::File,
        format!("{} is no recovery: {why}", path.display()),
    )
    .advise("`kusabi recover new` makes one, and `kusabi recover sign` adds signatures")
}

fn internal(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("no recovery could be made: {why}"))
}

impl Recovering {
    /// Reads one, and checks its form, that the nodes are those of its set, and the signatures that are there.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path, LIMIT)?;
        let transaction = Transaction::decode(&bytes).map_err(|why| broken(path, &why))?;
        let Action::Recovery { recovery, nodes } = transaction.action() else {
            return Err(broken(path, &"it is another transaction"));
        };
        let recovery = Recovery::decode(recovery).map_err(|why| broken(path, &why))?;
        Nodes::decode(nodes)
            .and_then(|nodes| nodes.check_named(&recovery.nodes_hash(), recovery.next_set()))
            .map_err(|why| broken(path, &why))?;
        let read = Self {
            chain: transaction.chain(),
            parts: recovery.parts(),
            recovery_set: recovery.recovery_set().as_bytes().to_vec(),
            signatures: recovery.signatures().collect(),
            nodes: nodes.clone(),
        };
        let set = read.signatories()?;
        for (index, signature) in &read.signatures {
            let key = set.signatories().key(usize::from(*index));
            let good = key.is_some_and(|key| {
                let statement = read.parts.statement(&read.chain, &key);
                statement.is_ok_and(|statement| key.verify(&statement, signature).is_ok())
            });
            if !good {
                return Err(broken(
                    path,
                    &format!("the signature in it of recovery key {index} is not good"),
                ));
            }
        }
        Ok(read)
    }

    /// The transaction that opens the epoch.
    pub(crate) fn transaction(&self) -> Result<Transaction> {
        let recovery = self
            .parts
            .encode(&self.recovery_set, &self.signatures)
            .map_err(|why| internal(&why))?;
        let action = Action::Recovery {
            recovery,
            nodes: self.nodes.clone(),
        };
        Draft::new(self.chain, action)
            .and_then(Draft::finish)
            .map_err(|why| internal(&why))
    }

    /// Writes it to a new file.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        files::create(path, self.transaction()?.as_bytes(), Mode::Public)
    }

    /// Takes the signatures of another file of the same recovery.
    pub(crate) fn take(&mut self, other: &Self, path: &Path) -> Result<()> {
        let says = |of: &Self| {
            (
                of.chain,
                of.parts.clone(),
                of.recovery_set.clone(),
                of.nodes.clone(),
            )
        };
        if says(self) != says(other) {
            return Err(broken(path, &"it is another one than the first file")
                .advise("one recovery is signed by all; destroy the others"));
        }
        for (index, signature) in &other.signatures {
            self.add(*index, *signature);
        }
        Ok(())
    }

    /// Puts a signature in its place.
    pub(crate) fn add(&mut self, index: u8, signature: Signature) {
        self.signatures.retain(|(known, _)| *known != index);
        self.signatures.push((index, signature));
        self.signatures.sort_by_key(|(index, _)| *index);
    }

    /// The keys that may sign.
    pub(crate) fn signatories(&self) -> Result<RecoverySet<'_>> {
        RecoverySet::decode(&self.recovery_set).map_err(|why| internal(&why))
    }

    /// The index of a key among them.
    pub(crate) fn index_of(&self, key: &VerificationKey) -> Result<Option<u8>> {
        let keys = self.signatories()?;
        let keys = keys.signatories();
        let index = (0..keys.len()).find(|index| keys.key(*index) == Some(*key));
        Ok(index.and_then(|index| u8::try_from(index).ok()))
    }

    pub(crate) fn next(&self) -> Result<EpochSet<'_>> {
        EpochSet::decode(&self.parts.next_set).map_err(|why| internal(&why))
    }

    /// What people look at before they sign.
    pub(crate) fn sheet(&self, name: impl Fn(&OrgId) -> String) -> Result<Sheet> {
        let next = self.next()?;
        let nodes = Nodes::decode(&self.nodes).map_err(|why| internal(&why))?;
        let keys = self.signatories()?;
        let keys = keys.signatories();
        let payload = self.parts.payload().map_err(|why| internal(&why))?;
        let organisations = next.organisations().enumerate().map(|(index, members)| {
            let officers = members.officers;
            Organisation {
                name: name(&members.id),
                threshold: officers.threshold(),
                officers: (0..officers.len())
                    .filter_map(|officer| Some(hex(officers.key(officer)?.raw())))
                    .collect(),
                validators: next
                    .validators()
                    .zip(nodes.iter())
                    .filter(|(validator, _)| usize::from(validator.organisation) == index)
                    .map(|(validator, node)| Validator {
                        address: node.address.to_owned(),
                        vote_key: hex(validator.vote_key),
                        node_key: hex(node.key),
                    })
                    .collect(),
            }
        });
        Ok(Sheet {
            chain: self.chain.to_string(),
            digest: Digest::of(&payload).to_string(),
            epoch: next.epoch().get(),
            kept: self.parts.parent_height.get(),
            kept_hash: self.parts.parent_hash.to_string(),
            from: self.parts.from.get(),
            validators: next.validator_count(),
            quorum: quorum(next.validator_count()),
            signatures: self.signatures.len(),
            threshold: keys.threshold(),
            keys: keys.len(),
            recovery_keys: (0..keys.len())
                .filter_map(|index| {
                    let of = |(signer, _): &(u8, Signature)| usize::from(*signer) == index;
                    Some(RecoveryKey {
                        signing_key: hex(keys.key(index)?.raw()),
                        signed: self.signatures.iter().any(of),
                    })
                })
                .collect(),
            organisations: organisations.collect(),
        })
    }
}

#[derive(Serialize)]
struct Validator {
    address: String,
    vote_key: String,
    node_key: String,
}

#[derive(Serialize)]
struct Organisation {
    name: String,
    threshold: usize,
    officers: Vec<String>,
    validators: Vec<Validator>,
}

/// A recovery as people read it.
#[derive(Serialize)]
pub(crate) struct Sheet {
    chain: String,
    /// SHA-256 of all that is signed: the same for all who sign the same.
    digest: String,
    epoch: u64,
    kept: u64,
    kept_hash: String,
    from: u64,
    validators: usize,
    quorum: usize,
    signatures: usize,
    threshold: usize,
    keys: usize,
    recovery_keys: Vec<RecoveryKey>,
    organisations: Vec<Organisation>,
}

#[derive(Serialize)]
struct RecoveryKey {
    signing_key: String,
    signed: bool,
}

impl Answer for Sheet {
    fn page(&self, page: &mut Page) {
        let keys = self.recovery_keys.iter().map(|key| {
            let signed = if key.signed { ", has signed" } else { "" };
            format!("{}{signed}", key.signing_key)
        });
        let keys: Vec<_> = keys.collect();
        page.good("Recovery", &format!("into epoch {}", self.epoch))
            .field("chain", &*self.chain)
            .field("digest", &*self.digest)
            .field("keeps", format!("up to block {}", grouped(self.kept)))
            .field("its hash", &*self.kept_hash)
            .field("goes on", format!("at block {}", grouped(self.from)))
            .field(
                "quorum",
                format!("{} of {} validators", self.quorum, self.validators),
            )
            .field(
                "signatures",
                format!(
                    "{} of {}, of {}:\n{}",
                    self.signatures,
                    self.threshold,
                    counted(self.keys as u64, "recovery key"),
                    keys.join("\n")
                ),
            );
        for organisation in &self.organisations {
            let votes = if organisation.validators.is_empty() {
                "without a vote"
            } else {
                ""
            };
            page.gap().careful(&organisation.name, votes).field(
                "officers",
                format!("{} sign together", organisation.threshold),
            );
            for officer in &organisation.officers {
                page.field("officer", &**officer);
            }
            for validator in &organisation.validators {
                let address = match &*validator.address {
                    "" => "no address",
                    address => address,
                };
                page.field("validator", address)
                    .field("vote key", &*validator.vote_key)
                    .field("node key", &*validator.node_key);
            }
        }
        page.gap();
    }
}
