//! Freshness receipts, claims and branches, under whatever anchor the input has.
#![no_main]

use kusabi_core::anchor::Anchor;
use kusabi_core::freshness::{Branch, Claim, Receipt};
use kusabi_core::id::Nonce;
use kusabi_core::set::EpochSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; Anchor::LEN / 4], [u8; 32], &[u8], &[u8])| {
    let (quarter, nonce, receipt, set) = input;
    if let Ok(claim) = Claim::decode(receipt) {
        assert_eq!(claim.encode(), receipt);
    }
    if let Ok(branch) = Branch::decode(receipt) {
        assert!(branch.carried(&Nonce::new(nonce)).is_ok());
    }
    let Ok(receipt) = Receipt::decode(receipt) else {
        return;
    };
    let Ok(anchor) = Anchor::decode(&[quarter; 4].concat()) else {
        return;
    };
    let Ok(set) = EpochSet::decode(set) else {
        return;
    };
    let nonce = Nonce::new(nonce);
    assert!(receipt.check(&anchor, &set, &nonce).is_err());
});
