//! Who follows: what the officers sign before an epoch ends (spec/proof.md, "Appointment").
//!
//! Officers' keys are kept offline, and the last block of an epoch is not known before it is final. So officers sign who the
//! next validators are, and where they are reached, and the ledger ends the epoch when that has come to it; with which block
//! is for the vote keys to say ([`Handover`](crate::handover::Handover)).

use crate::crypto::SignatureError;
use crate::handover::{HandoverError, consumed, next_set, signed_by};
use crate::id::{ChainId, Epoch, NodesHash, SetHash};
use crate::quorum::{count, two_thirds};
use crate::set::EpochSet;
use crate::statement::{Statement, StatementKind};
use crate::suite::{Purpose, Signature, VerificationKey};
use crate::wire::Reader;

/// Blocks from the one that holds an appointment to the last one of its epoch (spec/ledger.md, "Epochs"): time enough for everyone
/// to know where the end is.
pub const CLOSING_BLOCKS: u64 = 16;

pub(crate) const VERSION: u8 = 1;
const SIGNATURE_LEN: usize = 2 + Signature::LEN;

/// What an appointment says, without signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Says<'a> {
    payload: &'a [u8],
    old_epoch: Epoch,
    old_set_hash: SetHash,
    nodes_hash: NodesHash,
    next_set: EpochSet<'a>,
}

impl<'a> Says<'a> {
    /// With the officers' signatures, which come next.
    pub(crate) fn read_signatures(
        self,
        reader: &mut Reader<'a>,
    ) -> Result<Appointment<'a>, HandoverError> {
        let count = usize::from(reader.u8()?);
        let (officers, _) = reader.bytes(count * SIGNATURE_LEN)?.as_chunks();
        Ok(Appointment {
            says: self,
            officers,
        })
    }
}

/// A decoded appointment: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appointment<'a> {
    says: Says<'a>,
    officers: &'a [[u8; SIGNATURE_LEN]],
}

impl<'a> Appointment<'a> {
    /// Decodes exactly one appointment.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let mut reader = Reader::new(bytes);
        let appointment = Self::read_payload(&mut reader)?.read_signatures(&mut reader)?;
        reader.finish()?;
        Ok(appointment)
    }

    /// Reads what it says: the first part of a handover, too.
    pub(crate) fn read_payload(reader: &mut Reader<'a>) -> Result<Says<'a>, HandoverError> {
        let start = reader.rest();
        if reader.u8()? != VERSION {
            return Err(HandoverError::Version);
        }
        let old_epoch = Epoch::new(reader.u64()?);
        let old_set_hash = SetHash::new(reader.array()?);
        let nodes_hash = NodesHash::new(reader.array()?);
        let next_set = next_set(reader)?;
        if old_epoch.next() != Some(next_set.epoch()) {
            return Err(HandoverError::NextEpoch);
        }
        Ok(Says {
            payload: consumed(start, reader),
            old_epoch,
            old_set_hash,
            nodes_hash,
            next_set,
        })
    }

    /// The epoch that ends.
    #[must_use]
    pub const fn old_epoch(&self) -> Epoch {
        self.says.old_epoch
    }

    /// Hash of the set that ends.
    #[must_use]
    pub const fn old_set_hash(&self) -> SetHash {
        self.says.old_set_hash
    }

    /// Hash of the list of the next validators' nodes.
    #[must_use]
    pub const fn nodes_hash(&self) -> NodesHash {
        self.says.nodes_hash
    }

    /// The next set. Its keys are looked at when it is adopted.
    #[must_use]
    pub const fn next_set(&self) -> &EpochSet<'a> {
        &self.says.next_set
    }

    /// Of how many officers there are signatures.
    #[must_use]
    pub const fn signature_count(&self) -> usize {
        self.officers.len()
    }

    /// Checks all of it under the set that ends, which the caller believes: signatures, and the keys of the next set.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(
        &self,
        chain: &ChainId,
        old_set: &EpochSet<'_>,
    ) -> Result<VerifiedAppointment<'a>, HandoverError> {
        self.check_officers(chain, old_set)?;
        self.says.next_set.check_keys()?;
        Ok(VerifiedAppointment(*self))
    }

    /// Checks the signatures of the officers: those of two thirds of the old set's organisations, and none that is wrong.
    pub(crate) fn check_officers(
        &self,
        chain: &ChainId,
        old_set: &EpochSet<'_>,
    ) -> Result<(), HandoverError> {
        if old_set.hash() != self.says.old_set_hash || old_set.epoch() != self.says.old_epoch {
            return Err(HandoverError::OldSet);
        }
        let of = |wanted: usize| {
            self.officers
                .iter()
                .filter(move |[organisation, ..]| usize::from(*organisation) == wanted)
                .count()
        };
        let enough = old_set
            .organisations()
            .enumerate()
            .filter(|(index, organisation)| of(*index) >= organisation.officers.threshold())
            .count();
        if !two_thirds(enough, old_set.organisation_count()) {
            return Err(HandoverError::Organisations);
        }
        let signatures = self.officers.iter().filter_map(|entry| {
            let [organisation, officer, signature @ ..] = entry;
            let index = u16::from_be_bytes([*organisation, *officer]);
            Some((usize::from(index), signature.first_chunk()?))
        });
        count(1, signatures, |index, signature| {
            let officers = old_set.organisation(index >> 8)?.officers;
            let key = officers.key(index & 0xff)?;
            Some(signed_by(
                &key,
                chain,
                Purpose::Officer,
                StatementKind::Appointment,
                self.says.payload,
                signature,
            ))
        })
        .map_err(HandoverError::Officers)?;
        Ok(())
    }
}

