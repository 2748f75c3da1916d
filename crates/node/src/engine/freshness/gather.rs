//! Batches of nonces, and the signatures that they wait for.

use super::{
    Signer,
    history::{History, Marks},
    message::{Doubt, Message, name},
};
use crate::{
    engine::{
        PublicKey, Runtime, Scheme,
        block::Block,
        epochs::{EpochEntry, Epochs},
        network::{Blocks, ByVote, Ends, Receives, Sends, Voters, Wire},
        run::Queue,
    },
    handle::{Asked, Newest, QueryError},
};
use bytes::Bytes;
use commonware_consensus::marshal::{core::Mailbox, standard::Standard};
use commonware_macros::select;
use commonware_p2p::{
    Blocker as _, CheckedSender as _, LimitedSender as _, Receiver as _, Recipients,
};
use commonware_utils::sync::Mutex;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, pending},
    stream::FuturesUnordered,
};
use kusabi_core::{
    freshness::{Batch, Claim, NONCES_MAX},
    id::{ChainId, Digest},
    quorum::one_honest,
    suite::Signature,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Between two batches, and between asking the others and asking those again who did not answer.
const SECOND: Duration = Duration::from_secs(1);
/// After so many seconds a batch that has too few signatures is given up.
const SECONDS_MAX: u32 = 5;
/// How long a header that this node has not reached is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Claims that one node may ask for in a second: its batch of this second, and older ones again.
const ASKED_MAX: u32 = 8;

/// What freshness needs of the node.
pub(in crate::engine) struct Parts<W: Wire> {
    pub(in crate::engine) epochs: Epochs,
    /// The newest epoch, in which this node is a validator.
    pub(in crate::engine) epoch: EpochEntry,
    /// Its index.
    pub(in crate::engine) me: u8,
    pub(in crate::engine) signer: Signer,
    pub(in crate::engine) voters: Voters,
    pub(in crate::engine) channel: Ends<W>,
    pub(in crate::engine) blocker: Blocks<W::Blocker>,
    pub(in crate::engine) mailbox: Mailbox<Scheme, Standard<Block>>,
    pub(in crate::engine) newest: watch::Receiver<Option<Newest>>,
    /// Told of whenever `newest` has moved. Waiting for that itself would make a simulation depend on more than its seed: a
    /// `watch` wakes those who wait in an order of its own.
    pub(in crate::engine) moved: Arc<Notify>,
    pub(in crate::engine) heartbeat: watch::Receiver<Duration>,
}

/// Runs until the network ends.
pub(in crate::engine) async fn run<E: Runtime, W: Wire>(
    context: E,
    parts: Parts<W>,
    nonces: Queue<mpsc::Receiver<Asked>>,
) {
    let mut nonces = nonces.lock_owned().await;
    let (sender, receiver) = parts.channel;
    let by_vote = |inner| ByVote {
        inner,
        voters: parts.voters.clone(),
    };
    let mut receiver: ByVote<Receives<W::Receiver>> = ByVote {
        inner: receiver,
        voters: parts.voters.clone(),
    };
    let moved = parts.moved;
    let mut desk = Desk::<E, W> {
        chain: *parts.epochs.chain(),
        me: parts.me,
        needed: one_honest(parts.epoch.vote_keys.len()),
        signer: Arc::new(parts.signer),
        sender: by_vote(sender),
        blocker: ByVote {
            inner: parts.blocker,
            voters: parts.voters.clone(),
        },
        history: Arc::new(History {
            epochs: parts.epochs,
            epoch: parts.epoch,
            mailbox: parts.mailbox,
            newest: parts.newest,
            heartbeat: parts.heartbeat,
            marks: Mutex::new(Marks::default()),
        }),
        waiting: BTreeMap::new(),
        ahead: BTreeMap::new(),
        last: 0,
        asked: BTreeMap::new(),
        context,
    };
    desk.history.note(desk.context.current());
    let mut due = Timers::default();
    // The first nonce of a batch, while the rest of it is waited for; and whether the last second saw a batch.
    let mut first: Option<Asked> = None;
    let mut pause = false;
    loop {
        select! {
            heard = receiver.recv() => {
                let Ok((from, message)) = heard else {
                    return;
                };
                desk.hear(from, &Bytes::from(message), &mut due);
            },
            () = moved.notified() => desk.moved(),
            what = due.next() => match what {
                Due::Batch => {
                    pause = false;
                    if let Some(asked) = first.take() {
                        desk.close(asked, &mut nonces, &mut due).await;
                        pause = true;
                        due.after(&desk.context, SECOND, Due::Batch);
                    }
                },
                Due::Again(claim) => desk.again(claim, &mut due),
                Due::Behind(number) => desk.answer_ahead(number),
            },
            asked = next(&mut nonces, first.is_none()) => {
                if pause {
                    first = Some(asked);
                } else {
                    desk.close(asked, &mut nonces, &mut due).await;
                    pause = true;
                    due.after(&desk.context, SECOND, Due::Batch);
                }
            },
        }
    }
}

/// The next nonce, if one is wanted. Waits for ever once nobody can ask any more: that ends the node elsewhere.
async fn next(nonces: &mut mpsc::Receiver<Asked>, wanted: bool) -> Asked {
    if wanted && let Some(asked) = nonces.recv().await {
        return asked;
    }
    pending().await
}

/// What is to be done at its time.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// A second since the last batch is over.
    Batch,
    /// Those who did not answer about this claim are asked again.
    Again(Digest),
    /// A claim that is ahead of this node has been waited for long enough.
    Behind(u64),
}

