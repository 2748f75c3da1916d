//! Members that lie: with what they propose, with their votes, or with what they say at the turn of an epoch.

pub use crate::engine::freshness::hostile::{Said, VouchCrime};
pub use crate::engine::turn::hostile::TurnCrime;

use crate::{
    directory::VoteKey,
    engine::{
        Digest, PublicKey, Scheme,
        block::Block,
        epochs::Epochs,
        network::{ByVote, Links, Voters, Wire},
        pace::Tamper,
    },
    outline::Outline,
};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::simplex::types::{
    Certificate, Finalization, Finalize, Notarize, Nullify, Proposal, Vote,
};
use commonware_cryptography::ed25519::PrivateKey;
use commonware_p2p::{Receiver, Recipients, Sender, utils::mux::Muxer};
use commonware_parallel::Sequential;
use commonware_runtime::{Handle, Spawner as _, Supervisor as _, deterministic::Context};
use commonware_utils::{Participant, non_empty, sync::Mutex};
use kusabi_core::{
    header::Header,
    id::{BodyHash, Height, SetHash, StateRoot},
    tx::{ActionCode, code_of},
};
use rand_core::Rng as _;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How a member breaks the rules.
#[derive(Clone, Default)]
pub(in crate::engine) struct Crimes {
    /// What it makes of its blocks.
    pub(in crate::engine) block: Option<Tamper>,
    /// What it makes of its messages at the turn of an epoch.
    pub(in crate::engine) turn: Option<TurnCrime>,
    /// Whether it spoils what it brings those who have missed something.
    pub(in crate::engine) spoils: bool,
    /// Where it notes why it refuses blocks of others.
    pub(in crate::engine) refused: Refusals,
}

/// Why blocks were refused, in the words of the log.
pub(in crate::engine) type Refusals = Arc<Mutex<Vec<String>>>;

/// What is wrong with a member's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockCrime {
    /// The root of another state.
    Root,
    /// This transaction in it, whatever the rules say of it.
    Transaction(Vec<u8>),
    /// This transaction so many times, instead of what clients bring.
    Copies(Vec<u8>, usize),
    /// No transactions at all: what clients bring is left out.
    Censoring,
    /// A time two hours later.
    Future,
    /// A time an hour before its parent's.
    Past,
    /// A height above the next.
    Height,
    /// Another next set in the epoch's last block, and one in each other block.
    NextSet,
    /// The first block of an epoch begins with this transaction.
    Opening(Vec<u8>),
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
            BlockCrime::Copies(bytes, count) => {
                // A turn without anything is no lie yet.
                if transactions.is_empty() {
                    return Some(block.clone());
                }
                transactions = vec![Bytes::copy_from_slice(bytes); *count];
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
            BlockCrime::NextSet => Header {
                next_set_hash: Some(SetHash::new([7; 32])),
                ..header
            },
            BlockCrime::Opening(bytes) => {
                let opening = transactions.first_mut();
                let opening = opening
                    .filter(|first| code_of(first.as_ref()) == Some(ActionCode::Handover as u8));
                if let Some(opening) = opening {
                    *opening = Bytes::copy_from_slice(bytes);
                }
                header
            }
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

/// Who votes in the newest epoch of an outline, and from which node.
fn voters(outline: &Outline, epochs: &Epochs) -> Option<Voters> {
    let nodes = outline.newest().nodes.iter().map(|node| {
        let key = Bytes::copy_from_slice(&node.key);
        PublicKey::decode(key).ok()
    });
    let nodes = nodes.collect::<Option<Vec<_>>>()?;
    let votes = epochs.last()?.vote_keys;
    Some(Voters::new(votes.into_iter().zip(nodes)))
}

fn private(key: &VoteKey) -> Option<PrivateKey> {
    PrivateKey::decode(Bytes::copy_from_slice(key.seed())).ok()
}

/// Votes in the newest epoch of an outline on what it hears until it is dropped. `None`: the key is none of that epoch's.
pub(super) fn vote<W: Wire>(
    context: Context,
    outline: &Outline,
    key: &VoteKey,
    links: Links<W>,
    crime: VoteCrime,
    told: Lies,
) -> Option<Handle<()>> {
    let key = private(key)?;
    let epochs = Epochs::of(outline, Some(&key)).ok()?;
    let voters = voters(outline, &epochs)?;
    let epoch = epochs.last()?;
    Some(context.spawn(move |mut context| async move {
        let number = epoch.number.get();
        let (_lane, ends) = lane(&context, links.votes, number, voters).await;
        let Some((mut sender, mut receiver)) = ends else {
            return;
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
                told.fetch_add(1, Ordering::Relaxed);
            }
        }
    }))
}

/// How many false messages were sent.
pub(in crate::engine) type Lies = Arc<AtomicU64>;

