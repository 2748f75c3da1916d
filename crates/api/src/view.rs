//! How a row looks in JSON: for people, scripts and pages. A rendering of bytes, not a fact: only a verified proof makes a row true.

use crate::hex::{Hex, Hex32, base64};
use bytes::Bytes;
use kusabi_core::{
    id::{Handle, Height},
    proof::{Claim, Proof, ProofError},
    row::{Origin, Reason, ReleaseStatus, Row, Seat, Seats, Status, Topic},
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RowView {
    /// A key under a handle.
    Record(RecordView),
    /// An organisation.
    Organisation {
        /// Its ID.
        id: Hex<16>,
        /// Its name.
        name: String,
        /// Row version; a grant names it.
        version: u32,
        /// How many officers sign an act of the officers.
        officers_k: u8,
        /// How many officers are active.
        officers_n: u8,
        /// Active records.
        active: u64,
        /// Rows.
        rows: u64,
        /// Most rows.
        quota: u64,
        /// Its seat among the members. None for a guest, which has no vote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seat: Option<u8>,
        /// Height at which the members removed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removed: Option<u64>,
        /// Time until which the members froze it, in milliseconds since 1970, past or to come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frozen_until_ms: Option<u64>,
    },
    /// Who signs releases.
    ArtPolicy {
        /// Whose policy.
        organisation: Hex<16>,
        /// Row version; a publication names it.
        version: u32,
        /// How many art keys sign.
        k: u8,
        /// How many are active.
        n: u8,
    },
    /// A release.
    Release {
        /// Whose release.
        organisation: Hex<16>,
        /// Digest of its manifest.
        digest: Hex32,
        /// Row version.
        version: u32,
        /// `published` or `withdrawn`.
        status: Cow<'static, str>,
        /// Height of its publication.
        published: u64,
        /// Height of its withdrawal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        withdrawn: Option<u64>,
        /// Devices whose counter is above this refuse it.
        minimum_counter: u64,
    },
    /// A digest that existed at a height.
    Anchor {
        /// `evidence` or `audit-log`.
        topic: Cow<'static, str>,
        /// Height at which it was put there.
        height: u64,
        /// By whom.
        organisation: Hex<16>,
        /// With which key.
        signer: Hex32,
        /// The digest.
        digest: Hex32,
    },
    /// A piece of larger bytes.
    BlobPart {
        /// The piece.
        #[serde(with = "base64")]
        #[cfg_attr(feature = "openapi", schema(value_type = String, content_encoding = "base64"))]
        bytes: Bytes,
    },
    /// The ledger's own row.
    Ledger {
        /// Row version.
        version: u32,
        /// The epoch.
        epoch: u64,
        /// Hash of its validator set.
        set_hash: Hex32,
        /// Hash of the recovery set.
        recovery_hash: Hex32,
        /// Heights that recoveries have jumped over.
        skipped: u64,
    },
    /// Who votes, and what the members have decided for all.
    Members {
        /// Row version.
        version: u32,
        /// Seats of those who vote.
        seats: Vec<u8>,
        /// Seats given so far; none is given twice.
        given: u16,
        /// The heartbeat, in milliseconds.
        heartbeat_ms: u32,
        /// The newest proposal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<Hex32>,
    },
    /// A proposal with the members' votes.
    Proposal {
        /// Its ID.
        id: Hex32,
        /// Who proposed it.
        organisation: Hex<16>,
        /// Height at which it was proposed.
        proposed: u64,
        /// Height at which it was carried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried: Option<u64>,
        /// Time after which nobody votes on it any more, in milliseconds since 1970.
        expires_ms: u64,
        /// The proposal before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<Hex32>,
        /// Seats that are for it.
        yes: Vec<u8>,
        /// Seats that are against it.
        no: Vec<u8>,
    },
    /// A kind of row that this program does not know.
    Unknown {
        /// The row.
        #[serde(with = "base64")]
        #[cfg_attr(feature = "openapi", schema(value_type = String, content_encoding = "base64"))]
        bytes: Bytes,
    },
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordView {
    /// `pre`, `act`, `art`, `ps`, `writer`, `officer`, `revoker`, `app`.
    pub purpose: Cow<'static, str>,
    /// Number of the suite (spec/identity.md).
    pub suite: u8,
    /// `active`, `spent`, `superseded` or `revoked`.
    pub status: Cow<'static, str>,
    /// Why it was revoked: `compromised`, `lost`, `retired`, `withdrawn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// Row version; a transaction that changes the record names it.
    pub version: u32,
    /// The organisation that owns it.
    pub organisation: Hex<16>,
    /// Height from which it is valid.
    pub registered: u64,
    /// Height from which it is not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Height from which it was in other hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised_since: Option<u64>,
    /// The key before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Hex32>,
    /// The `keys` field (spec/identity.md).
    pub keys: Hex<66>,
    /// The binding; whoever holds the kusabi-ID checks it.
    pub binding: Hex<16>,
    /// Commitment to private metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Hex32>,
    /// How often it has come to another owner.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moves: u8,
    /// ID of the organisation that put a key that has moved on the ledger; not of one that follows on another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_organisation: Option<Hex<16>>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
const fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl From<&kusabi_core::row::Record> for RecordView {
    fn from(record: &kusabi_core::row::Record) -> Self {
        Self {
            purpose: record.purpose().name().into(),
            suite: record.keys().suite() as u8,
            status: status(record.status()).into(),
            reason: reason(record.reason()).map(Cow::Borrowed),
            version: record.version(),
            organisation: Hex(record.owner().to_bytes()),
            registered: record.registered().get(),
            ended: record.ended().map(Height::get),
            compromised_since: record.compromised_since().map(Height::get),
            predecessor: record.predecessor().map(Handle::to_bytes).map(Hex),
            keys: Hex(*record.keys().as_bytes()),
            binding: Hex(record.binding().to_bytes()),
            metadata: record.metadata().map(|digest| Hex(digest.to_bytes())),
            moves: record.moves(),
            first_organisation: match record.origin() {
                Origin::Registered(first) if record.moves() > 0 => Some(Hex(first.to_bytes())),
                Origin::Registered(_) | Origin::Follows(_) => None,
            },
        }
    }
}

/// The word for a status.
#[must_use]
pub const fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Spent => "spent",
        Status::Superseded => "superseded",
        Status::Revoked => "revoked",
    }
}

/// The word for a reason; none for none.
#[must_use]
pub const fn reason(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::None => None,
        Reason::Compromised => Some("compromised"),
        Reason::Lost => Some("lost"),
        Reason::Retired => Some("retired"),
        Reason::Withdrawn => Some("withdrawn"),
    }
}

