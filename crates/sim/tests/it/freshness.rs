//! Freshness receipts: the ledger's, in each of its epochs; and who hides the present from a device, each in his way.

use crate::roles::{end_role, publish, settled};
use kusabi_core::{
    anchor::{Anchor, AnchorError},
    checkpoint::Checkpoint,
    device::{DeviceError, Event, Gate, Input, Settings, Staleness, Stop, TrustError},
    freshness::{FreshnessError, Receipt},
    genesis::Genesis,
    id::Nonce,
    protocol::{
        reply::Task,
        request::{Freshness, OutcomeCode},
    },
    set::EpochSet,
    step::{Step, StepKind},
    suite::{Purpose, Suite},
};
use kusabi_ledger::testing::TestKey;
use kusabi_sim::{
    fleet::Fleet,
    ledger::Ledger,
    server::{Courier, Told, digest, order},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// From now on all servers show the ledger as it is now, with true proofs; the validators are an hour ahead.
pub(crate) fn seize(fleet: &mut Fleet) {
    fleet.frozen = true;
    let mut present = Ledger::new();
    present.grow_to(fleet.shop.ledger.height().get() + 60);
    fleet.shop.present = Some(present);
}

/// The owner has them back.
pub(crate) fn release(fleet: &mut Fleet) {
    fleet.frozen = false;
    fleet.shop.present = None;
    fleet
        .shop
        .ledger
        .grow_to(fleet.shop.ledger.height().get() + 61);
}

fn receipts(fleet: &Fleet, unit: usize) -> usize {
    let events = fleet.events[unit].iter();
    events
        .filter(|event| matches!(event, Event::Present { .. }))
        .count()
}

fn refused(fleet: &Fleet, unit: usize, why: FreshnessError) -> bool {
    fleet.refused[unit].contains(&DeviceError::Trust(TrustError::Freshness(why)))
}

const STALE: Event = Event::Stale(Staleness::NoReceipt);

fn stopped(number: u8) -> Event {
    Event::Stopped {
        digest: digest(number),
        gate: Gate::Install,
        why: Stop::Stale,
    }
}

fn told_stale(order: u64) -> Told {
    Told {
        order,
        code: OutcomeCode::Stale,
    }
}

/// Gives an update, a report and the adoption of another key, and lets time pass.
fn order_all(fleet: &mut Fleet, unit: usize, adopted: &TestKey) {
    let orders = vec![
        order(1, Task::Update(digest(1))),
        order(2, Task::AdoptServer(adopted.handle)),
        order(3, Task::ReportInventory([3; 32])),
    ];
    fleet.shop.orders.insert(0, orders);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(2 * HOUR);
}

/// Nothing that needs the present was done; everything else was.
fn held_out(fleet: &Fleet, unit: usize, adopted: &TestKey) {
    assert_eq!(fleet.installs[unit], []);
    let servers = fleet.units[unit].device.kept().servers();
    assert!(servers.iter().all(|server| server.handle != adopted.handle));
    assert!(fleet.events[unit].contains(&stopped(1)));
    assert!(fleet.events[unit].contains(&STALE));
    assert!(fleet.shop.outcomes.contains(&told_stale(1)));
    assert!(fleet.shop.outcomes.contains(&told_stale(2)));
    let reported = Event::ReportWanted {
        order: 3,
        nonce: [3; 32],
    };
    assert!(fleet.events[unit].contains(&reported));
    assert!(fleet.units[unit].device.is_stale());
    assert_eq!(fleet.shop.freshness.get(&0), Some(&Freshness::Stale));
}

/// As soon as it is shown the present, it goes on.
fn goes_on(fleet: &mut Fleet, unit: usize) {
    // A minute after the last time that there was none, one is asked for again.
    fleet.run_ms(2 * MINUTE);
    let update = order(4, Task::Update(digest(1)));
    fleet.shop.orders.insert(0, vec![update]);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(2 * HOUR);
    assert_eq!(
        fleet.installs[unit],
        [(4, digest(1))],
        "{:?}",
        fleet.events[unit]
    );
    assert!(fleet.events[unit].contains(&Event::Fresh));
    assert!(!fleet.units[unit].device.is_stale());
    assert_eq!(fleet.shop.alarms, []);
}

/// A release on the ledger, and a server key that may be adopted.
fn tempting(servers: usize) -> (Fleet, usize, TestKey) {
    let (mut fleet, unit) = settled(servers, Settings::default());
    publish(&mut fleet, 1);
    let other = TestKey::new(620, Purpose::Ps);
    fleet.shop.ledger.grant(&other);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(5 * MINUTE);
    fleet.events[unit].clear();
    (fleet, unit, other)
}

#[test]
fn a_server_that_shows_a_device_that_slept_the_past_is_found_out_at_its_start() {
    let (mut fleet, unit, other) = tempting(1);
    seize(&mut fleet);
    fleet.power_cut(unit);
    let polls = fleet.shop.polls;
    fleet.run_ms(10 * MINUTE);
    assert!(refused(&fleet, unit, FreshnessError::Old));
    assert_eq!(receipts(&fleet, unit), 0);
    assert!(
        fleet.events[unit].contains(&STALE),
        "{:?}",
        fleet.events[unit]
    );
    fleet.run_ms(HOUR);
    assert!(fleet.shop.polls > polls, "it polls on");
    order_all(&mut fleet, unit, &other);
    held_out(&fleet, unit, &other);
    release(&mut fleet);
    goes_on(&mut fleet, unit);
}

#[test]
fn a_release_that_was_withdrawn_meanwhile_is_not_installed_and_no_key_adopted() {
    let (mut fleet, unit, other) = tempting(1);
    // The device is awake, and has been shown all up to now. Release and key end in what the server does not show.
    seize(&mut fleet);
    order_all(&mut fleet, unit, &other);
    assert!(refused(&fleet, unit, FreshnessError::Old));
    held_out(&fleet, unit, &other);
    release(&mut fleet);
    goes_on(&mut fleet, unit);
}

#[test]
fn a_server_key_that_was_revoked_meanwhile_is_not_adopted_from_a_redirect() {
    let (mut fleet, unit, stolen) = tempting(1);
    let before = fleet.units[unit].device.kept().servers().to_vec();
    // Who has the key that was withdrawn since answers at the address, and has kept the proof of when it served.
    seize(&mut fleet);
    let handle = stolen.handle;
    let owner = std::mem::replace(&mut fleet.servers[0].key, stolen);
    fleet.servers[0].restart();
    fleet.power_cut(unit);
    let polls = fleet.shop.polls;
    fleet.run_ms(5 * HOUR);
    assert!(
        refused(&fleet, unit, FreshnessError::Old),
        "{:?}",
        fleet.refused[unit]
    );
    assert_eq!(fleet.shop.polls, polls, "it is not spoken to");
    assert_eq!(fleet.units[unit].device.kept().servers(), before);
    // Nor when he shows the present: there his key has ended.
    release(&mut fleet);
    end_role(&mut fleet, &TestKey::new(620, Purpose::Ps));
    fleet.run_ms(5 * HOUR);
    assert_eq!(fleet.shop.polls, polls);
    let adopted = Event::ServerAdopted { server: 0, handle };
    assert!(!fleet.events[unit].contains(&adopted));
    // The owner is back, and nothing that was said to the other one is held against the device.
    fleet.servers[0].key = owner;
    fleet.servers[0].restart();
    fleet.run_ms(2 * HOUR);
    assert!(fleet.shop.polls > polls);
    assert_eq!(fleet.shop.alarms, []);
}

#[test]
fn a_receipt_for_another_nonce_is_none() {
    for other_device in [false, true] {
        let (mut fleet, unit, other) = tempting(1);
        if other_device {
            // It may have been made a moment ago, for the device beside this one.
            let neighbour = fleet.provision(Settings::default());
            assert!(fleet.run_until(HOUR, |fleet| fleet.is_settled(neighbour)));
            assert_eq!(receipts(&fleet, neighbour), 1);
        }
        let (receipt, branch) = fleet.shop.carried.clone().unwrap();
        fleet.servers[0].courier = Courier::Answers { receipt, branch };
        fleet.power_cut(unit);
        order_all(&mut fleet, unit, &other);
        assert!(refused(&fleet, unit, FreshnessError::Nonce));
        held_out(&fleet, unit, &other);
        fleet.servers[0].courier = Courier::Honest;
        goes_on(&mut fleet, unit);
    }
}

#[test]
fn a_receipt_of_an_epoch_that_has_ended_is_none() {
    let (mut fleet, unit, other) = tempting(1);
    fleet.shop.ledger.turn_epoch();
    // Who stole the old epoch's vote keys signs what he likes, for the device's own nonce.
    let mut old = Ledger::new();
    old.grow_to(1_000_000);
    assert!(old.epoch() < fleet.shop.ledger.epoch());
    fleet.shop.present = Some(old);
    fleet.power_cut(unit);
    order_all(&mut fleet, unit, &other);
    let ended = FreshnessError::Anchor(AnchorError::Epoch);
    assert!(refused(&fleet, unit, ended), "{:?}", fleet.refused[unit]);
    held_out(&fleet, unit, &other);
    fleet.shop.present = None;
    goes_on(&mut fleet, unit);
}

#[test]
fn who_withholds_receipts_keeps_a_device_from_installing_and_from_nothing_else() {
    for courier in [Courier::Withholds, Courier::Refuses] {
        let (mut fleet, unit, other) = tempting(1);
        fleet.servers[0].courier = courier;
        fleet.power_cut(unit);
        let polls = fleet.shop.polls;
        order_all(&mut fleet, unit, &other);
        fleet.run_ms(4 * HOUR);
        assert!(fleet.shop.polls >= polls + 8, "it polls on");
        held_out(&fleet, unit, &other);
        let alarms = fleet.events[unit].iter().filter(|event| **event == STALE);
        assert_eq!(alarms.count(), 1, "it says so once");
        fleet.servers[0].courier = Courier::Honest;
        goes_on(&mut fleet, unit);
    }
}

#[test]
fn where_one_server_withholds_receipts_another_one_gives_them() {
    let (mut fleet, unit, _) = tempting(2);
    fleet.servers[0].courier = Courier::Withholds;
    fleet.power_cut(unit);
    fleet.run_ms(2 * HOUR);
    assert_eq!(receipts(&fleet, unit), 1, "{:?}", fleet.events[unit]);
    assert!(!fleet.units[unit].device.is_stale());
}

#[test]
fn a_device_is_activated_though_no_receipt_is_to_be_had() {
    let mut fleet = Fleet::new(5, Suite::Curve25519, 1);
    fleet.servers[0].courier = Courier::Withholds;
    let unit = fleet.provision(Settings::default());
    assert!(fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
    assert!(fleet.events[unit].contains(&STALE));
}

#[test]
fn a_receipt_is_asked_for_at_the_start_and_for_each_step_and_never_otherwise() {
    let (mut fleet, unit, _) = tempting(1);
    let asked = fleet.shop.nonces;
    fleet.run_ms(30 * HOUR);
    assert_eq!(fleet.shop.nonces, asked, "a poll needs none");
    fleet.power_cut(unit);
    fleet.run_ms(10 * HOUR);
    assert_eq!(fleet.shop.nonces, asked + 1);
    fleet
        .shop
        .orders
        .insert(0, vec![order(1, Task::Update(digest(1)))]);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(HOUR);
    assert_eq!(fleet.installs[unit], [(1, digest(1))]);
    assert_eq!(fleet.shop.nonces, asked + 2);
    fleet.tell(
        unit,
        Input::Ready {
            gate: Gate::Reboot,
            digest: digest(1),
        },
    );
    fleet.run_ms(HOUR);
    assert_eq!(fleet.shop.nonces, asked + 3);
}

#[test]
fn a_receipt_is_of_the_newest_checkpoint() {
    let mut ledger = Ledger::new();
    let document = ledger.world.document.clone();
    let genesis = Genesis::decode(&document).unwrap();
    let mut anchor = Anchor::from_genesis(&genesis);
    let mut set = genesis.epoch_set().as_bytes().to_vec();
    for epoch in 0..3 {
        let nonce = Nonce::new([epoch; 32]);
        let shown = |ledger: &mut Ledger| {
            let bytes = ledger.checkpoint();
            let set = EpochSet::decode(&set).unwrap();
            let checkpoint = Checkpoint::decode(&bytes).unwrap();
            checkpoint.check(&anchor, &set).unwrap()
        };
        let before = shown(&mut ledger);
        ledger.grow_to(ledger.height().get() + 1);
        let now = shown(&mut ledger);
        let receipt = ledger.freshness(nonce);
        let receipt = Receipt::decode(&receipt).unwrap();
        let trusted = EpochSet::decode(&set).unwrap();
        let receipt = receipt.check(&anchor, &trusted, &nonce).unwrap();
        assert_eq!(receipt.check_checkpoint(&now), Ok(()));
        let held_back = receipt.check_checkpoint(&before);
        assert_eq!(held_back, Err(FreshnessError::Old));
        ledger.turn_epoch();
        let steps = ledger.steps_from(anchor.epoch());
        let step = Step::decode(StepKind::Recovery, &steps[0][1..]).unwrap();
        let (next, _) = step.take(&mut anchor, &trusted).unwrap();
        let next = next.as_bytes().to_vec();
        set = next;
    }
}
