//! Thousands of seeds: loss, repetition, delay, flipped bits, power cuts between any two outputs, jumping clocks, servers
//! that forget their sessions or their database, and clones.
//!
//! What must hold is checked after every change of a disk (a working key, see `fleet`) and at the end: the device comes to
//! rest with one active key, and the tripwire speaks if and only if there was a clone. A seed that fails is named; set
//! `KUSABI_SEED` to run it alone, `KUSABI_SEEDS` for another number of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kusabi_core::device::{KeyOrigin, Settings};
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::tripwire::Verdict;
use kusabi_core::suite::Suite;
use kusabi_sim::fleet::{Chaos, Fleet};
use kusabi_sim::random::Random;
use kusabi_sim::server::{Alarm, order};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Runs a test for many seeds on all cores and names the ones that fail.
fn seeds(count: u64, test: impl Fn(u64) + Sync) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    if let Some(seed) = number("KUSABI_SEED") {
        return test(seed);
    }
    let count = number("KUSABI_SEEDS").unwrap_or(count);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let test = &test;
        let runs: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    (first..count)
                        .step_by(threads as usize)
                        .filter(|seed| catch_unwind(AssertUnwindSafe(|| test(*seed))).is_err())
                        .take(3)
                        .collect::<Vec<u64>>()
                })
            })
            .collect();
        runs.into_iter()
            .flat_map(|run| run.join().unwrap())
            .collect()
    });
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

fn settings(rng: &mut Random) -> Settings {
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

fn chaos(rng: &mut Random) -> Chaos {
    // Some of it, so that no fault hides behind another.
    let mut some = |most: u64| if rng.chance(500) { rng.below(most) } else { 0 };
    Chaos {
        lost: some(300),
        doubled: some(300),
        late: some(200),
        flipped: some(100),
        cut: some(100),
        restart: some(100),
        rebuild: some(20),
        jump: some(20),
    }
}

#[test]
fn a_device_always_has_a_working_key_and_is_never_taken_for_a_clone() {
    seeds(1_500, |seed| {
        let mut rng = Random::new(seed ^ 0xc4a0);
        // P-256 costs much more and has the same states.
        let suite = if seed % 200 == 7 {
            Suite::P256
        } else {
            Suite::Curve25519
        };
        let mut fleet = Fleet::new(seed, suite, 1 + (seed % 2) as usize);
        let unit = fleet.provision(settings(&mut rng));
        fleet.chaos = chaos(&mut rng);
        fleet.run_ms(rng.below(10 * MINUTE));
        if rng.chance(500) {
            fleet
                .shop
                .orders
                .insert(0, vec![order(1 + seed, Task::Rotate)]);
        }
        fleet.run_ms(rng.below(30 * MINUTE));

        fleet.chaos = Chaos::default();
        assert!(
            fleet.run_until(24 * HOUR, |fleet| fleet.is_settled(unit)),
            "not at rest: {:?} {:?}",
            fleet.units[unit].device.kept(),
            fleet.events[unit].iter().rev().take(20).collect::<Vec<_>>(),
        );
        let polls = fleet.shop.polls;
        fleet.run_ms(40 * MINUTE);
        assert!(fleet.shop.polls > polls, "at rest, and silent");
        // A rotation that was ordered late waits until the key that it replaces has rested (spec/ledger.md).
        assert!(fleet.run_until(2 * HOUR, |fleet| fleet.is_settled(unit)));
        for alarm in &fleet.shop.alarms {
            assert!(
                alarm.verdict == Verdict::UnknownHead && fleet.rebuilt,
                "a false alarm: {alarm:?}"
            );
        }
    });
}

#[test]
fn a_clone_is_seen_once_both_have_spoken() {
    seeds(1_500, |seed| {
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
        fleet.run_ms(rng.below(40 * MINUTE));
        // Copied at any moment, also while an answer is on its way.
        let calm = rng.chance(500);
        if calm {
            fleet.chaos = Chaos::default();
            fleet.run_until(24 * HOUR, |fleet| fleet.is_settled(unit));
            fleet.run_ms(rng.below(40 * MINUTE));
        }
        assert_eq!(fleet.shop.alarms, []);
        let clone = fleet.clone_of(unit);
        fleet.run_ms(rng.below(40 * MINUTE));
        fleet.chaos = Chaos::default();
        let seen = fleet.run_until(3 * HOUR, |fleet| {
            let fork = |alarm: &Alarm| alarm.verdict == Verdict::Fork;
            fleet.shop.alarms.iter().any(fork)
        });
        assert!(
            seen,
            "a clone was not seen: {:?} {:?} {:?}",
            fleet.shop.alarms, fleet.events[unit], fleet.events[clone],
        );
    });
}
