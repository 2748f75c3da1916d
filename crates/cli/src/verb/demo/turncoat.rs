//! A validator's machine in other hands: its node answers, and lies. It has one vote key; a quorum has four.

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
    crypto::sha256,
    id::{ChainId, Height, StateKey, StateRoot, View, parse_hex},
    proof::{Claim, Proof},
    row::Record,
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
        )
        .encode();
        let mut header = *proof.checkpoint().claimed();
        header.height = Height::new(header.height.get() + 1_000).ok()?;
        header.state_root = StateRoot::new(sha256(&[&active]));
        let view = View::new(1_000_000);
        let vote = FinalizeVote {
            epoch: header.epoch,
            view,
            parent_view: View::new(999_999),
            header: header.hash(&self.chain),
        };
        let mut message = Vec::new();
        vote.encode(&self.chain, &mut message);
        let signature = Signature::new(self.vote_key.sign(&message).to_bytes());
        let mut forged = honest.get(..2)?.to_vec();
        CheckpointParts {
            headers: vec![header],
            view,
            parent_view: vote.parent_view,
            n: self.validators,
            signatures: vec![(self.place, signature)],
        }
        .encode(&mut forged)
        .ok()?;
        // What follows on the honest checkpoint: the path, and the row, which is exchanged.
        let mut reader = Reader::new(honest.get(2..)?);
        Checkpoint::read(&mut reader).ok()?;
        let rest = reader.rest();
        let at = rest.windows(row.len()).position(|window| window == *row)?;
        forged.extend(rest.get(..at)?);
        forged.extend(active);
        forged.extend(rest.get(at + row.len()..)?);
        Some(forged.into())
    }
}