impl From<&Row> for RowView {
    fn from(row: &Row) -> Self {
        match row {
            Row::Record(record) => Self::Record(record.into()),
            Row::Organisation(row) => Self::Organisation {
                id: Hex(row.id().to_bytes()),
                name: row.name.as_str().to_owned(),
                version: row.version,
                officers_k: row.officers_k,
                officers_n: row.officers_n,
                active: row.active,
                rows: row.rows,
                quota: row.quota,
                seat: row.seat.map(Seat::number),
                removed: (row.removed != Height::ZERO).then(|| row.removed.get()),
                frozen_until_ms: (row.frozen_until_ms != 0).then_some(row.frozen_until_ms),
            },
            Row::ArtPolicy(row) => Self::ArtPolicy {
                organisation: Hex(row.org.to_bytes()),
                version: row.version,
                k: row.k,
                n: row.n,
            },
            Row::Release(row) => Self::Release {
                organisation: Hex(row.org().to_bytes()),
                digest: Hex(row.digest().to_bytes()),
                version: row.version(),
                status: match row.status() {
                    ReleaseStatus::Published => "published".into(),
                    ReleaseStatus::Withdrawn => "withdrawn".into(),
                },
                published: row.published_at().get(),
                withdrawn: row.withdrawn_at().map(Height::get),
                minimum_counter: row.minimum_counter(),
            },
            Row::Anchor(row) => Self::Anchor {
                topic: match row.topic {
                    Topic::Evidence => "evidence".into(),
                    Topic::AuditLog => "audit-log".into(),
                },
                height: row.height.get(),
                organisation: Hex(row.org.to_bytes()),
                signer: Hex(row.signer.to_bytes()),
                digest: Hex(row.digest.to_bytes()),
            },
            Row::BlobPart(row) => Self::BlobPart {
                bytes: Bytes::copy_from_slice(row.bytes()),
            },
            Row::Ledger(row) => Self::Ledger {
                version: row.version,
                epoch: row.epoch.get(),
                set_hash: Hex(row.set_hash.to_bytes()),
                recovery_hash: Hex(row.recovery_hash.to_bytes()),
                skipped: row.skipped.get(),
            },
            Row::Members(row) => Self::Members {
                version: row.version,
                seats: numbers(&row.seats),
                given: row.given,
                heartbeat_ms: row.heartbeat_ms,
                newest: row.newest.map(|id| Hex(id.to_bytes())),
            },
            Row::Proposal(row) => Self::Proposal {
                id: Hex(row.id.to_bytes()),
                organisation: Hex(row.proposer.to_bytes()),
                proposed: row.proposed.get(),
                carried: (row.carried != Height::ZERO).then(|| row.carried.get()),
                expires_ms: row.expires_ms,
                previous: row.previous.map(|id| Hex(id.to_bytes())),
                yes: numbers(&row.yes),
                no: numbers(&row.no),
            },
            other => Self::Unknown {
                bytes: Bytes::copy_from_slice(&other.encode()),
            },
        }
    }
}

fn numbers(seats: &Seats) -> Vec<u8> {
    seats.iter().map(Seat::number).collect()
}

/// A proof in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProofView {
    /// Whether the row is there. `false`: the proof shows that it is not.
    pub present: bool,
    /// Height at which the proof holds.
    pub height: u64,
    /// Time of that block, in milliseconds since 1970.
    pub time_ms: u64,
    /// The row, where it is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<RowView>,
    /// The proof (spec/proof.md): what is to be believed is in here.
    #[serde(with = "base64")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, content_encoding = "base64"))]
    pub proof: Bytes,
}

impl ProofView {
    /// What the bytes of a proof claim. Nothing is checked but their form.
    ///
    /// # Errors
    /// [`ProofError`]: the bytes have not the form of a proof.
    pub fn claimed(proof: &Bytes) -> Result<Self, ProofError> {
        let decoded = Proof::decode(proof)?;
        let header = decoded.checkpoint().claimed();
        let row = match decoded.claim() {
            Claim::Present { row, .. } => Some(Row::decode(row).map_or_else(
                |_| RowView::Unknown {
                    bytes: Bytes::copy_from_slice(&row[..]),
                },
                |row| RowView::from(&row),
            )),
            Claim::Between { .. } | Claim::Empty { .. } => None,
        };
        Ok(Self {
            present: row.is_some(),
            height: header.height.get(),
            time_ms: header.time_ms,
            row,
            proof: proof.clone(),
        })
    }
}
