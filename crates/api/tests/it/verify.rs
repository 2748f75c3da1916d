//! What the verifying ledger hands out, and everything that it does not.

use crate::world::{At, DIGEST, Puppet, at, chain, genesis, proof, recovery, row, set};
use bytes::Bytes;
use futures_util::FutureExt;
use kusabi_api::{
    Block, Kind, Problem, VerifyingLedger,
    ledger::{Receipt, Submitted},
    verify::{Done, Trust, VerifyError},
};
use kusabi_core::{
    anchor::AnchorError,
    checkpoint::CheckpointError,
    freshness::FreshnessError,
    handover::HandoverError,
    id::{ChainId, Epoch, Handle, Height, Nonce, StateKey, TxId},
    proof::ProofError,
    quorum::QuorumError,
    suite::{Purpose, Signature},
    tx::{Action, Draft},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

type Verifying = VerifyingLedger<Arc<Puppet>>;

fn trusting(puppet: Puppet) -> (Arc<Puppet>, Verifying) {
    let puppet = Arc::new(puppet);
    let trust = Trust::found(&chain(), &genesis()).unwrap();
    (Arc::clone(&puppet), VerifyingLedger::new(puppet, trust))
}

fn here() -> StateKey {
    StateKey::anchor(&DIGEST)
}

fn height(ledger: &Verifying) -> u64 {
    ledger.trust().anchor().height().get()
}

fn by_anchor(why: AnchorError) -> VerifyError {
    VerifyError::Proof(ProofError::Checkpoint(CheckpointError::Anchor(why)))
}

#[tokio::test]
async fn presence_and_absence_are_proven_and_raise_the_floor() {
    let (puppet, ledger) = trusting(Puppet::new());
    let proven = ledger.lookup(here()).await.unwrap();
    assert_eq!(*proven.value(), Some(row()));
    assert_eq!(proven.height().get(), 5);
    assert_eq!(*proven.proof(), proof(at(5), &here()));
    assert_eq!(height(&ledger), 5);

    puppet.is_at(at(8));
    let absent = ledger.record(&Handle::new([1; 32])).await.unwrap();
    assert_eq!(absent.into_value(), None);
    assert_eq!(height(&ledger), 8);

    let (checkpoint, _) = ledger.checkpoint().await.unwrap();
    assert_eq!(checkpoint.header().height.get(), 8);
}

#[tokio::test]
async fn a_server_that_holds_the_present_back_is_caught_by_a_fresh_receipt() {
    let nonce = Nonce::new([1; 32]);
    let (puppet, ledger) = trusting(Puppet::new());
    puppet.is_at(at(8));
    *puppet.newest.lock().unwrap() = at(8);
    let (receipt, checkpoint) = ledger.fresh_checkpoint(nonce).await.unwrap();
    assert_eq!((receipt.height().get(), height(&ledger)), (8, 8));
    assert_eq!(checkpoint.header().height.get(), 8);
    // It was asked for what the receipt names.
    assert_eq!(*puppet.asked.lock().unwrap(), [8]);

    // The validators are at 12, the server shows what stood at 9, and there is nothing wrong with that but its age.
    *puppet.newest.lock().unwrap() = at(12);
    puppet.is_at(at(9));
    ledger.checkpoint().await.unwrap();
    let refused = |why| VerifyError::Freshness(why);
    let held_back = ledger.fresh_checkpoint(nonce).await.unwrap_err();
    assert_eq!(held_back, refused(FreshnessError::Old));
    assert!(held_back.is_refusal());
    puppet.is_at(at(13));
    ledger.fresh_checkpoint(nonce).await.unwrap();

    // Another history than the validators'; another one than this side has seen.
    *puppet.newest.lock().unwrap() = at(14);
    puppet.is_at(At { fork: 1, ..at(14) });
    let fork = ledger.fresh_checkpoint(nonce).await.unwrap_err();
    assert_eq!(fork, refused(FreshnessError::Fork));
    let fork = ledger.fresh_checkpoint(nonce).await.unwrap_err();
    assert_eq!(fork, refused(AnchorError::Fork.into()));

    // A key that is no validator's.
    *puppet.newest.lock().unwrap() = At {
        signer: 3,
        ..at(15)
    };
    puppet.is_at(at(15));
    let unsigned = ledger.fresh_checkpoint(nonce).await.unwrap_err();
    let signature = FreshnessError::Votes(QuorumError::Signature);
    assert_eq!(unsigned, refused(signature));
}

#[tokio::test]
async fn a_receipt_of_a_later_epoch_is_followed() {
    let (puppet, ledger) = trusting(Puppet::new());
    puppet.walk.lock().unwrap().push(recovery(1, 20, 200));
    let later = At {
        epoch: 1,
        signer: 1,
        ..at(21)
    };
    *puppet.newest.lock().unwrap() = later;
    puppet.is_at(later);
    let nonce = Nonce::new([2; 32]);
    let (receipt, _) = ledger.fresh_checkpoint(nonce).await.unwrap();
    assert_eq!((receipt.epoch().get(), receipt.height().get()), (1, 21));
    // One of the old epoch says nothing about now.
    *puppet.newest.lock().unwrap() = at(22);
    let old = ledger.fresh_checkpoint(nonce).await.unwrap_err();
    assert_eq!(old, VerifyError::Freshness(AnchorError::Epoch.into()));
}

#[tokio::test]
async fn every_question_names_the_floor() {
    let (puppet, ledger) = trusting(Puppet::new());
    ledger.lookup(here()).await.unwrap();
    puppet.is_at(at(8));
    ledger.checkpoint().await.unwrap();
    ledger.lookup(here()).await.unwrap();
    assert_eq!(*puppet.asked.lock().unwrap(), [0, 5, 8]);
}

#[tokio::test]
async fn a_genesis_of_another_chain_founds_nothing() {
    let other = ChainId::new([1; 32]);
    let found = VerifyingLedger::found(Puppet::new(), &other).await;
    assert!(matches!(found, Err(VerifyError::Genesis(_))));
    assert!(
        VerifyingLedger::found(Puppet::new(), &chain())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn stored_trust_is_checked() {
    let trust = Trust::found(&chain(), &genesis()).unwrap();
    assert_eq!(Trust::stored(*trust.anchor(), set(0)).unwrap(), trust);
    assert_eq!(
        Trust::stored(*trust.anchor(), set(1)).unwrap_err(),
        VerifyError::AnotherSet
    );
    let cut = set(0).slice(1..);
    assert!(matches!(
        Trust::stored(*trust.anchor(), cut),
        Err(VerifyError::Set(_))
    ));
}

#[tokio::test]
async fn an_older_answer_is_refused() {
    let (puppet, ledger) = trusting(Puppet::new());
    ledger.lookup(here()).await.unwrap();
    puppet.is_at(at(4));
    assert_eq!(
        ledger.lookup(here()).await.unwrap_err(),
        by_anchor(AnchorError::BelowFloor)
    );
    let refused = ledger.checkpoint().await.unwrap_err();
    assert_eq!(
        refused,
        VerifyError::Checkpoint(CheckpointError::Anchor(AnchorError::BelowFloor))
    );
    assert_eq!(height(&ledger), 5);
}

#[tokio::test]
async fn another_block_at_the_floor_is_refused() {
    let (puppet, ledger) = trusting(Puppet::new());
    ledger.lookup(here()).await.unwrap();
    puppet.is_at(At { fork: 1, ..at(5) });
    assert_eq!(
        ledger.lookup(here()).await.unwrap_err(),
        by_anchor(AnchorError::Fork)
    );
}

#[tokio::test]
async fn an_answer_that_was_overtaken_still_counts() {
    let (puppet, ledger) = trusting(Puppet::new());
    let ledger = Arc::new(ledger);
    // While the first question is on its way, a second one is asked, and answered from a later block.
    let asked_meanwhile = AtomicBool::new(false);
    let meanwhile = Arc::clone(&ledger);
    puppet.answers(move |key| {
        if asked_meanwhile.swap(true, Ordering::SeqCst) {
            return proof(at(9), &key);
        }
        let second = meanwhile.lookup(key).now_or_never().unwrap();
        assert_eq!(second.unwrap().height().get(), 9);
        proof(at(5), &key)
    });
    let first = ledger.lookup(here()).await.unwrap();
    assert_eq!(first.height().get(), 5);
    assert_eq!(height(&ledger), 9, "and the floor stays where it was");
}

/// While one answer leads over a recovery, another raises the floor. In the new epoch it stays where it rose to; a floor of the
/// old epoch is what the recovery sets, also when it was not there yet when the walk began.
#[tokio::test]
async fn a_recovery_sets_the_floor_of_the_old_epoch_and_not_of_the_new() {
    for (other_epoch, expected) in [(1, 150), (0, 120)] {
        let (puppet, ledger) = trusting(Puppet::new());
        *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 200)];
        let ledger = Arc::new(ledger);
        let asked_meanwhile = AtomicBool::new(false);
        let meanwhile = Arc::clone(&ledger);
        puppet.answers(move |key| {
            let of_epoch = |epoch, height| At {
                epoch,
                signer: epoch as u8,
                ..at(height)
            };
            if asked_meanwhile.swap(true, Ordering::SeqCst) {
                return proof(of_epoch(other_epoch, 150), &key);
            }
            meanwhile.lookup(key).now_or_never().unwrap().unwrap();
            proof(of_epoch(1, 120), &key)
        });
        let first = ledger.lookup(here()).await.unwrap();
        assert_eq!(first.height().get(), 120);
        assert_eq!(ledger.trust().anchor().epoch(), Epoch::new(1));
        assert_eq!(height(&ledger), expected);
    }
}

#[tokio::test]
async fn two_blocks_of_one_height_are_a_fork() {
    let (puppet, ledger) = trusting(Puppet::new());
    let ledger = Arc::new(ledger);
    let asked_meanwhile = AtomicBool::new(false);
    let meanwhile = Arc::clone(&ledger);
    puppet.answers(move |key| {
        if asked_meanwhile.swap(true, Ordering::SeqCst) {
            return proof(At { fork: 1, ..at(5) }, &key);
        }
        meanwhile.lookup(key).now_or_never().unwrap().unwrap();
        proof(at(5), &key)
    });
    let fork = ledger.lookup(here()).await.unwrap_err();
    assert_eq!(fork, VerifyError::Fork(Height::new(5).unwrap()));
}

#[tokio::test]
async fn what_no_quorum_signed_is_refused() {
    let (puppet, ledger) = trusting(Puppet::new());
    puppet.is_at(At { signer: 3, ..at(5) });
    let refused = ledger.lookup(here()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            VerifyError::Proof(ProofError::Checkpoint(CheckpointError::Quorum(_)))
        ),
        "{refused}"
    );
    assert_eq!(
        height(&ledger),
        0,
        "nothing that was refused moves the floor"
    );
}

