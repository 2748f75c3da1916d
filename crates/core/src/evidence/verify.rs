//! The whole verification: genesis document, walk, proofs, record, signature, verdict (spec/evidence.md).

use super::{Evidence, EvidenceError, Facts, Invalid, Verdict, judge};
use crate::anchor::Anchor;
use crate::genesis::Genesis;
use crate::handover::{Handover, Recovery};
use crate::id::{ChainId, Digest, Epoch, HeaderHash, Height, StateKey};
use crate::proof::Proof;
use crate::row::{AnchorRow, Record, RowBytes};
use crate::set::EpochSet;

/// What the ledger answers now about a signer and its signature, verified by the caller. It stands in place of what a bundle
/// embeds.
#[derive(Debug, Clone, Copy)]
pub struct Newest {
    /// The record under the signer's handle; `None` when its absence was proven.
    pub record: Option<Record>,
    /// The row under the signature's [anchor digest](Evidence::anchor_digest); `None` when its absence was proven. Asked for
    /// before the record, so that no row is of a height above the record's proof.
    pub anchor: Option<AnchorRow>,
    /// Epoch of the record's proof.
    pub epoch: Epoch,
    /// Height of the record's proof.
    pub known_at: Height,
}

/// What a step of the walk starts with.
const HANDOVER: u8 = 1;
const RECOVERY: u8 = 2;

impl Evidence {
    /// Says what a bundle is worth for a file, knowing only the chain ID.
    ///
    /// With `newest`, the ledger's answer is the record and the anchor row, and it is fresh. Offline there is none; then a proof
    /// at `fresh_from` or above counts as fresh, and `fresh_from` is the caller's idea of now ([`Height::MAX`] when it has none).
    #[must_use]
    pub fn verify(
        bytes: &[u8],
        chain: &ChainId,
        file: &Digest,
        newest: Option<&Newest>,
        fresh_from: Height,
    ) -> Verdict {
        Self::check(bytes, chain, file, newest, fresh_from)
            .map_or_else(Verdict::Invalid, |facts| judge(&facts))
    }

    /// The facts that a bundle proves.
    ///
    /// # Errors
    /// What makes the bundle invalid before its times are looked at.
    pub fn check(
        bytes: &[u8],
        chain: &ChainId,
        file: &Digest,
        newest: Option<&Newest>,
        fresh_from: Height,
    ) -> Result<Facts, Invalid> {
        let evidence = Self::decode(bytes).map_err(Invalid::Evidence)?;
        evidence
            .check_subject(chain, file)
            .map_err(Invalid::Evidence)?;
        let signed = evidence.signed();

        let proven = evidence.prove(evidence.proof(), &StateKey::record(&signed.signer))?;
        let embedded = proven.row.as_ref().map(decode_record).transpose()?;
        let anchor = evidence.proven_anchor()?;
        // An answer that is behind a proof is either old or contradicted: neither it nor the proof is believed.
        let ahead = newest.and_then(|newest| {
            [Some(proven.place), anchor.map(|(_, place)| place)]
                .into_iter()
                .flatten()
                .filter(|(epoch, height)| *epoch > newest.epoch || *height > newest.known_at)
                .map(|(_, height)| height)
                .max()
        });
        let record = match newest {
            // Whichever is right: a handle's key never changes, so that the signature can be looked at.
            Some(newest) if ahead.is_some() => newest.record.or(embedded),
            Some(newest) => newest.record,
            None => embedded,
        };
        let record = record.ok_or(Invalid::Unknown)?;

        let key = record
            .keys()
            .verification_key()
            .ok_or(Invalid::Evidence(EvidenceError::Algorithm))?;
        evidence
            .check_signature(chain, file, &key)
            .map_err(Invalid::Evidence)?;

        let embedded_anchor = anchor.map(|(row, _)| row.height);
        let (known_at, anchored) = match newest {
            None => (proven.place.1, embedded_anchor),
            Some(newest) => {
                let digest = evidence.anchor_digest();
                if newest.anchor.is_some_and(|row| row.digest != digest) {
                    return Err(Invalid::OtherAnchor);
                }
                (newest.known_at, newest.anchor.map(|row| row.height))
            }
        };
        Ok(Facts {
            purpose: signed.purpose,
            record,
            known_at,
            fresh: newest.is_some() || known_at >= fresh_from,
            anchored,
            lost_anchor: embedded_anchor.filter(|_| anchored.is_none()),
            ahead,
        })
    }

