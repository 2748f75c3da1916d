//! Has certificates brought that this node has missed (spec/nodes.md, channel 9).
//!
//! A node that was away, or that joins, has the blocks and few of their certificates ([`held`](super::held)). It asks the others for
//! one in each range of blocks that none covers, checks it, and gives it to the engine, which keeps it with the rest.
//!
//! A message is its kind, one byte, and then: 1, a question: the first and the last position u64; 2, an answer: the position
//! u64 and its certificate; 3, that there is none: the first position u64 of the question.

use super::{
    PublicKey, Runtime, Scheme,
    block::Block,
    epochs::Epochs,
    held::{Held, REACH},
    network::{Blocks, Ends, Wire},
    service::Certificate,
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use commonware_codec::{Decode as _, Encode as _};
use commonware_consensus::{
    Reporter as _,
    marshal::{core::Mailbox, standard::Standard},
    simplex::types::Activity,
    types::Height,
};
use commonware_cryptography::{Digestible as _, certificate::Verifier as _};
use commonware_macros::select;
use commonware_p2p::{
    Blocker as _, CheckedSender as _, LimitedSender as _, Receiver as _, Recipients,
};
use commonware_parallel::Sequential;
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::Notify;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const NONE: u8 = 3;

/// Questions to one node at a time; as many messages as it may get at once.
pub(super) const AT_ONCE: usize = 16;
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long nobody is asked once each of the others had nothing to give; then twice as long each time, until one gives something.
/// Short at first: at a start they may not be connected yet, and of the newest blocks nobody has a certificate for a moment.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What it needs of the node.
pub(super) struct Repair<W: Wire> {
    pub(super) held: Held,
    pub(super) epochs: Epochs,
    pub(super) mailbox: Mailbox<Scheme, Standard<Block>>,
    /// The others, by node key.
    pub(super) others: Vec<PublicKey>,
    pub(super) ends: Ends<W>,
    pub(super) blocker: Blocks<W::Blocker>,
    /// Told of whenever the newest block has moved: see [`freshness`](super::freshness).
    pub(super) moved: Arc<Notify>,
}

/// How the questions stand.
struct Asking {
    /// Not answered yet: by first position, the last one and who was asked.
    open: BTreeMap<u64, (u64, PublicKey)>,
    /// Whether this round asked for anything, and whether it brought anything.
    asked: bool,
    brought: bool,
    /// Rounds in a row that brought nothing. Each asks others than the one before.
    in_vain: usize,
    /// How long the next pause is.
    pause: Duration,
    /// When this round ends, or the pause.
    until: SystemTime,
    pauses: bool,
}

impl<W: Wire> Repair<W> {
    /// Runs until the network ends.
    pub(super) async fn run<E: Runtime>(mut self, mut context: E) {
        let mut asking = Asking {
            open: BTreeMap::new(),
            asked: false,
            brought: false,
            in_vain: 0,
            pause: PAUSE,
            until: context.current(),
            pauses: false,
        };
        loop {
            let now = context.current();
            if asking.until <= now || asking.open.is_empty() && !asking.pauses {
                self.next_round(&mut asking, now);
            }
            let (from, message) = select! {
                () = context.sleep_until(asking.until) => { continue },
                () = self.moved.notified() => { continue },
                heard = self.ends.1.recv() => match heard {
                    Ok((from, message)) => (from, Bytes::from(message)),
                    Err(_) => return,
                },
            };
            match Heard::read(message) {
                Some(Heard::Question(range)) => self.answer(from, range).await,
                Some(Heard::None(first)) => {
                    if asking
                        .open
                        .get(&first)
                        .is_some_and(|(_, node)| *node == from)
                    {
                        asking.open.remove(&first);
                    }
                }
                Some(Heard::Answer(position, bytes)) => {
                    let Some(first) = asking.asked_for(position, &from) else {
                        // Too late, or never asked for.
                        continue;
                    };
                    match self.check(&mut context, position, bytes).await {
                        Checked::Good(certificate) => {
                            asking.open.remove(&first);
                            asking.brought = true;
                            let _ = self.mailbox.report(Activity::Finalization(certificate));
                            // The engine answers in order: whoever asks it now finds it.
                            self.held.bring(position);
                        }
                        Checked::Unknown => {
                            asking.open.remove(&first);
                        }
                        Checked::False => {
                            asking.open.retain(|_, (_, node)| *node != from);
                            self.keep_out(from, "sent a certificate that is wrong");
                        }
                    }
                }
                None => self.keep_out(from, "a message about certificates is malformed"),
            }
        }
    }

    fn keep_out(&mut self, node: PublicKey, why: &'static str) {
        commonware_p2p::block!(self.blocker, node, why);
    }

    /// Ends a round and begins the next, or pauses.
    fn next_round(&mut self, asking: &mut Asking, now: SystemTime) {
        asking.open.clear();
        if asking.brought {
            (asking.in_vain, asking.pause) = (0, PAUSE);
        } else if asking.asked {
            asking.in_vain += 1;
        }
        (asking.asked, asking.brought) = (false, false);
        asking.pauses = asking.in_vain >= self.others.len();
        if asking.pauses {
            asking.in_vain = 0;
            asking.until = now + asking.pause;
            asking.pause = (asking.pause * 2).min(PAUSE_MAX);
            return;
        }
        asking.until = now + PAUSE_MAX;
        let ranges = self.held.uncovered(AT_ONCE * self.others.len());
        for (number, range) in ranges.into_iter().enumerate() {
            let Some(node) = self
                .others
                .get((number + asking.in_vain) % self.others.len())
            else {
                return;
            };
            let node = node.clone();
            let mut question = BytesMut::with_capacity(17);
            question.put_u8(QUESTION);
            question.put_u64(*range.start());
            question.put_u64(*range.end());
            self.say(node.clone(), question.freeze());
            asking.open.insert(*range.start(), (*range.end(), node));
            asking.asked = true;
            asking.until = now + PATIENCE;
        }
    }

    /// Gives the certificate that reaches farthest, if one is here.
    async fn answer(&mut self, to: PublicKey, range: RangeInclusive<u64>) {
        let first = *range.start();
        for position in range.rev() {
            if let Some(certificate) = self.mailbox.get_finalization(Height::new(position)).await {
                let mut answer = BytesMut::new();
                answer.put_u8(ANSWER);
                answer.put_u64(position);
                answer.put_slice(&certificate.encode());
                return self.say(to, answer.freeze());
            }
        }
        let mut none = BytesMut::with_capacity(9);
        none.put_u8(NONE);
        none.put_u64(first);
        self.say(to, none.freeze());
    }

    /// Whether a certificate is that of this node's own block.
    async fn check<E: Runtime>(&mut self, rng: &mut E, position: u64, bytes: Bytes) -> Checked {
        let (Some(epoch), Some(block)) = (
            self.epochs.at(position),
            self.mailbox.get_block(Height::new(position)).await,
        ) else {
            return Checked::Unknown;
        };
        let scheme = epoch.scheme();
        let Ok(certificate) = Certificate::decode_cfg(bytes, &scheme.certificate_codec_config())
        else {
            return Checked::False;
        };
        let proposal = &certificate.proposal;
        let good = proposal.payload == block.digest()
            && proposal.round.epoch().get() == epoch.number.get()
            && certificate.verify(rng, &scheme, &Sequential);
        if good {
            Checked::Good(certificate)
        } else {
            Checked::False
        }
    }

    fn say(&mut self, to: PublicKey, message: Bytes) {
        // Asked for again if it is lost, or more than may be said just now.
        if let Ok(checked) = self.ends.0.check(Recipients::One(to)) {
            let _ = checked.send(message, false);
        }
    }
}

impl Asking {
    /// The question that this is an answer to.
    fn asked_for(&self, position: u64, from: &PublicKey) -> Option<u64> {
        let (first, (last, node)) = self.open.range(..=position).next_back()?;
        (position <= *last && node == from).then_some(*first)
    }
}

/// What a certificate is.
enum Checked {
    Good(Certificate),
    False,
    /// This node does not have the block.
    Unknown,
}

/// A message that is one.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Question(RangeInclusive<u64>),
    Answer(u64, Bytes),
    None(u64),
}

