//! Several validators in one simulated world: a network whose every direction can be slow, lossy or cut, nodes that are killed
//! and come back, clocks that disagree, and a power cut for all at the end of each run.

mod disks;

pub use disks::DiskCopy;

use super::{
    CACHES, Faults, LIMITS,
    hostile::{self, BlockCrime, Crimes, Lies, Refusals, TurnCrime, VoteCrime},
    note_end,
};
use crate::{
    directory::{NodeKey, VoteKey},
    engine::{
        PublicKey,
        disk::{Disk, Opened, Place},
        freshness::{
            self,
            hostile::{Said, VouchCrime},
        },
        network::{ByVote, Known, LANES, Links, Receives, Sends, Voters, Wire, message_max},
        run::{Instructions, Keyed, Outcome, run},
    },
    handle::{NodeHandle, Stop},
    node,
    outline::Outline,
};
use bytes::Bytes;
use commonware_actor::{Feedback, Unreliable};
use commonware_codec::DecodeExt as _;
use commonware_p2p::{
    CheckedSender, LimitedSender, Recipients,
    simulated::{self, Control, Link, Network, Oracle},
};
use commonware_runtime::{
    Clock as _, Handle, IoBufs, Spawner as _, Supervisor as _,
    deterministic::{Checkpoint, Config, Context, Runner},
};
use commonware_utils::{NZUsize, Probability, probability, sync::Mutex};
use futures::{FutureExt as _, future::BoxFuture};
use kusabi_core::{freshness::Claim, set::VALIDATORS_MAX};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// A validator's keys.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its vote key in the first epoch.
    pub vote_key: VoteKey,
    /// Those of later epochs.
    pub later: Vec<VoteKey>,
    /// Its node's key.
    pub node_key: NodeKey,
    /// How far its clock is ahead of the slowest one.
    pub ahead: Duration,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// How long a message takes.
    pub latency: Duration,
    /// How much longer or shorter it may take.
    pub jitter: Duration,
    /// Messages of a thousand that are lost.
    pub lost: u16,
}

impl Quality {
    /// As in one building.
    pub const GOOD: Self = Self {
        latency: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
        lost: 0,
    };
}

/// What a node has in its directory beside the engine's files.
#[derive(Clone, Debug)]
struct Kept {
    outline: Outline,
    /// Whether the key has voted in the newest epoch.
    voted: bool,
}

/// What a test does with the running nodes. Boxed, so that the engine is compiled here and not in every test.
type Script = Box<dyn FnOnce(Fleet) -> BoxFuture<'static, ()> + Send>;

/// Validators and their disks, through any number of power cuts.
pub struct Consortium {
    outline: Outline,
    members: Vec<(Member, Arc<Mutex<Kept>>)>,
    disk: Option<Checkpoint>,
    seed: u64,
    start: SystemTime,
}

impl Consortium {
    /// New validators with empty disks.
    #[must_use]
    pub fn new(seed: u64, outline: Outline, members: Vec<Member>) -> Self {
        Self {
            start: UNIX_EPOCH + Duration::from_millis(outline.created_ms()),
            members: members
                .into_iter()
                .map(|member| {
                    let kept = Kept {
                        outline: outline.clone(),
                        voted: false,
                    };
                    (member, Arc::new(Mutex::new(kept)))
                })
                .collect(),
            outline,
            disk: None,
            seed,
        }
    }

