//! Following a ledger without a vote: blocks are taken from nodes of it, or from other followers, one at a time, and none of them is
//! believed.
//!
//! What comes is checked and kept by the engine (`engine::follow`); here it is decided whom to ask. Who sends what no honest node
//! sends is named and left for a while; who is away, or holds back what others show, is left for the next one. Guarantees: a
//! follower comes to the newest block as long as one of those whom it follows is honest and can be reached.

pub(crate) mod carry;

use crate::{
    engine::Brought,
    handle::{FinalBlock, NodeHandle},
    health::Following,
    history::BadBlock,
};
use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Either, pending},
    stream::FuturesOrdered,
};
use kusabi_api::{Block, BlockStream, Kind, Ledger, Problem, ledger::Followed};
use kusabi_core::{
    anchor::Anchor,
    checkpoint::Checkpoint,
    header::Header,
    id::{ChainId, HeaderHash, Height, RecoveryHash},
    set::EpochSet,
};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{sleep, sleep_until, timeout},
};

/// Blocks on their way to the engine at most, and their bytes.
pub(crate) const BLOCKS: usize = 256;
const BYTES: usize = 16 << 20;
/// Up to two to the power of this many times longer is left alone who breaks his word.
const BROKEN_MAX: u32 = 6;
/// Problems of others are shown so far.
const TROUBLE_MAX: usize = 300;

/// A node that is followed.
#[derive(Clone)]
pub struct Source {
    /// Its address, for people.
    pub address: String,
    /// The way to it.
    pub ledger: Arc<dyn Ledger>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Source").field(&self.address).finish()
    }
}

/// How patient a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For an answer that is no block.
    pub answer: Duration,
    /// Without a block that others have, or that the node itself said it has.
    pub block: Duration,
    /// How long one may take to bring this follower to the newest block before another one has its turn.
    pub turn: Duration,
    /// Between two looks at what the others have.
    pub look: Duration,
    /// How long a node is left that is away: so long at first, and up to `rest_max`.
    pub rest: Duration,
    /// The longest of these.
    pub rest_max: Duration,
    /// How long a node is left that lied.
    pub distrust: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            block: Duration::from_secs(30),
            turn: Duration::from_secs(600),
            look: Duration::from_secs(5),
            rest: Duration::from_secs(1),
            rest_max: Duration::from_secs(10),
            distrust: Duration::from_secs(60),
        }
    }
}

/// The way of blocks into a follower.
#[derive(Debug)]
pub struct Feed {
    pub(crate) blocks: mpsc::Sender<Brought>,
    pub(crate) room: Arc<Semaphore>,
    /// Height of the newest block that is kept; `None` while what was kept is read.
    pub(crate) kept: watch::Receiver<Option<Height>>,
    pub(crate) begun: watch::Sender<bool>,
}

impl Feed {
    pub(crate) fn new(
        blocks: mpsc::Sender<Brought>,
        kept: watch::Receiver<Option<Height>>,
        begun: watch::Sender<bool>,
    ) -> Self {
        Self {
            blocks,
            room: Arc::new(Semaphore::new(BYTES)),
            kept,
            begun,
        }
    }

    /// The height after the newest block that is kept; `None`: the follower stops.
    pub(crate) async fn next(&mut self) -> Option<Height> {
        let kept = *self.kept.wait_for(Option::is_some).await.ok()?;
        kept?.next()
    }

    /// Brings a block, once there is room for it. The verdict comes when it is on disk; without one the follower stops.
    pub(crate) async fn bring(
        &self,
        block: FinalBlock,
    ) -> Option<oneshot::Receiver<Result<(), BadBlock>>> {
        let bytes: usize = block.transactions.iter().map(|t| t.len() + 64).sum();
        let bytes = u32::try_from((bytes + 1_024).min(BYTES)).ok()?;
        let room = self.room.clone().acquire_many_owned(bytes).await.ok()?;
        let (verdict, receiver) = oneshot::channel();
        let brought = Brought {
            block,
            verdict,
            _room: room,
        };
        self.blocks.send(brought).await.ok()?;
        Some(receiver)
    }
}

/// What becomes of the blocks that a source has brought, in their order.
type Verdicts = FuturesOrdered<oneshot::Receiver<Result<(), BadBlock>>>;

/// Why a source is left.
#[derive(Debug)]
enum Left {
    /// The follower itself stops.
    Stopping,
    /// It said what no honest node says.
    Lied(String),
    /// It does not give what is needed.
    Away(String),
    /// Another one has more.
    Behind(usize),
    /// It said that there is a block of this height, and did not give those up to it.
    Broken(Height),
    /// It gives blocks, and has for long: maybe others are faster.
    Slow,
}