#[derive(Default)]
struct Timers(FuturesUnordered<BoxFuture<'static, Due>>);

impl Timers {
    fn after<E: Runtime>(&mut self, context: &E, time: Duration, due: Due) {
        let sleep = context.sleep(time);
        self.0.push(sleep.map(move |()| due).boxed());
    }

    async fn next(&mut self) -> Due {
        match self.0.next().await {
            Some(due) => due,
            None => pending().await,
        }
    }
}

/// Where an answer goes.
type Answer = oneshot::Sender<Result<Bytes, QueryError>>;

/// A batch that waits for signatures.
struct Waiting {
    claim: Claim,
    batch: Batch,
    /// With the nonce's place.
    answers: Vec<(u32, Answer)>,
    votes: BTreeMap<u8, Signature>,
    doubts: BTreeMap<u8, Doubt>,
    seconds: u32,
}

impl Waiting {
    /// Gives everybody his receipt.
    fn answer(self, n: u8) {
        let votes: Vec<_> = self.votes.into_iter().collect();
        let Ok(receipts) = self.batch.receipts(&self.claim, n, &votes) else {
            // Votes are of members of the set, in order.
            return;
        };
        let receipts: Vec<_> = receipts.map(Bytes::from).collect();
        for (place, answer) in self.answers {
            if let Some(receipt) = receipts.get(place as usize) {
                // Who asked and went away needs no answer.
                let _ = answer.send(Ok(receipt.clone()));
            }
        }
    }

    /// Tells everybody what is missing.
    fn give_up(self, vote_keys: &[PublicKey], needed: usize) {
        let all = (0..).zip(vote_keys);
        let missing = all.filter(|(index, _)| !self.votes.contains_key(index));
        let why: Vec<_> = missing
            .map(|(index, key)| {
                // As much of the key as tells it from fifteen others.
                let key: String = key.to_string().chars().take(8).collect();
                match self.doubts.get(&index) {
                    Some(doubt) => format!("the validator with vote key {key}… {doubt}"),
                    None => format!("the validator with vote key {key}… does not answer"),
                }
            })
            .collect();
        refuse(self.answers, self.votes.len(), needed, &why.join(", "));
    }
}

fn refuse(answers: Vec<(u32, Answer)>, signed: usize, needed: usize, why: &str) {
    for (_, answer) in answers {
        let _ = answer.send(Err(QueryError::Unvouched {
            signed,
            needed,
            why: why.to_owned(),
        }));
    }
}

/// All that waits, and what is needed to get on.
struct Desk<E: Runtime, W: Wire> {
    context: E,
    chain: ChainId,
    me: u8,
    needed: usize,
    signer: Arc<Signer>,
    history: Arc<History>,
    sender: ByVote<Sends<W::Sender>>,
    blocker: ByVote<Blocks<W::Blocker>>,
    waiting: BTreeMap<Digest, Waiting>,
    /// Who asks for signatures under claims of heights that this node has not reached.
    ahead: BTreeMap<u64, (PublicKey, Claim)>,
    /// Number of the last one of these.
    last: u64,
    /// Who has asked how often since when.
    asked: BTreeMap<PublicKey, (SystemTime, u32)>,
}

impl<E: Runtime, W: Wire> Desk<E, W> {
    fn n(&self) -> u8 {
        // A set has at most sixteen.
        u8::try_from(self.history.epoch.vote_keys.len()).unwrap_or(u8::MAX)
    }

    /// Makes a batch of the nonces that are there, and asks for signatures.
    async fn close(&mut self, first: Asked, nonces: &mut mpsc::Receiver<Asked>, due: &mut Timers) {
        let mut asked = vec![first];
        while asked.len() < NONCES_MAX as usize
            && let Ok(next) = nonces.try_recv()
        {
            asked.push(next);
        }
        // Who went away needs no answer.
        asked.retain(|asked| !asked.answer.is_closed());
        let places: Vec<_> = asked.iter().map(|asked| asked.nonce).collect();
        let answers = (0..).zip(asked.into_iter().map(|asked| asked.answer));
        let answers: Vec<_> = answers.collect();
        let Some(batch) = Batch::new(&places) else {
            return;
        };
        let now = self.context.current();
        let newest = match self.history.newest(now).await {
            Ok(newest) => newest,
            Err(doubt) => {
                let why = format!("this node itself {doubt}");
                return refuse(answers, 0, self.needed, &why);
            }
        };
        let claim = Claim {
            epoch: newest.epoch,
            set_hash: self.history.epoch.set_hash,
            height: newest.height,
            header_hash: newest.hash,
            nonces: batch.root(),
            count: batch.count(),
        };
        let name = name(&claim);
        if let Some(same) = self.waiting.get_mut(&name) {
            // The same nonces about the same header, once more.
            same.answers.extend(answers);
            return;
        }
        let own = self.signer.sign(&self.chain, &claim);
        let waiting = Waiting {
            claim,
            batch,
            answers,
            votes: [(self.me, own)].into(),
            doubts: BTreeMap::new(),
            seconds: 0,
        };
        if waiting.votes.len() >= self.needed {
            waiting.answer(self.n());
            return;
        }
        self.waiting.insert(name, waiting);
        send(&mut self.sender, Recipients::All, &Message::Ask(claim));
        due.after(&self.context, SECOND, Due::Again(name));
    }

    /// A second later: asks those again who said nothing or could not vouch, or gives up.
    fn again(&mut self, name: Digest, due: &mut Timers) {
        let Some(waiting) = self.waiting.get_mut(&name) else {
            return;
        };
        waiting.seconds += 1;
        if waiting.seconds >= SECONDS_MAX {
            if let Some(waiting) = self.waiting.remove(&name) {
                waiting.give_up(&self.history.epoch.vote_keys, self.needed);
            }
            return;
        }
        let missing = (0..).zip(&self.history.epoch.vote_keys);
        let missing = missing
            .filter(|(index, _)| !waiting.votes.contains_key(index))
            .map(|(_, key)| key.clone());
        let ask = Message::Ask(waiting.claim);
        send(&mut self.sender, Recipients::Some(missing.collect()), &ask);
        due.after(&self.context, SECOND, Due::Again(name));
    }

    /// Takes what a validator says.
    fn hear(&mut self, from: PublicKey, message: &[u8], due: &mut Timers) {
        let Some(index) = self.history.epoch.index(&from) else {
            return;
        };
        match Message::decode(message) {
            Some(Message::Ask(claim)) => self.asked(from, claim, due),
            Some(Message::Vouch(name, signature)) => self.count(&from, index, name, signature),
            Some(Message::Doubt(name, doubt)) => {
                if doubt == Doubt::Differs {
                    tracing::warn!(vote_key = %from, "has another header at this height than this node");
                }
                if let Some(waiting) = self.waiting.get_mut(&name) {
                    waiting.doubts.insert(index, doubt);
                }
            }
            None => {
                commonware_p2p::block!(
                    self.blocker,
                    from,
                    "a message about freshness is malformed"
                );
            }
        }
    }

    fn count(&mut self, from: &PublicKey, index: u8, name: Digest, signature: Signature) {
        let Some(waiting) = self.waiting.get_mut(&name) else {
            // Enough others were faster.
            return;
        };
        if waiting.votes.contains_key(&index) {
            return;
        }
        let key: [u8; 32] = from.as_ref().try_into().unwrap_or_default();
        if waiting.claim.verify(&self.chain, &key, &signature).is_err() {
            let from = from.clone();
            commonware_p2p::block!(self.blocker, from, "a signature under a claim is wrong");
            return;
        }
        waiting.votes.insert(index, signature);
        if waiting.votes.len() >= self.needed
            && let Some(waiting) = self.waiting.remove(&name)
        {
            waiting.answer(self.n());
        }
    }

    /// Takes a validator's question: answers it, or waits a little for a header that this node has not reached.
    fn asked(&mut self, from: PublicKey, claim: Claim, due: &mut Timers) {
        if self.is_asked_too_often(&from) {
            let busy = Message::Doubt(name(&claim), Doubt::Busy);
            send(&mut self.sender, Recipients::One(from), &busy);
        } else if self.history.reaches(claim.height) {
            self.vouch(from, claim);
        } else {
            self.last += 1;
            self.ahead.insert(self.last, (from, claim));
            due.after(&self.context, PATIENCE, Due::Behind(self.last));
        }
    }

    /// There is a newer header.
    fn moved(&mut self) {
        self.history.note(self.context.current());
        let history = &self.history;
        let reached = self.ahead.iter();
        let reached = reached.filter(|(_, (_, claim))| history.reaches(claim.height));
        let reached: Vec<_> = reached.map(|(number, _)| *number).collect();
        for number in reached {
            self.answer_ahead(number);
        }
    }

    /// Answers a question that was waited for, as things are now.
    fn answer_ahead(&mut self, number: u64) {
        if let Some((from, claim)) = self.ahead.remove(&number) {
            self.vouch(from, claim);
        }
    }

    /// Answers a validator. In a task of its own, for the archive may have to be asked.
    fn vouch(&self, from: PublicKey, claim: Claim) {
        let (history, signer, chain) = (self.history.clone(), self.signer.clone(), self.chain);
        let mut sender = self.sender.clone();
        let vouching = self.context.child("vouch");
        vouching.spawn(move |context| async move {
            let name = name(&claim);
            let answer = match history.check(context.current(), &claim).await {
                Ok(()) => Message::Vouch(name, signer.sign(&chain, &claim)),
                Err(doubt) => Message::Doubt(name, doubt),
            };
            send(&mut sender, Recipients::One(from), &answer);
        });
    }

    /// Counts a question of a node; whether there were too many within a second.
    fn is_asked_too_often(&mut self, from: &PublicKey) -> bool {
        let now = self.context.current();
        let (since, count) = self.asked.entry(from.clone()).or_insert((now, 0));
        if now.duration_since(*since).is_ok_and(|time| time < SECOND) {
            *count += 1;
        } else {
            (*since, *count) = (now, 1);
        }
        *count > ASKED_MAX
    }
}

/// Sends to whom may be sent to just now. What is lost is asked for again.
fn send<S: commonware_p2p::Sender<PublicKey = PublicKey>>(
    sender: &mut ByVote<Sends<S>>,
    to: Recipients<PublicKey>,
    message: &Message,
) {
    if let Ok(checked) = sender.check(to) {
        let _ = checked.send(message.encode(), false);
    }
}
