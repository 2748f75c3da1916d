//! Lost votes, lost disks, backups, and the new epoch that a recovery opens.

use super::{Founder, blocks, open};
use bytes::Bytes;
use kusabi_core::{
    anchor::Anchor,
    genesis::Genesis,
    handover::{Recovery, RecoveryParts},
    header::Header,
    id::{Epoch, Height, NodesHash, OrgName, StateKey},
    keystore::KeyStore as _,
    nodes::{NodeParts, nodes_of},
    proof::Proof,
    set::{EpochSet, EpochSetParts, OrganisationParts, recovery_set},
    tx::{Action, Draft, Transaction},
};
use kusabi_node::{
    directory::{NodeKey, VoteKey},
    engine::{
        EngineError,
        simulation::{Faults, follower::Follower},
    },
    handle::Stop,
};
use std::time::Duration;

/// As `kusabi recover` chooses it: milliseconds since 1970.
const RECOVERED: Epoch = Epoch::new(1_795_861_087_742);

#[test]
fn a_validator_whose_votes_are_gone_does_not_vote_again() {
    let founder = Founder::new();
    let mut simulation = founder.simulation(1);
    let (out, _) = simulation.run(
        Faults::default(),
        |node, _| async move { node.status().height },
    );
    assert!(out.flatten().is_some());
    simulation.lose_disk(true);
    let (out, stop) = simulation.run(Faults::default(), |_, _| async move {});
    assert!(out.is_none());
    assert_eq!(stop, Some(Stop::Refused(EngineError::VotesLost(0))));
}

fn recovery(founder: &Founder, last: &Header, from: u64, vote: &VoteKey) -> (Transaction, Vec<u8>) {
    let ledger = &founder.ledger;
    let next_set = EpochSetParts {
        epoch: RECOVERED,
        organisations: vec![OrganisationParts {
            id: OrgName::new("cameras").unwrap().id(),
            threshold: 1,
            officers: vec![ledger.officer.public_keys().verification_key().unwrap()],
            vote_keys: vec![vote.public()],
        }],
    }
    .encode()
    .unwrap();
    let node = NodeParts {
        vote_key: vote.public(),
        key: NodeKey::new([77; 32]).public(),
        address: "",
    };
    let nodes = nodes_of(&EpochSet::decode(&next_set).unwrap(), &[node]).unwrap();
    let parts = RecoveryParts {
        from: Height::new(from).unwrap(),
        parent_height: last.height,
        parent_hash: last.hash(&ledger.chain),
        nodes_hash: NodesHash::of(&nodes),
        next_set,
    };
    let key = ledger.recovery.public_keys().verification_key().unwrap();
    let statement = parts.statement(&ledger.chain, &key).unwrap();
    let signature = ledger.recovery.sign(&statement).unwrap();
    let set = recovery_set(1, &[key]).unwrap();
    let recovery = parts.encode(&set, &[(0, signature)]).unwrap();
    let action = Action::Recovery {
        recovery: recovery.clone(),
        nodes,
    };
    let transaction = Draft::new(ledger.chain, action).unwrap().finish().unwrap();
    (transaction, recovery)
}

#[test]
fn a_restored_backup_goes_on_in_a_new_epoch_and_old_proofs_hold() {
    let founder = Founder::new();
    let mut simulation = founder.simulation(2);
    let f = founder.clone();
    let (out, _) = simulation.run(Faults::default(), |node, _| async move {
        open(&f, &node).await;
        let (handle, register) = f.register(1);
        let receipt = node.submit(register.as_bytes()).unwrap().await.unwrap();
        let proof = node.lookup(StateKey::record(&handle)).await.unwrap();
        (blocks(&node).await, handle, receipt, proof)
    });
    let (history, handle, receipt, old_proof) = out.unwrap();
    let last = history.last().unwrap().header;

    // The disk is lost, a backup is restored: under the old key it must not go on.
    simulation.lose_disk(false);
    let outline = simulation.import(history.clone()).unwrap();
    let (out, stop) = simulation.run(Faults::default(), |_, _| async move {});
    assert!(out.is_none());
    assert_eq!(stop, Some(Stop::Refused(EngineError::VotesLost(0))));

    // A new epoch under a new key, at a height above every one that a device may have seen.
    let vote = VoteKey::new([42; 32]);
    let (transaction, statement) = recovery(&founder, &last, 5_000, &vote);
    let mut recovered = outline.clone();
    recovered
        .open_epoch(Bytes::copy_from_slice(transaction.as_bytes()))
        .unwrap();
    simulation.recover(recovered.clone(), vote);
    // It stops again before the epoch has a second block: the engine's own notes of it are at their shortest.
    let (out, stop) = simulation.run(
        Faults::default(),
        |node, _| async move { node.status().height },
    );
    assert_eq!(out.flatten().map(Height::get), Some(5_000), "{stop:?}");
    let f = founder.clone();
    let (out, stop) = simulation.run(Faults::default(), move |node, _| async move {
        let (second, register) = f.register(2);
        let receipt = node.submit(register.as_bytes()).unwrap().await.unwrap();
        let proof = node.lookup(StateKey::record(&second)).await.unwrap();
        let old = node.lookup(StateKey::record(&handle)).await.unwrap();
        (blocks(&node).await, second, receipt, proof, old)
    });
    let (whole, second, second_receipt, proof, old) = out.unwrap_or_else(|| panic!("{stop:?}"));
    assert_eq!(whole[..history.len()], history[..]);
    assert_eq!(whole[history.len()].header.height.get(), 5_000);
    assert!(second_receipt.height.get() > 5_000);

    // A device walks: its floor rises, and both records are proven in the new epoch.
    let genesis = Genesis::decode(&founder.ledger.document).unwrap();
    let mut anchor = Anchor::from_genesis(&genesis);
    assert_eq!(
        founder.check(&handle, &old_proof).unwrap().registered(),
        receipt.height,
        "the old proof holds under the old anchor"
    );
    let verified = Recovery::decode(&statement).unwrap();
    let verified = verified.check(&anchor).unwrap();
    assert!(anchor.recover(&verified));
    assert_eq!(anchor.height().get(), 4_999);
    let set = EpochSet::decode(&recovered.newest().set).unwrap();
    for (handle, proof, height) in [
        (handle, &old, receipt.height),
        (second, &proof, second_receipt.height),
    ] {
        let proof = Proof::decode(proof).unwrap();
        let verified = proof
            .check(&anchor, &set, &StateKey::record(&handle))
            .unwrap();
        let record = kusabi_core::row::Record::decode(verified.row().unwrap()).unwrap();
        assert_eq!(record.registered(), height);
    }
    let refused = Proof::decode(&old_proof).unwrap();
    let refused = refused.check(&anchor, &set, &StateKey::record(&handle));
    assert!(refused.is_err(), "the floor holds");

    let audit = simulation.audit(whole.clone()).unwrap();
    assert_eq!(audit.blocks, whole.len() as u64);
    assert_eq!(audit.last, whole.last().unwrap().header);
}

