//! The turn from one epoch to the next (spec/nodes.md, channel 7).
//!
//! An appointment says who follows and lets the epoch end; when its last block is final, each validator signs with which block
//! it did, and whoever has a quorum's signatures has the handover: it is written down, and the node begins anew in the next
//! epoch. Nodes that were away are told how the epoch ended, and fetch its last blocks from those who have them.
//!
//! Before its first vote in an epoch a validator asks what the others have of its key ([`votes`]).
//!
//! A message is its kind, one byte, and then: 1, a vote: epoch u64 ‖ index u8 ‖ signature 64; 2, a question: epoch u64, that of
//! whoever asks; 3, an answer: the transaction that opens the epoch after that one; 4, whoever will vote asks: epoch u64; 5, what is
//! had of its key: epoch u64 ‖ nothing, or a vote or certificate as the engine encodes it.

#[cfg(feature = "testing")]
pub(in crate::engine) mod hostile;

use super::{
    EngineError, PublicKey, Runtime, Scheme,
    block::Block,
    epochs::Epochs,
    network::{Ends, Voters, Wire},
    pulse::Awaits,
    votes::{self, Asking, Told},
};
use crate::{
    directory::VoteKey,
    handle::Newest,
    outline::{EpochOutline, Outline},
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use commonware_codec::Encode as _;
use commonware_consensus::{
    marshal::{core::Mailbox, standard::Standard},
    types::Height,
};
use commonware_macros::select;
use commonware_p2p::{CheckedSender as _, LimitedSender as _, Receiver as _, Recipients};
use commonware_utils::vec::NonEmptyVec;
use kusabi_core::appointment::CLOSING_BLOCKS;
use kusabi_core::{
    appointment::Appointment,
    handover::HandoverParts,
    id::Epoch,
    quorum::quorum,
    statement::Statement,
    suite::{Signature, VerificationKey},
    tx::{Action, Draft, HANDOVER_BYTES_MAX, Transaction},
};
use rand_core::CryptoRng;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::sync::{Notify, watch};

const VOTE: u8 = 1;
const QUESTION: u8 = 2;
const ANSWER: u8 = 3;
const ASKED: u8 = 4;
const TOLD: u8 = 5;
/// The most bytes of a message: a handover's transaction, with two sets and the nodes.
pub(super) const MESSAGE_MAX: usize = HANDOVER_BYTES_MAX + (16 << 10);

/// How often a node asks whether its epoch has ended: it may have been away.
const ASK: Duration = Duration::from_secs(5);
/// How often a vote for the end of an epoch is sent again, and how often the others are asked before the first vote.
const AGAIN: Duration = Duration::from_secs(1);

/// When it is said that answers are missing, and how often again.
const PATIENCE: Duration = Duration::from_secs(10);
const REMIND: Duration = Duration::from_secs(60);
/// How long the others are asked still when enough have answered: some come later.
const ASKS_ON: Duration = Duration::from_secs(60);
/// Whoever asks what is known of its votes is answered no sooner again.
const ANSWERS_EACH: Duration = Duration::from_millis(500);

/// How long a node goes on telling of the end before it begins anew: what was said last is on its way.
const LINGER: Duration = Duration::from_millis(200);
/// The same of a node that does not go on.
const LINGER_LEAVING: Duration = Duration::from_secs(60);

/// What the turn needs of the node.
pub(super) struct Turn<W: Wire> {
    pub(super) epochs: Epochs,
    pub(super) outline: Outline,
    pub(super) vote_key: VoteKey,
    pub(super) me: PublicKey,
    /// Everyone whom this node speaks with, by node key.
    pub(super) peers: Vec<PublicKey>,
    pub(super) mailbox: Mailbox<Scheme, Standard<Block>>,
    pub(super) newest: watch::Receiver<Option<Newest>>,
    /// Told of whenever `newest` has moved: see [`freshness`](super::freshness).
    pub(super) moved: Arc<Notify>,
    pub(super) voters: Voters,
    pub(super) ends: Ends<W>,
    /// Waits for leave to vote.
    pub(super) asking: Asking,
    /// Where it is told how many answers are missing.
    pub(super) awaits: Awaits,
    /// What is known of the others' votes.
    pub(super) heard: votes::Heard,
    /// What is wrong with a hostile member's messages, and what it knows of the end.
    #[cfg(feature = "testing")]
    pub(super) crime: Option<(hostile::TurnCrime, Option<HandoverParts>)>,
}

/// What the votes of this epoch are for, once its last block is final.
struct Closing {
    parts: HandoverParts,
    officers: Vec<kusabi_core::appointment::OfficerSignature>,
    old_set: Vec<u8>,
    nodes: Vec<u8>,
    votes: BTreeMap<u8, Signature>,
}

/// How the epoch has ended, as another node says: the transaction that opens the next, and what that one is.
struct Ended {
    opening: Bytes,
    next: EpochOutline,
}

impl<W: Wire> Turn<W> {
    /// Runs until the epoch has ended and its last block is here: gives the transaction that opens the next one.
    ///
    /// # Errors
    /// [`EngineError::NotWhole`] when blocks are missing that are final; [`EngineError::KeyElsewhere`] when the others have votes of
    /// this node's key that it has not cast.
    pub(super) async fn run<E: Runtime>(mut self, mut context: E) -> Result<Bytes, EngineError> {
        let mut closing: Option<Closing> = None;
        let mut ended: Option<Ended> = None;
        // Votes of nodes that were faster, until this one knows what they are for: one for each validator.
        let mut early: BTreeMap<u8, Signature> = BTreeMap::new();
        let mut asks = context.current();
        let mut says = context.current();
        // When the others are asked next what they know of this key's votes, and until when, once enough have said it.
        let mut wants = self.asking.waits().then(|| context.current());
        let mut wants_until = None;
        let mut reminds = context.current() + PATIENCE;
        let mut told_at = BTreeMap::new();
        loop {
            if closing.is_none()
                && let Some(last) = self.last_block().await
            {
                let mut begun = self.close(&last).await?;
                for (index, signature) in std::mem::take(&mut early) {
                    self.count(&mut begun, index, signature);
                }
                #[cfg(feature = "testing")]
                if let Some((_, parts)) = &mut self.crime {
                    *parts = Some(begun.parts.clone());
                }
                closing = Some(begun);
                says = context.current();
            }
            let now = context.current();
            // The own vote first: this node may have a quorum's already, and others not.
            if let Some(closing) = &closing
                && says <= now
            {
                says = now + AGAIN;
                if let Some((index, signature)) = self.own_vote(closing) {
                    let vote = vote(self.epoch(), index, &signature);
                    self.say(Recipients::All, VOTE, &vote);
                }
            }
            if let Some(closing) = &closing
                && let Some(opening) = self.finish(closing)?
            {
                return Ok(self.end(&context, opening).await);
            }
            if let Some(Ended { opening, next }) = &ended
                && self.has(next.first.saturating_sub(1) + next.skipped)
            {
                if self.is_ours(next).await {
                    return Ok(self.end(&context, opening.clone()).await);
                }
                tracing::error!(
                    epoch = self.epoch().get(),
                    "another node names another end of this epoch than this node's blocks have: who made it holds the epoch's vote keys"
                );
                ended = None;
            }
            if asks <= now {
                asks = now + ASK;
                let epoch = self.epoch().get().to_be_bytes();
                self.say(Recipients::All, QUESTION, &epoch);
                if let Some(Ended { next, .. }) = &ended {
                    self.fetch(next);
                }
            }
            if wants.is_some_and(|at| at <= now) {
                wants = match wants_until {
                    None => Some(now + AGAIN),
                    Some(until) => (now < until).then_some(now + ASK),
                };
                let epoch = self.epoch().get().to_be_bytes();
                self.say(Recipients::All, ASKED, &epoch);
            }
            if self.asking.waits() && reminds <= now {
                reminds = now + REMIND;
                self.remind();
            }
            let next = [closing.is_some().then_some(says), wants];
            let next = next.into_iter().flatten().fold(asks, SystemTime::min);
            let heard = select! {
                () = context.sleep_until(next) => { continue },
                () = self.moved.notified() => { continue },
                message = self.ends.1.recv() => {
                    let Ok((from, message)) = message else {
                        return Err(EngineError::Ended);
                    };
                    Heard::read(from, message.into())
                },
            };
            match heard {
                Some(Heard::Vote(from, epoch, index, signature)) if epoch == self.epoch() => {
                    if !self.is_of(&from, index) {
                        continue;
                    }
                    match &mut closing {
                        Some(closing) => self.count(closing, index, signature),
                        None => {
                            early.insert(index, signature);
                        }
                    }
                }
                Some(Heard::Question(from, epoch)) => self.answer(from, epoch),
                Some(Heard::Asked(from, epoch)) if epoch == self.epoch() => {
                    let now = context.current();
                    let again = told_at
                        .get(&from)
                        .is_some_and(|at| now < *at + ANSWERS_EACH);
                    if !again {
                        told_at.insert(from.clone(), now);
                        self.tell(&mut context, from).await;
                    }
                }
                Some(Heard::Told(from, epoch, shown)) if epoch == self.epoch() => {
                    if let Some(vote) = self.voters.vote_of(&from)
                        && self.asking.told(&mut context, vote, shown)? == Told::Enough
                        && wants_until.is_none()
                    {
                        wants_until = Some(context.current() + ASKS_ON);
                        self.awaits.store(0, Ordering::Relaxed);
                        tracing::info!(
                            epoch = epoch.get(),
                            "the other validators know of no votes of this key but this node's: it votes"
                        );
                    }
                }
                Some(Heard::Answer(opening)) if ended.is_none() => {
                    if let Some(next) = self.opens_next(&opening) {
                        self.fetch(&next);
                        ended = Some(Ended { opening, next });
                    }
                }
                _ => {}
            }
        }
    }

    /// Tells of the end, and gives it back. Whoever has no vote in the next epoch stays a while: those who were away ask for the
    /// end, and for the last blocks, and there may be nobody else who has them.
    async fn end<E: Runtime>(&mut self, context: &E, opening: Bytes) -> Bytes {
        self.say(Recipients::All, ANSWER, &opening);
        let stays = self
            .opens_next(&opening)
            .is_some_and(|next| next.nodes.iter().any(|node| node.key == self.me[..]));
        let until = context.current() + if stays { LINGER } else { LINGER_LEAVING };
        loop {
            let heard = select! {
                () = context.sleep_until(until) => { return opening },
                message = self.ends.1.recv() => {
                    let Ok((from, message)) = message else {
                        return opening;
                    };
                    Heard::read(from, message.into())
                },
            };
            // Whoever asks, or votes still, has not heard of it.
            if let Some(Heard::Question(from, epoch) | Heard::Vote(from, epoch, ..)) = heard
                && epoch == self.epoch()
            {
                self.say(Recipients::One(from), ANSWER, &opening);
            }
        }
    }

    /// Says how an epoch of the past has ended.
    fn answer(&mut self, from: PublicKey, epoch: Epoch) {
        if let Some(opening) = self.opening_after(epoch) {
            self.say(Recipients::One(from), ANSWER, &opening);
        }
    }

    /// Says that answers are missing, and whose.
    fn remind(&self) {
        self.awaits.store(self.asking.missing(), Ordering::Relaxed);
        let newest = self.outline.newest();
        let nodes = newest.nodes.iter().zip(&newest.vote_keys);
        let silent: Vec<_> = nodes
            .filter(|(node, vote)| node.key != self.me[..] && !self.asking.has_heard(&vote[..]))
            .map(|(node, _)| node.address.as_str())
            .collect();
        tracing::warn!(
            missing = self.asking.missing(),
            silent = silent.join(", "),
            "not voting yet: other validators have to say first what they know of this vote key's votes"
        );
    }

    /// Shows another validator what is known here of its votes.
    async fn tell<R: CryptoRng>(&mut self, rng: &mut R, to: PublicKey) {
        let Some(vote) = self.voters.vote_of(&to).cloned() else {
            return;
        };
        let epoch = self.epoch();
        let newest = self.newest.borrow().map(|newest| newest.height.get());
        let outline = self.outline.newest();
        let (first, skipped) = (outline.first, outline.skipped);
        let newest = newest.unwrap_or(0).saturating_sub(skipped);
        let known = self
            .heard
            .of(rng, &vote, &self.mailbox, first, newest)
            .await;
        let mut message = BytesMut::new();
        message.put_u64(epoch.get());
        if let Some(known) = known {
            message.put_slice(&known.encode());
        }
        self.say(Recipients::One(to.clone()), TOLD, &message);
        // Whoever asks may have come after this node did.
        if self.asking.waits() && !self.asking.has_heard(&vote) {
            self.say(Recipients::One(to), ASKED, &epoch.get().to_be_bytes());
        }
    }

    /// Whether a node is the one that holds a vote key.
    fn is_of(&self, node: &PublicKey, index: u8) -> bool {
        let votes = &self.outline.newest().vote_keys;
        let vote = self.voters.vote_of(node);
        vote.is_some_and(|vote| {
            votes
                .get(usize::from(index))
                .is_some_and(|key| vote[..] == key[..])
        })
    }

    /// Whether this height is final here.
    fn has(&self, height: u64) -> bool {
        let newest = self.newest.borrow().map(|newest| newest.height.get());
        newest.is_some_and(|newest| newest >= height)
    }

    /// Whether the last block that a handover names is this node's own, and names the set that follows.
    async fn is_ours(&self, next: &EpochOutline) -> bool {
        let last = Height::new(next.first.saturating_sub(1));
        let Some(block) = self.mailbox.get_block(last).await else {
            return false;
        };
        let block = block.inner();
        *block.hash() == next.parent && block.header.next_set_hash == Some(next.set_hash)
    }

    /// Has the last block of the epoch brought by the others, and with it all before.
    fn fetch(&self, next: &EpochOutline) {
        let others: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| **peer != self.me)
            .cloned()
            .collect();
        if let Ok(others) = NonEmptyVec::try_from(others) {
            let last = Height::new(next.first.saturating_sub(1));
            self.mailbox.hint_finalized(last, others);
        }
    }

    fn epoch(&self) -> Epoch {
        self.outline.newest().number
    }

    /// Whether the last block of the epoch is final.
    fn is_over(&self) -> bool {
        let newest = self.newest.borrow().map(|newest| newest.height);
        let last = self.epochs.end();
        newest.is_some_and(|newest| last.is_some_and(|last| newest.get() >= last))
    }

    /// The last block of the epoch, once it is final here.
    async fn last_block(&self) -> Option<Block> {
        if !self.is_over() {
            return None;
        }
        let skipped = self.outline.newest().skipped;
        let position = self.epochs.end()?.checked_sub(skipped)?;
        let block = self.mailbox.get_block(Height::new(position)).await?;
        Some(block.inner().clone())
    }

    /// What is to be signed: from the last block, and the appointment that let the epoch end.
    async fn close(&self, last: &Block) -> Result<Closing, EngineError> {
        let missing = || EngineError::NotWhole("appointment of the next validators");
        let position = last.position().checked_sub(CLOSING_BLOCKS);
        let block = match position {
            Some(position) => self.mailbox.get_block(Height::new(position)).await,
            None => None,
        };
        let block = block.ok_or_else(missing)?;
        let appoint = block.inner().transactions.iter().find_map(|bytes| {
            let transaction = Transaction::decode(bytes).ok()?;
            match transaction.action() {
                Action::Appoint {
                    old_set,
                    appointment,
                    nodes,
                    ..
                } => Some((old_set.clone(), appointment.clone(), nodes.clone())),
                _ => None,
            }
        });
        let (old_set, appointment, nodes) = appoint.ok_or_else(missing)?;
        let appointment = Appointment::decode(&appointment).map_err(|_| missing())?;
        Ok(Closing {
            parts: HandoverParts {
                appointment: appointment.parts(),
                last_height: last.header.height,
                last_header_hash: *last.hash(),
            },
            officers: appointment.signatures().collect(),
            old_set,
            nodes,
            votes: BTreeMap::new(),
        })
    }

    /// Index and key of a validator.
    fn validator(&self, index: u8) -> Option<VerificationKey> {
        let key = self.outline.newest().vote_keys.get(usize::from(index))?;
        VerificationKey::ed25519(key).ok()
    }

    fn statement(&self, closing: &Closing, key: &VerificationKey) -> Option<Statement> {
        closing.parts.statement(self.outline.chain(), key).ok()
    }

    /// Counts a vote that is good.
    fn count(&self, closing: &mut Closing, index: u8, signature: Signature) {
        let good = self.validator(index).is_some_and(|key| {
            self.statement(closing, &key)
                .is_some_and(|statement| key.verify(&statement, &signature).is_ok())
        });
        if good {
            closing.votes.insert(index, signature);
        }
    }

    /// This node's own vote; none where it is no validator in this epoch.
    fn own_vote(&self, closing: &Closing) -> Option<(u8, Signature)> {
        let public = self.vote_key.public();
        let keys = &self.outline.newest().vote_keys;
        let index = keys.iter().position(|key| *key == public)?;
        let key = VerificationKey::ed25519(&public).ok()?;
        let statement = self.statement(closing, &key)?;
        let signature = self.vote_key.sign(&statement);
        Some((u8::try_from(index).ok()?, signature))
    }

    /// The handover, once a quorum has signed.
    fn finish(&self, closing: &Closing) -> Result<Option<Bytes>, EngineError> {
        let n = self.outline.newest().vote_keys.len();
        let mut votes = closing.votes.clone();
        votes.extend(self.own_vote(closing));
        if votes.len() < quorum(n) {
            return Ok(None);
        }
        let unfit = |_| EngineError::NotWhole("appointment that fits its set");
        let votes: Vec<_> = votes.into_iter().collect();
        let n = u8::try_from(n).unwrap_or(u8::MAX);
        let handover = closing
            .parts
            .encode(n, &votes, &closing.officers)
            .map_err(unfit)?;
        let action = Action::Handover {
            old_set: closing.old_set.clone(),
            handover,
            nodes: closing.nodes.clone(),
        };
        let transaction = Draft::new(*self.outline.chain(), action)
            .and_then(Draft::finish)
            .map_err(|_| EngineError::NotWhole("handover of a usual length"))?;
        Ok(Some(transaction.into_bytes().into()))
    }

    /// What opened the epoch after one of the past.
    fn opening_after(&self, epoch: Epoch) -> Option<Bytes> {
        let mut epochs = self.outline.epochs().iter();
        epochs.find(|known| known.number == epoch)?;
        epochs.next().map(|next| next.opening.1.clone())
    }

    /// Whether a transaction opens the next epoch, as this node's own knowledge says: the height before it then.
    fn opens_next(&self, opening: &Bytes) -> Option<EpochOutline> {
        // A recovery is for people to bring.
        let transaction = Transaction::decode(opening).ok()?;
        if !matches!(transaction.action(), Action::Handover { .. }) {
            return None;
        }
        let mut outline = self.outline.clone();
        outline.open_epoch(opening.clone()).ok()?;
        Some(outline.newest().clone())
    }

    fn say(&mut self, to: Recipients<PublicKey>, kind: u8, content: &[u8]) {
        let mut message = BytesMut::with_capacity(1 + content.len());
        message.put_u8(kind);
        message.put_slice(content);
        let message = message.freeze();
        #[cfg(feature = "testing")]
        if let Some((crime, parts)) = self.crime.clone() {
            for (to, message) in crime.says(self, parts.as_ref(), to, message) {
                self.send(to, message);
            }
            return;
        }
        self.send(to, message);
    }

    fn send(&mut self, to: Recipients<PublicKey>, message: Bytes) {
        // Said again, or asked for again, if it is lost, or more than may be said just now.
        if let Ok(checked) = self.ends.0.check(to) {
            let _ = checked.send(message, false);
        }
    }
}

