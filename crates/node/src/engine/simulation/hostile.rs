//! Members that lie: with what they propose, or with their votes.

pub use crate::engine::freshness::hostile::{Said, VouchCrime};

use super::consortium::Member;
use crate::{
    engine::{
        Digest, Scheme,
        block::Block,
        epochs::Epochs,
        network::{ByVote, Links, Voters, Wire},
        pace::Tamper,
    },
    outline::Outline,
};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::simplex::types::{Finalize, Notarize, Nullify, Proposal, Vote};
use commonware_cryptography::ed25519::PrivateKey;
use commonware_p2p::{Receiver as _, Recipients, Sender as _, utils::mux::Muxer};
use commonware_runtime::{Handle, Spawner as _, Supervisor as _, deterministic::Context};
use commonware_utils::Participant;
use kusabi_core::{
    header::Header,
    id::{BodyHash, Height, StateRoot},
};
use rand_core::Rng as _;
use std::sync::Arc;

/// What is wrong with a member's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockCrime {
    /// The root of another state.
    Root,
    /// This transaction in it, whatever the rules say of it.
    Transaction(Vec<u8>),
    /// No transactions at all: what clients bring is left out.
    Censoring,
    /// A time two hours later.
    Future,
    /// A time an hour before its parent's.
    Past,
    /// A height above the next.
    Height,
}

/// What a member's block becomes.
pub(super) fn tamper(crime: BlockCrime) -> Tamper {
    Arc::new(move |epochs, block| {
        let header = block.header;
        let mut transactions = block.transactions.clone();
        let mut header = match &crime {
            BlockCrime::Root => Header {
                state_root: StateRoot::new([7; 32]),
                ..header
            },
            BlockCrime::Transaction(bytes) => {
                transactions.push(Bytes::copy_from_slice(bytes));
                header
            }
            BlockCrime::Censoring => return transactions.is_empty().then(|| block.clone()),
            BlockCrime::Future => Header {
                time_ms: header.time_ms + 2 * 3_600_000,
                ..header
            },
            BlockCrime::Past => Header {
                time_ms: header.time_ms.saturating_sub(3_600_000),
                ..header
            },
            BlockCrime::Height => Header {
                height: Height::new(header.height.get() + 1).ok()?,
                skipped: header.skipped + 1,
                ..header
            },
        };
        header.body = BodyHash::of(transactions.iter().map(Bytes::as_ref));
        Block::new(epochs, header, transactions)
    })
}

/// What somebody does with a member's vote key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteCrime {
    /// Votes for what others vote for, and for something else in the same view.
    Twice,
    /// Gives up each view and finalizes it, too.
    Both,
    /// Votes in another member's name.
    Another,
    /// Says again what others said, as if it were its own.
    Echo,
}

/// Votes on what it hears until it is dropped. `None`: the keys are no member's.
pub(super) fn vote<W: Wire>(
    context: Context,
    outline: &Outline,
    member: &Member,
    links: Links<W>,
    crime: VoteCrime,
) -> Option<Handle<()>> {
    let seed = Bytes::copy_from_slice(member.vote_key.seed());
    let key = PrivateKey::decode(seed).ok()?;
    let epochs = Epochs::of(outline, Some(&key)).ok()?;
    let epoch = epochs.last()?;
    let nodes = outline.newest().nodes.iter().map(|node| {
        let key = Bytes::copy_from_slice(&node.key);
        crate::engine::PublicKey::decode(key).ok()
    });
    let nodes = nodes.collect::<Option<Vec<_>>>()?;
    let voters = Voters::new(epoch.vote_keys.iter().cloned().zip(nodes));
    Some(context.spawn(move |mut context| async move {
        let (sender, receiver) = links.votes;
        let (muxer, mut handle) = Muxer::new(context.child("lane"), sender, receiver);
        let _run = muxer.start();
        let Ok((sender, receiver)) = handle.register(epoch.number.get()).await else {
            return;
        };
        let mut sender = ByVote {
            inner: sender,
            voters: voters.clone(),
        };
        let mut receiver = ByVote {
            inner: receiver,
            voters,
        };
        let scheme = epoch.scheme();
        while let Ok((_, heard)) = receiver.recv().await {
            let bytes: Bytes = heard.into();
            let Ok(vote) = Vote::<Scheme, Digest>::decode(bytes.clone()) else {
                continue;
            };
            let said = match crime {
                VoteCrime::Echo => vec![bytes],
                _ => said(&mut context, &scheme, vote, crime).unwrap_or_default(),
            };
            for bytes in said {
                sender.send(Recipients::All, bytes, true);
            }
        }
    }))
}

/// What is said to a vote that was heard. `None`: the keys are none of this epoch's.
fn said(
    context: &mut Context,
    scheme: &Scheme,
    heard: Vote<Scheme, Digest>,
    crime: VoteCrime,
) -> Option<Vec<Bytes>> {
    let other = |context: &mut Context, proposal: &Proposal<Digest>| {
        let mut digest = [0; 32];
        context.fill_bytes(&mut digest);
        Proposal::new(proposal.round, proposal.parent, Digest::from(digest))
    };
    let encoded = |vote: Vote<Scheme, Digest>| vote.encode();
    let round = match &heard {
        Vote::Notarize(vote) => vote.proposal.round,
        Vote::Finalize(vote) => vote.proposal.round,
        Vote::Nullify(vote) => vote.round,
    };
    Some(match (crime, heard) {
        (VoteCrime::Twice, Vote::Notarize(vote)) => {
            let second = other(context, &vote.proposal);
            [vote.proposal, second]
                .into_iter()
                .filter_map(|proposal| Notarize::sign(scheme, proposal))
                .map(|vote| encoded(Vote::Notarize(vote)))
                .collect()
        }
        (VoteCrime::Twice, Vote::Finalize(vote)) => {
            let second = other(context, &vote.proposal);
            [vote.proposal, second]
                .into_iter()
                .filter_map(|proposal| Finalize::sign(scheme, proposal))
                .map(|vote| encoded(Vote::Finalize(vote)))
                .collect()
        }
        (VoteCrime::Both, Vote::Notarize(vote)) => vec![
            encoded(Vote::Nullify(Nullify::sign::<Digest>(scheme, round)?)),
            encoded(Vote::Finalize(Finalize::sign(scheme, vote.proposal)?)),
        ],
        (VoteCrime::Another, Vote::Notarize(vote)) => {
            let mut mine = Notarize::sign(scheme, vote.proposal)?;
            let other = u32::from(mine.attestation.signer == Participant::new(0));
            mine.attestation.signer = Participant::new(other);
            vec![encoded(Vote::Notarize(mine))]
        }
        _ => Vec::new(),
    })
}