#[test]
fn an_import_refuses_what_was_changed() {
    let founder = Founder::new();
    let mut simulation = founder.simulation(4);
    let f = founder.clone();
    let (out, _) = simulation.run(Faults::default(), |node, _| async move {
        open(&f, &node).await;
        blocks(&node).await
    });
    let history = out.unwrap();
    let mut refused = |change: &dyn Fn(&mut Vec<kusabi_node::handle::FinalBlock>)| {
        let mut changed = history.clone();
        change(&mut changed);
        assert_ne!(changed, history);
        simulation.lose_disk(false);
        simulation.import(changed).unwrap_err().to_string()
    };
    refused(&|h| h[1].header.time_ms += 1);
    refused(&|h| h[1].transactions.clear());
    refused(&|h| h[1].checkpoint = h[0].checkpoint.clone());
    refused(&|h| h[1].checkpoint = None);
    refused(&|h| {
        h.remove(0);
    });
    refused(&|h| h[1].header.state_root = h[0].header.state_root);
    refused(&|h| h.clear());
}

#[test]
fn a_follower_goes_along_with_a_recovery_and_stops_where_it_has_more() {
    let founder = Founder::new();
    let mut simulation = founder.simulation(6);
    let f = founder.clone();
    let (out, _) = simulation.run(Faults::default(), |node, _| async move {
        open(&f, &node).await;
        let (_, register) = f.register(1);
        node.submit(register.as_bytes()).unwrap().await.unwrap();
        blocks(&node).await
    });
    let history = out.unwrap();
    // The backup does not know the last block.
    let (backup, lost) = history.split_at(history.len() - 1);
    simulation.lose_disk(false);
    let mut recovered = simulation.import(backup.to_vec()).unwrap();
    let vote = VoteKey::new([42; 32]);
    let last = backup.last().unwrap().header;
    let (transaction, _) = recovery(&founder, &last, 5_000, &vote);
    recovered
        .open_epoch(Bytes::copy_from_slice(transaction.as_bytes()))
        .unwrap();
    simulation.recover(recovered, vote);
    let f = founder.clone();
    let (out, stop) = simulation.run(Faults::default(), move |node, _| async move {
        let (_, register) = f.register(2);
        node.submit(register.as_bytes()).unwrap().await.unwrap();
        blocks(&node).await
    });
    let whole = out.unwrap_or_else(|| panic!("{stop:?}"));
    let newest = whole.last().unwrap().header.height;

    let mut follower = Follower::new(7, &founder.outline());
    for blocks in [backup.to_vec(), whole[backup.len()..].to_vec()] {
        let (out, stop) = follower.run(Faults::default(), |node, mut bring, _| async move {
            // It stops when nobody holds it any more.
            let _held = node;
            bring.next().await.unwrap();
            for block in blocks {
                bring.bring(block).await.unwrap().await.unwrap().unwrap();
            }
        });
        assert_eq!((out, stop), (Some(()), None));
    }
    let (out, _) = follower.run(Faults::default(), move |node, mut bring, _| async move {
        bring.next().await.unwrap();
        node.status()
    });
    let status = out.unwrap();
    assert_eq!((status.height, status.epoch), (Some(newest), RECOVERED));

    // One that has the lost block stops, and keeps it.
    let mut follower = Follower::new(8, &founder.outline());
    let more = lost.last().unwrap().header.height;
    for first in [history.clone(), Vec::new()] {
        let other = whole[backup.len()].clone();
        let (_, stop) = follower.run(
            Faults::default(),
            move |node, mut bring, world| async move {
                let _held = node;
                bring.next().await.unwrap();
                for block in first {
                    bring.bring(block).await.unwrap().await.unwrap().unwrap();
                }
                assert_eq!(bring.next().await, more.next());
                let verdict = bring.bring(other).await.unwrap();
                verdict.await.unwrap_err();
                // Until it is known why.
                world.sleep(Duration::from_millis(100)).await;
            },
        );
        let forsaken = EngineError::Forsaken(more.get());
        assert_eq!(stop, Some(Stop::Refused(forsaken)));
    }
}
