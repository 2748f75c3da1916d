//! The real network: connections over TCP that both ends authenticate with their node keys and encrypt.

use super::{Known, LANES, Links, Wire, message_max};
use crate::engine::{EngineError, PublicKey, epochs::Epochs};
use commonware_cryptography::{ChaCha20Poly1305, Signer as _, ed25519::PrivateKey};
use commonware_p2p::{
    Address, AddressableManager as _, Ingress,
    authenticated::lookup::{self, Network},
};
use commonware_runtime::{Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{Hostname, NZU32, NZUsize, ordered::Map};
use kusabi_core::id::ChainId;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    time::Duration,
};

/// Says what the connections are for; the chain follows, so that nodes of two ledgers cannot be joined.
const NAMESPACE: &[u8] = b"kusabi.nodes.v1";
/// How far apart the clocks of two nodes may be, so that they still connect: a block may be as far ahead of its parent.
const SKEW: Duration = Duration::from_secs(3600);
/// How long somebody who connects has to show his key.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long a node is kept out that broke the rules.
const BLOCKED: Duration = Duration::from_secs(600);
/// Messages that wait for one peer to read them; each may be as long as a block.
const MAILBOX: NonZeroUsize = NZUsize!(64);

/// The network over TCP.
pub(in super::super) struct Tcp;

impl Wire for Tcp {
    type Sender = lookup::Sender<PublicKey, Context>;
    type Receiver = lookup::Receiver<PublicKey>;
    type Blocker = lookup::Oracle<PublicKey>;
}

/// Where a node is reached.
///
/// # Errors
/// [`EngineError::Address`]
fn address(node: &PublicKey, said: &str) -> Result<Address, EngineError> {
    let wrong = || EngineError::Address {
        node: node.to_string(),
        said: said.to_owned(),
    };
    if let Ok(socket) = said.parse::<SocketAddr>() {
        return Ok(Address::Symmetric(socket));
    }
    let (host, port) = said.rsplit_once(':').ok_or_else(wrong)?;
    Ok(Address::Asymmetric {
        ingress: Ingress::Dns {
            host: Hostname::new(host).map_err(|_| wrong())?,
            port: port.parse().map_err(|_| wrong())?,
        },
        // Where it comes from is not asked: it shows its key.
        egress: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    })
}

/// The network of the node with this key. Once it is opened it listens, and connects to the others.
pub(in super::super) fn connect(
    context: &Context,
    chain: &ChainId,
    epochs: &Epochs,
    key: PrivateKey,
    listen: SocketAddr,
    peers: &[(PublicKey, String)],
) -> Result<Links<Tcp>, EngineError> {
    // The network itself would end the node without saying why.
    let free = TcpListener::bind(listen);
    free.map_err(|why| EngineError::Listen(listen, why.kind()))?;
    let me = key.public_key();
    let handshake = Cups::<_, ChaCha20Poly1305>::new(
        Sake {
            signer: key,
            synchrony_bound: SKEW,
            max_handshake_age: SKEW,
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let namespace = [NAMESPACE, &chain.to_bytes()].concat();
    let config = lookup::Config {
        handshake,
        namespace,
        listen,
        // Validators behind one company's VPN have such addresses.
        allow_private_ips: true,
        allow_dns: true,
        // Behind a translating router a node comes from an address that nobody wrote down. Its key says who it is.
        bypass_ip_check: true,
        max_message_size: message_max(epochs),
        // This and the next size each channel's memory.
        max_peers_per_set: NonZeroUsize::new(peers.len()).unwrap_or(NonZeroUsize::MIN),
        tracked_peer_sets: NonZeroUsize::MIN,
        mailbox_size: MAILBOX,
        send_batch_size: NZUsize!(2),
        handshake_timeout: HANDSHAKE,
        dial_timeout: Duration::from_secs(15),
        peer_connection_cooldown: Duration::from_secs(1),
        // Whoever only holds connections open has, from one address or network, a small part of them.
        max_concurrent_handshakes: NZU32!(512),
        allowed_handshake_rate_per_ip: Quota::per_second(NZU32!(4)).allow_burst(NZU32!(16)),
        allowed_handshake_rate_per_subnet: Quota::per_second(NZU32!(8)).allow_burst(NZU32!(32)),
        ping_frequency: Duration::from_secs(5),
        dial_frequency: Duration::from_millis(500),
        block_duration: BLOCKED,
    };
    let (mut network, mut oracle) = Network::new(context.child("network"), config);
    let known = peers
        .iter()
        .filter(|(node, _)| *node != me)
        .map(|(node, said)| Ok((node.clone(), address(node, said)?)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let directory = Known::new(known.iter().map(|(node, _)| node.clone()));
    let known = Map::from_iter_dedup(known);
    // Told before anything is sent; a refusal means that the network has ended, and then this does, too.
    let _ = oracle.track(0, known);
    let lanes = LANES.map(|lane| network.register(lane.channel, lane.quota()));
    let open = Box::new(move || network.start());
    Ok(Links::new(lanes, directory, oracle, Some(open)))
}