/// The keys with which a validator goes on in the next epoch. It says so with its present vote key: who makes an appointment, or
/// carries it, cannot put others in their place (spec/proof.md, "Next keys").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextKeys {
    /// The next epoch.
    pub epoch: Epoch,
    /// Its vote key there.
    pub vote_key: [u8; 32],
    /// Its node key.
    pub node_key: [u8; 32],
}

impl NextKeys {
    /// The statement that the validator with this vote key signs in the epoch before.
    #[must_use]
    pub fn statement(&self, chain: &ChainId, present: &VerificationKey) -> Statement {
        Statement::new(
            chain,
            &present.bare_handle(),
            Purpose::Vote,
            StatementKind::NextKeys,
            &[
                &self.epoch.get().to_be_bytes(),
                &self.vote_key,
                &self.node_key,
            ],
        )
    }

    /// Checks that the validator with the vote key `present` signed.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn verify(
        &self,
        chain: &ChainId,
        present: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let key = VerificationKey::ed25519(present).map_err(|_| SignatureError::Key)?;
        key.verify(&self.statement(chain, &key), signature)
    }
}

/// An appointment that the officers of two thirds of the organisations signed; only [`Appointment::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedAppointment<'a>(Appointment<'a>);

impl<'a> VerifiedAppointment<'a> {
    /// The next set.
    #[must_use]
    pub const fn next_set(&self) -> &EpochSet<'a> {
        self.0.next_set()
    }

    /// Hash of the list of the next validators' nodes.
    #[must_use]
    pub const fn nodes_hash(&self) -> NodesHash {
        self.0.nodes_hash()
    }
}