#[tokio::test]
async fn every_changed_bit_is_refused() {
    let (puppet, ledger) = trusting(Puppet::new());
    let good = proof(at(5), &here());
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        puppet.answers(move |_| bad.clone().into());
        let refused = ledger.lookup(here()).await.expect_err("a changed proof");
        assert!(refused.is_refusal(), "bit {bit}");
    }
    assert_eq!(height(&ledger), 0);
}

#[tokio::test]
async fn the_proof_of_another_key_is_refused() {
    let (puppet, ledger) = trusting(Puppet::new());
    // The row of one key for another one, and the absence of another key for one that is there.
    puppet.answers(|_| proof(at(5), &here()));
    assert!(matches!(
        ledger.lookup(StateKey::ledger()).await,
        Err(VerifyError::Proof(_))
    ));
    puppet.answers(|_| proof(at(5), &StateKey::ledger()));
    assert!(matches!(
        ledger.lookup(here()).await,
        Err(VerifyError::Proof(_))
    ));
}

#[tokio::test]
async fn a_recovery_is_followed() {
    let (puppet, ledger) = trusting(Puppet::new());
    ledger.lookup(here()).await.unwrap();
    *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 200), recovery(2, 200, 200)];
    puppet.is_at(At {
        epoch: 2,
        signer: 2,
        ..at(200)
    });
    let proven = ledger.lookup(here()).await.unwrap();
    assert_eq!(proven.height().get(), 200);
    let trust = ledger.trust();
    assert_eq!(trust.anchor().epoch(), Epoch::new(2));
    assert_eq!(*trust.set(), set(2));
    assert_eq!(puppet.walks.load(Ordering::Relaxed), 2);
    // What was stored now is enough to go on, and the old epoch is over.
    let stored = Trust::stored(*trust.anchor(), trust.set().clone()).unwrap();
    let later = VerifyingLedger::new(Arc::clone(&puppet), stored);
    assert!(later.lookup(here()).await.is_ok());
    puppet.is_at(at(300));
    assert_eq!(
        later.lookup(here()).await.unwrap_err(),
        by_anchor(AnchorError::Epoch)
    );
}

