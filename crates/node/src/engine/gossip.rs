//! Tells the other nodes of transactions that wait here.
//!
//! A client speaks to one node, and whoever leads next has to know what it said. So a node tells all others of each
//! transaction that its own clients brought and that it found good, and again, more and more rarely, while it waits: a message
//! may be lost, or its receiver be full or down. Nobody passes on what others told him; what a node is told it verifies like a
//! client's.
//!
//! A message is one or more transactions, each as its length (u32) and its bytes.

use super::{
    PublicKey, Runtime,
    application::TransactionPool,
    ingest::ToTell,
    network::{Blocks, Receives, Sends, Wire},
};
use crate::{
    handle::Offered,
    pool::{PoolLimits, ReserveError, Source},
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use commonware_codec::DecodeExt as _;
use commonware_macros::select;
use commonware_p2p::{
    Blocker as _, CheckedSender as _, LimitedSender as _, Receiver as _, Recipients,
};
use kusabi_core::tx::{TX_BYTES_MAX, Transaction};
use kusabi_ledger::BLOCK_TXS_MAX;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;

/// The most bytes of a message: the largest transaction fits.
pub(super) const MESSAGE_MAX: usize = 4 + TX_BYTES_MAX;

/// How long after the first telling a transaction that still waits is told again; then twice as long each time.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// A transaction that was told and may have to be told again.
struct Told {
    what: ToTell,
    /// How long after this telling it is due again.
    pause: Duration,
}

/// Runs until `queue` ends.
pub(super) async fn tell<E: Runtime, W: Wire>(
    context: E,
    mut queue: mpsc::UnboundedReceiver<ToTell>,
    mut sender: Sends<W::Sender>,
    pool: Arc<TransactionPool>,
) {
    // By when they are due. What has left the pool meanwhile is dropped then.
    let mut again: BTreeMap<(SystemTime, u64), Told> = BTreeMap::new();
    let mut number = 0;
    loop {
        let mut new = Vec::new();
        let next = again.first_key_value().map(|((due, _), _)| *due);
        let next = next.unwrap_or_else(|| context.current() + AGAIN_MAX);
        select! {
            count = queue.recv_many(&mut new, BLOCK_TXS_MAX) => {
                if count == 0 {
                    return;
                }
            },
            () = context.sleep_until(next) => {},
        }
        let now = context.current();
        let mut telling: Vec<Told> = new
            .into_iter()
            .map(|what| Told { what, pause: AGAIN })
            .collect();
        while let Some(first) = again.first_entry()
            && first.key().0 <= now
        {
            let Told { what, pause } = first.remove();
            if pool.holds(&what.0) {
                let pause = (pause * 2).min(AGAIN_MAX);
                telling.push(Told { what, pause });
            }
        }
        for message in messages(&telling) {
            let checked = loop {
                match sender.check(Recipients::All) {
                    Ok(checked) => break checked,
                    // Nobody may be told more just now.
                    Err(until) => context.sleep_until(until).await,
                }
            };
            // Told again if it is lost.
            let _ = checked.send(message, false);
        }
        for told in telling {
            number += 1;
            again.insert((now + told.pause, number), told);
        }
    }
}

/// Messages of transactions, as few as there can be in this order.
fn messages(telling: &[Told]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let mut message = BytesMut::new();
    let mut count = 0;
    for Told {
        what: (_, told), ..
    } in telling
    {
        let bytes = told.transaction().as_bytes();
        if !message.is_empty()
            && (message.len() + 4 + bytes.len() > MESSAGE_MAX || count == BLOCK_TXS_MAX)
        {
            messages.push(message.split().freeze());
            count = 0;
        }
        count += 1;
        message.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        message.put_slice(bytes);
    }
    if !message.is_empty() {
        messages.push(message.freeze());
    }
    messages
}

/// The share of the pool that one of `nodes` other nodes may fill: together they fill half of it.
pub(super) fn share(pool: PoolLimits, nodes: usize) -> PoolLimits {
    let parts = 2 * nodes.max(1);
    PoolLimits {
        count: (pool.count / parts).max(1),
        bytes: pool.bytes / parts,
    }
}

/// Who told something that no honest node tells.
pub(super) type Liars = mpsc::UnboundedSender<[u8; 32]>;

/// Takes what others tell, until the network or the queue ends; keeps out who lies.
pub(super) async fn hear<W: Wire>(
    mut receiver: Receives<W::Receiver>,
    mut blocker: Blocks<W::Blocker>,
    mut liars: mpsc::UnboundedReceiver<[u8; 32]>,
    ingest: mpsc::UnboundedSender<Offered>,
    pool: Arc<TransactionPool>,
    share: PoolLimits,
) {
    loop {
        let (node, message) = select! {
            liar = liars.recv() => {
                let Some(liar) = liar else {
                    return;
                };
                let Ok(node) = PublicKey::decode(Bytes::copy_from_slice(&liar)) else {
                    continue;
                };
                commonware_p2p::block!(blocker, node, "told of a transaction whose signature is wrong");
                continue;
            },
            heard = receiver.recv() => match heard {
                Ok(heard) => heard,
                Err(_) => return,
            },
        };
        match take_in(&node, message.into(), &ingest, &pool, share) {
            Took::All => {}
            Took::Malformed => {
                commonware_p2p::block!(blocker, node, "a message about transactions is malformed");
            }
            Took::Stopped => return,
        }
        // A message is many transactions, and there may be many messages.
        tokio::task::yield_now().await;
    }
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
enum Took {
    All,
    Malformed,
    Stopped,
}

fn take_in(
    node: &PublicKey,
    mut message: Bytes,
    ingest: &mpsc::UnboundedSender<Offered>,
    pool: &TransactionPool,
    share: PoolLimits,
) -> Took {
    let name: [u8; 32] = node.as_ref().try_into().unwrap_or_default();
    if message.len() > MESSAGE_MAX {
        return Took::Malformed;
    }
    for _ in 0..BLOCK_TXS_MAX {
        if !message.has_remaining() {
            return Took::All;
        }
        let Some(bytes) = take(&mut message) else {
            return Took::Malformed;
        };
        // A later version of the program may know kinds of transactions that this one does not.
        let Ok(transaction) = Transaction::decode(&bytes) else {
            continue;
        };
        let len = transaction.as_bytes().len();
        match pool.reserve_for(name, share, transaction.id(), len) {
            Ok(true) => {
                let source = Source::Node(name);
                let again = false;
                let offered = Offered {
                    transaction,
                    source,
                    again,
                };
                if ingest.send(offered).is_err() {
                    return Took::Stopped;
                }
            }
            // It is here already.
            Ok(false) => {}
            // There is no room for more: its own node keeps it and tells again.
            Err(ReserveError::Full) => return Took::All,
            Err(ReserveError::Stopped) => return Took::Stopped,
        }
    }
    // As many as there may be are no fault; more are.
    if message.has_remaining() {
        Took::Malformed
    } else {
        Took::All
    }
}

/// The next transaction's bytes.
fn take(message: &mut Bytes) -> Option<Bytes> {
    let len = message.try_get_u32().ok()? as usize;
    (len <= TX_BYTES_MAX && len <= message.remaining()).then(|| message.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_as_many_transactions_as_it_may_and_no_more() {
        let key = ed25519_zebra::SigningKey::from([7; 32]);
        let key: [u8; 32] = ed25519_zebra::VerificationKeyBytes::from(&key).into();
        let node = PublicKey::decode(Bytes::copy_from_slice(&key)).unwrap();
        let limits = PoolLimits {
            count: 10,
            bytes: 1_000,
        };
        let pool = TransactionPool::new(limits);
        let (ingest, _queue) = mpsc::unbounded_channel();
        // Each is one byte, which this version cannot read: passed over.
        let message = |count: usize| Bytes::from([0, 0, 0, 1, 9].repeat(count));
        let take = |message| take_in(&node, message, &ingest, &pool, limits);
        assert_eq!(take(message(0)), Took::All);
        assert_eq!(take(message(1)), Took::All);
        assert_eq!(take(message(BLOCK_TXS_MAX)), Took::All);
        assert_eq!(take(message(BLOCK_TXS_MAX + 1)), Took::Malformed);
        assert_eq!(take(message(2).slice(..9)), Took::Malformed);
        assert_eq!(take(Bytes::from(vec![0; MESSAGE_MAX + 1])), Took::Malformed);
    }
}