#[cfg(feature = "alloc")]
pub use owned::{AppointmentParts, OfficerSignature};
#[cfg(feature = "alloc")]
pub(crate) use owned::{put_officers, put_set};

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{Appointment, HandoverError, SIGNATURE_LEN, VERSION};
    use crate::id::{ChainId, Epoch, NodesHash, SetHash};
    use crate::quorum::QuorumError;
    use crate::statement::{Statement, StatementKind};
    use crate::suite::{Purpose, Signature, VerificationKey};
    use crate::wire::{Sink, WireError};

    /// A signature of an officer of the old set.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OfficerSignature {
        /// Index of the organisation.
        pub organisation: u8,
        /// Index of the officer in the organisation.
        pub officer: u8,
        /// The signature.
        pub signature: Signature,
    }

    /// What an appointment says, to be signed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AppointmentParts {
        /// The epoch that ends.
        pub old_epoch: Epoch,
        /// Hash of the set that ends.
        pub old_set_hash: SetHash,
        /// Hash of the list of the next validators' nodes.
        pub nodes_hash: NodesHash,
        /// Bytes of the next set.
        pub next_set: Vec<u8>,
    }

    impl AppointmentParts {
        /// The payload that is signed.
        ///
        /// # Errors
        /// [`HandoverError::Wire`] when the next set is longer than a set can be.
        pub fn payload(&self) -> Result<Vec<u8>, HandoverError> {
            let mut out = Vec::new();
            out.u8(VERSION);
            out.u64(self.old_epoch.get());
            out.put(self.old_set_hash.as_bytes());
            out.put(self.nodes_hash.as_bytes());
            put_set(&mut out, &self.next_set)?;
            Ok(out)
        }

        /// The statement that an officer signs.
        ///
        /// # Errors
        /// As [`payload`](Self::payload).
        pub fn statement(
            &self,
            chain: &ChainId,
            key: &VerificationKey,
        ) -> Result<Statement, HandoverError> {
            let payload = self.payload()?;
            Ok(Statement::new(
                chain,
                &key.bare_handle(),
                Purpose::Officer,
                StatementKind::Appointment,
                &[&payload],
            ))
        }

        /// The appointment's bytes; the signatures ascend by indices.
        ///
        /// # Errors
        /// The rule of form that the parts break; signatures are not checked.
        pub fn encode(&self, officers: &[OfficerSignature]) -> Result<Vec<u8>, HandoverError> {
            let mut out = self.payload()?;
            put_officers(&mut out, officers)?;
            Appointment::decode(&out)?;
            Ok(out)
        }
    }

    impl Appointment<'_> {
        /// What it says.
        #[must_use]
        pub fn parts(&self) -> AppointmentParts {
            AppointmentParts {
                old_epoch: self.old_epoch(),
                old_set_hash: self.old_set_hash(),
                nodes_hash: self.nodes_hash(),
                next_set: self.next_set().as_bytes().to_vec(),
            }
        }

        /// Its signatures.
        pub fn signatures(&self) -> impl Iterator<Item = OfficerSignature> + '_ {
            self.officers.iter().map(|entry| {
                let [organisation, officer, signature @ ..] = entry;
                let mut bytes = [0; SIGNATURE_LEN - 2];
                bytes.copy_from_slice(signature);
                OfficerSignature {
                    organisation: *organisation,
                    officer: *officer,
                    signature: Signature::new(bytes),
                }
            })
        }
    }

    pub(crate) fn put_set(out: &mut Vec<u8>, set: &[u8]) -> Result<(), HandoverError> {
        out.u16(u16::try_from(set.len()).map_err(|_| HandoverError::Wire(WireError::OutOfRange))?);
        out.put(set);
        Ok(())
    }

    pub(crate) fn put_officers(
        out: &mut Vec<u8>,
        officers: &[OfficerSignature],
    ) -> Result<(), HandoverError> {
        let ascending =
            officers.is_sorted_by(|a, b| (a.organisation, a.officer) < (b.organisation, b.officer));
        let count = u8::try_from(officers.len()).ok().filter(|_| ascending);
        out.u8(count.ok_or(HandoverError::Officers(QuorumError::Order))?);
        for officer in officers {
            out.u8(officer.organisation);
            out.u8(officer.officer);
            out.put(officer.signature.as_bytes());
        }
        Ok(())
    }
}
