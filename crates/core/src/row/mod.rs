//! The rows of the ledger's state (spec/ledger.md): 192 bytes each, decoded strictly, written canonically.
//!
//! A decoded row is well formed: reserved bytes are zero, values are known, heights are below 2^48 and its fields agree with
//! each other. It is *not* thereby true: only a proof (or the ledger's own state) says that a row stands on a ledger.

mod anchor;
mod blob;
mod ledger;
mod members;
mod organisation;
mod policy;
mod proposal;
mod record;
mod release;
#[cfg(test)]
mod tests;

use core::fmt;

pub use anchor::{AnchorRow, Topic};
pub use blob::{BLOB_PART_BYTES, BlobPart};
pub use ledger::{Ends, LedgerRow};
pub use members::{MEMBERS_MAX, Members, SEATS_MAX, Seat, Seats};
pub use organisation::{
    CAP_FLOOR, Organisation, PROPOSAL_EVERY_MS, PROPOSALS_AT_ONCE, WINDOW_HEIGHTS,
};
pub use policy::ArtPolicy;
pub use proposal::ProposalRow;
pub use record::{Origin, REST_HEIGHTS, Reason, Record, Status, Validity};
pub use release::{Release, ReleaseStatus};

use crate::crypto::sha256;
use crate::id::{Digest, Handle, Height, OrgId, ProposalId, StateKey};
use crate::wire::{Reader, Sink, WireError};

/// Bytes of every row.
pub const ROW_BYTES: usize = 192;

/// A row as it stands in the state.
pub type RowBytes = [u8; ROW_BYTES];

/// Version of the row formats, the second byte of each.
pub const ROW_VERSION: u8 = 1;

/// Kind of a row, its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A key under a handle.
    Record = 1,
    /// An organisation with its counts.
    Organisation = 2,
    /// How many release keys an organisation has and how many must sign.
    ArtPolicy = 3,
    /// A published release.
    Release = 4,
    /// A digest that existed at a height.
    Anchor = 5,
    /// A piece of bytes too large for a row, under their digest.
    BlobPart = 6,
    /// The ledger's own row: the epoch it is in.
    Ledger = 7,
    /// Who votes, and what the members have decided for all.
    Members = 8,
    /// A proposal with the members' votes.
    Proposal = 9,
}

impl TryFrom<u8> for Kind {
    type Error = RowError;

    fn try_from(number: u8) -> Result<Self, RowError> {
        Ok(match number {
            1 => Self::Record,
            2 => Self::Organisation,
            3 => Self::ArtPolicy,
            4 => Self::Release,
            5 => Self::Anchor,
            6 => Self::BlobPart,
            7 => Self::Ledger,
            8 => Self::Members,
            9 => Self::Proposal,
            _ => return Err(RowError::Kind),
        })
    }
}

/// Why 192 bytes are not a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum RowError {
    /// The first byte names another kind of row than was asked for, or none.
    Kind = 0x0a01,
    /// The second byte names a format version that this program does not know.
    Version = 0x0a02,
    /// Bytes that must be zero are not.
    Reserved = 0x0a03,
    /// A field holds a value that has no meaning.
    Value = 0x0a04,
    /// A record's keys are not keys of its suite.
    Key = 0x0a05,
    /// Fields contradict each other, such as an active record that has ended.
    Contradiction = 0x0a06,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "the row is of another kind than was asked for; ask for the state key of the right kind",
            Self::Version => "the row has a format version that this program does not know; use a newer program",
            Self::Reserved => "the row has reserved bytes that are not zero; the bytes are damaged or not a row",
            Self::Value => "the row holds a value that has no meaning; the bytes are damaged or not a row",
            Self::Key => "the record's keys are not keys of its suite; the bytes are damaged or not a row",
            Self::Contradiction => "the row's fields contradict each other; the bytes are damaged or not a row",
        })
    }
}

impl core::error::Error for RowError {}

crate::code::codes!(RowError {
    Kind,
    Version,
    Reserved,
    Value,
    Key,
    Contradiction,
});

impl From<WireError> for RowError {
    /// A row's length is in its type, so that only a field's value can be at fault.
    fn from(_: WireError) -> Self {
        Self::Value
    }
}

/// `H("kusabi.state.v1" ‖ kind ‖ name)`: where a row stands in the state.
impl StateKey {
    fn of(kind: Kind, name: &[u8], rest: &[u8]) -> Self {
        Self::new(sha256(&[b"kusabi.state.v1", &[kind as u8], name, rest]))
    }

    /// State key of the record under a handle.
    #[must_use]
    pub fn record(handle: &Handle) -> Self {
        Self::of(Kind::Record, handle.as_bytes(), &[])
    }

