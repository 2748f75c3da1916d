//! Ten thousand seeds: loss, repetition, delay, flipped bits, power cuts between any two outputs, full disks on both sides,
//! clocks that jump or begin anew, one server or two, which forget their sessions or their database, and clones.
//!
//! What must hold is checked after every change of a disk (a working key, see `fleet`) and at the end: the device comes to
//! rest with one active key, and the tripwire speaks if and only if there was a clone. A seed that fails is named; set
//! `KUSABI_SEED` to run it alone, `KUSABI_SEEDS` for another number of them.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use kusabi_core::device::{KeyOrigin, Settings};
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::tripwire::Verdict;
use kusabi_core::suite::Suite;
use kusabi_sim::fleet::{Chaos, Faults, Fleet};
use kusabi_sim::random::Random;
use kusabi_sim::server::{Alarm, order};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Seeds of each test.
const SEEDS: u64 = 10_000;

/// What seeds have met.
#[derive(Default)]
pub(crate) struct Met {
    seeds: u64,
    requests: u64,
    handshakes: u64,
    /// Keys that took the place of another.
    pub(crate) successions: u64,
    faults: Faults,
}

impl Met {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        Self {
            seeds: 1,
            requests: fleet.requests,
            handshakes: fleet.shop.handshakes,
            successions: fleet.shop.successions,
            faults: fleet.faults,
        }
    }

    fn add(&mut self, other: &Self) {
        let (sum, faults) = (&mut self.faults, other.faults);
        for (to, from) in [
            (&mut self.seeds, other.seeds),
            (&mut self.requests, other.requests),
            (&mut self.handshakes, other.handshakes),
            (&mut self.successions, other.successions),
            (&mut sum.lost, faults.lost),
            (&mut sum.doubled, faults.doubled),
            (&mut sum.late, faults.late),
            (&mut sum.flipped, faults.flipped),
            (&mut sum.cuts, faults.cuts),
            (&mut sum.full, faults.full),
            (&mut sum.jumps, faults.jumps),
            (&mut sum.restarts, faults.restarts),
            (&mut sum.rebuilds, faults.rebuilds),
            (&mut sum.jammed, faults.jammed),
        ] {
            *to += from;
        }
    }
}

/// Runs a test for many seeds on all cores, names the ones that fail, and says what all of them met.
pub(crate) fn seeds(name: &str, test: impl Fn(u64) -> Met + Sync) -> Met {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let only: Option<u64> = number("KUSABI_SEED");
    let (first, end) = match only {
        Some(seed) => (seed, seed + 1),
        None => (0, number("KUSABI_SEEDS").unwrap_or(SEEDS)),
    };
    // One after the other, so that a core that others use does not leave its seeds for the end.
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Met::default();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let run = || {
            let (mut met, mut failed) = (Met::default(), Vec::new());
            while failed.len() < 3 {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    break;
                }
                match catch_unwind(AssertUnwindSafe(|| test(seed))) {
                    Ok(one) => met.add(&one),
                    Err(_) => failed.push(seed),
                }
            }
            (met, failed)
        };
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for run in runs {
            let (met, seeds) = run.join().unwrap();
            all.add(&met);
            failed.extend(seeds);
        }
    });
    // Past the harness, which shows what a test prints only when it fails.
    let said = format!(
        "{name}: {} seeds held, with {} requests, {} handshakes, {} keys replaced; {:?}\n",
        all.seeds, all.requests, all.handshakes, all.successions, all.faults
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    if only.is_none() && all.seeds >= 1_000 {
        let Faults {
            lost,
            doubled,
            late,
            flipped,
            cuts,
            full,
            jumps,
            restarts,
            jammed,
            // Not everywhere.
            rebuilds: _,
        } = all.faults;
        let met = [
            lost, doubled, late, flipped, cuts, full, jumps, restarts, jammed,
        ];
        assert!(
            met.iter().all(|times| *times >= all.seeds / 20),
            "a fault hardly ever happened"
        );
    }
    all
}

pub(crate) fn settings(rng: &mut Random) -> Settings {
    Settings {
        key_origin: if rng.chance(300) {
            KeyOrigin::Server
        } else {
            KeyOrigin::Device
        },
        hold_secs: if rng.chance(200) { 300 } else { 0 },
        session_secs: [60, 3600, 7200][rng.below(3) as usize],
        ..Settings::default()
    }
}

