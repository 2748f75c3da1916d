//! What a member may try at the turn of an epoch, for tests.

use super::{ANSWER, QUESTION, TOLD, Turn, VOTE};
use crate::engine::{PublicKey, network::Wire};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_p2p::Recipients;
use kusabi_core::{
    handover::HandoverParts,
    id::HeaderHash,
    suite::{Signature, VerificationKey},
};

/// What is wrong with what a member says of the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnCrime {
    /// It says nothing: neither its vote, nor how the epoch ended.
    Silent,
    /// It signs two ends: to every other node the true one, to the rest one with another last block.
    Twice,
    /// It sends signatures that are none, in its own name and in each other's.
    Forged,
    /// Whoever asks what it knows of its votes is told that it is nothing.
    Forgets,
    /// The same, with what is no vote.
    Babbles,
    /// The same, and is not answered.
    Mute,
    /// Its vote is as it should be, and it tells everybody, asked or not, that the epoch ended with each of these transactions.
    Tells(Vec<Vec<u8>>),
}

/// Who hears what.
type Said = Vec<(Recipients<PublicKey>, Bytes)>;

impl TurnCrime {
    /// What is said in the place of a message; `parts` is what this node signs, once it knows.
    pub(super) fn says<W: Wire>(
        &self,
        turn: &Turn<W>,
        parts: Option<&HandoverParts>,
        to: Recipients<PublicKey>,
        message: Bytes,
    ) -> Said {
        let kind = message.first().copied();
        match self {
            Self::Silent if matches!(kind, Some(VOTE | ANSWER)) => Vec::new(),
            Self::Twice if kind == Some(VOTE) => {
                let others = turn.peers.iter().filter(|peer| **peer != turn.me);
                let (mut hear_true, mut hear_false) = (Vec::new(), Vec::new());
                for (number, peer) in others.cloned().enumerate() {
                    if number % 2 == 0 {
                        hear_true.push(peer);
                    } else {
                        hear_false.push(peer);
                    }
                }
                let second = parts.and_then(|parts| another_end(turn, parts));
                let second = second.map(|second| (Recipients::Some(hear_false), second));
                [(Recipients::Some(hear_true), message)]
                    .into_iter()
                    .chain(second)
                    .collect()
            }
            Self::Forgets if kind == Some(TOLD) => {
                vec![(to, message.slice(..message.len().min(9)))]
            }
            Self::Babbles if kind == Some(TOLD) => {
                let mut babble = message.slice(..message.len().min(9)).to_vec();
                babble.extend([7; 200]);
                vec![(to, babble.into())]
            }
            Self::Mute if kind == Some(TOLD) => Vec::new(),
            Self::Forged if kind == Some(VOTE) => (0..turn.outline.newest().vote_keys.len())
                .filter_map(|index| u8::try_from(index).ok())
                .map(|index| (Recipients::All, vote(turn, index, &Signature::new([7; 64]))))
                .collect(),
            Self::Tells(openings) if matches!(kind, Some(QUESTION | ANSWER)) => {
                let asks = (kind == Some(QUESTION)).then_some((to, message));
                let answers = openings.iter().map(|opening| {
                    let mut answer = BytesMut::with_capacity(1 + opening.len());
                    answer.put_u8(ANSWER);
                    answer.put_slice(opening);
                    (Recipients::All, answer.freeze())
                });
                asks.into_iter().chain(answers).collect()
            }
            _ => vec![(to, message)],
        }
    }
}

/// A good signature of this node's under another last block.
fn another_end<W: Wire>(turn: &Turn<W>, parts: &HandoverParts) -> Option<Bytes> {
    let parts = HandoverParts {
        last_header_hash: HeaderHash::new([7; 32]),
        ..parts.clone()
    };
    let public = turn.vote_key.public();
    let keys = &turn.outline.newest().vote_keys;
    let index = keys.iter().position(|key| *key == public)?;
    let key = VerificationKey::ed25519(&public).ok()?;
    let statement = parts.statement(turn.outline.chain(), &key).ok()?;
    let signature = turn.vote_key.sign(&statement);
    Some(vote(turn, u8::try_from(index).ok()?, &signature))
}

fn vote<W: Wire>(turn: &Turn<W>, index: u8, signature: &Signature) -> Bytes {
    let mut vote = BytesMut::with_capacity(74);
    vote.put_u8(VOTE);
    vote.put_slice(&super::vote(turn.epoch(), index, signature));
    vote.freeze()
}
