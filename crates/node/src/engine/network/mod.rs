//! How nodes reach one another: ten channels between machines that know each other by their node keys.
//!
//! - `known`: who they are.
//! - `solo`: nobody is there, as for a lone validator; no port is opened.
//! - `wire`: authenticated and encrypted connections over TCP.
//! - `voters`: votes are sent and counted by vote keys, which are fresh in each epoch; connections outlive epochs and stand
//!   between node keys. Here the one is turned into the other.
//! - `simulation` (beside this folder) puts a network of its own in this place.

mod known;
mod solo;
mod voters;
mod wire;

pub(super) use known::Known;
pub(super) use solo::{Blocks, Receives, Sends};
pub(super) use voters::{ByVote, Voters, by_epoch, by_vote};
pub(super) use wire::{Tcp, connect};

use super::{
    Digest, PublicKey, Scheme, block::Block, epochs::Epochs, freshness, gossip, start::SYNC_BATCH,
    turn,
};
use commonware_consensus::{
    marshal::{self, standard::Standard},
    simplex,
};
use commonware_glue::stateful::db::p2p as state_resolver;
use commonware_p2p::{Blocker, Channel, Receiver, Sender, max_message_size, utils::mux::prefixed};
use commonware_runtime::{Handle, Quota};
use commonware_storage::mmr;
use commonware_utils::NZU32;
use kusabi_core::set::VALIDATORS_MAX;
use std::num::NonZeroU32;

/// Bytes of one operation of the state's log (spec/proof.md, "Path").
const OPERATION: usize = 257;

/// A kind of network: the real one, or a simulated one.
pub(crate) trait Wire: Send + 'static {
    /// Sends on one channel.
    type Sender: Sender<PublicKey = PublicKey>;
    /// Receives on one channel.
    type Receiver: Receiver<PublicKey = PublicKey>;
    /// Keeps out who broke the rules.
    type Blocker: Blocker<PublicKey = PublicKey>;
}

/// Both ends of a channel.
pub(super) type Ends<W> = (Sends<<W as Wire>::Sender>, Receives<<W as Wire>::Receiver>);

/// A channel: its number, which every node knows, and how many messages each peer may send on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) channel: Channel,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl Lane {
    pub(super) fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.burst)
    }
}

const fn lane(channel: Channel, per_second: NonZeroU32, burst: NonZeroU32) -> Lane {
    Lane {
        channel,
        per_second,
        burst,
    }
}

/// The channels. A peer's burst is what of it may wait in memory, and each message may be as long as a block: so bursts are
/// small, above all where messages are long.
pub(super) const LANES: [Lane; 10] = [
    // Votes.
    lane(0, NZU32!(512), NZU32!(64)),
    // Certificates.
    lane(1, NZU32!(512), NZU32!(64)),
    // Certificates that somebody missed.
    lane(2, NZU32!(64), NZU32!(16)),
    // Blocks that somebody missed.
    lane(3, NZU32!(32), NZU32!(4)),
    // Blocks as they are proposed.
    lane(4, NZU32!(64), NZU32!(4)),
    // The state, for who joins.
    lane(5, NZU32!(64), NZU32!(8)),
    // Transactions that wait.
    lane(6, NZU32!(64), NZU32!(8)),
    // The turn from one epoch to the next.
    lane(7, NZU32!(8), NZU32!(8)),
    // Freshness.
    lane(8, NZU32!(16), NZU32!(16)),
    // Certificates of blocks of long ago.
    lane(9, NZU32!(64), NZU32!(16)),
];

/// The channels of one node.
pub(crate) struct Links<W: Wire> {
    pub(super) votes: Ends<W>,
    pub(super) certificates: Ends<W>,
    pub(super) missed_certificates: Ends<W>,
    pub(super) missed_blocks: Ends<W>,
    pub(super) proposals: Ends<W>,
    pub(super) state: Ends<W>,
    pub(super) transactions: Ends<W>,
    pub(super) turns: Ends<W>,
    pub(super) freshness: Ends<W>,
    pub(super) old_certificates: Ends<W>,
    pub(super) directory: Known,
    pub(super) blocker: Blocks<W::Blocker>,
    /// Begins to speak with peers. Not before what they may say has its readers, or soon will have: until then it fills memory.
    pub(super) open: Open,
}

/// See [`Links::open`]. `None`: there is nothing to be opened.
pub(super) type Open = Option<Box<dyn FnOnce() -> Handle<()> + Send>>;

impl<W: Wire> Links<W> {
    /// Nobody is there.
    pub(super) fn solo() -> Self {
        let ends = || (Sends::ToNobody, Receives::FromNobody);
        Self {
            votes: ends(),
            certificates: ends(),
            missed_certificates: ends(),
            missed_blocks: ends(),
            proposals: ends(),
            state: ends(),
            transactions: ends(),
            turns: ends(),
            freshness: ends(),
            old_certificates: ends(),
            directory: Known::new([]),
            blocker: Blocks::nobody(),
            open: None,
        }
    }

    /// A network whose channels were opened, one for each of [`LANES`].
    pub(super) fn new(
        lanes: [(W::Sender, W::Receiver); LANES.len()],
        directory: Known,
        blocker: W::Blocker,
        open: Open,
    ) -> Self {
        let [
            votes,
            certificates,
            missed_certificates,
            missed_blocks,
            proposals,
            state,
            transactions,
            turns,
            freshness,
            old_certificates,
        ] = lanes.map(|(sender, receiver)| (Sends::To(sender), Receives::From(receiver)));
        Self {
            votes,
            certificates,
            missed_certificates,
            missed_blocks,
            proposals,
            state,
            transactions,
            turns,
            freshness,
            old_certificates,
            directory,
            blocker: Blocks::Peers(blocker),
            open,
        }
    }
}

/// The most bytes of one message on any channel.
pub(super) fn message_max(epochs: &Epochs) -> u32 {
    let participants = VALIDATORS_MAX as u32;
    max_message_size(&[
        prefixed(simplex::max_payload_size::<Scheme, Digest>(participants)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(participants, epochs),
        state_resolver::max_payload_size::<mmr::Family, Digest>(SYNC_BATCH, OPERATION),
        gossip::MESSAGE_MAX,
        turn::MESSAGE_MAX,
        freshness::MESSAGE_MAX,
    ])
}
