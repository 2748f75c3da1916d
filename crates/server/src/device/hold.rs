//! Orders on their way to devices, and polls that wait for one.

use super::{
    Door,
    fleet::Known,
    follow::is_gone,
    journal::{Job, Said as Written, Unwritten},
    problem,
    serve::{Said, UNAVAILABLE_SECS, refuse},
};
use crate::store::doorstep;
use arrayvec::ArrayVec;
use kusabi_core::{
    id::SessionId,
    protocol::{
        Floor, Steps,
        frame::Problem,
        reply::{ORDERS_MAX, Order, SealedProblem, Window},
    },
    receipt::Receipt,
    server::Incoming,
};
use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Most open orders of a device that are looked at.
const OPEN_MAX: u16 = 64;

/// Seconds that a device waits when no more polls can be held back.
const FULL_SECS: u16 = 60;

impl Door {
    /// Whether there is surely no order for a device that it does not have: nothing new since it was looked for, and no order that
    /// somebody was told is given and whose devices have not been told.
    pub(super) fn is_quiet(&self, known: &Known) -> bool {
        known.is_quiet() && self.orders.load(SeqCst) >= self.app.newest_order()
    }

    /// The orders that a device is to have now: the oldest that it has not answered and was not given in this session, as many as the
    /// protocol lets it owe.
    pub(super) async fn waiting(
        &self,
        session: &SessionId,
        known: &Known,
    ) -> Result<ArrayVec<Order, ORDERS_MAX>, Unwritten> {
        if self.is_quiet(known) {
            return Ok(ArrayVec::new());
        }
        let news = known.news();
        let found = async {
            let mut reader = self.app.store.read("look for a device's orders").await?;
            doorstep::open_orders(reader.on(), &known.device, OPEN_MAX).await
        };
        let open = found.await.map_err(|why| {
            tracing::error!(%why, "a device's orders cannot be looked for");
            Unwritten
        })?;
        let unanswered = !open.is_empty();
        let more = open.len() == usize::from(OPEN_MAX);
        let open = open
            .into_iter()
            .filter_map(|one| Some((one.order()?, one.sent)));
        let (owed, fresh): (Vec<_>, Vec<_>) =
            open.partition(|(order, _)| known.has(session, order.id));
        let mut window = Window::default();
        owed.iter().for_each(|(order, _)| {
            window.takes(&order.task);
        });
        let count = fresh.len();
        let given: ArrayVec<_, ORDERS_MAX> = fresh
            .into_iter()
            .filter(|(order, _)| window.takes(&order.task))
            .collect();
        let sent: Vec<u64> = given
            .iter()
            .filter(|(_, sent)| !sent)
            .map(|(order, _)| order.id)
            .collect();
        let mut given = given;
        if !sent.is_empty() {
            let device = Arc::clone(&known.device);
            let orders = sent;
            let job = Job::Sent { device, orders };
            if let Written::Sent(out) = self.journal.write(job).await? {
                // What was taken back since it was read does not go out. (Another process may have noted it first; then it is this
                // device's all the same, with its next poll.)
                given.retain(|(order, sent)| *sent || out.contains(&order.id));
            }
        }
        // Only now: what could not be noted is given with the next poll.
        if given.len() == count && !more {
            known.hush(news, unanswered);
        }
        let all = owed.iter().chain(&given).map(|(order, _)| order.id);
        known.give(session, all.collect());
        Ok(given.into_iter().map(|(order, _)| order).collect())
    }

    /// Holds a poll back until there is an order, at most for so many seconds.
    pub(super) async fn hold(&self, incoming: &Incoming, floor: Floor, held: Held) -> Vec<u8> {
        let Held { secs, receipt } = held;
        let held = match self.held.try_acquire() {
            Ok(held) => held,
            Err(_) => {
                // What was heard is not to be told again and again because nothing more can be held back.
                let said = match receipt {
                    Some(receipt) => Said::Orders(ArrayVec::new(), Some(receipt)),
                    None => refuse(SealedProblem::Unavailable, FULL_SECS),
                };
                return self.finish(incoming, floor, &said);
            }
        };
        self.counts.held.fetch_add(1, Relaxed);
        let said = self.wait(incoming, secs, receipt).await;
        self.counts.held.fetch_sub(1, Relaxed);
        drop(held);
        match said {
            Some(said) => self.finish(incoming, floor, &said),
            None => {
                self.table().sessions.end(incoming.handle());
                problem(Problem::UnknownSession, 0)
            }
        }
    }

    /// `None`: the key was revoked meanwhile, or is another organisation's.
    async fn wait(&self, incoming: &Incoming, secs: u16, receipt: Option<Receipt>) -> Option<Said> {
        let empty = Some(Said::Orders(ArrayVec::new(), receipt));
        let Some(known) = self.fleet.find(incoming.handle()) else {
            return empty;
        };
        let until = Instant::now() + Duration::from_secs(secs.into());
        // A device that polls anew has given up the poll before.
        let turn = known.turn.fetch_add(1, SeqCst) + 1;
        known.wake.notify_waiters();
        let mut stops = self.stops();
        loop {
            let woken = known.wake.notified();
            tokio::pin!(woken);
            // From here on nothing is missed.
            woken.as_mut().enable();
            if known.turn.load(SeqCst) != turn {
                return empty;
            }
            match Box::pin(self.look(incoming, &known)).await {
                Look::Gone => return None,
                Look::Orders(orders) => return Some(Said::Orders(orders, receipt)),
                Look::Refuse(problem, secs) => return Some(refuse(problem, secs)),
                Look::Nothing => {}
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(until) => return empty,
                _ = stops.wait_for(|stop| *stop) => return empty,
            }
        }
    }

    async fn look(&self, incoming: &Incoming, known: &Known) -> Look {
        match self.view.record(&self.app, incoming.handle()).await {
            Ok(record) if record.is_none_or(|record| is_gone(&record, &self.app.org())) => {
                return Look::Gone;
            }
            Ok(record) if record.is_none_or(|record| !record.is_active()) => {
                return Look::Refuse(SealedProblem::Rejected, 1);
            }
            // As long as the ledger does not answer, nothing is handed out.
            Err(_) => return Look::Nothing,
            Ok(_) => {}
        }
        match self.waiting(incoming.session(), known).await {
            Ok(orders) if orders.is_empty() => Look::Nothing,
            Ok(orders) => Look::Orders(orders),
            Err(Unwritten) => Look::Refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS),
        }
    }

    fn finish(&self, incoming: &Incoming, floor: Floor, said: &Said) -> Vec<u8> {
        match self.view.seen() {
            Some(seen) => self.seal(incoming, &seen, floor, said, Steps::NONE),
            None => problem(Problem::Behind, 30),
        }
    }
}

/// A poll that may be held back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// For so many seconds.
    pub(super) secs: u16,
    /// What its answer is to carry for the outcomes that it told.
    pub(super) receipt: Option<Receipt>,
}

/// What a held poll finds when it looks.
enum Look {
    Nothing,
    Orders(ArrayVec<Order, ORDERS_MAX>),
    Refuse(SealedProblem, u16),
    Gone,
}