    /// State key of an organisation.
    #[must_use]
    pub fn organisation(org: &OrgId) -> Self {
        Self::of(Kind::Organisation, org.as_bytes(), &[])
    }

    /// State key of an organisation's art policy.
    #[must_use]
    pub fn art_policy(org: &OrgId) -> Self {
        Self::of(Kind::ArtPolicy, org.as_bytes(), &[])
    }

    /// State key of an organisation's release with this manifest digest.
    #[must_use]
    pub fn release(org: &OrgId, digest: &Digest) -> Self {
        Self::of(Kind::Release, org.as_bytes(), digest.as_bytes())
    }

    /// State key of the anchor of a digest.
    #[must_use]
    pub fn anchor(digest: &Digest) -> Self {
        Self::of(Kind::Anchor, digest.as_bytes(), &[])
    }

    /// State key of one part of the bytes that have this digest.
    #[must_use]
    pub fn blob_part(digest: &Digest, index: u16) -> Self {
        Self::of(Kind::BlobPart, digest.as_bytes(), &index.to_be_bytes())
    }

    /// State key of the ledger's own row.
    #[must_use]
    pub fn ledger() -> Self {
        Self::of(Kind::Ledger, &[], &[])
    }

    /// State key of the members' row.
    #[must_use]
    pub fn members() -> Self {
        Self::of(Kind::Members, &[], &[])
    }

    /// State key of a proposal.
    #[must_use]
    pub fn proposal(id: &ProposalId) -> Self {
        Self::of(Kind::Proposal, id.as_bytes(), &[])
    }
}

/// A row of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row {
    /// A key under a handle.
    Record(Record),
    /// An organisation.
    Organisation(Organisation),
    /// An art policy.
    ArtPolicy(ArtPolicy),
    /// A release.
    Release(Release),
    /// An anchored digest.
    Anchor(AnchorRow),
    /// A blob part.
    BlobPart(BlobPart),
    /// The ledger's own row.
    Ledger(LedgerRow),
    /// The members.
    Members(Members),
    /// A proposal.
    Proposal(ProposalRow),
}

impl Row {
    /// Decodes a row of whatever kind its first byte names.
    ///
    /// # Errors
    /// [`RowError`]
    pub fn decode(bytes: &RowBytes) -> Result<Self, RowError> {
        let [kind, ..] = bytes;
        Ok(match Kind::try_from(*kind)? {
            Kind::Record => Self::Record(Record::decode(bytes)?),
            Kind::Organisation => Self::Organisation(Organisation::decode(bytes)?),
            Kind::ArtPolicy => Self::ArtPolicy(ArtPolicy::decode(bytes)?),
            Kind::Release => Self::Release(Release::decode(bytes)?),
            Kind::Anchor => Self::Anchor(AnchorRow::decode(bytes)?),
            Kind::BlobPart => Self::BlobPart(BlobPart::decode(bytes)?),
            Kind::Ledger => Self::Ledger(LedgerRow::decode(bytes)?),
            Kind::Members => Self::Members(Members::decode(bytes)?),
            Kind::Proposal => Self::Proposal(ProposalRow::decode(bytes)?),
        })
    }

    /// The row's bytes.
    pub fn encode(&self) -> RowBytes {
        match self {
            Self::Record(row) => row.encode(),
            Self::Organisation(row) => row.encode(),
            Self::ArtPolicy(row) => row.encode(),
            Self::Release(row) => row.encode(),
            Self::Anchor(row) => row.encode(),
            Self::BlobPart(row) => row.encode(),
            Self::Ledger(row) => row.encode(),
            Self::Members(row) => row.encode(),
            Self::Proposal(row) => row.encode(),
        }
    }
}

fn begin(r: &mut Reader<'_>, kind: Kind) -> Result<(), RowError> {
    if r.u8()? != kind as u8 {
        return Err(RowError::Kind);
    }
    if r.u8()? != ROW_VERSION {
        return Err(RowError::Version);
    }
    Ok(())
}

fn reserved(r: &mut Reader<'_>, len: usize) -> Result<(), RowError> {
    r.zeros(len).map_err(|_| RowError::Reserved)
}

/// All that is left of a row is reserved.
fn end(mut r: Reader<'_>) -> Result<(), RowError> {
    let left = r.rest().len();
    reserved(&mut r, left)
}

fn height(r: &mut Reader<'_>) -> Result<Height, RowError> {
    Height::new(r.u48()?).map_err(|_| RowError::Value)
}

fn start(w: &mut impl Sink, kind: Kind) {
    w.u8(kind as u8);
    w.u8(ROW_VERSION);
}