impl From<Problem> for Left {
    fn from(problem: Problem) -> Self {
        match problem.kind {
            Kind::BadAnswer => Self::Lied(problem.to_string()),
            _ => Self::Away(problem.to_string()),
        }
    }
}

/// Takes blocks from nodes of a ledger.
#[derive(Debug)]
pub struct Follow {
    chain: ChainId,
    sources: Arc<[Source]>,
    times: Times,
    feed: Feed,
    node: NodeHandle,
    seen: watch::Sender<Following>,
    /// When each source may be asked again, and how long it rests the next time.
    rests: Vec<(Instant, Duration)>,
    /// Who is said to be away, and nothing worse.
    silent: Vec<bool>,
    /// How often each has promised what it did not give, since it last gave something.
    broken: Vec<u32>,
    /// Who is looked at next.
    look: usize,
}

impl Follow {
    pub(crate) fn new(
        sources: Arc<[Source]>,
        times: Times,
        feed: Feed,
        node: NodeHandle,
        seen: watch::Sender<Following>,
    ) -> Self {
        let now = Instant::now();
        Self {
            chain: *node.chain(),
            rests: vec![(now, times.rest); sources.len()],
            silent: vec![false; sources.len()],
            broken: vec![0; sources.len()],
            sources,
            times,
            feed,
            node,
            seen,
            look: 0,
        }
    }

    /// Runs until the follower stops.
    pub async fn run(mut self) {
        let mut turn = 0;
        loop {
            let Some((source, until)) = self.best_from(turn) else {
                return pending().await;
            };
            sleep_until(until.into()).await;
            let left = self.take_from(source).await;
            self.seen.send_modify(|seen| {
                if seen.from.take().is_some() {
                    seen.none_since = Some(Instant::now());
                }
            });
            let address = self.address(source);
            turn = source + 1;
            match left {
                Left::Stopping => return,
                Left::Behind(other) => {
                    self.is_silent(source, false);
                    tracing::info!(
                        node = address,
                        "another node has blocks that this one does not give"
                    );
                    self.trouble(source, "does not give blocks that others have", false);
                    self.rest(source, self.times.rest_max);
                    turn = other;
                }
                Left::Slow => {}
                Left::Broken(height) => {
                    self.is_silent(source, false);
                    let why = format!(
                        "says that there is a block {height}, and does not give those up to it"
                    );
                    self.trouble(source, &why, false);
                    self.trust_less(source);
                }
                Left::Away(why) => {
                    self.is_silent(source, true);
                    self.trouble(source, &why, false);
                    self.rest_longer(source);
                }
                Left::Lied(why) => {
                    self.is_silent(source, false);
                    tracing::warn!(
                        node = address,
                        %why,
                        "a node that is followed says what is not so"
                    );
                    self.trouble(source, &why, true);
                    self.rest(source, self.times.distrust);
                }
            }
        }
    }

    /// Who is asked next, and when: the first one from `turn` on who does not rest; where all do, who has rested soonest.
    fn best_from(&self, turn: usize) -> Option<(usize, Instant)> {
        let now = Instant::now();
        let count = self.rests.len();
        let rests = self.rests.iter().enumerate().cycle();
        let in_turn = rests.skip(turn % count.max(1)).take(count);
        let asked = in_turn.map(|(source, (until, _))| (source, *until));
        asked.min_by_key(|(_, until)| (*until).max(now))
    }

    fn address(&self, source: usize) -> String {
        let source = self.sources.get(source);
        source
            .map(|source| source.address.clone())
            .unwrap_or_default()
    }

    /// Leaves a source alone for a while.
    fn rest(&mut self, source: usize, time: Duration) {
        if let Some((until, _)) = self.rests.get_mut(source) {
            *until = Instant::now() + time;
        }
    }

    /// The same, each time for longer until it gives something.
    fn rest_longer(&mut self, source: usize) {
        let max = self.times.rest_max;
        if let Some((until, rest)) = self.rests.get_mut(source) {
            *until = Instant::now() + *rest;
            *rest = (*rest * 2).min(max);
        }
    }

    /// Leaves alone who broke his word, each time for longer: what he says would otherwise lead away from those who keep theirs.
    fn trust_less(&mut self, source: usize) {
        let Some(broken) = self.broken.get_mut(source) else {
            return;
        };
        let time = self.times.distrust * (1 << (*broken).min(BROKEN_MAX));
        *broken += 1;
        self.rest(source, time);
    }

