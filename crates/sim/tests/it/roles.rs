//! Who is believed: server keys that change, epochs that turn, orders without proof, revocation, enrolment, load.

use kusabi_core::device::{Event, Gate, Input, Kept, Settings, Staleness, Stop};
use kusabi_core::id::KusabiId;
use kusabi_core::inventory::SignedInventory;
use kusabi_core::keystore::Seed;
use kusabi_core::protocol::hello::Enrolment;
use kusabi_core::protocol::reply::{SealedProblem, Task};
use kusabi_core::protocol::request::{Facts, OutcomeCode};
use kusabi_core::row::Reason;
use kusabi_core::server::Refusal;
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::Action;
use kusabi_ledger::testing::TestKey;
use kusabi_sim::fleet::Fleet;
use kusabi_sim::server::{Receipts, Told, digest, order};
use kusabi_sim::unit::{Disk, stored};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

pub(crate) fn settled(servers: usize, settings: Settings) -> (Fleet, usize) {
    let mut fleet = Fleet::new(11, Suite::Curve25519, servers);
    let unit = fleet.provision(settings);
    assert!(fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
    fleet.run_ms(MINUTE);
    fleet.events[unit].clear();
    (fleet, unit)
}

pub(crate) fn publish(fleet: &mut Fleet, number: u8) {
    if fleet.shop.ledger.world.policy().is_none() {
        let art = TestKey::new(700, Purpose::Art);
        let world = &fleet.shop.ledger.world;
        let action = Action::ArtPolicy {
            org: world.org,
            policy_version: 0,
            signers: 0, // `sign` counts them
            k: 1,
            added: vec![world.entry(&art)],
            removed: vec![],
        };
        let transaction = world.sign(action, &[&world.officer, &art]);
        fleet.shop.ledger.submit(transaction).unwrap();
    }
    let world = &fleet.shop.ledger.world;
    let action = Action::Publish {
        org: world.org,
        policy_version: world.policy().unwrap().version,
        digest: digest(number),
        minimum_counter: 0,
    };
    let transaction = world.sign(action, &[&TestKey::new(700, Purpose::Art)]);
    fleet.shop.ledger.submit(transaction).unwrap();
}

fn withdraw(fleet: &mut Fleet, number: u8) {
    let world = &fleet.shop.ledger.world;
    let action = Action::WithdrawRelease {
        org: world.org,
        digest: digest(number),
        version: 1,
    };
    let transaction = world.sign(action, &[&TestKey::new(700, Purpose::Art)]);
    fleet.shop.ledger.submit(transaction).unwrap();
}

pub(crate) fn end_role(fleet: &mut Fleet, key: &TestKey) {
    let world = &fleet.shop.ledger.world;
    let action = Action::Withdraw {
        org: world.org,
        target: world.named(key),
    };
    let transaction = world.sign(action, &[&world.officer]);
    fleet.shop.ledger.submit(transaction).unwrap();
}

#[test]
fn a_device_that_slept_through_forty_epochs_is_served_at_its_next_poll() {
    let (mut fleet, unit) = settled(1, Settings::default());
    for _ in 0..40 {
        fleet.shop.ledger.turn_epoch();
    }
    let polls = fleet.shop.polls;
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(MINUTE);
    assert_eq!(fleet.shop.polls, polls + 1, "{:?}", fleet.events[unit]);
    let floor = fleet.units[unit].device.kept().trust().floor();
    assert_eq!(floor.epoch, fleet.shop.ledger.epoch());
    // And with a server key that is new, too.
    for _ in 0..40 {
        fleet.shop.ledger.turn_epoch();
    }
    let old = std::mem::replace(&mut fleet.servers[0].key, TestKey::new(600, Purpose::Ps));
    let new = TestKey::new(600, Purpose::Ps);
    fleet.shop.ledger.grant(&new);
    end_role(&mut fleet, &old);
    fleet.servers[0].restart();
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(10 * MINUTE);
    assert!(fleet.events[unit].contains(&Event::ServerAdopted {
        server: 0,
        handle: new.handle
    }));
    assert_eq!(fleet.shop.polls, polls + 2, "{:?}", fleet.events[unit]);
}

#[test]
fn a_server_whose_key_was_taken_back_or_is_of_another_purpose_is_not_spoken_to() {
    // Its key is withdrawn, but the server goes on with it.
    let (mut fleet, unit) = settled(1, Settings::default());
    let key = TestKey::new(500, Purpose::Ps);
    end_role(&mut fleet, &key);
    fleet.run_ms(3 * MINUTE);
    let polls = fleet.shop.polls;
    fleet.servers[0].restart();
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(HOUR);
    assert_eq!(fleet.shop.polls, polls);
    assert!(fleet.events[unit].contains(&Event::ServerEnded { server: 0 }));
    // It calls itself by the writer's key, which the ledger does hold.
    fleet.servers[0].key = TestKey::new(kusabi_ledger::testing::WRITER, Purpose::Writer);
    fleet.run_ms(2 * HOUR);
    assert_eq!(fleet.shop.polls, polls);
    // The owner grants a new one.
    let new = TestKey::new(601, Purpose::Ps);
    fleet.shop.ledger.grant(&new);
    fleet.servers[0].key = new;
    fleet.run_ms(2 * HOUR);
    assert!(fleet.shop.polls > polls, "{:?}", fleet.events[unit]);
}

#[test]
fn only_proven_orders_are_followed() {
    let (mut fleet, unit) = settled(1, Settings::default());
    fleet.tell(unit, Input::Facts(Facts::default()));
    publish(&mut fleet, 1);
    publish(&mut fleet, 2);
    withdraw(&mut fleet, 2);
    let writer = fleet.shop.ledger.world.writer.handle;
    let orders = vec![
        order(1, Task::Update(digest(1))),
        order(2, Task::Update(digest(2))),
        order(3, Task::Repair(digest(3))),
        order(4, Task::AdoptServer(writer)),
    ];
    fleet.shop.orders.insert(0, orders);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(HOUR);
    assert_eq!(fleet.installs[unit], [(1, digest(1))]);
    let stops: Vec<_> = fleet.events[unit]
        .iter()
        .filter_map(|event| match event {
            Event::Stopped { digest, why, .. } => Some((*digest, *why)),
            _ => None,
        })
        .collect();
    assert_eq!(
        stops,
        [(digest(2), Stop::Withdrawn), (digest(3), Stop::Unlisted)]
    );
    let unproven = |order| Told {
        order,
        code: OutcomeCode::Unproven,
    };
    assert_eq!(fleet.shop.outcomes, [unproven(2), unproven(3), unproven(4)]);

    // Withdrawn between installation and reboot.
    withdraw(&mut fleet, 1);
    fleet.tell(
        unit,
        Input::Ready {
            gate: Gate::Reboot,
            digest: digest(1),
        },
    );
    fleet.run_ms(MINUTE);
    assert!(fleet.events[unit].contains(&Event::Stopped {
        digest: digest(1),
        gate: Gate::Reboot,
        why: Stop::Withdrawn
    }));
}

#[test]
fn another_server_key_is_adopted_by_order() {
    let (mut fleet, unit) = settled(1, Settings::default());
    let new = TestKey::new(602, Purpose::Ps);
    fleet.shop.ledger.grant(&new);
    let adopt = order(9, Task::AdoptServer(new.handle));
    fleet.shop.orders.insert(0, vec![adopt]);
    fleet.tell(unit, Input::Poll);
    fleet.run_until(MINUTE, |fleet| {
        fleet.units[unit].device.kept().servers()[0].handle == new.handle
    });
    fleet.servers[0].key = new;
    fleet.servers[0].restart();
    let polls = fleet.shop.polls;
    fleet.run_ms(HOUR);
    assert!(fleet.shop.polls > polls);
    assert!(fleet.shop.outcomes.iter().any(|outcome| outcome.order == 9));
}

#[test]
fn a_revocation_ends_open_sessions() {
    let (mut fleet, unit) = settled(1, Settings::default());
    let handle = fleet.current(unit);
    let world = &fleet.shop.ledger.world;
    let action = Action::Revoke {
        org: world.org,
        signers: 0, // `sign` counts them
        targets: vec![kusabi_core::tx::Named { handle, version: 1 }],
        reason: Reason::Lost,
        compromised_since: None,
    };
    let transaction = world.sign(action, &[&world.officer]);
    fleet.shop.ledger.submit(transaction).unwrap();
    let polls = fleet.shop.polls;
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(HOUR);
    assert_eq!(fleet.shop.polls, polls);
    assert_eq!(fleet.servers[0].refusal, Some(Refusal::Revoked));
    assert_eq!(
        fleet.servers[0].sessions.end(&handle),
        0,
        "it is gone already"
    );
}

#[test]
fn a_ledger_that_does_not_grow_makes_the_device_stale() {
    let (mut fleet, unit) = settled(1, Settings::default());
    publish(&mut fleet, 1);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(MINUTE);
    // Someone holds the ledger back.
    fleet.frozen = true;
    fleet.run_ms(2 * HOUR);
    assert!(
        fleet.events[unit].contains(&Event::Stale(Staleness::Standstill)),
        "{:?}",
        fleet.events[unit]
    );
    fleet
        .shop
        .orders
        .insert(0, vec![order(5, Task::Update(digest(1)))]);
    fleet.run_ms(2 * HOUR);
    assert_eq!(fleet.installs[unit], []);
    assert!(fleet.events[unit].contains(&Event::Stopped {
        digest: digest(1),
        gate: Gate::Install,
        why: Stop::Stale
    }));
    fleet.frozen = false;
    fleet
        .shop
        .orders
        .insert(0, vec![order(6, Task::Update(digest(1)))]);
    fleet.run_ms(2 * HOUR);
    assert!(fleet.events[unit].contains(&Event::Fresh));
    assert_eq!(fleet.installs[unit], [(6, digest(1))]);
}

#[test]
fn a_device_in_the_field_is_enrolled() {
    for token in [&[7; 16][..], &[8; 16]] {
        let mut fleet = Fleet::new(3, Suite::Curve25519, 1);
        fleet.shop.token = vec![7; 16];
        let id = KusabiId::new([3; 16]);
        let kept = Kept::enrolling(
            fleet.trust(),
            fleet.shop.ledger.world.org,
            &fleet.known_servers(),
            id.handle(),
        );
        let mut disk = Disk::default();
        disk.slots[0] = Some(stored(id, Suite::Curve25519, &Seed::new([4; 32])));
        let settings = Settings {
            token: token.try_into().unwrap(),
            label: "camera 7".try_into().unwrap(),
            ..Settings::default()
        };
        let unit = fleet.ship(&kept.unwrap(), disk, settings);
        fleet.run_ms(HOUR);
        assert!(!fleet.is_settled(unit));
        // A writer accepts it.
        fleet.shop.registers = true;
        fleet.run_ms(HOUR);
        let good = token == [7; 16];
        assert_eq!(fleet.is_settled(unit), good, "{:?}", fleet.events[unit]);
        assert_eq!(fleet.shop.polls > 0, good);
        let refused = fleet.events[unit].contains(&Event::Enrolment(Enrolment::Refused));
        assert_eq!(refused, !good);
        if good {
            let (_, label) = fleet.shop.enrolments.values().next().unwrap();
            assert_eq!(label, "camera 7");
        }
    }
}

#[test]
fn a_report_arrives_in_parts() {
    let (mut fleet, unit) = settled(1, Settings::default());
    fleet
        .shop
        .orders
        .insert(0, vec![order(8, Task::ReportInventory([9; 32]))]);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(MINUTE);
    let wanted = Event::ReportWanted {
        order: 8,
        nonce: [9; 32],
    };
    assert!(fleet.events[unit].contains(&wanted));
    let report: Vec<u8> = (0..5000u32).map(|byte| byte as u8).collect();
    for (index, part) in report.chunks(2048).enumerate() {
        let offset = index as u32 * 2048;
        fleet.tell(
            unit,
            Input::Report {
                nonce: [9; 32],
                total: 5000,
                offset,
                part,
            },
        );
        fleet.run_ms(MINUTE);
        let received = Event::ReportReceived {
            offset: offset + part.len() as u32,
        };
        assert!(fleet.events[unit].contains(&received));
    }
    assert_eq!(fleet.shop.reports[&0], report);
}

#[test]
fn who_reports_too_often_polls_on_and_gets_its_orders() {
    for hold_secs in [0, 300] {
        let settings = Settings {
            hold_secs,
            ..Settings::default()
        };
        let (mut fleet, unit) = settled(1, settings);
        fleet.shop.poll_secs = 60;
        fleet.tell(unit, Input::Poll);
        fleet.run_ms(MINUTE);
        fleet.shop.reports_from = fleet.now().plus_ms(20 * MINUTE);
        let (polls, sessions) = (fleet.shop.polls, fleet.shop.handshakes);
        let report = [7; SignedInventory::LEN];
        let told = Input::Report {
            nonce: [0; 32],
            total: SignedInventory::LEN as u32,
            offset: 0,
            part: &report,
        };
        fleet.tell(unit, told);
        fleet.run_ms(9 * MINUTE);
        let refused = Event::SealedProblem(SealedProblem::Unavailable);
        assert!(fleet.events[unit].contains(&refused));
        assert!(fleet.shop.polls >= polls + 7, "it polls on");

        // An order that is given now reaches it, and is answered, before the report is taken.
        let order = order(8, Task::ReportInventory([9; 32]));
        fleet.shop.orders.insert(0, vec![order]);
        let wanted = Event::ReportWanted {
            order: 8,
            nonce: [9; 32],
        };
        assert!(fleet.run_until(2 * MINUTE, |fleet| { fleet.events[unit].contains(&wanted) }));
        let code = OutcomeCode::Failed;
        fleet.tell(unit, Input::Outcome { order, code });
        assert!(fleet.run_until(2 * MINUTE, |fleet| !fleet.shop.outcomes.is_empty()));
        assert!(fleet.shop.reports.is_empty());

        // The report comes when it may, once: it was not tried in between, nor was its session given up for it.
        assert!(fleet.run_until(20 * MINUTE, |fleet| !fleet.shop.reports.is_empty()));
        assert!(fleet.now().since_ms(fleet.shop.reports_from) < MINUTE);
        let tries = fleet.events[unit].iter().filter(|&event| *event == refused);
        assert_eq!(tries.count(), 1);
        // Where polls are held, one was given up for the report when it was new.
        let more = if hold_secs > 0 { 1 } else { 0 };
        assert_eq!(fleet.shop.handshakes - sessions, more);
    }
}

#[test]
fn under_load_a_device_comes_back_with_a_cookie() {
    let mut fleet = Fleet::new(4, Suite::Curve25519, 1);
    let unit = fleet.provision(Settings::default());
    fleet.servers[0].load = 15;
    assert!(fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
    // Too much even for that.
    fleet.servers[0].load = 20;
    fleet.servers[0].restart();
    let polls = fleet.shop.polls;
    fleet.run_ms(2 * HOUR);
    assert_eq!(fleet.shop.polls, polls);
    fleet.servers[0].load = 0;
    fleet.run_ms(2 * HOUR);
    assert!(fleet.shop.polls > polls);
}

#[test]
fn what_became_of_an_order_is_told_until_the_server_signs_that_it_heard() {
    for (lie, seed) in [(Receipts::Withheld, 1), (Receipts::Forged, 2)] {
        let (mut fleet, unit) = settled(seed, Settings::default());
        let order = order(7, Task::ReportInventory([1; 32]));
        fleet.shop.receipts = lie;
        fleet.tell(
            unit,
            Input::Outcome {
                order,
                code: OutcomeCode::Failed,
            },
        );
        fleet.run_ms(3 * HOUR);
        let told = fleet.shop.outcomes.len();
        assert!(told > 2, "told {told} times");
        assert!(fleet.receipts[unit].is_empty(), "{lie:?}");

        fleet.shop.receipts = Receipts::Given;
        assert!(fleet.run_until(2 * HOUR, |fleet| !fleet.receipts[unit].is_empty()));
        let told = fleet.shop.outcomes.len();
        fleet.run_ms(3 * HOUR);
        assert_eq!(fleet.shop.outcomes.len(), told, "told again: {lie:?}");
        let [receipt] = &fleet.receipts[unit][..] else {
            panic!("{:?}", fleet.receipts[unit]);
        };
        let servers = fleet.servers.iter().map(|server| server.key.handle);
        assert!(servers.into_iter().any(|server| server == receipt.signer));
        assert!(
            receipt
                .text
                .contains(r#""outcomes":[{"order":7,"outcome":"failed","signature":""#),
            "{}",
            receipt.text
        );
    }
}

#[test]
fn a_server_that_forgot_an_outcome_hears_it_again() {
    let (mut fleet, unit) = settled(1, Settings::default());
    let order = order(8, Task::ReportInventory([9; 32]));
    fleet.shop.orders.insert(0, vec![order]);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(MINUTE);
    fleet.tell(
        unit,
        Input::Outcome {
            order,
            code: OutcomeCode::Failed,
        },
    );
    assert!(fleet.run_until(HOUR, |fleet| fleet.shop.outcomes.len() == 1));

    // Its database is set back to before: it gives the order again.
    fleet.shop.orders.insert(0, vec![order]);
    for server in &mut fleet.servers {
        server.restart();
    }
    assert!(fleet.run_until(3 * HOUR, |fleet| fleet.shop.outcomes.len() == 2));
    assert_eq!(fleet.shop.outcomes[0], fleet.shop.outcomes[1]);
    let wanted = fleet.events[unit]
        .iter()
        .filter(|event| matches!(event, Event::ReportWanted { .. }));
    assert_eq!(wanted.count(), 1, "it is not done again");

    // Another task under the same number gets no answer, least of all this one's.
    let other = kusabi_sim::server::order(8, Task::ReportInventory([7; 32]));
    fleet.shop.orders.insert(0, vec![other]);
    for server in &mut fleet.servers {
        server.restart();
    }
    fleet.run_ms(3 * HOUR);
    assert_eq!(fleet.shop.outcomes.len(), 2);
}

#[test]
fn what_a_server_refuses_to_hear_holds_up_nothing_else() {
    let (mut fleet, unit) = settled(1, Settings::default());
    let order = order(7, Task::ReportInventory([1; 32]));
    fleet.shop.receipts = Receipts::Refused;
    let code = OutcomeCode::Failed;
    fleet.tell(unit, Input::Outcome { order, code });
    assert!(fleet.run_until(2 * HOUR, |fleet| fleet.shop.outcomes.len() == 1));
    let polls = fleet.shop.polls;
    fleet.run_ms(6 * HOUR);
    assert_eq!(fleet.shop.outcomes.len(), 1, "it is told again");
    assert!(fleet.shop.polls > polls + 5, "the device polls on");
    assert!(fleet.receipts[unit].is_empty());
}

#[test]
fn what_one_server_refuses_to_hear_another_one_hears() {
    let (mut fleet, unit) = settled(2, Settings::default());
    let order = order(7, Task::ReportInventory([1; 32]));
    fleet.shop.orders.insert(0, vec![order]);
    fleet.tell(unit, Input::Poll);
    fleet.run_ms(MINUTE);
    fleet.shop.receipts = Receipts::Refused;
    let code = OutcomeCode::Failed;
    fleet.tell(unit, Input::Outcome { order, code });
    fleet.tell(unit, Input::Poll);
    assert!(fleet.run_until(HOUR, |fleet| fleet.shop.outcomes.len() == 1));
    assert_eq!(fleet.shop.orders[&0], [order], "nothing was written");

    // The next server of the organisation is honest: it gives what has no answer, and hears what the device knows of it.
    fleet.shop.receipts = Receipts::Given;
    assert!(fleet.run_until(2 * HOUR, |fleet| !fleet.receipts[unit].is_empty()));
    let told = Told { order: 7, code };
    assert_eq!(fleet.shop.outcomes, [told, told]);
    assert!(fleet.shop.orders[&0].is_empty());
    let done = fleet.events[unit]
        .iter()
        .filter(|event| matches!(event, Event::ReportWanted { .. }));
    assert_eq!(done.count(), 1, "it is not done again");
}
