//! Devices that come to another organisation follow by themselves, and the old owner has no power over them any more, whatever
//! it holds (spec/device-protocol.md, "Owners").

use kusabi_core::device::{Event, Gate, Input, Kept, KeyOrigin, Settings, Stop};
use kusabi_core::id::{KusabiId, OrgId, StateKey};
use kusabi_core::keystore::{KeyStore as _, Seed};
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::request::Facts;
use kusabi_core::row::Reason;
use kusabi_core::server::Refusal;
use kusabi_core::suite::{BindingContext, Purpose, Suite};
use kusabi_core::tx::{Action, Entry, Named};
use kusabi_sim::fleet::{Chaos, Fleet};
use kusabi_sim::owner::Owner;
use kusabi_sim::random::Random;
use kusabi_sim::server::{Courier, Custody, digest, order};
use kusabi_sim::unit::{Disk, stored};

use crate::chaos::{Met, chaos, seeds, settings};
use crate::freshness::{release, seize};

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// A fleet whose servers are those of "cameras", and an organisation that takes devices.
pub(crate) struct Two {
    pub(crate) fleet: Fleet,
    pub(crate) gives: Owner,
    pub(crate) takes: Owner,
}

impl Two {
    pub(crate) fn new(seed: u64, suite: Suite, servers: usize) -> Self {
        let mut fleet = Fleet::new(seed, suite, servers);
        let gives = Owner::founder(&fleet);
        let takes = fleet.admit("newcomer", 3000);
        Self {
            fleet,
            gives,
            takes,
        }
    }