    /// The same, long after the founding.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.start += time;
        self
    }

    /// Runs `script`, to which no node runs yet, then cuts everybody's power. `None`: it did not come to its end.
    ///
    /// # Panics
    /// Where a node did what none may ever do.
    pub fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        script: impl FnOnce(Fleet) -> F + Send + 'static,
    ) -> Option<T> {
        let out = Arc::new(Mutex::new(None));
        let result = out.clone();
        self.run_boxed(Box::new(move |fleet| {
            let script = script(fleet);
            async move { *result.lock() = Some(script.await) }.boxed()
        }));
        out.lock().take()
    }

    fn run_boxed(&mut self, script: Script) {
        let runner = match self.disk.take() {
            Some(disk) => Runner::from(disk),
            None => Runner::new(
                Config::new()
                    .with_seed(self.seed)
                    .with_start_time(self.start)
                    .with_catch_panics(true)
                    .with_storage_fault_config(Faults::NONE.config()),
            ),
        };
        let (outline, members) = (self.outline.clone(), self.members.clone());
        let faults = Arc::<Mutex<Vec<String>>>::default();
        let found = faults.clone();
        let ((), disk) = runner.start_and_recover(move |context| async move {
            let fleet = Fleet::new(context, outline, members, found).await;
            script(fleet).await;
        });
        self.disk = Some(disk);
        // A panic within the world would end one node and nothing else.
        let faults = faults.lock();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

/// The simulated network.
struct Simulated;

impl Wire for Simulated {
    type Sender = ByClock<simulated::Sender<PublicKey, Context>>;
    type Receiver = simulated::Receiver<PublicKey>;
    type Blocker = Control<PublicKey, Context>;
}

/// A sender that says until when it is to wait in the time of a node whose clock is ahead. It would otherwise name a time that
/// has passed there, again and again, and no time would pass at all.
#[derive(Clone, Debug)]
struct ByClock<S> {
    inner: S,
    ahead: Duration,
    /// Whether one byte of each message becomes another; how many did.
    spoils: Option<Lies>,
}

/// Leave to send one message.
struct MaySend<C> {
    inner: C,
    spoils: Option<Lies>,
}

impl<C: CheckedSender> CheckedSender for MaySend<C> {
    type PublicKey = C::PublicKey;

    fn recipients(&self) -> Vec<C::PublicKey> {
        self.inner.recipients()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let Some(lies) = self.spoils else {
            return self.inner.send(message, priority);
        };
        let mut bytes = message.into().coalesce().as_ref().to_vec();
        // The end of an answer: of a block its last transaction, of a certificate its last signature.
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
            lies.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.send(bytes, priority)
    }
}

impl<S: LimitedSender> LimitedSender for ByClock<S> {
    type PublicKey = S::PublicKey;
    type Checked<'a> = MaySend<S::Checked<'a>>;

    fn check(
        &mut self,
        recipients: Recipients<Self::PublicKey>,
    ) -> Result<Self::Checked<'_>, SystemTime> {
        let spoils = self.spoils.clone();
        self.inner
            .check(recipients)
            .map(|inner| MaySend { inner, spoils })
            .map_err(|until| until + self.ahead)
    }
}

/// Channels on which others are brought what they have missed: certificates, blocks, the state, the certificates of ended epochs.
const BRINGS: [u64; 4] = [2, 3, 5, 9];

/// The nodes as a script sees them. Clones are the same.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    // A context cannot be shared between tasks by reference: its children are taken one at a time.
    context: Mutex<Context>,
    oracle: Oracle<PublicKey, Context>,
    outline: Outline,
    members: Vec<(Member, Arc<Mutex<Kept>>)>,
    running: Mutex<BTreeMap<usize, Running>>,
    /// Whoever lies goes on with it after each start; `None`: its keys are in other hands, and it runs no more.
    liars: Mutex<BTreeMap<usize, Option<Crimes>>>,
    hostile: Mutex<BTreeMap<usize, Handle<()>>>,
    slow: Arc<AtomicU64>,
    /// What no node may ever do, whatever befalls it.
    faults: Arc<Mutex<Vec<String>>>,
    /// Why members who follow the rules refused blocks.
    refused: Refusals,
    lies: Lies,
    opened: Mutex<BTreeMap<usize, Opened>>,
    _network: Handle<()>,
}

struct Running {
    handle: NodeHandle,
    ready: watch::Receiver<bool>,
    task: Handle<()>,
}

impl Fleet {
    async fn new(
        context: Context,
        outline: Outline,
        members: Vec<(Member, Arc<Mutex<Kept>>)>,
        faults: Arc<Mutex<Vec<String>>>,
    ) -> Self {
        let keys: Vec<_> = members.iter().filter_map(|(m, _)| public(m)).collect();
        let epochs = crate::engine::epochs::Epochs::new(*outline.chain());
        let config = simulated::Config {
            max_size: message_max(&epochs),
            max_peers_per_set: NZUsize!(VALIDATORS_MAX),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(4),
        };
        let (network, oracle) =
            Network::new_with_peers(context.child("network"), config, keys).await;
        let fleet = Self(Arc::new(Inner {
            oracle,
            outline,
            members,
            running: Mutex::default(),
            liars: Mutex::default(),
            hostile: Mutex::default(),
            slow: Arc::default(),
            faults,
            refused: Refusals::default(),
            lies: Lies::default(),
            opened: Mutex::default(),
            _network: network.start(),
            context: Mutex::new(context),
        }));
        for from in 0..fleet.len() {
            for to in 0..fleet.len() {
                fleet.link(from, to, Some(Quality::GOOD)).await;
            }
        }
        fleet
    }