#[tokio::test]
async fn a_recovery_raises_the_floor() {
    let (puppet, ledger) = trusting(Puppet::new());
    *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 200)];
    puppet.is_at(At {
        epoch: 1,
        signer: 1,
        ..at(99)
    });
    // 99 is where the floor goes; a block there is admitted only as the parent of the new epoch, and this one is of the epoch itself.
    assert_eq!(ledger.lookup(here()).await.unwrap().height().get(), 99);
    puppet.is_at(At {
        epoch: 1,
        signer: 1,
        ..at(98)
    });
    assert_eq!(
        ledger.lookup(here()).await.unwrap_err(),
        by_anchor(AnchorError::BelowFloor)
    );
}

#[tokio::test]
async fn a_way_that_is_none() {
    let (puppet, ledger) = trusting(Puppet::new());
    puppet.is_at(At {
        epoch: 1,
        signer: 1,
        ..at(200)
    });
    let no_way = VerifyError::NoWay {
        trusted: Epoch::new(0),
        answered: Epoch::new(1),
    };
    assert_eq!(ledger.lookup(here()).await.unwrap_err(), no_way);

    *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 201)];
    let forged = ledger.lookup(here()).await.unwrap_err();
    assert!(
        matches!(forged, VerifyError::Walk(HandoverError::Recovery(_))),
        "{forged}"
    );
    assert_eq!(ledger.trust(), Trust::found(&chain(), &genesis()).unwrap());
}