/// The content of a vote for the end of an epoch.
fn vote(epoch: Epoch, index: u8, signature: &Signature) -> Bytes {
    let mut vote = BytesMut::with_capacity(73);
    vote.put_u64(epoch.get());
    vote.put_u8(index);
    vote.put_slice(signature.as_bytes());
    vote.freeze()
}

/// A message that is one.
enum Heard {
    Vote(PublicKey, Epoch, u8, Signature),
    Question(PublicKey, Epoch),
    Answer(Bytes),
    Asked(PublicKey, Epoch),
    Told(PublicKey, Epoch, Bytes),
}

impl Heard {
    fn read(from: PublicKey, mut message: Bytes) -> Option<Self> {
        if !message.has_remaining() {
            return None;
        }
        match (message.get_u8(), message.len()) {
            (VOTE, 73) => {
                let epoch = Epoch::new(message.get_u64());
                let index = message.get_u8();
                let mut signature = [0; Signature::LEN];
                message.copy_to_slice(&mut signature);
                Some(Self::Vote(from, epoch, index, Signature::new(signature)))
            }
            (QUESTION, 8) => Some(Self::Question(from, Epoch::new(message.get_u64()))),
            (ANSWER, 1..=MESSAGE_MAX) => Some(Self::Answer(message)),
            (ASKED, 8) => Some(Self::Asked(from, Epoch::new(message.get_u64()))),
            (TOLD, 8..=MESSAGE_MAX) => {
                Some(Self::Told(from, Epoch::new(message.get_u64()), message))
            }
            _ => None,
        }
    }
}
