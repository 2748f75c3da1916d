//! What a good signature is worth, from proven facts (spec/evidence.md, the table of verdicts).

use core::fmt;

use super::EvidenceError;
use crate::id::Height;
use crate::row::{Record, Status, Validity};
use crate::suite::Purpose;

/// What was proven about a signature whose bytes are good.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The purpose that the signer claims, covered by the signature.
    pub purpose: Purpose,
    /// The signer's record: the ledger's answer, or the embedded one where the ledger was not asked.
    pub record: Record,
    /// Height of that proof.
    pub known_at: Height,
    /// Whether that proof is fresh enough for the caller, or what the ledger answers now.
    pub fresh: bool,
    /// Height of the anchor row that names this signature: the ledger's answer, or the embedded one.
    pub anchored: Option<Height>,
    /// Height of an embedded anchor row that the ledger, asked now, does not have.
    pub lost_anchor: Option<Height>,
    /// Height of an embedded proof that is beyond the ledger's answer.
    pub ahead: Option<Height>,
}

/// What a bundle is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The key is active in a fresh proof.
    ValidNow {
        /// Height of the proof.
        known_at: Height,
    },
    /// The signature existed at a height at which its key was valid.
    AnchoredWhileValid {
        /// Height of the anchor row.
        at: Height,
        /// Height of the proof of the record: what was revoked after it is not known here.
        known_at: Height,
    },
    /// The signature is good, but nothing shows that the key was valid.
    Unproven(Unproven),
    /// The bundle shows nothing, or that the key was not valid.
    Invalid(Invalid),
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unproven {
    /// The key was active at this height, but the proof is not fresh enough, and nothing dates the signature.
    Stale {
        /// Height of the proof.
        known_at: Height,
    },
    /// The key ended, and nothing dates the signature.
    Undated {
        /// How the key ended.
        status: Status,
        /// Height from which it does not count.
        ended: Height,
    },
    /// The signature is dated, but by a height above that of the proof of its key.
    AnchoredLater {
        /// Height of the anchor row.
        at: Height,
        /// Height of the proof.
        known_at: Height,
    },
    /// The key ended, and the row that would date the signature stands in the bundle, but not on the ledger.
    LostAnchor {
        /// Height of the row.
        at: Height,
    },
    /// The bundle proves a block beyond the ledger's answer: one of the two is not to be believed.
    AheadOfLedger {
        /// Height that the bundle proves.
        proven: Height,
        /// Height of the ledger's answer.
        answered: Height,
    },
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// The bundle or its signature.
    Evidence(EvidenceError),
    /// The signer's record is for another purpose than the signature says.
    OtherPurpose {
        /// What the signature says.
        claimed: Purpose,
        /// What the record says.
        recorded: Purpose,
    },
    /// The ledger has no record of the signer.
    Unknown,
    /// A proof, the genesis document or a step between epochs does not hold.
    Proof,
    /// The anchor row is about something else.
    OtherAnchor,
    /// The signature existed before its key was registered.
    BeforeRegistered {
        /// Height of the anchor row.
        at: Height,
        /// Height at which the key was registered.
        registered: Height,
    },
    /// The signature is dated after its key had ended.
    EndedBefore {
        /// Height of the anchor row.
        at: Height,
        /// How the key ended.
        status: Status,
        /// Height from which it does not count.
        ended: Height,
    },
    /// The key was in other hands when the signature was dated, or always.
    Compromised {
        /// Height from which it does not count.
        since: Height,
    },
}

/// Decides what a good signature is worth.
#[must_use]
pub fn judge(facts: &Facts) -> Verdict {
    let Facts {
        purpose,
        ref record,
        known_at,
        fresh,
        anchored,
        lost_anchor,
        ahead,
    } = *facts;
    if let Some(proven) = ahead {
        return Verdict::Unproven(Unproven::AheadOfLedger {
            proven,
            answered: known_at,
        });
    }
    if record.purpose() != purpose {
        return Verdict::Invalid(Invalid::OtherPurpose {
            claimed: purpose,
            recorded: record.purpose(),
        });
    }
    if let Validity::Compromised { since } = record.valid_at(record.registered()) {
        return Verdict::Invalid(Invalid::Compromised { since });
    }
    if record.is_active() && fresh {
        return Verdict::ValidNow { known_at };
    }
    match anchored {
        Some(at) => match record.valid_at(at) {
            // Between the proof's height and the anchor's the key may have ended.
            Validity::Valid if at > known_at => {
                Verdict::Unproven(Unproven::AnchoredLater { at, known_at })
            }
            Validity::Valid => Verdict::AnchoredWhileValid { at, known_at },
            Validity::NotYet { registered } => {
                Verdict::Invalid(Invalid::BeforeRegistered { at, registered })
            }
            Validity::Ended { at: ended, status } => {
                Verdict::Invalid(Invalid::EndedBefore { at, status, ended })
            }
            Validity::Compromised { since } => Verdict::Invalid(Invalid::Compromised { since }),
        },
        None => Verdict::Unproven(match (record.ended(), lost_anchor) {
            (None, _) => Unproven::Stale { known_at },
            (Some(_), Some(at)) => Unproven::LostAnchor { at },
            (Some(ended), None) => Unproven::Undated {
                status: record.status(),
                ended,
            },
        }),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValidNow { known_at } => {
                write!(f, "valid now (key active at height {known_at})")
            }
            Self::AnchoredWhileValid { at, known_at } => write!(
                f,
                "anchored while valid (signature on the ledger at height {at}, key known up to height {known_at})"
            ),
            Self::Unproven(why) => write!(f, "unproven: {why}"),
            Self::Invalid(why) => write!(f, "invalid because {why}"),
        }
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { known_at } => write!(
                f,
                "the signature is good and its key was active at height {known_at}, but no fresh proof is at hand"
            ),
            Self::Undated { status, ended } => write!(
                f,
                "the signature is good, but its key was {} at height {ended} and nothing dates the signature",
                ended_word(*status)
            ),
            Self::AnchoredLater { at, known_at } => write!(
                f,
                "the signature was anchored at height {at}, but its key is known only up to height {known_at}"
            ),
            Self::LostAnchor { at } => write!(
                f,
                "the signature is good, but its key has ended and the ledger does not have the anchor of height {at} that would date it: a recovery has lost it, or it was made with a stolen vote key"
            ),
            Self::AheadOfLedger { proven, answered } => write!(
                f,
                "the signature is good, but its proofs, of height {proven}, are beyond the ledger's answer, of height {answered}: ask again and ask another node; if it stays so, they contradict the ledger"
            ),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evidence(error) => write!(f, "{error}"),
            Self::OtherPurpose { claimed, recorded } => write!(
                f,
                "the signature says that its key is for {claimed}, the ledger says {recorded}"
            ),
            Self::Unknown => f.write_str("the ledger does not know the signer"),
            Self::Proof => f.write_str("a proof in the evidence does not hold"),
            Self::OtherAnchor => f.write_str("the anchor is about another signature"),
            Self::BeforeRegistered { at, registered } => write!(
                f,
                "the signature existed at height {at}, before its key was registered at height {registered}"
            ),
            Self::EndedBefore { at, status, ended } => write!(
                f,
                "the key was {} at height {ended}, before the signature was anchored at height {at}",
                ended_word(*status)
            ),
            Self::Compromised { since } => {
                write!(f, "the key is known to be compromised since height {since}")
            }
        }
    }
}

const fn ended_word(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Spent => "spent",
        Status::Superseded => "superseded",
        Status::Revoked => "revoked",
    }
}
