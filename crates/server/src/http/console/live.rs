//! `GET /live`: what changed, as server-sent events, for pages that follow the fleet.

use super::visitor::{Looks, session};
use crate::{
    app::Change,
    http::{
        AppState, Shared,
        answer::{Answer, bytes},
        extract::Viewer,
    },
    share::is_room,
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::HeaderMap,
};
use futures_util::{Stream, StreamExt as _, stream};
use kusabi_api::{Kind, Problem};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{
        broadcast,
        broadcast::error::{RecvError, TryRecvError},
    },
    time::{Instant, Interval, MissedTickBehavior},
};

/// Places for pages that follow; what each account gets of them is the rule of [`is_room`].
const PLACES: u64 = 512;

/// How often the session is looked at again, and a sign of life sent: proxies cut silent connections after a minute.
const BEAT: Duration = Duration::from_secs(20);

/// For how long changes are gathered before a page is told.
const TOGETHER: Duration = Duration::from_millis(250);

/// Most things that are named at once.
const NAMED_MAX: usize = 64;

/// How long a browser waits before it follows again.
const AGAIN_MS: u32 = 3000;

/// How many pages of each account follow now.
#[derive(Debug, Default)]
pub(in crate::http) struct Followers(Mutex<HashMap<String, u64>>);

/// The place of one page.
struct Place {
    followers: Arc<Followers>,
    account: String,
}

impl Followers {
    fn accounts(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // Nothing panics between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, account: &str) -> Option<Place> {
        let mut accounts = self.accounts();
        let own = accounts.get(account).copied().unwrap_or_default();
        if !is_room(PLACES, accounts.values().sum(), own) {
            return None;
        }
        accounts.insert(account.to_owned(), own + 1);
        Some(Place {
            followers: Arc::clone(self),
            account: account.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.followers.accounts();
        if let Some(own) = accounts.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

/// A page that follows.
struct Follower {
    shared: Arc<Shared>,
    headers: HeaderMap,
    changes: broadcast::Receiver<Change>,
    beat: Interval,
    _place: Place,
}

pub(super) async fn follow(
    State(shared): AppState,
    looks: Looks<Viewer>,
    headers: HeaderMap,
) -> Answer {
    let place = shared.followers.place(looks.session.caller.id());
    let place = place.ok_or_else(|| {
        let detail = "too many pages of this account, or of all together, follow already; \
                      this one shows what was when it was loaded";
        Problem::new(Kind::TooManyRequests, detail)
    })?;
    let mut beat = tokio::time::interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower {
        changes: shared.app.live(),
        shared,
        headers,
        beat,
        _place: place,
    };
    let mut response = bytes("text/event-stream", Body::from_stream(events(follower)));
    // For proxies that would keep the stream back until it ends.
    response.headers_mut().insert(
        "x-accel-buffering",
        axum::http::HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// The stream: it ends when the session does, or the server.
fn events(follower: Follower) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let hello = Bytes::from(format!("retry: {AGAIN_MS}\n\n"));
    let rest = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    stream::once(async { Ok(hello) }).chain(rest)
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        let mut told = Told::default();
        tokio::select! {
            change = self.changes.recv() => told.take(change)?,
            _ = self.beat.tick() => {}
        }
        if !told.is_empty() {
            // A busy fleet changes thousands of times in a second: a page hears of them together.
            tokio::time::sleep(TOGETHER).await;
            loop {
                match self.changes.try_recv() {
                    Ok(change) => told.add(change),
                    Err(TryRecvError::Lagged(_)) => told.many = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
        }
        session(&self.shared, &self.headers).await.ok()?;
        Some(told.event())
    }
}

/// What a page is told at once.
#[derive(Debug, Default, Serialize)]
struct Told {
    devices: BTreeSet<String>,
    alarms: BTreeSet<u64>,
    orders: BTreeSet<u64>,
    rollouts: BTreeSet<u64>,
    /// There is more than is named.
    many: bool,
}

impl Told {
    fn is_empty(&self) -> bool {
        !self.many
            && self.devices.is_empty()
            && self.alarms.is_empty()
            && self.orders.is_empty()
            && self.rollouts.is_empty()
    }

    /// `None`: the server ends.
    fn take(&mut self, change: Result<Change, RecvError>) -> Option<()> {
        match change {
            Ok(change) => self.add(change),
            Err(RecvError::Lagged(_)) => self.many = true,
            Err(RecvError::Closed) => return None,
        }
        Some(())
    }

    fn add(&mut self, change: Change) {
        if self.devices.len() + self.alarms.len() + self.orders.len() + self.rollouts.len()
            >= NAMED_MAX
        {
            self.many = true;
            return;
        }
        match change {
            Change::Device(id) => self.devices.insert(id),
            Change::Alarm(id) => self.alarms.insert(id),
            Change::Order(id) => self.orders.insert(id),
            Change::Rollout(id) => self.rollouts.insert(id),
        };
    }

    /// An event of the stream, or a comment as a sign of life.
    fn event(&self) -> Bytes {
        match serde_json::to_string(self) {
            Ok(data) if !self.is_empty() => Bytes::from(format!("event: change\ndata: {data}\n\n")),
            _ => Bytes::from_static(b":\n\n"),
        }
    }
}