/// One epoch's part of a channel, by vote keys; it ends with the first value.
async fn lane<S: Sender<PublicKey = PublicKey>, R: Receiver<PublicKey = PublicKey>>(
    context: &Context,
    (sender, receiver): (S, R),
    epoch: u64,
    voters: Voters,
) -> (
    Handle<Result<(), R::Error>>,
    Option<(
        ByVote<impl Sender<PublicKey = PublicKey>>,
        ByVote<impl Receiver<PublicKey = PublicKey>>,
    )>,
) {
    let (muxer, mut handle) = Muxer::new(context.child("lane"), sender, receiver);
    let run = muxer.start();
    let ends = handle.register(epoch).await.ok();
    let ends = ends.map(|(sender, receiver)| {
        let sender = ByVote {
            inner: sender,
            voters: voters.clone(),
        };
        let receiver = ByVote {
            inner: receiver,
            voters,
        };
        (sender, receiver)
    });
    (run, ends)
}

/// Answers each vote of the newest epoch of an outline with all votes, and the certificate, that the keys of an earlier epoch can
/// make: for what is voted on, and for something else. Until it is dropped.
pub(super) fn vote_from_the_past<W: Wire>(
    context: Context,
    outline: &Outline,
    past: &Outline,
    stolen: &[VoteKey],
    links: Links<W>,
    told: Lies,
) -> Option<Handle<()>> {
    let epochs = Epochs::of(outline, None).ok()?;
    let (number, voters) = (epochs.last()?.number.get(), voters(outline, &epochs)?);
    let schemes = stolen.iter().map(|key| {
        let epochs = Epochs::of(past, Some(&private(key)?)).ok()?;
        Some(epochs.last()?.scheme())
    });
    let schemes = schemes.collect::<Option<Vec<_>>>()?;
    Some(context.spawn(move |mut context| async move {
        let (_votes, votes) = lane(&context, links.votes, number, voters.clone()).await;
        let (_certificates, certificates) =
            lane(&context, links.certificates, number, voters).await;
        let (Some((mut votes, mut heard)), Some((mut certificates, _heard))) =
            (votes, certificates)
        else {
            return;
        };
        while let Ok((_, heard)) = heard.recv().await {
            let heard: Bytes = heard.into();
            let proposal = match Vote::<Scheme, Digest>::decode(heard) {
                Ok(Vote::Notarize(vote)) => vote.proposal,
                Ok(Vote::Finalize(vote)) => vote.proposal,
                _ => continue,
            };
            for proposal in [another(&mut context, &proposal), proposal] {
                let mut signed = Vec::with_capacity(schemes.len());
                for scheme in &schemes {
                    let notarize = Notarize::sign(scheme, proposal.clone());
                    let finalize = Finalize::sign(scheme, proposal.clone());
                    let said = [
                        notarize.map(Vote::Notarize),
                        finalize.clone().map(Vote::Finalize),
                    ];
                    for vote in said.into_iter().flatten() {
                        votes.send(Recipients::All, vote.encode(), true);
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    signed.extend(finalize);
                }
                let (Some(scheme), false) = (schemes.first(), signed.is_empty()) else {
                    return;
                };
                let final_ =
                    Finalization::from_finalizes(scheme, non_empty![@signed.iter()], &Sequential);
                if let Ok(final_) = final_ {
                    let certificate = Certificate::<Scheme, Digest>::Finalization(final_);
                    certificates.send(Recipients::All, certificate.encode(), true);
                }
            }
        }
    }))
}

/// The same turn with something else in it.
fn another(context: &mut Context, proposal: &Proposal<Digest>) -> Proposal<Digest> {
    let mut digest = [0; 32];
    context.fill_bytes(&mut digest);
    Proposal::new(proposal.round, proposal.parent, Digest::from(digest))
}

/// What is said to a vote that was heard. `None`: the keys are none of this epoch's.
fn said(
    context: &mut Context,
    scheme: &Scheme,
    heard: Vote<Scheme, Digest>,
    crime: VoteCrime,
) -> Option<Vec<Bytes>> {
    let encoded = |vote: Vote<Scheme, Digest>| vote.encode();
    let round = match &heard {
        Vote::Notarize(vote) => vote.proposal.round,
        Vote::Finalize(vote) => vote.proposal.round,
        Vote::Nullify(vote) => vote.round,
    };
    Some(match (crime, heard) {
        (VoteCrime::Twice, Vote::Notarize(vote)) => {
            let second = another(context, &vote.proposal);
            [vote.proposal, second]
                .into_iter()
                .filter_map(|proposal| Notarize::sign(scheme, proposal))
                .map(|vote| encoded(Vote::Notarize(vote)))
                .collect()
        }
        (VoteCrime::Twice, Vote::Finalize(vote)) => {
            let second = another(context, &vote.proposal);
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
