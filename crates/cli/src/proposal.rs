//! A genesis on its way: document and transaction, with none, some or all of its signatures.
//!
//! It travels as a transaction (spec/ledger.md, action 0), which holds the document. Who signs it signs every byte of it.

use std::path::Path;

use kusabi_core::{
    genesis::Genesis,
    id::{ChainId, OrgName},
    quorum::quorum,
    suite::{Purpose, VerificationKey},
    tx::{Action, Draft, Entry, Signed, Transaction},
};
use kusabi_node::outline::Outline;
use rand_core::CryptoRng;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    keyfile::hex,
    page::{Answer, Page, counted, grouped, instant},
};

/// The largest has a document of 16 KiB, 80 entries and as many signatures.
const LIMIT: u64 = 64 * 1024;

/// A genesis, whatever its signatures.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    transaction: Transaction,
    parts: Vec<Part>,
}

/// What it says of one organisation.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: OrgName,
    pub(crate) quota: u64,
    pub(crate) threshold: usize,
    /// In the document's order.
    pub(crate) officers: Vec<(Entry, VerificationKey)>,
    pub(crate) validators: Vec<Validator>,
}

/// A validator and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Validator {
    pub(crate) address: String,
    pub(crate) vote_key: String,
    pub(crate) node_key: String,
}

/// Of what a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    Missing,
    Wrong,
    Good,
}

impl Proposal {
    /// Reads a genesis from a file, whole or with signatures missing.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path, LIMIT)?;
        Transaction::decode(&bytes)
            .map_err(|why| why.to_string())
            .and_then(Self::new)
            .map_err(|why| not_a_genesis(path, &why))
    }

    /// Takes a genesis transaction, and checks all of it but the signatures.
    pub(crate) fn new(transaction: Transaction) -> Result<Self, String> {
        let Action::Genesis { document, entries } = transaction.action() else {
            return Err("it is another transaction".to_owned());
        };
        let genesis =
            Genesis::decode_for(&transaction.chain(), document).map_err(|why| why.to_string())?;
        let set = genesis.epoch_set();
        let mut rest = entries.iter();
        let mut parts = Vec::new();
        for ((index, members), founder) in (0u8..).zip(set.organisations()).zip(genesis.founders())
        {
            let mut officers = Vec::new();
            for key in members.officers.encoded() {
                let entry = rest
                    .next()
                    .and_then(|entry| Some((entry, entry.check_keys().ok()?.verification_key()?)))
                    .filter(|(_, signing)| signing.encode() == *key);
                let (entry, signing) =
                    entry.ok_or("its officers are not those of its document, in its order")?;
                officers.push((entry.clone(), signing));
            }
            let validators = set
                .validators()
                .zip(genesis.nodes())
                .filter(|(validator, _)| validator.organisation == index)
                .map(|(validator, node)| Validator {
                    address: node.address.to_owned(),
                    vote_key: hex(validator.vote_key),
                    node_key: hex(node.key),
                });
            parts.push(Part {
                name: founder.name.parse().map_err(|_| "a name in it is none")?,
                quota: founder.quota,
                threshold: members.officers.threshold(),
                officers,
                validators: validators.collect(),
            });
        }
        if rest.next().is_some() {
            return Err("it makes officers that its document does not name".to_owned());
        }
        Ok(Self { transaction, parts })
    }

    pub(crate) fn chain(&self) -> ChainId {
        self.transaction.chain()
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Its document.
    pub(crate) fn document(&self) -> &[u8] {
        match self.transaction.action() {
            Action::Genesis { document, .. } => document,
            _ => &[],
        }
    }

    /// Whether it is the same genesis, whatever the signatures.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.chain(), self.transaction.action()) == (other.chain(), other.transaction.action())
    }

    /// The same with other signatures.
    pub(crate) fn with(self, signatures: &[Signed]) -> Result<Self> {
        let Self { transaction, parts } = self;
        let mut draft = Draft::from(transaction);
        for signed in signatures {
            draft.add(signed.signer, signed.signature);
        }
        let transaction = draft
            .finish()
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        Ok(Self { transaction, parts })
    }

    /// Whether an officer of it has signed it.
    fn signature(&self, (entry, key): &(Entry, VerificationKey)) -> Signature {
        let signatures = self.transaction.signatures();
        let Some(signed) = signatures
            .iter()
            .find(|signed| signed.signer == entry.handle())
        else {
            return Signature::Missing;
        };
        let statement = self
            .transaction
            .statement(&entry.handle(), Purpose::Officer);
        match key.verify(&statement, &signed.signature) {
            Ok(()) => Signature::Good,
            Err(_) => Signature::Wrong,
        }
    }

    /// The organisations of whose officers some have such a signature.
    fn of_whom(&self, signature: Signature) -> Option<String> {
        let has = |part: &&Part| {
            let mut officers = part.officers.iter();
            officers.any(|officer| self.signature(officer) == signature)
        };
        let names = self.parts.iter().filter(has);
        let names: Vec<_> = names.map(|part| part.name.to_string()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Checks the signatures that are there.
    ///
    /// # Errors
    /// Whose are wrong.
    pub(crate) fn check_signatures(&self, file: &Path) -> Result<()> {
        self.of_whom(Signature::Wrong).map_or(Ok(()), |names| {
            Err(Failure::new(
                Exit::Negative,
                format!("a signature of {names} in {} is wrong", file.display()),
            )
            .advise("the file was damaged or changed on its way: have it sent again"))
        })
    }

    /// As a node takes it: signed by all, and by the ledger's rules.
    ///
    /// # Errors
    /// Whose signatures are wrong or missing; what else is wrong.
    pub(crate) fn founding(&self, file: &Path, rng: &mut impl CryptoRng) -> Result<Outline> {
        self.check_signatures(file)?;
        if let Some(names) = self.of_whom(Signature::Missing) {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{}: signatures of these organisations' officers are missing: {names}",
                    file.display()
                ),
            )
            .advise("every officer that the genesis makes signs it: kusabi genesis sign DIR FILE --out SIGNATURE-FILE"));
        }
        let document = self.document().to_vec();
        let outline = Outline::new(document.into(), self.transaction.as_bytes().to_vec().into());
        outline
            .and_then(|outline| outline.check_founding(rng).map(|()| outline))
            .map_err(|why| not_a_genesis(file, &why.to_string()))
    }

    /// What stands in it, for people.
    pub(crate) fn sheet(&self) -> Result<Sheet> {
        let genesis = Genesis::decode(self.document())
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        let recovery = genesis.recovery_set().signatories();
        let validators = genesis.epoch_set().validator_count();
        let organisation = |part: &Part| Organisation {
            name: part.name.to_string(),
            quota: part.quota,
            threshold: part.threshold,
            officers: part
                .officers
                .iter()
                .map(|officer| Officer {
                    handle: officer.0.handle().to_string(),
                    signing_key: hex(officer.1.raw()),
                    signed: self.signature(officer) == Signature::Good,
                })
                .collect(),
            validators: part.validators.clone(),
        };
        Ok(Sheet {
            chain: self.chain().to_string(),
            name: genesis.name().to_owned(),
            created_ms: genesis.created_ms(),
            heartbeat_ms: genesis.heartbeat_ms(),
            validators,
            quorum: quorum(validators),
            recovery_threshold: recovery.threshold(),
            recovery_keys: (0..recovery.len())
                .filter_map(|index| recovery.key(index))
                .map(|key| hex(key.raw()))
                .collect(),
            organisations: self.parts.iter().map(organisation).collect(),
        })
    }
}

