//! Certificates: what the engine's validators finalize core accepts, and of altered certificates both say the same.

use super::ledger::{Certified, Ledger, checkpoint};
use crate::random::Random;
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_codec::types::lazy::Lazy;
use commonware_consensus::simplex::types::{Finalization, Proposal};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_cryptography::certificate::Signers;
use commonware_cryptography::ed25519;
use commonware_cryptography::ed25519::certificate::Certificate;
use commonware_cryptography::sha256::Digest;
use commonware_parallel::Sequential;
use commonware_runtime::{Runner as _, deterministic};
use commonware_utils::Participant;
use kusabi_core::checkpoint::{Checkpoint, CheckpointParts};
use kusabi_core::header::Header;
use kusabi_core::id;
use kusabi_core::quorum::quorum;

/// What core says of a checkpoint of one header.
fn core(ledger: &Ledger, parts: &CheckpointParts) -> bool {
    let mut bytes = Vec::new();
    parts.encode(&mut bytes).is_ok()
        && Checkpoint::decode(&bytes)
            .is_ok_and(|checkpoint| checkpoint.check(&ledger.anchor(), &ledger.set()).is_ok())
}

/// The same checkpoint as the engine's finalization, from kusabi's form. `None` when the engine cannot even express it.
fn engine(ledger: &Ledger, parts: &CheckpointParts) -> Option<Certified> {
    let header = parts.headers.last()?;
    let signers = Signers::new(
        u32::from(parts.n),
        parts
            .signatures
            .iter()
            .map(|(index, _)| Participant::new(u32::from(*index))),
    )
    .ok()?;
    let signatures = parts
        .signatures
        .iter()
        .map(|(_, signature)| {
            Lazy::new(
                ed25519::Signature::decode(Bytes::copy_from_slice(signature.as_bytes())).unwrap(),
            )
        })
        .collect();
    Some(Finalization {
        proposal: Proposal::new(
            Round::new(Epoch::new(header.epoch.get()), View::new(parts.view.get())),
            View::new(parts.parent_view.get()),
            Digest::from(header.hash(&ledger.chain).to_bytes()),
        ),
        certificate: Certificate {
            signers,
            signatures,
        },
    })
}

fn alter(parts: &mut CheckpointParts, other: &Header, random: &mut Random) {
    let count = parts.signatures.len();
    match random.below(9) {
        0 => {
            parts.signatures.remove(random.below(count));
        }
        1 => {
            let (_, signature) = &mut parts.signatures[random.below(count)];
            let mut bytes = *signature.as_bytes();
            bytes[random.below(64)] ^= 1 << random.below(8);
            *signature = bytes.into();
        }
        2 => parts.view = id::View::new(parts.view.get() ^ (1 << random.below(10))),
        3 => parts.parent_view = id::View::new(parts.parent_view.get() + 1),
        4 => parts.headers = vec![*other],
        5 => parts.n = parts.n.wrapping_add(1).min(16),
        6 => parts.n = parts.n.saturating_sub(1),
        7 if count > 1 => {
            let (a, b) = (random.below(count), random.below(count));
            let signature = parts.signatures[a].1;
            parts.signatures[a].1 = parts.signatures[b].1;
            parts.signatures[b].1 = signature;
        }
        _ => {
            // Someone else's place.
            let free = (0..parts.n).find(|i| parts.signatures.iter().all(|(j, _)| i != j));
            if let Some(free) = free {
                parts.signatures[random.below(count)].0 = free;
                parts.signatures.sort_by_key(|(index, _)| *index);
            }
        }
    }
}

#[test]
fn the_engines_certificates_are_judged_alike() {
    deterministic::Runner::seeded(1).start(|mut context| async move {
        let mut random = Random(11);
        let (mut accepted, mut refused) = (0, 0);
        for n in [1usize, 2, 3, 4, 5, 6, 7, 10, 13, 16] {
            let ledger = Ledger::new(n as u64);
            for round in 0..8 {
                let header = ledger.header(round + 1, random.bytes(), random.bytes(), 1 + round);
                let other = ledger.header(round + 1, random.bytes(), random.bytes(), 1 + round);
                // From a quorum to all, any of them.
                let mut voters: Vec<usize> = (0..n).collect();
                while voters.len() > quorum(n) && random.below(2) == 0 {
                    voters.remove(random.below(voters.len()));
                }
                let certified = ledger.certify(&header, &voters);
                assert!(certified.verify(&mut context, &ledger.verifier, &Sequential));
                let parts = checkpoint(&[header], &certified);
                assert!(
                    core(&ledger, &parts),
                    "core refuses the engine's certificate, n = {n}"
                );

                for _ in 0..12 {
                    let mut altered = parts.clone();
                    alter(&mut altered, &other, &mut random);
                    if altered.signatures.is_empty() {
                        assert!(!core(&ledger, &altered));
                        continue;
                    }
                    let core = core(&ledger, &altered);
                    let engine = engine(&ledger, &altered).is_some_and(|certified| {
                        certified.verify(&mut context, &ledger.verifier, &Sequential)
                    });
                    assert_eq!(core, engine, "n = {n}, altered {altered:?}");
                    accepted += usize::from(core);
                    refused += usize::from(!core);
                }
            }
        }
        // Some alterations leave a good certificate: one signature less of more than a quorum.
        assert!(
            accepted > 0 && refused > 500,
            "{accepted} accepted, {refused} refused"
        );
    });
}

#[test]
fn one_signature_below_the_quorum_is_refused_by_both() {
    deterministic::Runner::seeded(2).start(|mut context| async move {
        for n in 1..=16usize {
            let ledger = Ledger::new(n as u64);
            let header = ledger.header(1, [1; 32], [2; 32], 3);
            let voters: Vec<usize> = (0..quorum(n)).collect();
            let mut parts = checkpoint(&[header], &ledger.certify(&header, &voters));
            assert!(core(&ledger, &parts), "n = {n}");
            parts.signatures.pop();
            assert!(!core(&ledger, &parts), "n = {n}");
            if let Some(certified) = engine(&ledger, &parts) {
                assert!(!certified.verify(&mut context, &ledger.verifier, &Sequential));
            }
        }
    });
}
