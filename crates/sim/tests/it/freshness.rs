//! The ledger's freshness receipts, in each of its epochs.

use kusabi_core::{
    anchor::Anchor,
    checkpoint::Checkpoint,
    freshness::{FreshnessError, Receipt},
    genesis::Genesis,
    id::Nonce,
    set::EpochSet,
    step::{Step, StepKind},
};
use kusabi_sim::ledger::Ledger;

#[test]
fn a_receipt_is_of_the_newest_checkpoint() {
    let mut ledger = Ledger::new();
    let document = ledger.world.document.clone();
    let genesis = Genesis::decode(&document).unwrap();
    let mut anchor = Anchor::from_genesis(&genesis);
    let mut set = genesis.epoch_set().as_bytes().to_vec();
    for epoch in 0..3 {
        let nonce = Nonce::new([epoch; 32]);
        let shown = |ledger: &mut Ledger| {
            let bytes = ledger.checkpoint();
            let set = EpochSet::decode(&set).unwrap();
            let checkpoint = Checkpoint::decode(&bytes).unwrap();
            checkpoint.check(&anchor, &set).unwrap()
        };
        let before = shown(&mut ledger);
        ledger.grow_to(ledger.height().get() + 1);
        let now = shown(&mut ledger);
        let receipt = ledger.freshness(nonce);
        let receipt = Receipt::decode(&receipt).unwrap();
        let trusted = EpochSet::decode(&set).unwrap();
        let receipt = receipt.check(&anchor, &trusted, &nonce).unwrap();
        assert_eq!(receipt.check_checkpoint(&now), Ok(()));
        let held_back = receipt.check_checkpoint(&before);
        assert_eq!(held_back, Err(FreshnessError::Old));
        ledger.turn_epoch();
        let steps = ledger.steps_from(anchor.epoch());
        let step = Step::decode(StepKind::Recovery, &steps[0][1..]).unwrap();
        let (next, _) = step.take(&mut anchor, &trusted).unwrap();
        let next = next.as_bytes().to_vec();
        set = next;
    }
}
