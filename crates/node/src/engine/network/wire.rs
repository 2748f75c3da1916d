//! The real network: connections over TCP that both ends authenticate with their node keys and encrypt.

use super::{LANES, Links, Wire, message_max};
use crate::engine::{EngineError, PublicKey, epochs::Epochs};
use commonware_cryptography::{ChaCha20Poly1305, ed25519::PrivateKey};
use commonware_p2p::{
    Address, AddressableManager as _, Ingress,
    authenticated::lookup::{self, Network},
};
use commonware_runtime::{Handle, Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{Hostname, NZU32, NZUsize, ordered::Map};
use kusabi_core::{id::ChainId, set::VALIDATORS_MAX};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

/// Says what the connections are for; the chain follows, so that nodes of two ledgers cannot be joined.
const NAMESPACE: &[u8] = b"kusabi.nodes.v1";
/// How far apart the clocks of two nodes may be, so that they still connect: a block may be as far ahead of its parent.
const SKEW: Duration = Duration::from_secs(3600);
/// How long a node is kept out that broke the rules.
const BLOCKED: Duration = Duration::from_secs(600);
/// Followers that may be connected beside the validators.
const FOLLOWERS_MAX: usize = 48;
const MAILBOX: NonZeroUsize = NZUsize!(1024);

/// The network over TCP.
pub(in super::super) struct Tcp;

impl Wire for Tcp {
    type Sender = lookup::Sender<PublicKey, Context>;
    type Receiver = lookup::Receiver<PublicKey>;
    type Directory = lookup::Oracle<PublicKey>;
    type Blocker = lookup::Oracle<PublicKey>;
}

/// Where a node is reached.
///
/// # Errors
/// [`EngineError::Address`]
fn address(said: &str) -> Result<Address, EngineError> {
    let wrong = || EngineError::Address(said.to_owned());
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

/// Opens the network of the node with this key: it listens, and connects to the others and to those that it learns of.
pub(in super::super) fn connect(
    context: &Context,
    chain: &ChainId,
    epochs: &Epochs,
    key: PrivateKey,
    listen: SocketAddr,
    peers: &[(PublicKey, String)],
) -> Result<(Links<Tcp>, Handle<()>), EngineError> {
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
        max_peers_per_set: NZUsize!(VALIDATORS_MAX + FOLLOWERS_MAX),
        mailbox_size: MAILBOX,
        send_batch_size: NZUsize!(8),
        handshake_timeout: Duration::from_secs(5),
        dial_timeout: Duration::from_secs(15),
        peer_connection_cooldown: Duration::from_secs(1),
        max_concurrent_handshakes: NZU32!(64),
        allowed_handshake_rate_per_ip: Quota::per_second(NZU32!(16)),
        allowed_handshake_rate_per_subnet: Quota::per_second(NZU32!(64)),
        ping_frequency: Duration::from_secs(5),
        dial_frequency: Duration::from_millis(500),
        tracked_peer_sets: NZUsize!(4),
        block_duration: BLOCKED,
    };
    let (mut network, mut oracle) = Network::new(context.child("network"), config);
    let known = peers
        .iter()
        .map(|(key, said)| Ok((key.clone(), address(said)?)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let known = Map::from_iter_dedup(known);
    // Told before anything is sent; a refusal means that the network has ended, and then this does, too.
    let _ = oracle.track(0, known);
    let lanes = LANES.map(|lane| network.register(lane.channel, lane.quota()));
    Ok((Links::new(lanes, oracle.clone(), oracle), network.start()))
}
