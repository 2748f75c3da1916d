//! What somebody with a member's vote key may try with freshness, for tests.

use super::{
    Signer,
    message::{Message, name},
};
use crate::{
    directory::VoteKey,
    engine::{PublicKey, network::ByVote},
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::Clock;
use kusabi_core::{freshness::Claim, id::ChainId, suite::Signature};
use std::time::Duration;

/// A vote key, and what its holder says: a signature, or why not.
pub type Said = ([u8; 32], Result<Signature, String>);

/// How others are deceived who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VouchCrime {
    /// With a signature that is none.
    Forged,
    /// With a good signature, over another claim.
    Another,
    /// With what is no message.
    Malformed,
}

/// Asks every other validator so many times to vouch for a claim; what they say within some seconds: with the vote key, a signature
/// or why not.
pub(in crate::engine) async fn ask(
    clock: &impl Clock,
    mut sender: ByVote<impl Sender<PublicKey = PublicKey>>,
    mut receiver: ByVote<impl Receiver<PublicKey = PublicKey>>,
    claim: &Claim,
    times: usize,
) -> Vec<Said> {
    use commonware_p2p::{CheckedSender as _, LimitedSender as _};
    for _ in 0..times {
        if let Ok(checked) = sender.check(Recipients::All) {
            let _ = checked.send(Message::Ask(*claim).encode(), false);
        }
    }
    let over = clock.sleep(Duration::from_secs(4));
    futures::pin_mut!(over);
    let mut said = Vec::new();
    loop {
        select! {
            heard = receiver.recv() => {
                let Ok((from, message)) = heard else {
                    return said;
                };
                let from = from.as_ref().try_into().unwrap_or_default();
                match Message::decode(&Bytes::from(message)) {
                    Some(Message::Vouch(of, signature)) if of == name(claim) => {
                        said.push((from, Ok(signature)));
                    }
                    Some(Message::Doubt(of, doubt)) if of == name(claim) => {
                        said.push((from, Err(doubt.to_string())));
                    }
                    _ => {}
                }
            },
            () = &mut over => return said,
        }
    }
}

/// Deceives everybody who asks, until the network ends.
pub(in crate::engine) async fn deceive(
    chain: ChainId,
    key: VoteKey,
    mut sender: ByVote<impl Sender<PublicKey = PublicKey>>,
    mut receiver: ByVote<impl Receiver<PublicKey = PublicKey>>,
    crime: VouchCrime,
) {
    use commonware_p2p::{CheckedSender as _, LimitedSender as _};
    let Ok(signer) = Signer::new(key) else {
        return;
    };
    while let Ok((from, message)) = receiver.recv().await {
        let Some(Message::Ask(claim)) = Message::decode(&Bytes::from(message)) else {
            continue;
        };
        let said = match crime {
            VouchCrime::Forged => Message::Vouch(name(&claim), Signature::new([7; 64])).encode(),
            VouchCrime::Another => {
                let count = claim.count + 1;
                let another = Claim { count, ..claim };
                Message::Vouch(name(&claim), signer.sign(&chain, &another)).encode()
            }
            VouchCrime::Malformed => Bytes::from_static(b"\xff what?"),
        };
        if let Ok(checked) = sender.check(Recipients::One(from)) {
            let _ = checked.send(said, false);
        }
    }
}