#[tokio::test]
async fn problems_of_the_ledger_are_passed_on() {
    let (_, ledger) = trusting(Puppet::new());
    let bytes = anchoring();
    let refused = ledger.submit(bytes, Duration::ZERO).await.unwrap_err();
    assert_eq!(
        refused,
        VerifyError::Ledger(Problem::new(Kind::PoolFull, "full"))
    );
    assert!(!refused.is_refusal());
    let garbage = ledger
        .submit(Bytes::from_static(b"x"), Duration::ZERO)
        .await;
    assert!(matches!(garbage, Err(VerifyError::Transaction(_))));
}

/// A transaction that writes the row of this ledger. Its signature is of no matter here.
fn anchoring() -> Bytes {
    let action = Action::Anchor {
        org: crate::world::org().id(),
        topic: kusabi_core::row::Topic::AuditLog,
        digest: DIGEST,
    };
    let mut draft = Draft::new(chain(), action).unwrap();
    let signer = Handle::new([7; 32]);
    let _ = draft.statement(&signer, Purpose::App);
    draft.add(signer, Signature::new([1; 64]));
    draft.finish().unwrap().into_bytes().into()
}

fn id() -> TxId {
    kusabi_core::tx::Transaction::decode(&anchoring())
        .unwrap()
        .id()
}

