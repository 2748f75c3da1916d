//! A validator's machine in other hands: its node answers, and lies. It has one vote key; a quorum has four.
//!
//! What it forges is whole but for that: row, path, root and signature fit together, so that who refuses it has counted.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Path as Segment, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use kusabi_api::{HttpLedger, Ledger as _};
use kusabi_core::{
    checkpoint::{Checkpoint, CheckpointParts, FinalizeVote},
    id::{ChainId, Height, StateKey, StateRoot, View, parse_hex},
    proof::{
        Claim, Proof,
        path::{Log, Operation},
    },
    row::{Record, RowBytes},
    suite::Signature,
    wire::Reader,
};
use tokio::runtime::Runtime;

use super::stage::broke;
use crate::failure::Result;

/// How proofs are labelled.
const PROOF: &str = "application/vnd.kusabi.proof";

/// A running liar in a node's place.
pub(super) struct Turncoat {
    mind: Arc<Mind>,
    // Dropped first: nothing answers any more.
    _runtime: Runtime,
}

struct Mind {
    /// An honest node, to lie the better.
    ledger: HttpLedger,
    chain: ChainId,
    vote_key: SigningKey,
    /// Its place in the set.
    place: u8,
    validators: u8,
    /// What it shows, whatever it is asked; else a state of its own.
    shown: Mutex<Option<Bytes>>,
}

impl Turncoat {
    /// Takes the node's address and begins to answer. `seats`: the vote keys of the epoch, in the set's order.
    pub(super) fn start(
        address: SocketAddr,
        ledger: HttpLedger,
        chain: ChainId,
        seats: &[String],
        vote_key: &Path,
    ) -> Result<Self> {
        let seed = std::fs::read_to_string(vote_key).map_err(broke)?;
        let vote_key = SigningKey::from(parse_hex::<32>(seed.trim()).map_err(broke)?);
        let public: [u8; 32] = VerificationKeyBytes::from(&vote_key).into();
        let public = crate::keyfile::hex(&public);
        let place = seats.iter().position(|seat| *seat == public);
        let place = place.and_then(|place| u8::try_from(place).ok());
        let mind = Arc::new(Mind {
            ledger,
            chain,
            vote_key,
            place: place.ok_or_else(|| broke("it is no validator"))?,
            validators: u8::try_from(seats.len()).map_err(broke)?,
            shown: Mutex::new(None),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(broke)?;
        let listener = TcpListener::bind(address).map_err(broke)?;
        listener.set_nonblocking(true).map_err(broke)?;
        let router = Router::new()
            .route("/v1/state/{key}", get(answer))
            .with_state(mind.clone());
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(broke)?;
            tokio::spawn(async move { axum::serve(listener, router).await });
            Ok::<_, crate::failure::Failure>(())
        })?;
        Ok(Self {
            mind,
            _runtime: runtime,
        })
    }

    /// What it shows from now on: this proof, or a state of its own.
    pub(super) fn shows(&self, proof: Option<Bytes>) {
        *self.mind.shown() = proof;
    }
}

