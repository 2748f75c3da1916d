//! An organisation's application to a ledger that is there already (spec/governance.md): its officers, each signed for itself.
//!
//! ```toml
//! kusabi_application = 1
//! chain = "64 hex digits"          the ledger that it applies to
//! organisation = "acme"
//! threshold = 2                    officers that have to sign together
//!
//! [[officer]]                      ascending by handle
//! handle = "64 hex digits"
//! suite = 1
//! keys = "132 hex digits"
//! binding = "32 hex digits"
//! signature = "128 hex digits"
//! ```
//! Nothing in it is secret, and nobody can change it without the officers' keys.

use std::path::Path;

use kusabi_core::{
    id::{ChainId, OrgName, parse_hex},
    keystore::KeyStore as _,
    set::SIGNATORIES_MAX,
    suite::{Purpose, Signature},
    tx::{Candidate, Consent},
};
use serde::{Deserialize, Serialize};

use crate::{
    entry::entry,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::{KeyFile, hex},
    member::{OfficerFields, field},
    profile::Sent,
};

const VERSION: u8 = 1;

/// Five officers have some 3 KiB.
const LIMIT: u64 = 64 * 1024;

/// An application: to which ledger, and who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) chain: ChainId,
    pub(crate) candidate: Candidate,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    kusabi_application: u8,
    chain: String,
    organisation: String,
    threshold: u8,
    officer: Vec<Signed>,
}

#[derive(Deserialize, Serialize)]
struct Signed {
    #[serde(flatten)]
    officer: OfficerFields,
    signature: String,
}

impl Application {
    /// An application that all officers sign here.
    pub(crate) fn sign(
        chain: ChainId,
        name: OrgName,
        threshold: u8,
        officers: &[KeyFile],
    ) -> Result<Self> {
        let wrong = |why: String| {
            Failure::new(Exit::Usage, why).advise(
                "name the directory that `kusabi org init` made, and with --officer each officer key that is kept elsewhere",
            )
        };
        if !(1..=SIGNATORIES_MAX).contains(&officers.len()) {
            return Err(wrong(format!(
                "an organisation that applies has 1 to {SIGNATORIES_MAX} officers, and {} keys of officers are here",
                officers.len()
            )));
        }
        if threshold == 0 || usize::from(threshold) > officers.len() {
            return Err(wrong(format!(
                "{threshold} officers are to sign together, and {} keys of officers are here",
                officers.len()
            )));
        }
        if let Some(other) = officers
            .iter()
            .find(|key| key.purpose() != Purpose::Officer)
        {
            return Err(wrong(format!("a {} key is no officer's", other.purpose())));
        }
        let mut keys: Vec<&KeyFile> = officers.iter().collect();
        keys.sort_by_key(|key| key.handle());
        let unsigned = keys.iter().map(|key| {
            Ok(Consent {
                entry: entry(key, &chain, &name.id())?,
                signature: Signature::new([0; 64]),
            })
        });
        let mut candidate = Candidate {
            name,
            threshold,
            officers: unsigned.collect::<Result<_>>()?,
        };
        candidate.check().map_err(|why| wrong(why.to_string()))?;
        let said = candidate.clone();
        for (consent, key) in candidate.officers.iter_mut().zip(keys) {
            consent.signature = key
                .key()
                .sign(&said.statement(&chain, &consent.entry))
                .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        }
        Ok(Self { chain, candidate })
    }

    /// Writes it to a new file.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        let officer = |consent: &Consent| Signed {
            officer: OfficerFields::of(&consent.entry),
            signature: hex(consent.signature.as_bytes()),
        };
        let file = File {
            kusabi_application: VERSION,
            chain: self.chain.to_string(),
            organisation: self.candidate.name.to_string(),
            threshold: self.candidate.threshold,
            officer: self.candidate.officers.iter().map(officer).collect(),
        };
        let text = format!(
            "# With this {} applies to a ledger. Nothing in it is secret: send it to a member.\n{}",
            self.candidate.name,
            // A struct of strings and numbers always has a TOML form.
            toml::to_string(&file).unwrap_or_default()
        );
        files::create(path, text.as_bytes(), Mode::Public)
    }

    /// Reads one for a ledger, and checks each officer's signature.
    pub(crate) fn read(path: &Path, chain: &ChainId) -> Result<Self> {
        let sent = Sent {
            path,
            what: "application",
            advice: "have its organisation send it again: `kusabi org apply` makes one",
        };
        let file: File = sent.read(LIMIT)?;
        let application = Self::from_file(&file).map_err(|why| sent.wrong(why))?;
        if application.chain != *chain {
            return Err(Failure::new(
                Exit::OtherChain,
                format!(
                    "{} applies to the ledger {}, not to {chain}",
                    path.display(),
                    application.chain
                ),
            ));
        }
        if !application.candidate.is_signed(chain) {
            return Err(
                sent.wrong("a signature in it is not that of its officer over what it says")
            );
        }
        Ok(application)
    }

    fn from_file(file: &File) -> Result<Self, String> {
        if file.kusabi_application != VERSION {
            return Err("it is of another version".to_owned());
        }
        let officer = |signed: &Signed| {
            let (entry, _) = signed.officer.entry()?;
            let signature = field("signature", parse_hex(&signed.signature))?;
            Ok::<_, String>(Consent {
                entry,
                signature: Signature::new(signature),
            })
        };
        let candidate = Candidate {
            name: field("organisation", file.organisation.parse())?,
            threshold: file.threshold,
            officers: file.officer.iter().map(officer).collect::<Result<_, _>>()?,
        };
        candidate.check().map_err(|why| why.to_string())?;
        Ok(Self {
            chain: field("chain", file.chain.parse())?,
            candidate,
        })
    }
}
