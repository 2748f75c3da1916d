//! The lines between namespaces: every packet passes here, and is late, lost or held back as a test says, the same for the same
//! seed as far as the processes send the same.
//!
//! It stands where `tc netem` would, which many kernels do not have; TUN devices all have.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::middle::Chance;

/// Packets on their way in one direction of a line; a further one is dropped, as a router does.
const UNDER_WAY_MAX: usize = 2_000;

/// How often it is looked whether the test is over.
const LOOK: Duration = Duration::from_millis(50);

/// A line in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) delay: Duration,
    /// Each packet takes up to so much longer; none overtakes another.
    pub(crate) jitter: Duration,
    /// Of a thousand packets so many are lost.
    pub(crate) loss: usize,
    /// Nothing passes.
    pub(crate) cut: bool,
}

struct State {
    /// From, to.
    lines: Vec<Vec<Line>>,
    chance: Chance,
    carried: usize,
    lost: usize,
    cut: usize,
}

/// A network of lines, each end with an address; gone with its value.
pub(crate) struct Lines {
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Lines {
    /// Joins these ends; every line is whole at first.
    pub(crate) fn join(ends: Vec<(Ipv4Addr, File)>, seed: u64) -> Self {
        let count = ends.len();
        let state = Arc::new(Mutex::new(State {
            lines: vec![vec![Line::default(); count]; count],
            chance: Chance::new(seed),
            carried: 0,
            lost: 0,
            cut: 0,
        }));
        let over = Arc::new(AtomicBool::new(false));
        let (carried, until) = (state.clone(), over.clone());
        let carrier = std::thread::spawn(move || {
            let mut carrier = Carrier::new(ends, carried);
            while !until.load(Ordering::Relaxed) {
                carrier.turn();
            }
        });
        Self {
            state,
            over,
            carrier: Some(carrier),
        }
    }

    /// Makes each line from one of `from` to one of `to` like this one.
    pub(crate) fn set(&self, from: &[usize], to: &[usize], line: Line) {
        let mut state = lock(&self.state);
        for &from in from {
            for &to in to {
                state.lines[from][to] = line;
            }
        }
    }

    /// Nothing passes between these two groups any more, in either direction.
    pub(crate) fn part(&self, one: &[usize], other: &[usize]) {
        let cut = Line {
            cut: true,
            ..Line::default()
        };
        self.set(one, other, cut);
        self.set(other, one, cut);
    }

    /// How many packets were carried, lost, and held back where a line was cut.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let state = lock(&self.state);
        [state.carried, state.lost, state.cut]
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            // What it panicked with was printed.
            let _ = carrier.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who carries the packets.
struct Carrier {
    addresses: Vec<Ipv4Addr>,
    files: Vec<File>,
    state: Arc<Mutex<State>>,
    /// By the time at which they arrive, and in the order in which they were sent; to which end.
    under_way: BTreeMap<(Instant, u64), (usize, usize, Vec<u8>)>,
    sent: u64,
    /// From, to: how many are under way, and when the last one arrives.
    queues: Vec<Vec<(usize, Instant)>>,
    buffer: Vec<u8>,
}

impl Carrier {
    fn new(ends: Vec<(Ipv4Addr, File)>, state: Arc<Mutex<State>>) -> Self {
        let count = ends.len();
        let (addresses, files) = ends.into_iter().unzip();
        Self {
            addresses,
            files,
            state,
            under_way: BTreeMap::new(),
            sent: 0,
            queues: vec![vec![(0, Instant::now()); count]; count],
            buffer: vec![0; 1 << 16],
        }
    }

    /// Hands over what has arrived, and takes what was sent; waits where there is neither.
    fn turn(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.under_way.first_entry()
            && first.key().0 <= now
        {
            let (from, to, packet) = first.remove();
            self.queues[from][to].0 -= 1;
            // What the other end has no room for is lost.
            let _ = (&self.files[to]).write(&packet);
        }
        let next = self.under_way.first_key_value();
        let wait = next.map_or(LOOK, |((due, _), _)| due.duration_since(now).min(LOOK));
        let wait = Timespec::try_from(wait).unwrap();
        let mut ends: Vec<_> = self
            .files
            .iter()
            .map(|file| PollFd::new(file, PollFlags::IN))
            .collect();
        poll(&mut ends, Some(&wait)).unwrap();
        let speak: Vec<_> = (0..ends.len())
            .filter(|end| !ends[*end].revents().is_empty())
            .collect();
        for from in speak {
            self.take(from);
        }
    }

    /// Takes what one end has sent, and decides what becomes of it.
    fn take(&mut self, from: usize) {
        while let Ok(length) = (&self.files[from]).read(&mut self.buffer) {
            let packet = &self.buffer[..length];
            let to = destination(packet)
                .and_then(|to| self.addresses.iter().position(|known| *known == to));
            let Some(to) = to else { continue };
            let Some(takes) = fate(&mut lock(&self.state), from, to) else {
                continue;
            };
            let (count, last) = &mut self.queues[from][to];
            if *count >= UNDER_WAY_MAX {
                continue;
            }
            *count += 1;
            *last = (Instant::now() + takes).max(*last);
            self.sent += 1;
            let packet = packet.to_vec();
            self.under_way
                .insert((*last, self.sent), (from, to, packet));
        }
    }
}

/// How long a packet is under way, if it arrives.
fn fate(state: &mut State, from: usize, to: usize) -> Option<Duration> {
    let line = state.lines[from][to];
    if line.cut {
        state.cut += 1;
        return None;
    }
    if line.loss > 0 && state.chance.below(1_000) < line.loss {
        state.lost += 1;
        return None;
    }
    state.carried += 1;
    let jitter_us = usize::try_from(line.jitter.as_micros()).unwrap();
    let more_us = match jitter_us {
        0 => 0,
        most => state.chance.below(most),
    };
    Some(line.delay + Duration::from_micros(more_us as u64))
}

/// The destination of an IPv4 packet.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (packet[0] >> 4 == 4).then(|| to.into())
}