    /// How many nodes there are, running or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.members.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.members.is_empty()
    }

    fn child(&self, label: &'static str) -> Context {
        self.0.context.lock().child(label)
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        let clock = self.child("clock");
        clock.sleep(time).await;
    }

    /// Virtual time, as the slowest clock shows it.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.child("clock").current()
    }

    /// The longest that a synchronisation of anybody's disk takes from now on.
    pub fn slow_disks(&self, up_to: Duration) {
        let ms = u64::try_from(up_to.as_millis()).unwrap_or(u64::MAX);
        self.0.slow.store(ms, Ordering::Relaxed);
    }

    /// How messages go from one node to another from now on; `None`: not at all.
    pub async fn link(&self, from: usize, to: usize, quality: Option<Quality>) {
        let key = |member: usize| self.0.members.get(member).and_then(|(m, _)| public(m));
        let (Some(from), Some(to)) = (key(from), key(to)) else {
            return;
        };
        if from == to {
            return;
        }
        // There may be no link to be removed.
        let _ = self.0.oracle.remove_link(from.clone(), to.clone()).await;
        if let Some(Quality {
            latency,
            jitter,
            lost,
        }) = quality
        {
            let success_rate = Probability::new(1000 - u64::from(lost.min(1000)), 1000);
            let link = Link {
                latency,
                jitter,
                success_rate: success_rate.unwrap_or(probability!(1.0)),
            };
            // Only a link that is there, or a network that has ended, would be refused.
            let _ = self.0.oracle.add_link(from, to, link).await;
        }
    }

    /// Starts a node on its disk, if it is not running and its keys are in nobody else's hands; see [`ready`](Self::ready). One
    /// that has lied goes on with it.
    pub async fn start(&self, member: usize) {
        let liar = self.0.liars.lock().get(&member).cloned();
        let honest = || Crimes {
            refused: self.0.refused.clone(),
            ..Crimes::default()
        };
        if let Some(crimes) = liar.unwrap_or_else(|| Some(honest())) {
            self.run(member, crimes).await;
        }
    }

    /// Why members who follow the rules have refused blocks, in the words of their logs, each once.
    #[must_use]
    pub fn refused(&self) -> BTreeSet<String> {
        self.0.refused.lock().iter().cloned().collect()
    }

    /// How many votes were sent that break the rules.
    #[must_use]
    pub fn lies(&self) -> u64 {
        self.0.lies.load(Ordering::Relaxed)
    }

    /// Starts a member that follows the rules in everything but the blocks that it proposes.
    pub async fn start_lying(&self, member: usize, crime: BlockCrime) {
        let block = Some(hostile::tamper(crime));
        let crimes = Crimes {
            block,
            ..Crimes::default()
        };
        self.0.liars.lock().insert(member, Some(crimes));
        self.start(member).await;
    }

    /// Starts a member that follows the rules, but spoils whatever it brings those who have missed something.
    pub async fn start_spoiling(&self, member: usize) {
        let crimes = Crimes {
            spoils: true,
            ..Crimes::default()
        };
        self.0.liars.lock().insert(member, Some(crimes));
        self.start(member).await;
    }

    /// Starts a member that follows the rules in everything but what it says of the end of an epoch.
    pub async fn start_turning(&self, member: usize, crime: TurnCrime) {
        let crimes = Crimes {
            turn: Some(crime),
            ..Crimes::default()
        };
        self.0.liars.lock().insert(member, Some(crimes));
        self.start(member).await;
    }

    /// Ends a member's node, of which nothing is left but its keys, and starts somebody who votes with them as he likes in the
    /// newest epoch of an outline.
    pub async fn start_voting(&self, member: usize, outline: &Outline, crime: VoteCrime) {
        let Some((keys, links)) = self.taken_over(member).await else {
            return;
        };
        let Some(key) = keys.voting_in(outline) else {
            return;
        };
        let context = self.child("hostile");
        let task = hostile::vote(context, outline, &key, links, crime, self.0.lies.clone());
        self.0
            .hostile
            .lock()
            .extend(task.map(|task| (member, task)));
    }

    /// Ends a member's node, and starts somebody in its place who has stolen everybody's vote keys of the epoch before the newest
    /// one of an outline, and votes with all of them.
    pub async fn start_voting_from_the_past(&self, member: usize, outline: &Outline) {
        let Some((_, links)) = self.taken_over(member).await else {
            return;
        };
        let [.., before, _] = outline.epochs() else {
            return;
        };
        let past = outline.until(before.first);
        let members = self.0.members.iter();
        let stolen = members.filter_map(|(member, _)| member.voting_in(&past));
        let stolen: Vec<_> = stolen.collect();
        let context = self.child("hostile");
        let task = hostile::vote_from_the_past(
            context,
            outline,
            &past,
            &stolen,
            links,
            self.0.lies.clone(),
        );
        self.0
            .hostile
            .lock()
            .extend(task.map(|task| (member, task)));
    }

    /// A member's keys, and its end of the network, for somebody else than its node.
    async fn taken_over(&self, member: usize) -> Option<(Member, Links<Simulated>)> {
        let (keys, _) = self.0.members.get(member)?;
        self.kill(member);
        self.0.liars.lock().insert(member, None);
        if let Some(task) = self.0.hostile.lock().remove(&member) {
            task.abort();
        }
        let links = self.links(keys, false).await?;
        Some((keys.clone(), links))
    }

    /// Starts somebody with a member's keys who deceives those who ask for freshness, and does nothing else.
    pub async fn start_deceiving(&self, member: usize, crime: VouchCrime) {
        let Some((keys, _)) = self.0.members.get(member).cloned() else {
            return;
        };
        let Some((sender, receiver)) = self.freshness(&keys).await else {
            return;
        };
        let chain = *self.0.outline.chain();
        let deceive = freshness::hostile::deceive(chain, keys.vote_key, sender, receiver, crime);
        let task = self.child("deceiving").spawn(move |_| deceive);
        self.0.hostile.lock().insert(member, task);
    }

    /// What the others say to somebody with the keys of a member, which does not run, who asks them so many times to vouch for a
    /// claim.
    pub async fn ask_as(&self, member: usize, claim: &Claim, times: usize) -> Vec<Said> {
        let Some((keys, _)) = self.0.members.get(member) else {
            return Vec::new();
        };
        let Some((sender, receiver)) = self.freshness(keys).await else {
            return Vec::new();
        };
        let clock = self.child("asking");
        freshness::hostile::ask(&clock, sender, receiver, claim, times).await
    }

    async fn freshness(
        &self,
        keys: &Member,
    ) -> Option<(
        ByVote<Sends<ByClock<simulated::Sender<PublicKey, Context>>>>,
        ByVote<Receives<simulated::Receiver<PublicKey>>>,
    )> {
        let (sender, receiver) = self.links(keys, false).await?.freshness;
        let pairs = self.0.members.iter().map(|(member, _)| {
            let vote = Bytes::copy_from_slice(&member.vote_key.public());
            Some((PublicKey::decode(vote).ok()?, public(member)?))
        });
        let voters = Voters::new(pairs.collect::<Option<Vec<_>>>()?);
        let sender = ByVote {
            inner: sender,
            voters: voters.clone(),
        };
        let receiver = ByVote {
            inner: receiver,
            voters,
        };
        Some((sender, receiver))
    }

    async fn run(&self, member: usize, crimes: Crimes) {
        let Some((keys, kept)) = self.0.members.get(member).cloned() else {
            return;
        };
        if self.0.running.lock().contains_key(&member) {
            return;
        }
        let (handle, ends) = node::link(&kept.lock().outline, LIMITS);
        let link = handle.link.clone();
        let fleet = self.clone();
        let mut first = self.links(&keys, crimes.spoils).await;
        let place = Place {
            prefix: format!("{member}-"),
            ahead: keys.ahead,
            opened: self.0.opened.lock().entry(member).or_default().clone(),
        };
        let slow = self.0.slow.clone();
        // One end lives until it is noted why the node ended.
        let (until_noted, ready) = watch::channel(false);
        let is_ready = until_noted.clone();
        let node = self.child("node").with_attribute("member", member);
        let task = node.spawn(move |context| async move {
            loop {
                let outline = kept.lock().outline.clone();
                let Some(vote_key) = keys.voting_in(&outline) else {
                    let _ = link.stopped.set(Stop::Left(outline.newest().number));
                    link.pool.stop();
                    break;
                };
                let instructions = Instructions {
                    outline,
                    vote_key,
                    node_key: keys.node_key.clone(),
                    voted: kept.lock().voted,
                    caches: CACHES,
                    threads: NZUsize!(1),
                    pool: link.pool.clone(),
                    listen: None,
                    addresses: HashMap::new(),
                };
                let links = match first.take() {
                    Some(links) => links,
                    None => match fleet.links(&keys, crimes.spoils).await {
                        Some(links) => links,
                        None => break,
                    },
                };
                let (slow, place, ends) = (slow.clone(), place.clone(), ends.clone());
                let (is_ready, crimes) = (is_ready.clone(), crimes.clone());
                let voted = kept.clone();
                let ended = context.child("all").spawn(move |context| async move {
                    let context = Disk::simulated(context, slow, place);
                    let ready = move || {
                        is_ready.send_replace(true);
                    };
                    let first_vote = move || voted.lock().voted = true;
                    let mut node = Keyed::new(instructions)?;
                    node.crimes = crimes;
                    Box::pin(run(context, node, ends, links, ready, first_vote)).await
                });
                let ended = ended.await;
                let Ok(Ok(Outcome::Turned(opening))) = ended else {
                    note_end(&link, ended);
                    break;
                };
                link.pool.turn();
                let opened = {
                    let mut kept = kept.lock();
                    let opened = kept.outline.open_epoch(opening);
                    kept.voted = false;
                    link.set_outline(&kept.outline);
                    opened
                };
                // What the engine gives has been checked.
                if let Err(why) = opened {
                    let fault =
                        format!("member {member} ends its epoch with what opens none: {why}");
                    fleet.0.faults.lock().push(fault);
                    break;
                }
            }
            drop(until_noted);
        });
        let running = Running {
            handle,
            ready,
            task,
        };
        self.0.running.lock().insert(member, running);
    }

    /// Gives a member that does not run the epochs that somebody else knows.
    pub fn tell(&self, member: usize, outline: &Outline) {
        if let Some((_, kept)) = self.0.members.get(member) {
            let mut kept = kept.lock();
            kept.outline = outline.clone();
            kept.voted = false;
        }
    }

    async fn links(&self, keys: &Member, spoils: bool) -> Option<Links<Simulated>> {
        let me = public(keys)?;
        let everyone = self.0.members.iter().filter_map(|(m, _)| public(m));
        let others = Known::new(everyone.filter(|key| *key != me));
        let control = self.0.oracle.control(me);
        let mut lanes = Vec::with_capacity(LANES.len());
        for lane in LANES {
            let (inner, receiver) = control.register(lane.channel, lane.quota()).await.ok()?;
            let spoils = spoils && BRINGS.contains(&lane.channel);
            let sender = ByClock {
                inner,
                ahead: keys.ahead,
                spoils: spoils.then(|| self.0.lies.clone()),
            };
            lanes.push((sender, receiver));
        }
        let lanes = lanes.try_into().ok()?;
        Some(Links::new(lanes, others, control, None))
    }

    /// A running node.
    #[must_use]
    pub fn node(&self, member: usize) -> Option<NodeHandle> {
        let running = self.0.running.lock();
        running.get(&member).map(|running| running.handle.clone())
    }

    /// Waits until a running node answers; `false`: it ended first.
    pub async fn ready(&self, member: usize) -> bool {
        let ready = {
            let running = self.0.running.lock();
            running.get(&member).map(|running| running.ready.clone())
        };
        match ready {
            Some(mut ready) => ready.wait_for(|ready| *ready).await.is_ok(),
            None => false,
        }
    }

    /// Why a node that was started and not killed has stopped, if it has.
    #[must_use]
    pub fn stopped(&self, member: usize) -> Option<Stop> {
        let running = self.0.running.lock();
        let running = running.get(&member)?;
        running.handle.link.stopped.get().cloned()
    }

    /// Ends a node in the middle of whatever it does. What it has written stays, as when a process is killed.
    pub fn kill(&self, member: usize) {
        if let Some(running) = self.0.running.lock().remove(&member) {
            running.task.abort();
            running.handle.link.pool.stop();
        }
    }
}

impl Fleet {
    /// The partitions of the engine's storage that a member has opened; whether each stands together with others in one file.
    #[must_use]
    pub fn partitions(&self, member: usize) -> BTreeMap<String, bool> {
        let opened = self.0.opened.lock();
        let opened = opened.get(&member);
        opened.map_or_else(BTreeMap::new, |opened| opened.lock().clone())
    }
}

impl Member {
    /// Its vote key in the newest epoch, if it has one.
    fn voting_in(&self, outline: &Outline) -> Option<VoteKey> {
        let votes = &outline.newest().vote_keys;
        let mut keys = [&self.vote_key].into_iter().chain(&self.later);
        keys.find(|key| votes.contains(&key.public())).cloned()
    }
}

fn public(member: &Member) -> Option<PublicKey> {
    PublicKey::decode(Bytes::copy_from_slice(&member.node_key.public())).ok()
}