async fn submitted(answer: Submitted) -> Result<Done, VerifyError> {
    let puppet = Puppet {
        submit: Box::new(move |_| Ok(answer.clone())),
        ..Puppet::new()
    };
    let (_, ledger) = trusting(puppet);
    ledger.submit(anchoring(), Duration::ZERO).await
}

#[tokio::test]
async fn a_receipt_is_proven() {
    let receipt = |height, proof| {
        Submitted::Final(Receipt {
            id: id(),
            height,
            index: 2,
            proof,
        })
    };
    let presence = Some(proof(at(5), &here()));
    for (receipt, good) in [
        (receipt(1, presence.clone()), true),
        // Without a proof the row is looked up.
        (receipt(1, None), true),
        // The row was written in another block; the proof is older than the block, or shows that the row is not there.
        (receipt(5, presence.clone()), false),
        (receipt(2, None), false),
        (receipt(6, presence), false),
        (receipt(1, Some(proof(at(5), &StateKey::ledger()))), false),
        (receipt(1 << 48, None), false),
        (
            Submitted::Pending {
                id: TxId::new([1; 32]),
            },
            false,
        ),
    ] {
        match submitted(receipt).await {
            Ok(Done::Final {
                height,
                index,
                row: proven,
            }) => {
                assert!(good);
                assert_eq!((height.get(), index), (1, 2));
                assert_eq!(*proven.value(), Some(row()));
            }
            other => assert!(!good, "{other:?}"),
        }
    }
    assert!(matches!(
        submitted(Submitted::Pending { id: id() }).await,
        Ok(Done::Pending(_))
    ));
}

#[tokio::test]
async fn a_receipt_from_a_node_that_is_behind_is_looked_up_at_the_floor() {
    let receipt = Submitted::Final(Receipt {
        id: id(),
        height: 1,
        index: 0,
        proof: Some(proof(at(5), &here())),
    });
    let (puppet, ledger) = trusting(Puppet {
        submit: Box::new(move |_| Ok(receipt.clone())),
        ..Puppet::new()
    });
    puppet.is_at(at(8));
    ledger.checkpoint().await.unwrap();
    let done = ledger.submit(anchoring(), Duration::ZERO).await.unwrap();
    let Done::Final { row, .. } = done else {
        panic!("{done:?}");
    };
    assert_eq!(row.height().get(), 8);
    assert_eq!(*puppet.asked.lock().unwrap(), [0, 8]);

    // One that stays behind is refused.
    puppet.is_at(at(7));
    assert_eq!(
        ledger
            .submit(anchoring(), Duration::ZERO)
            .await
            .unwrap_err(),
        by_anchor(AnchorError::BelowFloor)
    );
}

/// A block as a node would serve it.
fn block(at: At) -> Block {
    let mut header = Vec::new();
    crate::world::header(at).encode(&mut header);
    Block {
        header: header.into(),
        checkpoint: Some(crate::world::checkpoint(at)),
        transactions: at
            .body
            .iter()
            .map(|bytes| Bytes::from_static(bytes))
            .collect(),
    }
}