pub(crate) fn chaos(rng: &mut Random) -> Chaos {
    // Some of it, so that no fault hides behind another.
    let mut some = |most: u64| if rng.chance(500) { rng.below(most) } else { 0 };
    Chaos {
        lost: some(300),
        doubled: some(300),
        late: some(200),
        flipped: some(100),
        cut: some(100),
        full: some(30),
        jump: some(20),
        restart: some(100),
        rebuild: some(20),
        jam: some(20),
    }
}

#[test]
fn a_device_always_has_a_working_key_and_is_never_taken_for_a_clone() {
    let all = seeds("faults", |seed| {
        let mut rng = Random::new(seed ^ 0xc4a0);
        // P-256 costs much more and has the same states.
        let suite = if seed % 200 == 7 {
            Suite::P256
        } else {
            Suite::Curve25519
        };
        let mut fleet = Fleet::new(seed, suite, 1 + (seed % 2) as usize);
        if rng.chance(700) {
            // A busy ledger: a key has rested after a minute, so that it is replaced while everything goes wrong.
            fleet.block_ms = 1_000;
            fleet.shop.poll_secs = 120;
        }
        let rotate = order(1 + seed, Task::Rotate);
        let unit = fleet.provision(settings(&mut rng));
        fleet.chaos = chaos(&mut rng);
        fleet.run_ms(rng.below(5 * MINUTE));
        if rng.chance(700) {
            fleet.shop.orders.insert(0, vec![rotate]);
        }
        fleet.run_ms(rng.below(10 * MINUTE));
        let met = fleet.shop.successions;

        fleet.chaos = Chaos::default();
        assert!(
            fleet.run_until(24 * HOUR, |fleet| fleet.is_settled(unit)),
            "not at rest: {:?} {:?}",
            fleet.units[unit].device.kept(),
            fleet.events[unit].iter().rev().take(20).collect::<Vec<_>>(),
        );
        let polls = fleet.shop.polls;
        fleet.run_ms(fleet.standstill_ms(unit));
        assert!(
            fleet.run_until(40 * MINUTE, |fleet| fleet.shop.polls > polls),
            "at rest, and silent"
        );
        // A rotation that was ordered late waits until the key that it replaces has rested (spec/ledger.md).
        assert!(fleet.run_until(2 * HOUR, |fleet| fleet.is_settled(unit)));
        assert_eq!(fleet.shop.alarms, [], "false alarms");
        Met {
            successions: met,
            ..Met::of(&fleet)
        }
    });
    if all.seeds >= 1_000 {
        assert!(all.faults.rebuilds > 0, "no database was lost");
        assert!(
            all.successions > all.seeds,
            "hardly a key was replaced while something went wrong"
        );
    }
}

#[test]
fn a_clone_is_seen_once_both_have_spoken() {
    seeds("clones", |seed| {
        let mut rng = Random::new(seed ^ 0xc107e);
        let mut fleet = Fleet::new(seed, Suite::Curve25519, 1 + (seed % 2) as usize);
        let unit = fleet.provision(Settings {
            // A held poll keeps a session; the tripwire is about sessions.
            hold_secs: 0,
            ..settings(&mut rng)
        });
        fleet.chaos = Chaos {
            rebuild: 0,
            ..chaos(&mut rng)
        };
        fleet.run_ms(rng.below(20 * MINUTE));
        // Copied at any moment, also while an answer is on its way.
        let calm = rng.chance(500);
        if calm {
            fleet.chaos = Chaos::default();
            fleet.run_until(24 * HOUR, |fleet| fleet.is_settled(unit));
            fleet.run_ms(rng.below(40 * MINUTE));
        }
        assert_eq!(fleet.shop.alarms, []);
        let clone = fleet.clone_of(unit);
        fleet.run_ms(rng.below(20 * MINUTE));
        fleet.chaos = Chaos::default();
        let standstill = [unit, clone].map(|unit| fleet.standstill_ms(unit));
        let seen = fleet.run_until(standstill[0] + standstill[1] + 3 * HOUR, |fleet| {
            let fork = |alarm: &Alarm| alarm.verdict == Verdict::Fork;
            fleet.shop.alarms.iter().any(fork)
        });
        assert!(
            seen,
            "a clone was not seen: {:?} {:?} {:?}",
            fleet.shop.alarms, fleet.events[unit], fleet.events[clone],
        );
        Met::of(&fleet)
    });
}
