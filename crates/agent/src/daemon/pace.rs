//! How fast downloads may come.
//!
//! Whoever reads waits until what it has read is due; the connection's window does the rest, so that the sender is slowed and not only the
//! reader. What was not used is not saved up: after a pause of any length no more than a second's worth comes at once.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::updater::PIECE_BYTES;

/// A limit, shared by all downloads of a client.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    begun: Instant,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    meter: Meter,
    is_stopped: bool,
}

/// When what was read is due.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    due: Duration,
}

impl Meter {
    /// Takes bytes that were read at `now`; how long to wait until more may be.
    fn read(&mut self, now: Duration, bytes: u64, bytes_per_s: u64) -> Duration {
        let nanos =
            u128::from(bytes).saturating_mul(1_000_000_000) / u128::from(bytes_per_s.max(1));
        let costs = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let since = now.saturating_sub(Duration::from_secs(1)).max(self.due);
        self.due = since.saturating_add(costs);
        self.due.saturating_sub(now)
    }
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s,
            begun: Instant::now(),
            state: Mutex::default(),
            stopped: Condvar::new(),
        }
    }

    /// How much to read at a time: a tenth of a second's worth.
    pub(super) fn piece(&self) -> usize {
        let tenth = usize::try_from(self.bytes_per_s / 10).unwrap_or(PIECE_BYTES);
        tenth.clamp(1, PIECE_BYTES)
    }

    /// Waits until bytes that were just read are due, or everything is to end.
    pub(super) fn wait(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.begun.elapsed();
        let wait = state.meter.read(now, bytes as u64, self.bytes_per_s);
        if !wait.is_zero() {
            let waits = |state: &mut State| !state.is_stopped;
            drop(self.stopped.wait_timeout_while(state, wait, waits));
        }
    }

    pub(super) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_stopped = true;
        drop(state);
        self.stopped.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_brings_more_than_its_share_and_one_more() {
        let (rate, piece) = (10_000, 1_000);
        let (mut meter, mut now) = (Meter::default(), Duration::from_secs(100));
        let mut read = Vec::new();
        for number in 0..500u64 {
            read.push((now, piece));
            now += meter.read(now, piece, rate);
            if number == 250 {
                now += Duration::from_secs(3600);
            }
        }
        for (at, _) in &read {
            let within =
                |(when, _): &&(Duration, u64)| (*at..*at + Duration::from_secs(10)).contains(when);
            let bytes: u64 = read.iter().filter(within).map(|(_, bytes)| bytes).sum();
            assert!(bytes <= 11 * rate + piece, "{bytes}");
        }
        // Nor much less: 500 pieces are 50 seconds, of which two were given.
        let took = now - Duration::from_secs(3700);
        assert!((47..=50).contains(&took.as_secs()), "{took:?}");
    }

    #[test]
    fn an_end_ends_a_wait() {
        let pace = Pace::new(1024);
        pace.stop();
        // A thousand years at this pace.
        pace.wait(usize::MAX);
    }
}