#[tokio::test]
async fn a_block_of_the_past_is_proven() {
    let transaction: &'static [u8] = Vec::leak(anchoring().to_vec());
    let body: &'static [&'static [u8]] = Vec::leak(vec![transaction]);
    let (puppet, ledger) = trusting(Puppet::new());
    // The floor is far above, in an epoch whose two predecessors the node shows as well.
    *puppet.walk.lock().unwrap() = vec![recovery(1, 100, 200), recovery(3, 200, 200)];
    puppet.is_at(At {
        epoch: 3,
        signer: 3,
        ..at(300)
    });
    ledger.lookup(here()).await.unwrap();
    assert_eq!(height(&ledger), 300);

    for (at, good) in [
        (At { body, ..at(7) }, true),
        (
            At {
                body,
                epoch: 1,
                signer: 1,
                ..at(150)
            },
            true,
        ),
        (
            At {
                body,
                epoch: 3,
                signer: 3,
                ..at(250)
            },
            true,
        ),
        // Signed by a set whose time was over, or had not come; of an epoch that was never there.
        (
            At {
                body,
                epoch: 1,
                signer: 0,
                ..at(150)
            },
            false,
        ),
        (
            At {
                body,
                epoch: 1,
                signer: 1,
                ..at(50)
            },
            false,
        ),
        (
            At {
                body,
                epoch: 2,
                signer: 2,
                ..at(150)
            },
            false,
        ),
        (
            At {
                body,
                epoch: 4,
                signer: 4,
                ..at(500)
            },
            false,
        ),
    ] {
        *puppet.block.lock().unwrap() = Some(block(at));
        match ledger.block(Height::new(at.height).unwrap()).await {
            Ok(proven) => {
                assert!(good, "{}", at.height);
                assert_eq!(proven.transactions().len(), 1);
                assert_eq!(
                    proven.touching(&Handle::new([7; 32])).count(),
                    0,
                    "it signs only"
                );
            }
            Err(why) => assert!(!good && why.is_refusal(), "{}: {why}", at.height),
        }
    }
    assert_eq!(height(&ledger), 300, "the past does not move the floor");
}

#[tokio::test]
async fn a_block_that_is_not_what_it_says() {
    let transaction: &'static [u8] = Vec::leak(anchoring().to_vec());
    let body: &'static [&'static [u8]] = Vec::leak(vec![transaction]);
    let (puppet, ledger) = trusting(Puppet::new());
    let good = block(At { body, ..at(7) });
    let seven = Height::new(7).unwrap();
    for (bad, refused) in [
        (
            Block {
                checkpoint: None,
                ..good.clone()
            },
            VerifyError::Uncertified(seven),
        ),
        (
            Block {
                transactions: Vec::new(),
                ..good.clone()
            },
            VerifyError::Block(seven),
        ),
        (
            Block {
                transactions: vec![Bytes::from_static(b"x")],
                ..good.clone()
            },
            VerifyError::Block(seven),
        ),
        (
            Block {
                header: block(at(7)).header,
                ..good.clone()
            },
            VerifyError::Block(seven),
        ),
        (
            block(At {
                body: &[b"no transaction"],
                ..at(7)
            }),
            VerifyError::Block(seven),
        ),
        (block(At { body, ..at(8) }), VerifyError::Block(seven)),
    ] {
        *puppet.block.lock().unwrap() = Some(bad);
        assert_eq!(ledger.block(seven).await.unwrap_err(), refused);
    }
    *puppet.block.lock().unwrap() = Some(good);
    assert!(ledger.block(seven).await.is_ok());
}

#[tokio::test]
async fn the_way_through_all_epochs() {
    let (puppet, ledger) = trusting(Puppet::new());
    let steps = vec![recovery(1, 100, 200), recovery(3, 200, 200)];
    puppet.walk.lock().unwrap().clone_from(&steps);
    let steps: Vec<_> = steps.into_iter().map(|(_, step)| step).collect();
    let found = || Trust::found(&chain(), &genesis()).unwrap();
    let (trust, way) = ledger.way(found(), None).await.unwrap();
    assert_eq!(
        (trust.anchor().epoch(), way),
        (Epoch::new(3), steps.clone())
    );
    let (trust, way) = ledger.way(found(), Some(Epoch::new(1))).await.unwrap();
    assert_eq!((trust.anchor().epoch(), way.len()), (Epoch::new(1), 1));
    assert_eq!(ledger.trust(), found(), "what is trusted did not change");
}