    /// The embedded anchor row and the place of its proof, after checking that it is about this signature.
    fn proven_anchor(&self) -> Result<Option<(AnchorRow, Place)>, Invalid> {
        let Some(proof) = self.anchor() else {
            return Ok(None);
        };
        let digest = self.anchor_digest();
        let proven = self.prove(proof, &StateKey::anchor(&digest))?;
        let row = proven.row.ok_or(Invalid::OtherAnchor)?;
        let row = AnchorRow::decode(&row).map_err(|_| Invalid::Proof)?;
        // Whatever the topic: whoever anchors a digest first chooses it, and must not spoil the signer's bundle by that.
        if row.digest != digest {
            return Err(Invalid::OtherAnchor);
        }
        if row.height > proven.place.1 {
            return Err(Invalid::Proof);
        }
        Ok(Some((row, proven.place)))
    }

    /// Checks a proof under the anchor as it stands in the proof's epoch, walking there from the genesis document, and then
    /// the rest of the walk: of an epoch whose end the walk shows, no proof counts that lies beyond it. So vote keys that
    /// were stolen after their epoch do not reach past it.
    fn prove(&self, proof: &[u8], wanted: &StateKey) -> Result<Proven, Invalid> {
        let proof = Proof::decode(proof).map_err(|_| Invalid::Proof)?;
        let epoch = proof.checkpoint().claimed().epoch;
        let genesis = Genesis::decode_for(&self.signed().chain, self.genesis())
            .map_err(|_| Invalid::Proof)?;
        let mut anchor = Anchor::from_genesis(&genesis);
        let mut set = *genesis.epoch_set();
        let mut steps = self.walk();
        while anchor.epoch() < epoch {
            let Some(step) = steps.next() else { break };
            (set, _) = follow(&mut anchor, &set, step)?;
        }
        let verified = proof
            .check(&anchor, &set, wanted)
            .map_err(|_| Invalid::Proof)?;
        let proven = Proven {
            row: verified.row().copied(),
            place: (epoch, verified.checkpoint().header().height),
        };
        for step in steps {
            let ends = anchor.epoch() == epoch;
            let end;
            (set, end) = follow(&mut anchor, &set, step)?;
            if ends && !end.admits(proven.place.1, verified.checkpoint().hash()) {
                return Err(Invalid::Proof);
            }
        }
        Ok(proven)
    }
}

/// How an epoch ended.
enum End {
    /// With this block, as its own validators and officers say.
    At(Height, HeaderHash),
    /// Before this height. What stood above the block that survived is lost, but was no lie.
    Before(Height),
}

impl End {
    /// Whether a block can be of the epoch that ended so.
    fn admits(&self, height: Height, hash: &HeaderHash) -> bool {
        match self {
            Self::At(last, last_hash) => height < *last || (height == *last && hash == last_hash),
            Self::Before(from) => height < *from,
        }
    }
}

/// Epoch and height of a proof.
type Place = (Epoch, Height);

struct Proven {
    row: Option<RowBytes>,
    place: Place,
}

fn decode_record(row: &RowBytes) -> Result<Record, Invalid> {
    Record::decode(row).map_err(|_| Invalid::Proof)
}

/// Moves the anchor over one step; gives the set that counts then, and how the epoch before has ended.
fn follow<'a>(
    anchor: &mut Anchor,
    set: &EpochSet<'_>,
    step: &'a [u8],
) -> Result<(EpochSet<'a>, End), Invalid> {
    match step.split_first() {
        Some((&HANDOVER, bytes)) => {
            let handover = Handover::decode(bytes)
                .and_then(|handover| handover.check(anchor, set))
                .map_err(|_| Invalid::Proof)?;
            if !anchor.follow(&handover) {
                return Err(Invalid::Proof);
            }
            let handover = handover.signed();
            let end = End::At(handover.last_height(), handover.last_header_hash());
            Ok((*handover.next_set(), end))
        }
        Some((&RECOVERY, bytes)) => {
            let recovery = Recovery::decode(bytes)
                .and_then(|recovery| recovery.check(anchor))
                .map_err(|_| Invalid::Proof)?;
            if !anchor.recover(&recovery) {
                return Err(Invalid::Proof);
            }
            Ok((*recovery.next_set(), End::Before(recovery.from())))
        }
        _ => Err(Invalid::Proof),
    }
}
