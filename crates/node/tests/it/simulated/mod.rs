//! A node in the engine's simulated world: virtual time, power cuts, disks that fail, all by a seed that is printed.

mod consortium;
mod crash;
mod epochs;
pub(crate) mod follower;
mod freshness;
mod governing;
mod heartbeat;
mod hostile;
mod lying;
mod pace;
mod partitions;
mod recovery;
mod turning;

use bytes::Bytes;
use kusabi_core::{
    anchor::Anchor,
    genesis::Genesis,
    id::{Epoch, Handle, StateKey},
    proof::Proof,
    row::{Record, RowBytes},
    set::EpochSet,
    step::{Step, StepKind},
    suite::Purpose,
    tx::{Action, Transaction},
};
use kusabi_ledger::testing::{TestKey, World as Ledger};
use kusabi_node::{
    directory::{NodeKey, VoteKey},
    engine::simulation::{Faults, Simulation, World},
    handle::{FinalBlock, NodeHandle},
    outline::Outline,
};
use std::{sync::Arc, time::Duration};

/// The founder's side of a ledger: documents and keys.
pub(crate) struct Founder {
    ledger: Ledger,
    genesis: Transaction,
    grant: Transaction,
}

impl Founder {
    fn new() -> Arc<Self> {
        Self::of(1)
    }

    /// Of a ledger of so many organisations, with a validator each.
    fn of(organisations: u64) -> Arc<Self> {
        let mut at_founding = Ledger::of(1 << 40, organisations);
        let genesis = at_founding.genesis();
        at_founding.block(vec![genesis.clone()]).unwrap();
        let ledger = Ledger::open_of(organisations);
        let grant = at_founding.grant(&ledger.writer);
        Arc::new(Self {
            ledger,
            genesis,
            grant,
        })
    }

    pub(crate) fn outline(&self) -> Outline {
        Outline::new(
            Bytes::from(self.ledger.document.clone()),
            Bytes::copy_from_slice(self.genesis.as_bytes()),
        )
        .unwrap()
    }

    fn vote_key(&self) -> VoteKey {
        VoteKey::new(self.ledger.vote_seed)
    }

    fn simulation(&self, seed: u64) -> Simulation {
        let node_key = NodeKey::new(self.ledger.node_seed);
        Simulation::new(seed, self.outline(), self.vote_key(), node_key)
    }

    /// The registration of one key, by the writer.
    pub(crate) fn register(&self, number: u64) -> (Handle, Transaction) {
        let key = TestKey::new(1_000 + number, Purpose::App);
        (key.handle, self.ledger.register(&[&key]))
    }

    /// The record under a handle as a proof shows it to a device that knows nothing but the genesis document.
    fn check(&self, handle: &Handle, proof: &[u8]) -> Option<Record> {
        self.check_by(&self.outline(), handle, proof)
    }

    /// The same, walking the handovers that a node names.
    pub(crate) fn check_by(&self, way: &Outline, handle: &Handle, proof: &[u8]) -> Option<Record> {
        let row = self.row_by(way, &StateKey::record(handle), proof);
        row.map(|row| Record::decode(&row).unwrap())
    }

    /// Any row, as a device sees it that does so.
    fn row_by(&self, way: &Outline, key: &StateKey, proof: &[u8]) -> Option<RowBytes> {
        let proof = Proof::decode(proof).unwrap();
        let (anchor, set) = self.walk(way, proof.checkpoint().claimed().epoch);
        let set = EpochSet::decode(&set).unwrap();
        let verified = proof.check(&anchor, &set, key).unwrap();
        verified.row().copied()
    }

    /// Where a device ends that knows nothing but the genesis document and walks the handovers that a node names to an epoch: its
    /// anchor, and the set.
    fn walk(&self, way: &Outline, until: Epoch) -> (Anchor, Vec<u8>) {
        let genesis = Genesis::decode(&self.ledger.document).unwrap();
        let mut anchor = Anchor::from_genesis(&genesis);
        let mut set = genesis.epoch_set().as_bytes().to_vec();
        for epoch in way.epochs().iter().skip(1) {
            if anchor.epoch() >= until {
                break;
            }
            let opening = Transaction::decode(&epoch.opening.1).unwrap();
            let Action::Handover { handover, .. } = opening.action() else {
                panic!("{opening:?}");
            };
            let step = Step::decode(StepKind::Handover, handover).unwrap();
            let old = EpochSet::decode(&set).unwrap();
            let (next, _) = step.take(&mut anchor, &old).unwrap();
            set = next.as_bytes().to_vec();
        }
        (anchor, set)
    }
}

/// The writer stands on the ledger afterwards, unless the node stops.
async fn open(founder: &Founder, node: &NodeHandle) {
    if let Ok(end) = node.submit(founder.grant.as_bytes()) {
        // Refused when an earlier run has done it.
        let _ = end.await;
    }
}

/// All final blocks.
async fn blocks(node: &NodeHandle) -> Vec<FinalBlock> {
    let mut events = node.events(kusabi_core::id::Height::new(1).unwrap());
    let mut blocks = Vec::new();
    while events.behind() > 0 {
        blocks.push(events.next().await.unwrap());
    }
    blocks
}

/// Lives through each seed; a life says how many registrations were acknowledged.
fn lives(seeds: std::ops::Range<u64>, life: impl Fn(u64) -> usize) {
    let mut acknowledged = 0;
    for seed in seeds.clone() {
        println!("seed {seed}");
        acknowledged += life(seed);
    }
    println!("{acknowledged} registrations acknowledged in {seeds:?}");
    assert!(
        acknowledged > 0,
        "a test that acknowledges nothing tests nothing"
    );
}

#[test]
fn one_seed_gives_one_history() {
    let history = |seed| {
        let founder = Founder::new();
        let mut simulation = founder.simulation(seed);
        let (out, _) = simulation.run(Faults::default(), |node, world: World| async move {
            open(&founder, &node).await;
            let (_, register) = founder.register(1);
            node.submit(register.as_bytes()).unwrap().await.unwrap();
            world.sleep(Duration::from_secs(300)).await;
            blocks(&node).await
        });
        out.unwrap()
    };
    let one = history(7);
    assert_eq!(one, history(7));
    // Genesis, grant, registration, and a heartbeat each minute and a few milliseconds.
    let times: Vec<_> = one.iter().map(|block| block.header.time_ms).collect();
    assert_eq!(times.len(), 3 + 4, "{times:?}");
}
