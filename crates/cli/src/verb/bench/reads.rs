//! Lookups: proofs of random keys, and whether they are good.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kusabi_core::{
    anchor::Anchor,
    checkpoint::VerifiedCheckpoint,
    genesis::Genesis,
    id::{Handle, StateKey},
    proof::Proof,
    row::Record,
};

use super::{
    fleet,
    process::Process,
    report::{Latency, Lookups, Work},
    unmeasurable,
    wire::{Asked, Kept, Until, ask},
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
};

const CONNECTIONS: u64 = 64;
/// One answer of so many is verified afterwards.
const KEEP_EACH: u64 = 50;
const ABSENT: u64 = 4_096;

/// Which keys are asked for: all that were registered, `0..keys`.
pub(super) async fn lookups(
    address: SocketAddr,
    node: Process,
    genesis: &[u8],
    keys: u64,
    window: Duration,
) -> Result<Lookups> {
    let present = move |numbers: &mut super::wire::Numbers| fleet::handle(numbers.below(keys));
    let absent = |numbers: &mut super::wire::Numbers| fleet::stranger(numbers.below(u64::MAX));
    // The first answers fill the caches of both sides.
    let warm_up = Until::Answers(2_000);
    ask(address, CONNECTIONS, warm_up, u64::MAX, 1, present)
        .await
        .map_err(unmeasurable)?;
    let cpu = |process: Process| process.cpu().map_err(unmeasurable);
    let (node_before, client_before) = (cpu(node)?, cpu(Process::own())?);
    let asked = ask(
        address,
        CONNECTIONS,
        Until::Passed(window),
        KEEP_EACH,
        2,
        present,
    )
    .await
    .map_err(unmeasurable)?;
    let on_node = cpu(node)? - node_before;
    let on_client = cpu(Process::own())? - client_before;
    let nobody = ask(address, CONNECTIONS, Until::Answers(ABSENT), 1, 3, absent)
        .await
        .map_err(unmeasurable)?;

    let genesis = Genesis::decode(genesis).map_err(|why| bad(why.to_string()))?;
    check(&genesis, &nobody.kept, false)?;
    let (cold, warm) = check(&genesis, &asked.kept, true)?;
    let (proof_bytes_p50, proof_bytes_max) = lengths(&asked);
    let (absence_bytes_p50, absence_bytes_max) = lengths(&nobody);
    Ok(Lookups {
        work: Work::new(asked.answers, asked.elapsed, on_node, on_client),
        connections: CONNECTIONS,
        latency: Latency::of(asked.latencies_us),
        keys,
        verified: (asked.kept.len() + nobody.kept.len()) as u64,
        proof_bytes_p50,
        proof_bytes_max,
        absence_bytes_p50,
        absence_bytes_max,
        verify_cold_us: cold,
        verify_warm_us: warm,
    })
}

fn bad(why: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Unproven,
        format!("an answer of the node is refused: {why}"),
    )
}

/// Median and largest length.
fn lengths(asked: &Asked) -> (usize, usize) {
    let mut before = 0;
    let median = asked.lengths.iter().position(|count| {
        before += count;
        2 * before >= asked.answers
    });
    let max = asked.lengths.iter().rposition(|count| *count > 0);
    (median.unwrap_or_default(), max.unwrap_or_default())
}

/// Verifies one answer from the genesis document on: `true` when the key is there.
pub(super) fn present(genesis: &Genesis<'_>, handle: &Handle, proof: &[u8]) -> Result<bool> {
    let anchor = Anchor::from_genesis(genesis);
    let proof = Proof::decode(proof).map_err(bad)?;
    let key = StateKey::record(handle);
    let verified = proof
        .check(&anchor, genesis.epoch_set(), &key)
        .map_err(bad)?;
    match verified.row() {
        Some(row) => Record::decode(row).map(|_| true).map_err(bad),
        None => Ok(false),
    }
}

/// Verifies every kept answer twice; gives the microseconds that one took with everything new and with its checkpoint known.
fn check(genesis: &Genesis<'_>, kept: &[Kept], there: bool) -> Result<(f64, f64)> {
    let start = Instant::now();
    for Kept { handle, proof } in kept {
        if present(genesis, handle, proof)? != there {
            return Err(bad("it proves the opposite of what was registered"));
        }
    }
    let cold = start.elapsed();
    let anchor = Anchor::from_genesis(genesis);
    let mut known = None;
    let mut warm = Duration::ZERO;
    for Kept { handle, proof } in kept {
        let key = StateKey::record(handle);
        let start = Instant::now();
        let proof = Proof::decode(proof).map_err(bad)?;
        let verified = match &known {
            Some(known) if proof.checkpoint().claimed() == VerifiedCheckpoint::header(known) => {
                proof.check_under(known, &key).map_err(bad)?
            }
            // The first of a height: not counted.
            _ => {
                let verified = proof
                    .check(&anchor, genesis.epoch_set(), &key)
                    .map_err(bad)?;
                known = Some(*verified.checkpoint());
                continue;
            }
        };
        let row = verified
            .row()
            .map(Record::decode)
            .transpose()
            .map_err(bad)?;
        warm += start.elapsed();
        if row.is_some() != there {
            return Err(bad("it proves the opposite of what was registered"));
        }
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / kept.len().max(1) as f64;
    Ok((each(cold), each(warm)))
}