    /// Whether what a source says of heights counts: not while it is left alone.
    fn counts(&self, source: usize) -> bool {
        let rest = self.rests.get(source);
        rest.is_some_and(|(until, _)| *until <= Instant::now())
    }

    fn trouble(&self, source: usize, why: &str, lied: bool) {
        self.seen.send_modify(|seen| {
            if let Some(node) = seen.nodes.get_mut(source) {
                node.trouble = Some(why.chars().take(TROUBLE_MAX).collect());
                node.lied = lied;
            }
        });
    }

    fn is_silent(&mut self, source: usize, silent: bool) {
        if let Some(is) = self.silent.get_mut(source) {
            *is = silent;
        }
    }

    /// Whether one from whom no blocks are taken just now answers: what is said of him is to be of the present. What he was left
    /// for otherwise stays said until he gives blocks.
    fn heard(&mut self, source: usize, answer: &Result<Bytes, Problem>) {
        let seen = self.seen.borrow();
        let current = seen.from == Some(source);
        let fine = seen
            .nodes
            .get(source)
            .is_some_and(|node| node.trouble.is_none());
        drop(seen);
        let silent = self.silent.get(source) == Some(&true);
        match answer {
            Ok(_) if silent => {
                self.is_silent(source, false);
                self.clear(source);
            }
            Err(problem) if !current && (fine || silent) && problem.kind != Kind::BadAnswer => {
                self.is_silent(source, true);
                self.trouble(source, &problem.to_string(), false);
            }
            _ => {}
        }
    }

    /// Takes back what was said of a source.
    fn clear(&self, source: usize) {
        self.seen.send_modify(|seen| {
            if let Some(node) = seen.nodes.get_mut(source) {
                node.trouble = None;
                node.lied = false;
            }
        });
    }

    /// Takes blocks from a source until it is to be left.
    async fn take_from(&mut self, source: usize) -> Left {
        match self.take(source).await {
            Err(left) => left,
            Ok(never) => match never {},
        }
    }

    async fn take(&mut self, source: usize) -> Result<Infallible, Left> {
        let next = self.feed.next().await.ok_or(Left::Stopping)?;
        let ledger = self.sources.get(source).ok_or(Left::Stopping)?;
        let ledger = ledger.ledger.clone();
        let answer = self.times.answer;
        let genesis = within(answer, ledger.genesis()).await?;
        let found = ChainId::of(&genesis);
        if found != self.chain {
            return Err(Left::Lied(format!("serves the ledger {found}")));
        }
        let shown = within(answer, ledger.checkpoint(Height::ZERO)).await?;
        // What it has to give before it counts as one that gives.
        let goal = self.shown(&shown)?;
        let mut blocks = within(answer, ledger.blocks(next)).await?;
        self.seen.send_modify(|seen| {
            seen.from = Some(source);
            seen.none_since = None;
        });
        self.is_silent(source, false);
        self.clear(source);
        let mut verdicts = Verdicts::new();
        let left = self.stream(source, goal, &mut blocks, &mut verdicts).await;
        // What it has brought comes to its end first: the next one goes on where that leaves off, and is not blamed for it.
        while let Some(verdict) = verdicts.next().await {
            match (verdict, &left) {
                (
                    Ok(Err(bad)),
                    Err(Left::Away(_) | Left::Behind(_) | Left::Broken(_) | Left::Slow),
                ) => {
                    while verdicts.next().await.is_some() {}
                    return Err(Left::Lied(bad.to_string()));
                }
                (Err(_), _) => return Err(Left::Stopping),
                _ => {}
            }
        }
        left
    }