impl Heard {
    fn read(mut message: Bytes) -> Option<Self> {
        match message.try_get_u8().ok()? {
            QUESTION => {
                let (first, last) = (message.try_get_u64().ok()?, message.try_get_u64().ok()?);
                let near = last.checked_sub(first)? < REACH;
                (near && message.is_empty()).then_some(Self::Question(first..=last))
            }
            ANSWER => Some(Self::Answer(message.try_get_u64().ok()?, message)),
            NONE => {
                let first = message.try_get_u64().ok()?;
                message.is_empty().then_some(Self::None(first))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_asks_for_no_more_than_one_certificate_reaches() {
        let question = |first: u64, last: u64, more: &[u8]| {
            let parts = [
                &[QUESTION][..],
                &first.to_be_bytes(),
                &last.to_be_bytes(),
                more,
            ];
            Heard::read(parts.concat().into())
        };
        assert_eq!(question(4, 12, &[]), Some(Heard::Question(4..=12)));
        assert_eq!(
            question(u64::MAX, u64::MAX, &[]),
            Some(Heard::Question(u64::MAX..=u64::MAX))
        );
        assert_eq!(question(4, 13, &[]), None);
        assert_eq!(question(4, 3, &[]), None);
        assert_eq!(question(4, 12, &[0]), None);
        assert_eq!(Heard::read(Bytes::from_static(&[QUESTION, 0])), None);
        assert_eq!(
            Heard::read(Bytes::from_static(&[NONE, 0, 0, 0, 0, 0, 0, 0, 7, 0])),
            None
        );
        assert_eq!(Heard::read(Bytes::from_static(&[9])), None);
        assert_eq!(Heard::read(Bytes::new()), None);
    }
}
