//! The life of a device on a network without faults.

use kusabi_core::device::{Event, Input, KeyOrigin, Settings};
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::request::OutcomeCode;
use kusabi_core::suite::{Purpose, Suite};
use kusabi_sim::fleet::Fleet;
use kusabi_sim::server::{Told, order};

const HOUR: u64 = 3_600_000;

#[test]
fn a_device_is_activated_polls_and_rotates() {
    for suite in [Suite::Curve25519, Suite::P256] {
        for origin in [KeyOrigin::Device, KeyOrigin::Server] {
            let mut fleet = Fleet::new(1, suite, 1);
            let unit = fleet.provision(Settings {
                key_origin: origin,
                ..Settings::default()
            });
            let pre = fleet.current(unit);
            assert!(
                fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)),
                "{:?}",
                fleet.events[unit]
            );
            let act = fleet.current(unit);
            let record = fleet.shop.ledger.record(&act).unwrap();
            assert_eq!(
                (record.purpose(), record.predecessor()),
                (Purpose::Act, Some(pre))
            );
            fleet.run_ms(3 * HOUR);
            assert!((5..=8).contains(&fleet.shop.polls), "{}", fleet.shop.polls);

            fleet.shop.orders.insert(0, vec![order(7, Task::Rotate)]);
            fleet.run_ms(2 * HOUR);
            assert!(fleet.is_settled(unit));
            let rotated = fleet.shop.ledger.record(&fleet.current(unit)).unwrap();
            assert_eq!(rotated.predecessor(), Some(act));
            let done = Told {
                order: 7,
                code: OutcomeCode::Done,
            };
            assert_eq!(fleet.shop.outcomes, [done]);
            assert_eq!(fleet.shop.alarms, []);
            let problems = fleet.events[unit]
                .iter()
                .filter(|event| matches!(event, Event::Problem(_) | Event::Unreachable { .. }));
            assert_eq!(problems.count(), 0, "{:?}", fleet.events[unit]);
        }
    }
}

#[test]
fn a_poll_on_demand_comes_at_once() {
    let mut fleet = Fleet::new(2, Suite::Curve25519, 1);
    let unit = fleet.provision(Settings::default());
    fleet.run_ms(60_000);
    let before = fleet.shop.polls;
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(1_000);
    assert_eq!(fleet.shop.polls, before + 1);
}

#[test]
fn a_poll_that_is_not_held_back_is_not_repeated_without_end() {
    let mut fleet = Fleet::new(3, Suite::Curve25519, 1);
    let unit = fleet.provision(Settings {
        hold_secs: 300,
        ..Settings::default()
    });
    assert!(fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
    fleet.run_ms(HOUR);
    let held = fleet.shop.polls;
    assert!((10..=15).contains(&held), "{held}");

    // The key has to rest before it is replaced, and the server names the order in each answer meanwhile: at once.
    fleet.shop.orders.insert(0, vec![order(7, Task::Rotate)]);
    assert!(fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)
        && !fleet.shop.outcomes.is_empty()));
    fleet.shop.outcomes.clear();
    fleet.shop.orders.insert(0, vec![order(8, Task::Rotate)]);
    let before = fleet.shop.polls;
    fleet.run_ms(30 * 60_000);
    let asked = fleet.shop.polls - before;
    assert!(
        (100..=200).contains(&asked),
        "{asked} polls in half an hour"
    );
    // When the order is new, or the answer was held back, the next poll comes at once.
    fleet.run_ms(HOUR);
    assert_eq!(fleet.shop.outcomes.len(), 1);
    let before = fleet.shop.polls;
    fleet.run_ms(HOUR);
    let held = fleet.shop.polls - before;
    assert!((10..=14).contains(&held), "{held} polls in an hour");
}
