//! The one place that counts the signatures in formats (spec/proof.md, "Quorum"). Who must sign a transaction is the ledger's.
//!
//! Everything that needs several signers (a checkpoint, a handover, its officers, a recovery, a freshness receipt) comes here, so that
//! "distinct", "enough" and "every one good" mean one thing.

use crate::wire::{Reader, WireError};

/// How many of `n` validators make a quorum: `n − ⌊(n−1)/3⌋`; 0 of 0, which no decoded set has.
///
/// Two quorums of one set share more than ⌊(n−1)/3⌋ members, so at least one that is honest. "2f+1" would be too few for
/// every n that is not 3f+1.
#[must_use]
pub const fn quorum(n: usize) -> usize {
    n - n.saturating_sub(1) / 3
}

/// How many of `n` validators include an honest one: `⌊(n−1)/3⌋ + 1`, one more than may lie.
#[must_use]
pub const fn one_honest(n: usize) -> usize {
    n.saturating_sub(1) / 3 + 1
}

/// Whether `some` of `all` organisations are two thirds or more.
#[must_use]
pub const fn two_thirds(some: usize, all: usize) -> bool {
    3 * some >= 2 * all
}

/// Whether the members carry a proposal (spec/governance.md): two thirds of them a high one, more than a third any other; and
/// at least two, where there are two.
#[must_use]
pub const fn carries(yes: usize, members: usize, high: bool) -> bool {
    let enough = if high {
        two_thirds(yes, members)
    } else {
        3 * yes > members
    };
    enough && yes >= 1 && (yes >= 2 || members < 2)
}

/// Why signers do not make the number that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumError {
    /// The bytes end early.
    Wire(WireError),
    /// The certificate is for a set of another size.
    SetSize,
    /// A signer's bit or index is beyond the set.
    UnknownSigner,
    /// Signers are not in strictly ascending order, so one may stand twice.
    Order,
    /// Fewer distinct signers than are needed.
    TooFew,
    /// A signature is not the named signer's over this message.
    Signature,
}

impl core::fmt::Display for QuorumError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no signatures: {error}"),
            Self::SetSize => "the signatures are for a set of another size",
            Self::UnknownSigner => "a signer is not in the set",
            Self::Order => "the signers are not in strictly ascending order",
            Self::TooFew => "too few signers",
            Self::Signature => "a signature is wrong",
        })
    }
}

impl core::error::Error for QuorumError {}

crate::code::codes!(QuorumError {
    SetSize = 0x0c01,
    UnknownSigner = 0x0c02,
    Order = 0x0c03,
    TooFew = 0x0c04,
    Signature = 0x0c05,
} in { Wire });

impl From<WireError> for QuorumError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Proof that enough distinct signers signed; only [`count`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    signers: usize,
}

impl Quorum {
    /// How many signed.
    #[must_use]
    pub const fn signers(&self) -> usize {
        self.signers
    }
}

/// Counts the signers of one message.
///
/// `signatures` gives (index, signature) in strictly ascending order of index; `verify` says whether a signature is good for
/// the signer of that index, or `None` when there is no such signer. Every signature must be good: one that is not makes
/// the whole refused, so that nobody can pad or alter what others signed. Numbers are checked before any signature.
///
/// # Errors
/// The first rule broken.
pub fn count<'s>(
    needed: usize,
    signatures: impl Iterator<Item = (usize, &'s [u8; 64])> + Clone,
    mut verify: impl FnMut(usize, &'s [u8; 64]) -> Option<bool>,
) -> Result<Quorum, QuorumError> {
    let mut last = None;
    let mut signers = 0;
    for (index, _) in signatures.clone() {
        if last.is_some_and(|last| index <= last) {
            return Err(QuorumError::Order);
        }
        last = Some(index);
        signers += 1;
    }
    if signers < needed || signers == 0 {
        return Err(QuorumError::TooFew);
    }
    for (index, signature) in signatures {
        match verify(index, signature) {
            None => return Err(QuorumError::UnknownSigner),
            Some(false) => return Err(QuorumError::Signature),
            Some(true) => {}
        }
    }
    Ok(Quorum { signers })
}

const SIGNATURE_LEN: usize = 64;

/// Signatures of validators: `n u8 ‖ signers u16 ‖ one signature per set bit`. A bit set cannot name a signer twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    n: u8,
    signers: u16,
    signatures: &'a [[u8; 64]],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate from where `reader` stands.
    ///
    /// # Errors
    /// [`QuorumError::Wire`], or [`QuorumError::UnknownSigner`] when a bit beyond `n` is set.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, QuorumError> {
        let n = reader.u8()?;
        let signers = reader.u16()?;
        if signers.checked_shr(u32::from(n)).unwrap_or(0) != 0 {
            return Err(QuorumError::UnknownSigner);
        }
        let len = signers.count_ones() as usize * SIGNATURE_LEN;
        let (signatures, _) = reader.bytes(len)?.as_chunks();
        Ok(Self {
            n,
            signers,
            signatures,
        })
    }

    /// How many validators the set has, as it says.
    #[must_use]
    pub const fn size(&self) -> u8 {
        self.n
    }

    /// Who is said to have signed, by index in the set, with the signature; ascending.
    pub fn signatures(
        &self,
    ) -> impl Iterator<Item = (usize, &'a [u8; SIGNATURE_LEN])> + Clone + use<'a> {
        let signers = self.signers;
        (0..16)
            .filter(move |i| signers >> i & 1 == 1)
            .zip(self.signatures)
    }

    /// Checks that a quorum of the `n` validators of a set signed.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(
        &self,
        n: usize,
        verify: impl FnMut(usize, &'a [u8; 64]) -> Option<bool>,
    ) -> Result<Quorum, QuorumError> {
        self.check_number(quorum(n), n, verify)
    }

    /// Checks that so many of the `n` validators of a set signed that one of them is honest.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check_honest(
        &self,
        n: usize,
        verify: impl FnMut(usize, &'a [u8; 64]) -> Option<bool>,
    ) -> Result<(), QuorumError> {
        self.check_number(one_honest(n), n, verify).map(drop)
    }

    fn check_number(
        &self,
        needed: usize,
        n: usize,
        verify: impl FnMut(usize, &'a [u8; 64]) -> Option<bool>,
    ) -> Result<Quorum, QuorumError> {
        if usize::from(self.n) != n {
            return Err(QuorumError::SetSize);
        }
        count(needed, self.signatures(), verify)
    }
}