async fn answer(State(mind): State<Arc<Mind>>, Segment(key): Segment<String>) -> Response {
    let shown = mind.shown().clone();
    let proof = match shown {
        Some(proof) => Some(proof),
        None => mind.forged(&key).await,
    };
    match proof {
        Some(proof) => ([(CONTENT_TYPE, PROOF)], proof).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Mind {
    fn shown(&self) -> std::sync::MutexGuard<'_, Option<Bytes>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest proof with the key active again, under a header of its own, a thousand blocks ahead so that nobody has seen that
    /// height, which it signs with what it has.
    async fn forged(&self, key: &str) -> Option<Bytes> {
        let key: StateKey = key.parse().ok()?;
        let honest = self.ledger.lookup(key, Height::ZERO).await.ok()?;
        let proof = Proof::decode(&honest).ok()?;
        let Claim::Present { row, .. } = proof.claim() else {
            return None;
        };
        let record = Record::decode(row).ok()?;
        let active = Record::register(
            record.purpose(),
            *record.keys(),
            record.owner(),
            record.registered(),
            record.binding(),
            record.metadata().unwrap_or_default(),
        );
        let signers = [(self.place, self.vote_key)];
        let forged = forged(
            &honest,
            &self.chain,
            &key,
            &active.encode(),
            self.validators,
            &signers,
        );
        forged.map(Bytes::from)
    }
}

/// An honest proof of presence with another row in it, which the path leads from to the root of a header that these sign, of `n`.
/// Each signer: place in the set, vote key.
fn forged(
    honest: &[u8],
    chain: &ChainId,
    key: &StateKey,
    row: &RowBytes,
    n: u8,
    signers: &[(u8, SigningKey)],
) -> Option<Vec<u8>> {
    let proof = Proof::decode(honest).ok()?;
    let Claim::Present {
        row: honest_row,
        next_key,
    } = proof.claim()
    else {
        return None;
    };
    let mut header = *proof.checkpoint().claimed();
    let log = Log {
        leaves: header.ops_end,
        ops_root: header.ops_root.as_bytes(),
    };
    let operation = Operation::Update {
        key: key.as_bytes(),
        row,
        next_key: next_key.as_bytes(),
    };
    header.state_root = StateRoot::new(proof.path().root(log, operation).ok()?);
    header.height = Height::new(header.height.get() + 1_000).ok()?;
    let view = View::new(1_000_000);
    let vote = FinalizeVote {
        epoch: header.epoch,
        view,
        parent_view: View::new(999_999),
        header: header.hash(chain),
    };
    let mut message = Vec::new();
    vote.encode(chain, &mut message);
    let sign = |key: &SigningKey| Signature::new(key.sign(&message).to_bytes());
    let signatures = signers.iter().map(|(place, key)| (*place, sign(key)));
    let mut forged = honest.get(..2)?.to_vec();
    CheckpointParts {
        headers: vec![header],
        view,
        parent_view: vote.parent_view,
        n,
        signatures: signatures.collect(),
    }
    .encode(&mut forged)
    .ok()?;
    // What follows on the honest checkpoint: the path, and the row, which is exchanged.
    let mut reader = Reader::new(honest.get(2..)?);
    Checkpoint::read(&mut reader).ok()?;
    let rest = reader.rest();
    let at = rest
        .windows(honest_row.len())
        .position(|window| window == *honest_row)?;
    forged.extend(rest.get(..at)?);
    forged.extend(row);
    forged.extend(rest.get(at + row.len()..)?);
    Some(forged)
}

#[cfg(test)]
mod tests {
    use kusabi_core::{
        anchor::Anchor,
        checkpoint::CheckpointError,
        crypto::sha256,
        proof::ProofError,
        quorum::{QuorumError, quorum},
        set::EpochSet,
    };

    use super::*;

    #[test]
    fn what_a_thief_forges_is_whole_but_for_the_quorum() {
        let text = include_str!("../../../../../spec/vectors/trust.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let hex = |value: &serde_json::Value| -> Vec<u8> {
            let digits = value.as_str().unwrap();
            let bytes = (0..digits.len()).step_by(2);
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            bytes.map(byte).collect()
        };
        let anchor = Anchor::decode(&hex(&vectors["anchor"])).unwrap();
        let set = hex(&vectors["epoch sets"][0]);
        let set = EpochSet::decode(&set).unwrap();
        let n = set.validator_count();
        let labels = (0..n).map(|number| format!("vote 0 {number}"));
        let keys: Vec<_> = labels
            .map(|label| sha256(&[b"kusabi test vector key", label.as_bytes()]))
            .map(SigningKey::from)
            .collect();
        let thief = |place: usize| {
            let seat = set.validators().nth(place).unwrap();
            let has = |key: &&SigningKey| {
                <[u8; 32]>::from(VerificationKeyBytes::from(*key)) == *seat.vote_key
            };
            (
                u8::try_from(place).unwrap(),
                *keys.iter().find(has).unwrap(),
            )
        };
        let needed = quorum(n);
        let row = [7; 192];
        for one in vectors["proofs"].as_array().unwrap() {
            let honest = hex(&one["presence"]);
            let key = StateKey::new(hex(&one["key"]).try_into().unwrap());
            let forged = |thieves: usize| {
                let thieves: Vec<_> = (0..thieves).map(thief).collect();
                let n = u8::try_from(n).unwrap();
                forged(&honest, &anchor.chain(), &key, &row, n, &thieves).unwrap()
            };
            // A quorum of thieves is believed, and so it is their number by which fewer are refused.
            let bytes = forged(needed);
            let verified = Proof::decode(&bytes).unwrap();
            let verified = verified.check(&anchor, &set, &key).unwrap();
            assert_eq!(verified.row(), Some(&row));
            for thieves in 1..needed {
                let bytes = forged(thieves);
                let refused = Proof::decode(&bytes).unwrap();
                let refused = refused.check(&anchor, &set, &key).unwrap_err();
                let too_few = CheckpointError::Quorum(QuorumError::TooFew);
                assert_eq!(refused, ProofError::Checkpoint(too_few));
            }
        }
    }
}