/// The sentence for a file that holds no genesis, or a damaged one.
fn not_a_genesis(path: &Path, why: &str) -> Failure {
    Failure::new(
        Exit::Genesis,
        format!("{} is no genesis: {why}", path.display()),
    )
    .advise("it was damaged or changed on its way: have it sent again, and compare the chain ID")
}

/// A genesis as people read it before they sign.
#[derive(Serialize)]
pub(crate) struct Sheet {
    chain: String,
    name: String,
    created_ms: u64,
    heartbeat_ms: u64,
    validators: usize,
    quorum: usize,
    recovery_threshold: usize,
    recovery_keys: Vec<String>,
    organisations: Vec<Organisation>,
}

#[derive(Serialize)]
struct Organisation {
    name: String,
    quota: u64,
    threshold: usize,
    officers: Vec<Officer>,
    validators: Vec<Validator>,
}

#[derive(Serialize)]
struct Officer {
    handle: String,
    signing_key: String,
    signed: bool,
}

impl Answer for Sheet {
    fn page(&self, page: &mut Page) {
        let may_fail = self.validators - self.quorum;
        let quorum = format!(
            "{} of {} validators sign each block; {}",
            self.quorum,
            self.validators,
            match may_fail {
                0 => "none may fail".to_owned(),
                1 => "one may fail, or lie".to_owned(),
                n => format!("{n} may fail, or lie"),
            }
        );
        page.good("Genesis", &format!("of the ledger {}", self.name))
            .field("chain", &*self.chain)
            .field("made", instant(self.created_ms))
            .field(
                "heartbeat",
                format!("{} s", grouped(self.heartbeat_ms / 1_000)),
            )
            .field("quorum", quorum)
            .field(
                "recovery",
                format!(
                    "{} of these {} keys name new validators after a loss:\n{}",
                    self.recovery_threshold,
                    self.recovery_keys.len(),
                    self.recovery_keys.join("\n")
                ),
            );
        for organisation in &self.organisations {
            page.gap().careful(&organisation.name, "").field(
                "officers",
                format!(
                    "{} of {} act for it",
                    organisation.threshold,
                    organisation.officers.len()
                ),
            );
            for officer in &organisation.officers {
                let signed = if officer.signed { ", has signed" } else { "" };
                page.field("officer", format!("{}{signed}", officer.signing_key));
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
            page.field("quota", counted(organisation.quota, "row"));
        }
        page.gap();
        if may_fail == 0 {
            page.text(
                "With fewer than four validators one that fails stops the ledger, and one that lies is not outvoted.",
            )
            .gap();
        }
    }
}