    async fn stream(
        &mut self,
        source: usize,
        goal: Height,
        blocks: &mut BlockStream,
        verdicts: &mut Verdicts,
    ) -> Result<Infallible, Left> {
        // The highest that anybody says there is, and who says so.
        let mut said = (goal, source);
        let mut moved = Instant::now();
        let mut behind_since = moved;
        let mut looking = self.look_around();
        let node = self.node.clone();
        let mut shows_goal = async move { node.reached(goal).await }.boxed().fuse();
        loop {
            let kept = (*self.feed.kept.borrow()).unwrap_or_default();
            if kept >= said.0 {
                behind_since = Instant::now();
            } else if behind_since.elapsed() > self.times.turn && self.sources.len() > 1 {
                return Err(Left::Slow);
            }
            // What waits for this follower's own disk is not for the source to answer for.
            let late = match kept < said.0 && verdicts.is_empty() {
                true => Either::Left(sleep_until((moved + self.times.block).into())),
                false => Either::Right(pending()),
            };
            tokio::select! {
                Some(verdict) = verdicts.next(), if !verdicts.is_empty() => {
                    match verdict {
                        Ok(Ok(())) => {}
                        Ok(Err(bad)) => return Err(Left::Lied(bad.to_string())),
                        Err(_) => return Err(Left::Stopping),
                    }
                    moved = Instant::now();
                    if let Some((_, rest)) = self.rests.get_mut(source) {
                        *rest = self.times.rest;
                    }
                    if let Some(broken) = self.broken.get_mut(source) {
                        *broken = 0;
                    }
                }
                item = blocks.next(), if verdicts.len() < BLOCKS => {
                    let block = item.ok_or_else(|| Left::Away("stops".into()))??;
                    let block = self.read(block)?;
                    verdicts.push_back(self.feed.bring(block).await.ok_or(Left::Stopping)?);
                }
                Ok(()) = &mut shows_goal => {
                    self.feed.begun.send_replace(true);
                }
                (looked, shown) = &mut looking => {
                    self.heard(looked, &shown);
                    if let Ok(height) = shown.map_err(Left::from).and_then(|shown| self.shown(&shown))
                        && height > said.0
                        && self.counts(looked)
                    {
                        if kept >= said.0 {
                            moved = Instant::now();
                        }
                        said = (height, looked);
                    }
                    looking = self.look_around();
                }
                () = late => {
                    return Err(match said {
                        (_, other) if other != source => Left::Behind(other),
                        (height, _) => Left::Broken(height),
                    });
                }
            }
        }
    }

    /// A block of this chain, by its own word.
    fn read(&self, block: Block) -> Result<FinalBlock, Left> {
        let header = Header::decode(&block.header)
            .map_err(|why| Left::Lied(format!("sends a block that cannot be read: {why}")))?;
        Ok(FinalBlock {
            hash: header.hash(&self.chain),
            header,
            checkpoint: block.checkpoint,
            transactions: block.transactions,
        })
    }

    /// Asks the next source, in a while, for the newest that it has.
    fn look_around(&mut self) -> BoxFuture<'static, (usize, Result<Bytes, Problem>)> {
        let source = self.look;
        self.look = (source + 1) % self.sources.len().max(1);
        let Some(Source { ledger, .. }) = self.sources.get(source).cloned() else {
            return pending().boxed();
        };
        let Times { look, answer, .. } = self.times;
        async move {
            sleep(look).await;
            (
                source,
                within(answer, ledger.checkpoint(Height::ZERO)).await,
            )
        }
        .boxed()
    }

    /// The height of a checkpoint that somebody shows: proven where it is of the epoch in which this follower is, and otherwise what
    /// he says. What is proven is noted.
    fn shown(&self, checkpoint: &[u8]) -> Result<Height, Left> {
        let lied = |why: &dyn std::fmt::Display| {
            Left::Lied(format!("shows a checkpoint that is refused: {why}"))
        };
        let checkpoint = Checkpoint::decode(checkpoint).map_err(|why| lied(&why))?;
        let claimed = checkpoint.claimed();
        let outline = self.node.outline();
        let epochs = outline.epochs();
        let Some(epoch) = epochs.iter().find(|epoch| epoch.number == claimed.epoch) else {
            return Ok(claimed.height);
        };
        let anchor = Anchor::of_ledger(
            self.chain,
            epoch.number,
            epoch.set_hash,
            Height::ZERO,
            HeaderHash::ZERO,
            RecoveryHash::ZERO,
        );
        let set = EpochSet::decode(&epoch.set).map_err(|why| lied(&why))?;
        let proven = checkpoint.check(&anchor, &set).map_err(|why| lied(&why))?;
        let height = proven.header().height;
        self.seen.send_if_modified(|seen| {
            let newer = seen.newest < height;
            seen.newest = seen.newest.max(height);
            newer
        });
        Ok(height)
    }
}

/// What a follower knows of its sources before it has asked any.
pub(crate) fn unasked(sources: &[Source]) -> Following {
    Following {
        nodes: sources
            .iter()
            .map(|source| Followed {
                address: source.address.clone(),
                trouble: None,
                lied: false,
            })
            .collect(),
        none_since: Some(Instant::now()),
        ..Following::default()
    }
}

async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    timeout(time, answer)
        .await
        .unwrap_or_else(|_| Err(Problem::new(Kind::Unreachable, "did not answer in time")))
}
