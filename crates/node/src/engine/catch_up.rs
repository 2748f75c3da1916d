//! Before a validator votes in an epoch it has every block of the epochs before, and has run them.

use super::{PublicKey, Runtime, Scheme, block::Block};
use crate::{handle::Newest, outline::Outline};
use commonware_consensus::{
    marshal::{core::Mailbox, standard::Standard},
    types::Height,
};
use commonware_utils::vec::NonEmptyVec;
use std::time::Duration;
use tokio::sync::watch;

/// How often the others are asked for the last block of the epoch before, until it is here.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Has the certificate and the block at the end of each epoch brought by others, and with it all blocks before it; ends when they
/// are all run. One epoch after the other: what comes later would have the blocks before an end run without its certificate,
/// and no other certificate covers them.
pub(super) async fn caught_up<E: Runtime>(
    context: &E,
    mailbox: &Mailbox<Scheme, Standard<Block>>,
    outline: &Outline,
    others: NonEmptyVec<PublicKey>,
    mut newest: watch::Receiver<Option<Newest>>,
) {
    for epoch in outline.epochs().iter().skip(1) {
        let end = epoch.first.saturating_sub(1);
        let height = outline.height(end);
        let mut reached = newest.borrow().is_some_and(|n| n.height >= height);
        while !reached {
            mailbox.hint_finalized(Height::new(end), others.clone());
            commonware_macros::select! {
                waited = newest.wait_for(|n| n.is_some_and(|n| n.height >= height)) => {
                    // Without the other end the node stops, and this with it.
                    reached = waited.is_ok();
                },
                () = context.sleep(ASK_AGAIN) => {},
            }
        }
    }
}
