//! Freshness receipts for devices (spec/freshness.md, "Couriers"). This server carries their nonces to the validators: all that have come
//! while the last question ran go with the next one, under one root. A fleet that starts at once costs a question a second, and each
//! device a place.
//!
//! - One question at a time, which ends ([`App::ask`](crate::App::ask)). Whoever waits is answered then, with a receipt or without.
//! - A device has one place: a further nonce of its own takes that of its last one. It may ask so often ([`Known::fresh`]), and there are
//!   so many places.
//! - What the node answers is checked here, too: one that shows an older state than the validators have does not speak for the ledger,
//!   and then this server does not either. Devices check it all themselves.

use super::{
    Door, count,
    fleet::Known,
    serve::{Said, UNAVAILABLE_SECS, refuse},
    view::Seen,
};
use crate::{app::Error, share::secs};
use bytes::Bytes;
use kusabi_api::verify::VerifyError;
use kusabi_core::{
    freshness::{Batch, FreshnessError},
    id::{Handle, Nonce},
    protocol::{
        Steps,
        reply::{Answer, Reply, SealedProblem},
    },
    server::Incoming,
};
use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, oneshot, watch};

/// What is answered with one question.
pub(super) struct Vouched {
    receipt: Bytes,
    asked: Batch,
    /// The ledger as it is, as high as the receipt says.
    seen: Arc<Seen>,
}

/// A device's part of it: its place among the nonces.
pub(super) type Carried = (Arc<Vouched>, u32);

/// What a device waits for; closed when there is none.
pub(super) type Awaited = oneshot::Receiver<Carried>;

type Waiting = HashMap<Handle, (Nonce, oneshot::Sender<Carried>)>;

/// The nonces that wait; none once the door is closed.
pub(super) struct Courier {
    waiting: Mutex<Option<Waiting>>,
    come: Notify,
    places: usize,
}

impl Courier {
    pub(super) fn new(places: usize) -> Self {
        Self {
            waiting: Mutex::new(Some(Waiting::new())),
            come: Notify::new(),
            places,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        // Nothing panics between two halves of a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a nonce of the device with this key along. `None`: there is no place.
    pub(super) fn take(&self, handle: Handle, nonce: Nonce) -> Option<Awaited> {
        let (answer, awaited) = oneshot::channel();
        let mut waiting = self.waiting();
        let waiting = waiting.as_mut()?;
        if waiting.len() >= self.places && !waiting.contains_key(&handle) {
            return None;
        }
        waiting.insert(handle, (nonce, answer));
        self.come.notify_one();
        Some(awaited)
    }

    /// All that have come.
    fn all(&self) -> Waiting {
        self.waiting().as_mut().map(mem::take).unwrap_or_default()
    }
}

/// Carries nonces until the door is closed.
pub(super) async fn carry(door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = door.courier.come.notified() => {}
        }
        let (nonces, answers): (Vec<_>, Vec<_>) = door.courier.all().into_values().unzip();
        let Some(asked) = Batch::new(&nonces) else {
            continue;
        };
        let vouched = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            vouched = ask(&door, asked) => vouched,
        };
        match vouched {
            Ok(vouched) => {
                let vouched = Arc::new(vouched);
                for (place, answer) in (0..).zip(answers) {
                    // It may wait no more.
                    let _ = answer.send((Arc::clone(&vouched), place));
                }
            }
            Err(why) => {
                let waiting = answers.len();
                tracing::warn!(%why, waiting, "the ledger gives devices no freshness receipt");
            }
        }
    }
    *door.courier.waiting() = None;
}

async fn ask(door: &Door, asked: Batch) -> Result<Vouched, Error> {
    count(&door.counts.receipt_questions);
    let root = Nonce::new(asked.root().to_bytes());
    let (receipt, vouched, _) = door
        .app
        .ask(door.app.ledger.fresh_receipt(root))
        .await
        .inspect_err(|why| {
            let shows_the_past = VerifyError::Freshness(FreshnessError::Old);
            if matches!(why, Error::Ledger(why) if *why == shows_the_past) {
                door.view.fall_behind();
            }
        })?;
    let seen = match door.view.seen() {
        Some(seen) if (seen.epoch, seen.height) >= (vouched.epoch(), vouched.height()) => seen,
        _ => door.view.look(&door.app, &door.key.handle).await?,
    };
    // Between receipt and proof an epoch has turned: devices are on one side of that.
    if seen.epoch != vouched.epoch() {
        return Err(Error::Behind);
    }
    Ok(Vouched {
        receipt,
        asked,
        seen,
    })
}

impl Door {
    /// Takes a device's nonce along.
    pub(super) fn take_nonce(
        &self,
        incoming: &Incoming,
        known: &Known,
        nonce: Nonce,
    ) -> Result<Awaited, NoPlace> {
        known.fresh.take().map_err(NoPlace::TooOften)?;
        let awaited = self.courier.take(*incoming.handle(), nonce);
        awaited.ok_or(NoPlace::Full)
    }

    /// Waits for what comes of it, and answers.
    pub(super) async fn carried(&self, incoming: &Incoming, awaited: Awaited) -> Vec<u8> {
        let Ok((vouched, place)) = awaited.await else {
            return self.answered(incoming, &without_steps(NONE));
        };
        count(&self.counts.receipts);
        let branch = vouched.asked.branch(place);
        let answer = Answer::Fresh {
            receipt: &vouched.receipt,
            branch: &branch,
            proof: &vouched.seen.ps_proof,
        };
        self.answered(incoming, &without_steps(answer))
    }
}

/// Why a nonce is not taken along.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoPlace {
    /// The device's share is used up; after so long there is one more.
    TooOften(Duration),
    /// All places are taken, or the door is closing.
    Full,
}

impl From<NoPlace> for Said {
    fn from(why: NoPlace) -> Self {
        match why {
            NoPlace::TooOften(wait) => {
                let wait = u16::try_from(secs(wait)).unwrap_or(u16::MAX);
                refuse(SealedProblem::Unavailable, wait)
            }
            NoPlace::Full => Self::Other(NONE),
        }
    }
}

/// There is no receipt to be had.
const NONE: Answer<'static> = Answer::Pending {
    wait_secs: UNAVAILABLE_SECS,
};

const fn without_steps(answer: Answer<'_>) -> Reply<'_> {
    Reply {
        steps: Steps::NONE,
        answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(number: u8) -> Handle {
        Handle::new([number; 32])
    }

    #[test]
    fn a_device_has_one_place_and_there_are_so_many() {
        let courier = Courier::new(2);
        let nonce = |number| Nonce::new([number; 32]);
        let mut first = courier.take(handle(1), nonce(1)).unwrap();
        let mut second = courier.take(handle(2), nonce(2)).unwrap();
        assert!(courier.take(handle(3), nonce(3)).is_none());
        // Whoever asks again asks in his own place.
        for number in 4..100 {
            assert!(courier.take(handle(1), nonce(number)).is_some());
        }
        assert!(first.try_recv().is_err());
        assert!(matches!(
            second.try_recv(),
            Err(oneshot::error::TryRecvError::Empty)
        ));
        let all = courier.all();
        assert_eq!(all.len(), 2);
        assert_eq!(all[&handle(1)].0, nonce(99));
        assert!(courier.take(handle(3), nonce(3)).is_some());
    }
}