    /// With a device that has its device key and rests; its servers are at the address 0.
    pub(crate) fn settled() -> (Self, usize) {
        let mut two = Self::new(21, Suite::Curve25519, 1);
        let unit = two.fleet.provision(Settings::default());
        assert!(two.fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
        two.fleet.run_ms(MINUTE);
        two.fleet.events[unit].clear();
        (two, unit)
    }

    /// The new owner's server, at an address that the device has beside the others.
    pub(crate) fn reachable(&mut self, unit: usize) {
        let server = self.fleet.server_of(&self.takes, 600);
        self.fleet.servers.push(server);
        let addresses = self.fleet.servers.len();
        self.fleet.reach(unit, addresses);
    }

    pub(crate) fn transfer(&mut self, unit: usize) {
        let handle = self.fleet.current(unit);
        assert!(self.fleet.transfer(&handle, &self.gives, &self.takes));
    }

    /// The device as the old owner's servers number it, and as the new one's do.
    pub(crate) fn numbers(&mut self, unit: usize) -> [usize; 2] {
        let handle = self.fleet.current(unit);
        [self.gives.org, self.takes.org].map(|org| self.fleet.shop.device(org, &handle))
    }

    pub(crate) fn has_moved(&self, unit: usize) -> bool {
        let moved = Event::Moved { to: self.takes.org };
        self.fleet.events[unit].contains(&moved)
    }

    pub(crate) fn follows(&mut self, unit: usize) {
        let takes = &self.takes;
        let follows = |fleet: &Fleet| fleet.is_settled_with(unit, takes);
        assert!(
            self.fleet.run_until(DAY, follows),
            "{:?} {:?}",
            self.fleet.events[unit],
            self.fleet.units[unit].device.kept()
        );
    }
}

#[test]
fn a_device_follows_to_its_new_owner_by_itself() {
    for suite in [Suite::Curve25519, Suite::P256] {
        let mut two = Two::new(20, suite, 1);
        let unit = two.fleet.provision(Settings::default());
        assert!(two.fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
        two.reachable(unit);
        let old = two.fleet.current(unit);
        two.transfer(unit);
        two.fleet.run_ms(3 * HOUR);
        two.follows(unit);
        assert!(two.has_moved(unit));
        let new = two.fleet.current(unit);
        let record = two.fleet.shop.ledger.record(&new).unwrap();
        assert_eq!(record.predecessor(), Some(old));
        assert_eq!((record.owner(), record.moves()), (two.takes.org, 0));
        // The old owner's server is not spoken to any more: it would refuse the new key.
        two.fleet.servers[0].refusal = None;
        let polls = two.fleet.shop.polls;
        two.fleet.run_ms(6 * HOUR);
        assert!(two.fleet.shop.polls > polls + 8);
        assert_eq!(two.fleet.servers[0].refusal, None);
        assert_eq!(two.fleet.shop.alarms, []);
        // It does what the new owner orders.
        let [_, device] = two.numbers(unit);
        two.fleet.publish_by(&two.takes, digest(1));
        let update = order(1, Task::Update(digest(1)));
        two.fleet.shop.orders.insert(device, vec![update]);
        two.fleet.run_ms(HOUR);
        assert_eq!(two.fleet.installs[unit], [(1, digest(1))]);
    }
}

#[test]
fn a_device_whose_old_owners_servers_are_gone_follows() {
    let (mut two, unit) = Two::settled();
    two.transfer(unit);
    // At the address that it has stands the new owner's server.
    two.fleet.servers[0] = two.fleet.server_of(&two.takes, 600);
    two.follows(unit);
    assert!(two.has_moved(unit));
    assert_eq!(two.fleet.shop.alarms, []);
}

/// A server of another organisation shows that the device is its own, and the present besides: the device may have come to somebody else
/// since.
#[test]
fn a_new_owners_server_that_does_not_show_the_present_is_not_adopted() {
    for past in [false, true] {
        let (mut two, unit) = Two::settled();
        two.transfer(unit);
        two.fleet.servers[0] = two.fleet.server_of(&two.takes, 600);
        if past {
            seize(&mut two.fleet);
        } else {
            two.fleet.servers[0].courier = Courier::Withholds;
        }
        let asked = two.fleet.shop.nonces;
        two.fleet.run_ms(6 * HOUR);
        assert!(two.fleet.shop.nonces > asked);
        assert!(!two.has_moved(unit));
        let adopted = |event: &Event| matches!(event, Event::ServerAdopted { .. });
        assert!(!two.fleet.events[unit].iter().any(adopted));
        if past {
            release(&mut two.fleet);
        } else {
            two.fleet.servers[0].courier = Courier::Honest;
        }
        two.follows(unit);
        assert!(two.fleet.events[unit].iter().any(adopted));
        assert_eq!(two.fleet.shop.alarms, []);
    }
}

#[test]
fn a_device_is_told_where_its_new_owners_servers_are_and_believes_none_of_it() {
    let (mut two, unit) = Two::settled();
    two.fleet.servers[0].hint = Some("https://devices.newcomer.example");
    two.transfer(unit);
    two.fleet.run_ms(2 * HOUR);
    assert_eq!(
        two.fleet.hints[unit],
        ["https://devices.newcomer.example"],
        "once"
    );
    assert!(two.has_moved(unit));
    assert!(!two.fleet.is_settled_with(unit, &two.takes));

    // Somebody else answers there: a server of the old owner's, and a server of an organisation that never had the device.
    let stranger = two.fleet.admit("stranger", 3100);
    for server in [
        two.fleet.server_of(&two.gives, 601),
        two.fleet.server_of(&stranger, 602),
    ] {
        two.fleet.servers.truncate(1);
        two.fleet.servers.push(server);
        two.fleet.reach(unit, 2);
        two.fleet.run_ms(6 * HOUR);
        let kept = two.fleet.units[unit].device.kept();
        assert_eq!(kept.org(), two.takes.org);
        assert!(kept.is_bound_elsewhere(), "it has spoken to its owner");
        let adopted = |event: &Event| matches!(event, Event::ServerAdopted { .. });
        assert!(!two.fleet.events[unit].iter().any(adopted));
    }
    two.fleet.servers[1] = two.fleet.server_of(&two.takes, 600);
    two.follows(unit);
}

#[test]
fn a_factory_key_that_moves_in_its_box_is_activated_as_the_new_owners() {
    for key_origin in [KeyOrigin::Device, KeyOrigin::Server] {
        for gone in [false, true] {
            let mut two = Two::new(22, Suite::Curve25519, 1);
            let unit = two.fleet.provision(Settings {
                key_origin,
                ..Settings::default()
            });
            let pre = two.fleet.current(unit);
            two.transfer(unit);
            if gone {
                two.fleet.servers[0] = two.fleet.server_of(&two.takes, 600);
            } else {
                two.reachable(unit);
            }
            two.follows(unit);
            let act = two.fleet.current(unit);
            let record = two.fleet.shop.ledger.record(&act).unwrap();
            assert_eq!(record.predecessor(), Some(pre));
            assert_eq!(record.moves(), 0);
        }
    }
}

#[test]
fn the_old_owner_orders_nothing_with_all_that_it_has() {
    let (mut two, unit) = Two::settled();
    two.fleet.publish_by(&two.gives, digest(1));
    let other = two.fleet.server_of(&two.gives, 601);
    let adopted = other.key.handle;
    // The floor of the device is above what stood before, as that of every device that polls.
    two.transfer(unit);
    two.fleet.servers[0].custody = Custody::Kept;
    let [device, _] = two.numbers(unit);
    let key = two.fleet.current(unit);
    let update = order(1, Task::Update(digest(1)));
    let repair = order(2, Task::Repair(digest(1)));
    let adopt = order(3, Task::AdoptServer(adopted));
    let rotate = order(4, Task::Rotate);
    let orders = vec![update, repair, adopt, rotate];
    two.fleet.shop.orders.insert(device, orders);
    two.fleet.run_ms(6 * HOUR);
    assert!(two.has_moved(unit), "{:?}", two.fleet.events[unit]);
    assert_eq!(two.fleet.installs[unit], []);
    let kept = two.fleet.units[unit].device.kept();
    assert!(kept.servers().iter().all(|server| server.handle != adopted));
    let record = two.fleet.shop.ledger.record(&key).unwrap();
    assert!(record.is_active(), "the old owner took it out of force");
    // It has no server of its owner's, so nobody heard a word of what became of these orders.
    assert_eq!(two.fleet.shop.outcomes, []);

    two.reachable(unit);
    two.follows(unit);
    assert_eq!(two.fleet.installs[unit], []);
    assert_eq!(two.fleet.shop.outcomes, []);
}

#[test]
fn a_record_of_before_the_transfer_is_not_believed() {
    let (mut two, unit) = Two::settled();
    two.fleet.publish_by(&two.gives, digest(1));
    let key = two.fleet.current(unit);
    let before = two.fleet.shop.ledger.prove(&StateKey::record(&key));
    two.transfer(unit);
    // It has heard how high the ledger is, but not that it was given away.
    two.fleet.servers[0].custody = Custody::Kept;
    two.fleet.tell(unit, Input::Poll);
    two.fleet.run_ms(MINUTE);
    assert!(!two.has_moved(unit));
    two.fleet.servers[0].custody = Custody::Dated(before);
    let [device, _] = two.numbers(unit);
    let update = order(1, Task::Update(digest(1)));
    two.fleet.shop.orders.insert(device, vec![update]);
    two.fleet.run_ms(12 * HOUR);
    assert_eq!(two.fleet.installs[unit], []);
    assert!(!two.has_moved(unit));
    // As soon as it is shown what is true, it follows.
    two.reachable(unit);
    two.fleet.servers[0].custody = Custody::Honest;
    two.follows(unit);
}

#[test]
fn a_device_that_its_new_owner_has_revoked_does_not_obey_the_old_one() {
    let (mut two, unit) = Two::settled();
    two.fleet.publish_by(&two.gives, digest(1));
    let handle = two.fleet.current(unit);
    two.transfer(unit);
    let world = &two.fleet.shop.ledger.world;
    let version = world.record(&handle).unwrap().version();
    let action = Action::Revoke {
        org: two.takes.org,
        signers: 0, // `sign` counts them
        targets: vec![Named { handle, version }],
        reason: Reason::Lost,
        compromised_since: None,
    };
    let transaction = world.sign(action, &[&two.takes.officer]);
    two.fleet.shop.ledger.submit(transaction).unwrap();
    // A session that was open before goes on with the old owner's server, which ends nothing.
    two.fleet.servers[0].custody = Custody::Kept;
    let [device, _] = two.numbers(unit);
    let update = order(1, Task::Update(digest(1)));
    two.fleet.shop.orders.insert(device, vec![update]);
    two.fleet.tell(unit, Input::Poll);
    two.fleet.run_ms(6 * HOUR);
    assert_eq!(two.fleet.installs[unit], []);
}

#[test]
fn who_only_says_that_a_device_was_given_away_changes_nothing() {
    let (mut two, unit) = Two::settled();
    two.fleet.servers[0].custody = Custody::Forged;
    two.fleet.servers[0].hint = Some("https://devices.newcomer.example");
    two.fleet.tell(unit, Input::Poll);
    let before = two.fleet.requests;
    two.fleet.run_ms(6 * HOUR);
    assert!(!two.has_moved(unit));
    assert_eq!(two.fleet.units[unit].device.kept().org(), two.gives.org);
    let asked = two.fleet.requests - before;
    assert!(asked < 20_000, "it talks without end: {asked} requests");
    assert_eq!(two.fleet.hints[unit], Vec::<String>::new());
    // And one that says so, and shows something else.
    let ps = two.fleet.servers[0].key.handle;
    let other = two.fleet.shop.ledger.prove(&StateKey::record(&ps));
    two.fleet.servers[0].custody = Custody::Dated(other);
    two.fleet.tell(unit, Input::Poll);
    two.fleet.run_ms(HOUR);
    two.fleet.servers[0].custody = Custody::Honest;
    let polls = two.fleet.shop.polls;
    two.fleet.run_ms(2 * HOUR);
    assert!(two.fleet.shop.polls > polls);
    assert!(!two.has_moved(unit));
    // Nor is anything of it left when the device does come to another owner, who is told of by nobody.
    two.fleet.servers[0].hint = None;
    two.transfer(unit);
    two.reachable(unit);
    two.follows(unit);
    assert_eq!(two.fleet.hints[unit], Vec::<String>::new());
}

/// What everybody sees who sees the entry in a transaction, on its way or on the ledger: the device's own, with the binding that its ID
/// made for its owner.
fn entry_for(fleet: &Fleet, org: &OrgId, id: &KusabiId, seed: &Seed, purpose: Purpose) -> Entry {
    let public = stored(id.clone(), Suite::Curve25519, seed).1.public_keys();
    let context = BindingContext {
        chain: &fleet.shop.ledger.world.chain,
        owner: org,
        purpose,
    };
    let binding = public.bind(id, &context);
    Entry::new(id.handle(), purpose, public, binding, None).unwrap()
}

fn register(fleet: &mut Fleet, by: &Owner, entry: &Entry) -> bool {
    let action = Action::Register {
        org: by.org,
        entries: vec![entry.clone()],
    };
    let transaction = fleet.shop.ledger.world.sign(action, &[&by.writer]);
    fleet.shop.ledger.submit(transaction).is_ok()
}

#[test]
fn who_registers_a_devices_key_and_hands_it_on_has_no_device_by_that() {
    // A device that leaves its factory with its key, pre or act, and one that is to be enrolled.
    for (purpose, enrols) in [
        (Purpose::Pre, false),
        (Purpose::Act, false),
        (Purpose::Act, true),
    ] {
        let mut two = Two::new(23, Suite::Curve25519, 1);
        let thief = two.fleet.admit("thief", 3100);
        let id = KusabiId::new([3; 16]);
        let seed = Seed::new([4; 32]);
        let (trust, servers) = (two.fleet.trust(), two.fleet.known_servers());
        let home = two.gives.org;
        let kept = if enrols {
            Kept::enrolling(trust, home, &servers, id.handle())
        } else {
            Kept::provisioned(trust, home, &servers, id.handle(), purpose)
        };
        let entry = entry_for(&two.fleet, &home, &id, &seed, purpose);
        // Byte for byte the owner's entry, and first: the owner's own comes too late.
        assert!(register(&mut two.fleet, &thief, &entry));
        assert!(!register(&mut two.fleet, &two.gives, &entry));
        assert!(two.fleet.transfer(&id.handle(), &thief, &two.takes));
        let record = two.fleet.shop.ledger.record(&id.handle()).unwrap();
        assert_eq!(
            (record.owner(), record.moves(), record.binding()),
            (two.takes.org, 1, entry.binding())
        );

        let mut disk = Disk::default();
        disk.slots[0] = Some(stored(id.clone(), Suite::Curve25519, &seed));
        let unit = two.fleet.ship(&kept.unwrap(), disk, Settings::default());
        // By way of its owner's server, as its buyer's server claims it, and as a liar shows it.
        two.fleet.run_ms(6 * HOUR);
        two.fleet.servers[0].custody = Custody::Kept;
        two.fleet.run_ms(6 * HOUR);
        two.fleet.servers[0] = two.fleet.server_of(&two.takes, 600);
        two.fleet.run_ms(6 * HOUR);
        assert!(!two.has_moved(unit), "{:?}", two.fleet.events[unit]);
        let kept = two.fleet.units[unit].device.kept();
        assert_eq!(kept.org(), home);
        assert_eq!(kept.is_registered(), !enrols);
        assert_eq!(two.fleet.current(unit), id.handle());
    }
}

/// The one who copies a factory key's entry can give the record back, and nothing was taken by it.
#[test]
fn a_copied_record_that_is_given_back_is_the_owners() {
    let mut two = Two::new(24, Suite::Curve25519, 1);
    let thief = two.fleet.admit("thief", 3100);
    let (id, seed) = (KusabiId::new([3; 16]), Seed::new([4; 32]));
    let home = two.gives.org;
    let entry = entry_for(&two.fleet, &home, &id, &seed, Purpose::Pre);
    assert!(register(&mut two.fleet, &thief, &entry));
    assert!(two.fleet.transfer(&id.handle(), &thief, &two.gives));
    let (trust, servers) = (two.fleet.trust(), two.fleet.known_servers());
    let kept = Kept::provisioned(trust, home, &servers, id.handle(), Purpose::Pre);
    let mut disk = Disk::default();
    disk.slots[0] = Some(stored(id.clone(), Suite::Curve25519, &seed));
    let unit = two.fleet.ship(&kept.unwrap(), disk, Settings::default());
    assert!(two.fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
    two.fleet.run_ms(MINUTE);
    two.transfer(unit);
    two.reachable(unit);
    two.follows(unit);
}

#[test]
fn the_new_owners_server_cannot_offer_the_old_owners_release() {
    let (mut two, unit) = Two::settled();
    two.fleet.publish_by(&two.gives, digest(1));
    two.reachable(unit);
    two.transfer(unit);
    two.follows(unit);
    let [_, device] = two.numbers(unit);
    let update = order(1, Task::Update(digest(1)));
    two.fleet.shop.orders.insert(device, vec![update]);
    two.fleet.tell(unit, Input::Poll);
    two.fleet.run_ms(HOUR);
    assert_eq!(two.fleet.installs[unit], []);
    assert!(two.fleet.events[unit].contains(&Event::Stopped {
        digest: digest(1),
        gate: Gate::Install,
        why: Stop::Unlisted
    }));
}

#[test]
fn an_update_of_the_old_owners_that_is_under_way_ends_at_its_next_step() {
    for gate in [Gate::Reboot, Gate::Commit] {
        let (mut two, unit) = Two::settled();
        two.fleet.publish_by(&two.gives, digest(1));
        let facts = Facts::default();
        two.fleet.tell(unit, Input::Facts(facts));
        let [device, _] = two.numbers(unit);
        let update = order(1, Task::Update(digest(1)));
        two.fleet.shop.orders.insert(device, vec![update]);
        two.fleet.tell(unit, Input::Poll);
        two.fleet.run_ms(MINUTE);
        assert_eq!(two.fleet.installs[unit], [(1, digest(1))]);
        // While it is written, the device is given away; its old owner's server would let it go on.
        two.fleet.servers[0].custody = Custody::Kept;
        two.transfer(unit);
        let ready = Input::Ready {
            gate,
            digest: digest(1),
        };
        two.fleet.tell(unit, ready);
        two.reachable(unit);
        two.fleet.run_ms(HOUR);
        assert!(two.fleet.events[unit].contains(&Event::Stopped {
            digest: digest(1),
            gate,
            why: Stop::Unlisted
        }));
        two.follows(unit);
    }
}

#[test]
fn a_device_that_comes_back_is_served_by_its_first_owner_again() {
    let (mut two, unit) = Two::settled();
    two.reachable(unit);
    two.transfer(unit);
    // Before it has heard of it, and after it has followed.
    let handle = two.fleet.current(unit);
    assert!(two.fleet.transfer(&handle, &two.takes, &two.gives));
    two.fleet.tell(unit, Input::Poll);
    two.fleet.run_ms(2 * HOUR);
    assert!(two.fleet.is_settled_with(unit, &two.gives));
    assert!(!two.has_moved(unit));
    assert!(two.fleet.transfer(&handle, &two.gives, &two.takes));
    two.follows(unit);
    let handle = two.fleet.current(unit);
    assert!(two.fleet.transfer(&handle, &two.takes, &two.gives));
    let gives = &two.gives;
    let back = |fleet: &Fleet| fleet.is_settled_with(unit, gives);
    assert!(
        two.fleet.run_until(DAY, back),
        "{:?}",
        two.fleet.events[unit]
    );
    assert_eq!(two.fleet.shop.alarms, []);
}

#[test]
fn a_server_refuses_a_device_that_was_never_its_own() {
    for moved in [false, true] {
        let (mut two, unit) = Two::settled();
        let third = two.fleet.admit("third", 3100);
        if moved {
            two.transfer(unit);
        }
        two.fleet.servers[0] = two.fleet.server_of(&third, 600);
        let refuses = |fleet: &Fleet| fleet.servers[0].refusal == Some(Refusal::OtherOrganisation);
        assert!(two.fleet.run_until(6 * HOUR, refuses));
        let handshakes = two.fleet.shop.handshakes;
        two.fleet.run_ms(6 * HOUR);
        assert_eq!(two.fleet.shop.handshakes, handshakes);
        assert!(!two.has_moved(unit));
    }
}

/// Given away at any moment, whatever it is doing (an activation, the replacing of a key), while everything goes wrong.
#[test]
fn a_device_that_is_given_away_always_arrives() {
    seeds("transfers", |seed| {
        let mut rng = Random::new(seed ^ 0x7af5);
        let mut two = Two::new(seed, Suite::Curve25519, 1);
        two.fleet.block_ms = 1_000;
        two.fleet.shop.poll_secs = 120;
        let unit = two.fleet.provision(settings(&mut rng));
        let [device, _] = two.numbers(unit);
        two.fleet.chaos = chaos(&mut rng);
        let address = rng.chance(700);
        if address {
            two.reachable(unit);
        }
        two.fleet.run_ms(rng.below(4 * MINUTE));
        if rng.chance(600) {
            let rotate = order(1 + seed, Task::Rotate);
            two.fleet.shop.orders.insert(device, vec![rotate]);
        }
        two.fleet.run_ms(rng.below(4 * MINUTE));
        // Officers name the key that is in force, which need not be the one that the device believes it has.
        let kept = two.fleet.units[unit].device.kept();
        let keys = [
            Some(kept.current().handle),
            kept.next().map(|next| next.handle),
        ];
        let mut given = false;
        for key in keys.into_iter().flatten() {
            given |= two.fleet.transfer(&key, &two.gives, &two.takes);
        }
        assert!(given, "no key was in force");
        if !address {
            two.fleet.servers[0] = two.fleet.server_of(&two.takes, 600);
        }
        two.fleet.run_ms(rng.below(10 * MINUTE));
        let met = two.fleet.shop.successions;
        two.fleet.chaos = Chaos::default();
        two.fleet.run_ms(two.fleet.standstill_ms(unit));
        two.follows(unit);
        assert_eq!(two.fleet.shop.alarms, [], "false alarms");
        let mut all = Met::of(&two.fleet);
        all.successions = met;
        all
    });
}
